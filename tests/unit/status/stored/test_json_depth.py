"""JSON that is nested deep is cut before it is read, wherever the caller stands."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.stored_values import ROWS_BY_ID, snapshot_of
from task_status_service.status import decode
from task_status_service.status.stored.bounds import MAX_JSON_DEPTH, MAX_READ_DEPTH
from task_status_service.status.stored.diagnostics import Unreadable
from task_status_service.status.stored.json_depth import cut_nesting


def nested(depth, inside="1"):
    """Give a list in a list in a list."""
    return "[" * depth + inside + "]" * depth


def test_leaves_what_is_not_deep():
    """To the letter; also where there are many containers side by side."""
    wide = json.dumps([[{"a": []}] * 10, '["{\\"'] * 100)

    assert cut_nesting(wide) == wide
    assert cut_nesting(nested(MAX_READ_DEPTH)) == nested(MAX_READ_DEPTH)


def test_cuts_what_is_deep():
    """And nothing beside it."""
    deep, cut = nested(MAX_READ_DEPTH + 5), nested(MAX_READ_DEPTH, "null")

    assert cut_nesting(deep) == cut
    assert cut_nesting(f'{{"a": "]", "b": {deep[2:-2]}, "c": [{deep[2:-2]}, "[\\""]}}') == (
        f'{{"a": "]", "b": {nested(MAX_READ_DEPTH - 1, "null")}, "c": [{nested(MAX_READ_DEPTH - 2, "null")}, "[\\""]}}'
    )


def test_refuses_what_celery_could_not_read_either():
    """The state of such a task can never change."""
    cut_nesting(nested(MAX_JSON_DEPTH))

    with pytest.raises(Unreadable, match="too_deep"):
        cut_nesting(nested(MAX_JSON_DEPTH + 1))


@given(st.text(alphabet='[]{}"\\a,', max_size=50))
def test_what_is_broken_stays_broken(text):
    """Cutting mends nothing that it does not cut out."""
    broken = nested(MAX_READ_DEPTH)[:-1] + text

    cut = cut_nesting(broken)

    try:
        json.loads(broken)
    except ValueError:
        with pytest.raises(json.JSONDecodeError):
            json.loads(cut)


def test_reads_the_same_on_a_deep_stack():
    """A web framework stands many calls deep when it asks."""

    def called_from(depth):
        return decode(snapshot) if depth == 0 else called_from(depth - 1)

    for name in ("h-deep-arr-900", "h-deep-excmsg-900", "h-deep-arr-100000"):
        snapshot = snapshot_of(ROWS_BY_ID[name])

        assert called_from(300) == decode(snapshot)
