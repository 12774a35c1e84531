"""Deeply nested JSON is cut before it is parsed, regardless of the depth of the caller's stack."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.stored_values import ROWS_BY_ID, snapshot_of
from task_status_service.status import decode
from task_status_service.status.stored.bounds import MAX_JSON_DEPTH, MAX_READ_DEPTH
from task_status_service.status.stored.diagnostics import Unreadable
from task_status_service.status.stored.json_shape import cut_nesting


def nested(depth, inside="1"):
    """Return nested lists."""
    return "[" * depth + inside + "]" * depth


def test_shallow_json_is_not_changed():
    """A text with many containers that are not nested too deeply is returned unchanged."""
    wide = json.dumps([[{"a": []}] * 10, '["{\\"'] * 100)

    assert cut_nesting(wide) == wide
    assert cut_nesting(nested(MAX_READ_DEPTH)) == nested(MAX_READ_DEPTH)


def test_only_the_deep_containers_become_null():
    """Brackets in strings and values beside the deep containers are not changed."""
    deep, cut = nested(MAX_READ_DEPTH + 5), nested(MAX_READ_DEPTH, "null")

    assert cut_nesting(deep) == cut
    assert cut_nesting(f'{{"a": "]", "b": {deep[2:-2]}, "c": [{deep[2:-2]}, "[\\""]}}') == (
        f'{{"a": "]", "b": {nested(MAX_READ_DEPTH - 1, "null")}, "c": [{nested(MAX_READ_DEPTH - 2, "null")}, "[\\""]}}'
    )


def test_json_too_deep_for_celery_is_rejected():
    """Text that is nested deeper than `MAX_JSON_DEPTH` is unreadable."""
    cut_nesting(nested(MAX_JSON_DEPTH))

    with pytest.raises(Unreadable, match="too_deep"):
        cut_nesting(nested(MAX_JSON_DEPTH + 1))


@given(st.text(alphabet='[]{}"\\a,', max_size=50))
def test_cutting_does_not_repair_invalid_json(text):
    """Text that is invalid JSON before the cut is invalid after it."""
    broken = nested(MAX_READ_DEPTH)[:-1] + text

    cut = cut_nesting(broken)

    try:
        json.loads(broken)
    except ValueError:
        with pytest.raises(json.JSONDecodeError):
            json.loads(cut)


def test_a_deep_stack_does_not_change_the_status():
    """The status is the same when decoded 300 calls deep, as under a web framework."""

    def called_from(depth):
        return decode(snapshot) if depth == 0 else called_from(depth - 1)

    for name in ("h-deep-arr-900", "h-deep-excmsg-900", "h-deep-arr-100000"):
        snapshot = snapshot_of(ROWS_BY_ID[name])

        assert called_from(300) == decode(snapshot)
