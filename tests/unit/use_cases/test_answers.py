"""Packed answers of idempotency keys: each is rebuilt exactly, and that of a new task is small."""

from datetime import UTC, datetime, timedelta

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from task_status_service.status import TaskState, TaskStatus
from task_status_service.use_cases.answers import new_status, packed, unpacked
from task_status_service.use_cases.submission import Call, Submission

NOW = datetime(2026, 1, 2, 3, 4, 5, 678_000, tzinfo=UTC)
TEXTS = st.text(max_size=80)
TIMES = st.none() | st.integers(0, 10**6).map(lambda seconds: NOW + timedelta(milliseconds=seconds))


@given(
    name=TEXTS, queue=st.none() | TEXTS, labels=st.dictionaries(TEXTS, TEXTS, max_size=4),
    times=st.tuples(TIMES, TIMES), is_retry=st.booleans(),
)  # fmt: skip
def test_an_answer_is_rebuilt(name, queue, labels, times, is_retry):
    """The answer for a new task is rebuilt byte for byte, for a submission and for a retry."""
    eta, expires = times
    request = Submission(call=Call(name=name), labels=labels, scheduled_for=eta, expires_at=expires)
    status = new_status(
        "t-1", name=name, queue=queue, labels=labels, submitted_at=NOW, scheduled_for=eta, expires_at=expires
    )
    repeated = None if is_retry else msgspec.structs.replace(request, scheduled_for=NOW, expires_at=None)

    answer = packed(status, None if is_retry else request)

    assert not answer.startswith(b"{")
    assert msgspec.json.encode(unpacked(answer, "t-1", repeated)) == msgspec.json.encode(status)


@pytest.mark.parametrize(
    "status",
    [
        TaskStatus(id="t-1", state=TaskState.SUCCEEDED, done=True, name="demo.add", result={"a": [1, None]}),
        TaskStatus(id="t-1", state=TaskState.QUEUED, done=False, celery_state="PENDING", name="another"),
        TaskStatus(id="t-1", state=TaskState.QUEUED, done=False, celery_state="PENDING", name="demo.add", executions=1),
    ],
)
def test_any_other_status_is_packed_as_a_whole(status):
    """A status that is not that of a new task of the request is rebuilt too."""
    request = Submission(call=Call(name="demo.add"))

    assert unpacked(packed(status, request), "t-1", request) == status


def test_an_answer_is_small():
    """The answer for a new task fits into one short field of a claim."""
    request = Submission(call=Call(name="demo.add"), labels={"customer": "42" * 100}, scheduled_for=NOW, expires_at=NOW)
    status = new_status(
        "t-1", name="demo.add", queue="celery", labels=request.labels, submitted_at=NOW, scheduled_for=NOW,
        expires_at=NOW,
    )  # fmt: skip

    assert len(packed(status, request)) <= 64
