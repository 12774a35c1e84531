"""Packed calls: each is read unchanged, and one without arguments takes two bytes."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from task_status_service.store.packed_calls import pack_call, unpack_call
from task_status_service.use_cases.submission import Call

JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**53), 2**53) | st.text(), lambda inner: st.lists(inner, max_size=3)
)


@given(
    args=st.lists(JSON, max_size=3),
    kwargs=st.dictionaries(st.text(), JSON, max_size=3),
    queue=st.none() | st.text(min_size=1),
    priority=st.none() | st.integers(0, 255),
)
def test_a_call_is_read_unchanged(args, kwargs, queue, priority):
    """A packed call is read unchanged with the name and the queue of its record."""
    call = Call(name="demo.add", args=args, kwargs=kwargs, queue=queue, priority=priority)

    # The record has the queue of the task type if the client has chosen none.
    assert unpack_call(pack_call(call), name=b"demo.add", queue=(queue or "celery").encode()) == call


@pytest.mark.parametrize(
    ("call", "packed"),
    [
        (Call(name="demo.add"), b"[]"),
        (Call(name="demo.add", args=[1, 2]), b"[[1,2]]"),
        (Call(name="demo.add", kwargs={"x": 1}), b'[[],{"x":1}]'),
        (Call(name="demo.add", priority=0), b"[[],{},0]"),
        (Call(name="demo.add", queue="slow"), b"[[],{},null,true]"),
    ],
)
def test_a_call_is_small(call, packed):
    """Defaults at the end, the name and the queue are not packed."""
    assert pack_call(call) == packed


@pytest.mark.parametrize(
    "packed", [b"", b"garbage", b"{}", b"[1]", b"[[],[]]", b"[[],{},1.5]", b"[[],{},1,true,1]", b"[" * 5_000, b"\xff"]
)
def test_an_unreadable_call_is_none(packed):
    """A call of an incompatible version is not stored."""
    assert unpack_call(packed, name=b"demo.add", queue=None) is None
