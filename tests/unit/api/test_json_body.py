"""Untrusted bodies: JSON within the limits is read; any other body is rejected quickly."""

import json
import time

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from task_status_service.api.requests.json_body import (
    MAX_INTEGER,
    MAX_LEVELS,
    MAX_TEXT_CHARS,
    MAX_VALUES,
    MIN_INTEGER,
    UnreadableJson,
    read_json,
)

#: limit of the CPU seconds for one body, and an allowance for a busy machine
BOUND_SECONDS = 0.05
SLACK_SECONDS = 0.25

values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(MIN_INTEGER, MAX_INTEGER)
    | st.floats(allow_nan=False, allow_infinity=False)
    # Colons and quotes in texts must not look like members.
    | st.text(st.characters(codec="utf-8") | st.sampled_from('":\\{},')),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=5), inner, max_size=4),
    max_leaves=20,
)


@given(values, st.booleans())
def test_reads_json(value, is_ascii):
    """Any JSON value within the limits is read."""
    assert read_json(json.dumps(value, ensure_ascii=is_ascii).encode()) == value


@given(st.binary())
@example(b'{"":1,"":2}')
@example(b'{"a":[{"b":1}, {"b":1, "\\u0062":2}]}')
def test_agrees_with_a_strict_reader(body):
    """For any bytes, the result equals that of a reader that rejects duplicate members, or an error is raised."""

    def once(pairs):
        names = [name for name, _ in pairs]
        assert len(set(names)) == len(names)
        return dict(pairs)

    try:
        value = read_json(body)
    except UnreadableJson:
        return
    assert json.loads(body, object_pairs_hook=once) == value


@pytest.mark.parametrize(
    ("body", "message"),
    [
        (b'{"a": 1, "a": 1}', "duplicate"),
        (b'[{"a": {"b": 1, "\\u0062": 2}}]', "duplicate"),
        (b"[" * MAX_LEVELS + b"1" + b"]" * MAX_LEVELS, "levels"),
        (b"[" * 500_000, "not JSON|levels"),
        (b'{"a":' * 100_000, "values"),
        (b"[%s0]" % (b"0," * (MAX_VALUES - 1)), "values"),
        (b"[%s[]]" % (b'{"a":[]},' * 110_000), "values"),
        (b'["%s"]' % (b"x" * (MAX_TEXT_CHARS + 1)), "characters"),
        (b'{"%s": 1}' % (b"x" * (MAX_TEXT_CHARS + 1)), "characters"),
        (b'["%s"]' % (b'\\"' * 500_000), "characters"),
        (b"[%d]" % (MAX_INTEGER + 1), "64 bits"),
        (b"[%d]" % (MIN_INTEGER - 1), "64 bits"),
        (b"[%s]" % (b"9" * 1_000_000), "not JSON"),
        (b"[1e999]", "not JSON"),
        (b"[1e%s]" % (b"9" * 1_000_000), "not JSON"),
        (b"[NaN]", "not JSON"),
        (b"[-Infinity]", "not JSON"),
        (b'["\\ud800"]', "not JSON"),
        (b'["\xff"]', "not JSON"),
        (b"\xef\xbb\xbf[]", "not JSON"),
        (b"", "not JSON"),
        (b" " * 1_048_576, "not JSON"),
        (b'{"a":' * 10_000, "not JSON|levels"),
        (b'"' * 1_048_576, "values"),
        (b'\\"' * 500_000, "not JSON"),
        (b'"\\\\"' * 20_000, "not JSON"),
        (b'{"":"",%s}' % (b'"":"",' * 150_000), "values"),
    ],
    ids=lambda value: value[:12] if isinstance(value, bytes) else value,
)
def test_expensive_bodies_are_rejected_quickly(body, message):
    """A body that would take long to parse is rejected before that."""
    started = time.process_time()
    with pytest.raises(UnreadableJson, match=message):
        read_json(body)
    assert time.process_time() - started < BOUND_SECONDS + SLACK_SECONDS


def test_limits_are_inclusive():
    """A body exactly at a limit is accepted."""
    for body in (
        b"[" * MAX_LEVELS + b"]" * MAX_LEVELS,
        b"[%s0]" % (b"0," * (MAX_VALUES - 2)),
        b'["%s"]' % (b":" * MAX_TEXT_CHARS),
        b'["%s"]' % (b'\\"' * MAX_TEXT_CHARS),
        b"{%s}" % b",".join(b'"\\\\%d":"\\\\"' % number for number in range(MAX_VALUES - 1)),
        b"[%d, %d]" % (MIN_INTEGER, MAX_INTEGER),
    ):
        assert read_json(body) == json.loads(body)
