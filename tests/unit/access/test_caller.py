"""Whose tasks a caller sees, and what it may do."""

import pytest
from task_status_service.access.caller import ANYBODY, Caller, Scope
from task_status_service.errors import Forbidden
from task_status_service.status import Snapshot

MINE = Snapshot(task_id="t", record={b"owner": b"web"})
EXPIRED = Snapshot(task_id="t", known=True, known_owner=b"web")
OTHERS = Snapshot(task_id="t", record={b"owner": b"app"}, known_owner=b"")
NOBODYS = Snapshot(task_id="t", meta=b"{}")
READER = Caller(owner="web", scopes=frozenset({Scope.READ}))


@pytest.mark.parametrize(
    ("caller", "seen"),
    [
        (READER, [MINE, EXPIRED]),
        (Caller(owner="web", scopes=frozenset({Scope.ADMIN})), [MINE, EXPIRED, OTHERS, NOBODYS]),
        (ANYBODY, [MINE, EXPIRED, OTHERS, NOBODYS]),
        (Caller(owner="app", scopes=frozenset(), task_id="t"), [MINE, EXPIRED, OTHERS, NOBODYS]),
        (Caller(owner="web", scopes=frozenset(), task_id="u"), []),
        (Caller(owner=None, scopes=frozenset({Scope.READ})), []),
    ],
)
def test_sees(caller, seen):
    """Its own, all for an admin, the one of a token; who has no name has nothing."""
    assert [one for one in (MINE, EXPIRED, OTHERS, NOBODYS) if caller.sees(one)] == seen


def test_no_scope_implies_another():
    """Not even `admin`, which says whose tasks and not what to do with them."""
    for scope in Scope:
        others = Caller(owner="web", scopes=frozenset(Scope) - {scope})
        assert not others.may(scope)
        with pytest.raises(Forbidden, match=scope):
            others.require(scope)
        ANYBODY.require(scope)
