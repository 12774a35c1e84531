"""The visible tasks and the scopes of a caller."""

import pytest
from task_status_service.access.caller import ANYBODY, Caller, Scope
from task_status_service.errors import Forbidden
from task_status_service.status import Snapshot

MINE = Snapshot(task_id="t", record={b"owner": b"web"})
EXPIRED = Snapshot(task_id="t", known=True, known_owner=b"web")
OTHERS = Snapshot(task_id="t", record={b"owner": b"app"}, known_owner=b"")
UNOWNED = Snapshot(task_id="t", meta=b"{}")
READER = Caller(owner="web", scopes=frozenset({Scope.READ}))


@pytest.mark.parametrize(
    ("caller", "seen"),
    [
        (READER, [MINE, EXPIRED]),
        (Caller(owner="web", scopes=frozenset({Scope.ADMIN})), [MINE, EXPIRED, OTHERS, UNOWNED]),
        (ANYBODY, [MINE, EXPIRED, OTHERS, UNOWNED]),
        (Caller(owner="app", scopes=frozenset(), task_id="t"), [MINE, EXPIRED, OTHERS, UNOWNED]),
        (Caller(owner="web", scopes=frozenset(), task_id="u"), []),
        (Caller(owner=None, scopes=frozenset({Scope.READ})), []),
    ],
)
def test_visible_tasks(caller, seen):
    """A key sees the tasks of its owner, an admin all, a token one; a caller without an owner sees none."""
    assert [one for one in (MINE, EXPIRED, OTHERS, UNOWNED) if caller.sees(one)] == seen


def test_no_scope_implies_another():
    """Each scope must be present; `admin` only extends the visible tasks."""
    for scope in Scope:
        others = Caller(owner="web", scopes=frozenset(Scope) - {scope})
        assert not others.may(scope)
        with pytest.raises(Forbidden, match=scope):
            others.require(scope)
        ANYBODY.require(scope)
