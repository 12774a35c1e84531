"""The precedence of record and meta, and the fields of a status."""

import json
from datetime import UTC, datetime, timedelta

import msgspec
import pytest
from celery import states
from task_status_service.status import (
    PRECEDENCE,
    RESULT,
    Budget,
    FailureKind,
    Snapshot,
    TaskState,
    Visibility,
    decode,
)
from task_status_worker.record.model import Fact

SECOND_MS = 1_790_000_000_000
SECOND = datetime.fromtimestamp(SECOND_MS / 1000, UTC)
DATE_DONE = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)
EXCEPTION = {"exc_type": "ValueError", "exc_message": ["bad"], "exc_module": "builtins"}
REVOKED = {"exc_type": "TaskRevokedError", "exc_message": ["revoked"], "exc_module": "celery.exceptions"}
FINAL_STATES = {"PARTIAL": TaskState.SUCCEEDED, "INVALID": TaskState.FAILED, "STOPPED": TaskState.CANCELED}


def meta_of(celery_state, result=None, **others):
    """Return the bytes that Celery stores."""
    return json.dumps({"status": celery_state, "result": result, "task_id": "x", **others}).encode()


def record_of(fact=None, **fields):
    """Return the hash of a record, packed as by the worker kit."""
    named = {"fact": fact, **fields}
    return {
        name.encode(): value.encode() if isinstance(value, str) else json.dumps(value).encode()
        for name, value in named.items()
        if value is not None
    }


def status_of(meta=None, record=None, **arguments):
    """Return the status of a meta and a record."""
    return decode(Snapshot(task_id="x", meta=meta, record=record or {}), view=Visibility.OPERATOR, **arguments)


def codes_of(status):
    """Return the codes of the diagnostics."""
    return {diagnostic.code for diagnostic in status.diagnostics}


def test_a_task_of_which_nothing_is_stored_has_no_status():
    """Without record and meta the status is None. As in Celery, an empty value is no meta."""
    assert status_of() is None
    assert status_of(meta=b"") is None


# A record alone.


@pytest.mark.parametrize(
    ("record", "state", "celery_state"),
    [
        (record_of("SUBMITTED"), "queued", "PENDING"),
        (record_of("RECEIVED"), "queued", "RECEIVED"),
        (record_of("RECEIVED", attempt=1), "retrying", "RECEIVED"),
        (record_of("RECEIVED", requeues=1), "queued", "RECEIVED"),
        (record_of("REQUEUED", requeues=1), "queued", "PENDING"),
        (record_of("STARTED"), "running", "STARTED"),
        (record_of("RETRYING", attempt=1), "retrying", "RETRY"),
        (record_of("REJECTED"), "failed", "REJECTED"),
        (record_of("REVOKED"), "canceled", "REVOKED"),
        (record_of("REVOKED", outcome="REVOKED"), "canceled", "REVOKED"),
        (record_of("REVOKED", outcome="EXPIRED"), "expired", "REVOKED"),
        (record_of("REVOKED", failure={"message": "expired"}), "expired", "REVOKED"),
        (record_of("FINISHED", outcome="SUCCESS"), "succeeded", "SUCCESS"),
        (record_of("FINISHED", outcome="FAILURE"), "failed", "FAILURE"),
        (record_of("FINISHED", outcome="REVOKED"), "canceled", "REVOKED"),
        (record_of("FINISHED", outcome="UPLOADED"), "finished", "UPLOADED"),
        (record_of("FINISHED"), "finished", None),
        (record_of("IGNORED"), "finished", "IGNORED"),
        (record_of("IGNORED", outcome="SUCCESS"), "succeeded", "SUCCESS"),
        (record_of("IGNORED", outcome="FAILURE"), "failed", "FAILURE"),
        (record_of("IGNORED", outcome="REVOKED"), "canceled", "REVOKED"),
        (record_of("IGNORED", outcome="PROGRESS"), "finished", "IGNORED"),
        (record_of("IGNORED", outcome="STARTED"), "finished", "IGNORED"),
        (record_of("IGNORED", outcome="UPLOADED"), "finished", "UPLOADED"),
        (record_of("IGNORED", outcome="PARTIAL"), "succeeded", "PARTIAL"),
        (record_of("FINISHED", outcome="INVALID"), "failed", "INVALID"),
        (record_of("IGNORED", outcome="STOPPED"), "canceled", "STOPPED"),
        (record_of(progress={"done": 1}), "running", None),
    ],
)
def test_the_state_of_a_record_without_a_meta(record, state, celery_state):
    """A record determines the state of a task of which Celery stores nothing."""
    status = status_of(record=record, final_states=FINAL_STATES)

    assert (status.state, status.celery_state) == (state, celery_state)


def test_a_record_without_a_fact_is_unknown():
    """A record without a fact has a name, but its state is unknown."""
    status = status_of(record=record_of(name="demo.add"))

    assert (status.state, status.done, status.name) == ("unknown", False, "demo.add")
    assert codes_of(status) == {"no_fact"}


@pytest.mark.parametrize(
    ("seconds", "liveness"),
    [(None, "unknown"), (0.0, "alive"), (14.9, "alive"), (15.0, "stalled"), (59.9, "stalled"), (60.0, "lost")],
)
@pytest.mark.parametrize(
    ("fact", "meta", "is_running"),
    [
        ("STARTED", None, True),
        ("STARTED", meta_of("PROGRESS", {"done": 1}), True),
        ("STARTED", b"garbage", True),
        ("RECEIVED", None, False),
        ("FINISHED", None, False),
        (None, meta_of("STARTED"), False),
    ],
)
def test_only_a_running_task_has_a_liveness(seconds, liveness, fact, meta, is_running):
    """The age of the last heartbeat determines the liveness of a running task; for others it is unknown."""
    status = decode(Snapshot(task_id="x", meta=meta, record=record_of(fact), seconds_since_heartbeat=seconds))

    assert status.liveness == (liveness if is_running else "unknown")


# A meta alone.


@pytest.mark.parametrize(
    ("celery_state", "state"),
    [
        ("PENDING", "queued"),
        ("RECEIVED", "queued"),
        ("STARTED", "running"),
        ("PROGRESS", "running"),
        ("UPLOADED", "running"),
        ("success", "running"),
        ("any other state", "running"),
        ("a state in final_states", "running"),
        ("RETRY", "retrying"),
        ("ABORTED", "canceling"),
        ("SUCCESS", "succeeded"),
        ("FAILURE", "failed"),
        ("REVOKED", "canceled"),
        ("REJECTED", "failed"),
        ("IGNORED", "finished"),
        ("PARTIAL", "succeeded"),
        ("INVALID", "failed"),
        ("STOPPED", "canceled"),
    ],
)
def test_the_state_of_a_meta_without_a_record(celery_state, state):
    """Celery's states are case-sensitive; a setting maps the custom states that are final."""
    status = status_of(meta_of(celery_state), final_states=FINAL_STATES)

    assert (status.state, status.celery_state) == (state, celery_state)


@pytest.mark.parametrize(
    ("state", "done", "successful"),
    [
        ("SUCCESS", True, True),
        ("FAILURE", True, False),
        ("REVOKED", True, False),
        ("IGNORED", True, None),
        ("STARTED", False, None),
        ("RETRY", False, None),
        ("PENDING", False, None),
        ("ABORTED", False, None),
    ],
)
def test_done_and_successful(state, done, successful):
    """Final states are done; `successful` is null for unfinished tasks and custom states."""
    status = status_of(meta_of(state))

    assert (status.done, status.successful) == (done, successful)


def test_every_celery_state_is_in_the_table():
    """`PRECEDENCE` contains all of `celery.states.ALL_STATES`."""
    assert {claim for source, claim, _ in PRECEDENCE if source == "meta"} >= states.ALL_STATES


def test_every_fact_is_in_the_table():
    """`PRECEDENCE` contains every value of `Fact`."""
    claims = {claim for source, claim, _ in PRECEDENCE if source == "record"}

    assert claims >= set(Fact)


# A record and a meta.

FACTS = {
    "SUBMITTED": record_of("SUBMITTED"),
    "RECEIVED": record_of("RECEIVED"),
    "RECEIVED again": record_of("RECEIVED", requeues=1),
    "RECEIVED to retry": record_of("RECEIVED", attempt=1),
    "REQUEUED": record_of("REQUEUED", requeues=1),
    "STARTED": record_of("STARTED"),
    "RETRYING": record_of("RETRYING", attempt=1),
    "REJECTED": record_of("REJECTED"),
    "IGNORED": record_of("IGNORED"),
    "REVOKED": record_of("REVOKED"),
    "SUCCESS": record_of("FINISHED", outcome="SUCCESS"),
    "FAILURE": record_of("FINISHED", outcome="FAILURE"),
    "?": record_of("FINISHED"),
}
METAS = ("PENDING", "STARTED", "PROGRESS", "RETRY", "ABORTED", "SUCCESS", "FAILURE", "REVOKED", "{not json")
TABLE = """
                    PENDING    STARTED    PROGRESS   RETRY      ABORTED    SUCCESS    FAILURE    REVOKED    {not json
SUBMITTED           queued     running    running    retrying   canceling  succeeded  failed     canceled   queued
RECEIVED            queued     running    running    retrying   canceling  succeeded  failed     canceled   queued
RECEIVED again      queued     queued     queued     queued     canceling  succeeded  failed     canceled   queued
RECEIVED to retry   retrying   retrying   retrying   retrying   canceling  succeeded  failed     canceled   retrying
REQUEUED            queued     queued     queued     queued     canceling  succeeded  failed     canceled   queued
STARTED             running    running    running    running    canceling  succeeded  failed     canceled   running
RETRYING            retrying   retrying   retrying   retrying   canceling  succeeded  failed     canceled   retrying
REJECTED            failed     failed     failed     failed     failed     failed     failed     failed     failed
IGNORED             finished   finished   finished   finished   finished   succeeded  failed     canceled   finished
REVOKED             canceled   canceled   canceled   canceled   canceled   canceled   canceled   canceled   canceled
SUCCESS             succeeded  succeeded  succeeded  succeeded  succeeded  succeeded  succeeded  succeeded  succeeded
FAILURE             failed     failed     failed     failed     failed     failed     failed     failed     failed
?                   finished   finished   finished   finished   finished   succeeded  failed     canceled   finished
"""


@pytest.mark.parametrize("line", TABLE.splitlines()[2:])
def test_the_state_of_a_record_and_a_meta(line):
    """The state of every fact with every Celery state is as in the table."""
    fact, states = line[:20].strip(), line[20:].split()

    metas = [b"{not json" if state == "{not json" else meta_of(state) for state in METAS]

    assert [status_of(meta, FACTS[fact]).state for meta in metas] == states


@pytest.mark.parametrize("celery_state", ["SUCCESS", "FAILURE", "REVOKED", "REJECTED", "PARTIAL"])
def test_only_the_record_ends_a_task_of_a_live_worker(celery_state):
    """The task may still overwrite a final meta; after the loss of its worker, the meta ends it."""

    def status_after(seconds, record):
        meta = meta_of(celery_state)
        snapshot = Snapshot(task_id="x", meta=meta, record=record, seconds_since_heartbeat=seconds)
        return decode(snapshot, final_states={"PARTIAL": TaskState.SUCCEEDED})

    for seconds_since_heartbeat in (0.0, 30.0):
        status = status_after(seconds_since_heartbeat, record_of("STARTED"))
        assert (status.state, status.done, status.celery_state, status.failure) == ("running", False, "STARTED", None)
        assert status_after(seconds_since_heartbeat, record_of("STARTED", cancel_requested="1")).state == "canceling"
    for seconds_since_heartbeat in (90.0, None):
        status = status_after(seconds_since_heartbeat, record_of("STARTED"))
        assert (status.done, status.liveness) == (True, "unknown")
    assert status_after(0.0, record_of("FINISHED", outcome="SUCCESS")).state == "succeeded"


@pytest.mark.parametrize(
    ("celery_state", "percent"), [("PROGRESS", 40.0), ("SUCCESS", 100.0), ("FAILURE", None), ("PARTIAL", None)]
)
def test_progress_does_not_decrease_at_the_end(celery_state, percent):
    """A task that has returned has 100 percent, even before its record is final."""
    result = {"done": 4, "total": 10} if celery_state == "PROGRESS" else 10

    def progress_of(record):
        snapshot = Snapshot(task_id="x", meta=meta_of(celery_state, result), record=record, seconds_since_heartbeat=0.0)
        status = decode(snapshot, final_states={"PARTIAL": TaskState.SUCCEEDED})
        return status.state, status.progress and status.progress.percent

    assert progress_of(record_of("STARTED")) == ("running", percent)


@pytest.mark.parametrize(
    ("record", "meta", "celery_state"),
    [
        (record_of("STARTED"), meta_of("PROGRESS"), "PROGRESS"),
        (record_of("REQUEUED", requeues=1), meta_of("STARTED"), "STARTED"),
        (record_of("FINISHED", outcome="SUCCESS"), meta_of("STARTED"), "SUCCESS"),
        (record_of("REVOKED"), meta_of("SUCCESS"), "REVOKED"),
        (record_of("REJECTED"), meta_of("FAILURE"), "FAILURE"),
        (record_of("IGNORED"), meta_of("UPLOADED"), "UPLOADED"),
        (record_of("IGNORED"), meta_of("ABORTED"), "ABORTED"),
        (record_of("IGNORED", outcome="DONE"), meta_of("UPLOADED"), "DONE"),
        (record_of("IGNORED"), meta_of("PROGRESS"), "IGNORED"),
        (record_of("IGNORED"), meta_of("SUCCESS"), "SUCCESS"),
        (record_of("FINISHED"), meta_of("STARTED"), None),
        (record_of("STARTED"), b"{not json", "STARTED"),
        (record_of("FINISHED", outcome="SUCCESS"), b"{not json", "SUCCESS"),
    ],
)
def test_celery_state_is_the_one_in_the_meta_or_the_later_end(record, meta, celery_state):
    """`celery_state` is the state in the meta, unless the task has ended since."""
    assert status_of(meta, record).celery_state == celery_state


# The fields that depend on the state.


@pytest.mark.parametrize("fact", ["SUBMITTED", "RECEIVED", "REQUEUED", "STARTED", "RETRYING"])
def test_a_requested_cancel_makes_an_unfinished_task_canceling(fact):
    """A task with a requested cancel is `canceling`, whatever its last fact."""
    status = status_of(record=record_of(fact, cancel_requested=1))

    assert (status.state, status.done, status.cancel_requested) == ("canceling", False, True)


def test_a_late_cancel_does_not_change_the_state():
    """A task that has ended keeps its state and result, and `cancel_requested` is true."""
    status = status_of(meta_of("SUCCESS", 42), record_of("FINISHED", outcome="SUCCESS", cancel_requested=1))

    assert (status.state, status.done, status.cancel_requested, status.result) == ("succeeded", True, True, 42)


@pytest.mark.parametrize(
    ("meta", "record", "state", "done"),
    [
        (b"{not json", {}, "unknown", True),
        (b"\x80\x04garbage", {}, "unknown", False),
        (b"\x80\x04garbage", record_of(cancel_requested=1), "canceling", False),
        (b"{not json", record_of(cancel_requested=1), "unknown", True),
    ],
)
def test_an_unreadable_meta_is_unknown(meta, record, state, done):
    """The status is final if Celery can neither read nor overwrite the meta."""
    status = status_of(meta, record)

    assert (status.state, status.done, status.celery_state, status.successful) == (state, done, None, None)


def test_a_fact_decides_beside_an_unreadable_meta():
    """The fact determines the state, and a diagnostic reports the unreadable meta."""
    status = status_of(b"{not json", record_of("STARTED"))

    assert (status.state, codes_of(status)) == ("running", {"invalid_json"})


def test_a_key_of_another_redis_type_is_final():
    """Celery cannot overwrite a key of another type, so the unknown status is final."""
    status = decode(Snapshot(task_id="x", wrong_type=True))

    assert (status.state, status.done, codes_of(status)) == ("unknown", True, {"wrong_redis_type"})


def test_the_result_comes_from_a_meta_that_agrees():
    """If the meta is missing, a diagnostic reports the expired result, unless it was not to be stored."""
    success = record_of("FINISHED", outcome="SUCCESS")

    assert status_of(meta_of("SUCCESS", 42), success).result == 42
    assert codes_of(status_of(meta_of("SUCCESS", 42), success)) == set()
    assert status_of(meta_of("PROGRESS", {"done": 1}), success).result is None
    assert codes_of(status_of(record=success)) == {"result_expired"}
    assert codes_of(status_of(record=record_of("FINISHED", outcome="SUCCESS", result_stored=0))) == set()
    assert codes_of(status_of(b"{not json", success)) == {"invalid_json"}


def test_a_final_fact_hides_a_contradicting_result():
    """A canceled task has no result, even if Celery stores one."""
    status = status_of(meta_of("SUCCESS", 42), record_of("REVOKED"))

    assert (status.result, status.progress, status.meta) == (None, None, None)


def test_a_custom_final_state_keeps_custom_meta_and_progress():
    """The custom meta of a custom final state is not a result, and its progress is not set to 100 percent."""
    status = status_of(meta_of("PARTIAL", {"done": 3, "total": 4}), final_states=FINAL_STATES)

    assert (status.state, status.result, status.meta) == ("succeeded", None, {"done": 3, "total": 4})
    assert status.progress.percent == 75.0


@pytest.mark.parametrize(
    ("meta", "record", "kind", "message"),
    [
        (meta_of("FAILURE", EXCEPTION), {}, FailureKind.EXCEPTION, "bad"),
        (meta_of("FAILURE", EXCEPTION), record_of("FINISHED", outcome="FAILURE"), FailureKind.EXCEPTION, "bad"),
        (meta_of("FAILURE", EXCEPTION), record_of("REJECTED"), FailureKind.REJECTED, "bad"),
        (meta_of("REJECTED", {"reason": "no"}), {}, FailureKind.REJECTED, "no"),
        (meta_of("REVOKED", REVOKED), {}, FailureKind.CANCELED, "revoked"),
        (meta_of("REVOKED"), record_of("REVOKED", failure={"message": "m"}), FailureKind.CANCELED, "m"),
        (meta_of("STOPPED", {"reason": "user"}), {}, FailureKind.CANCELED, "user"),
        (meta_of("INVALID", {"reason": "row 7"}), {}, FailureKind.EXCEPTION, "row 7"),
        (meta_of("STARTED"), record_of("FINISHED", outcome="FAILURE"), FailureKind.EXCEPTION, ""),
        (None, record_of("REJECTED"), FailureKind.REJECTED, ""),
        (
            meta_of("STARTED"),
            record_of(
                "FINISHED", outcome="FAILURE", failure={"type": "WorkerLostError", "module": "billiard.exceptions"}
            ),
            FailureKind.WORKER_LOST,
            "",
        ),
        (meta_of("RETRY", EXCEPTION), {}, FailureKind.EXCEPTION, "bad"),
        (meta_of("RETRY"), record_of("RETRYING", failure={"message": "m"}), FailureKind.EXCEPTION, "m"),
        (meta_of("STARTED"), record_of("RETRYING", failure={"message": "m"}), FailureKind.EXCEPTION, "m"),
        (meta_of("FAILURE", {"long": ["x" * 90_000] * 20}), {}, FailureKind.UNREADABLE, ""),
    ],
)
def test_the_failure_of_a_meta_or_a_record(meta, record, kind, message):
    """The failure comes from the meta if it agrees with the state, else from the record."""
    failure = status_of(meta, record, final_states=FINAL_STATES).failure

    assert (failure.kind, failure.message) == (kind, message)


@pytest.mark.parametrize(
    ("meta", "record"),
    [
        (meta_of("RETRY"), {}),
        (meta_of("REVOKED"), {}),
        (None, record_of("REVOKED")),
        (None, record_of("RETRYING")),
        (meta_of("RETRY", EXCEPTION), record_of("STARTED")),
        (meta_of("RETRY", EXCEPTION), record_of("RETRYING", cancel_requested=1)),
        (meta_of("FAILURE", EXCEPTION), record_of("FINISHED", outcome="SUCCESS")),
        (None, record_of("STARTED", failure={"message": "of an earlier attempt"})),
    ],
)
def test_tasks_without_a_failure(meta, record):
    """Only failed tasks, and retrying or canceled ones with a stored failure, have a failure."""
    assert status_of(meta, record).failure is None


@pytest.mark.parametrize(
    ("meta", "record", "expected"),
    [
        (meta_of("PROGRESS", {"done": 1, "total": 4}), {}, (25.0, 1, None)),
        (meta_of("PROGRESS", {"done": 2, "total": 4}), {"done": 1, "total": 4}, (50.0, 2, None)),
        (meta_of("PROGRESS", {"done": 1, "total": 4}), {"done": 1, "total": 4}, (25.0, 1, SECOND)),
        (meta_of("STARTED"), {"done": 1, "total": 4}, (25.0, 1, SECOND)),
        (None, {"done": 1, "total": 4}, (25.0, 1, SECOND)),
        (b"{not json", {"done": 1, "total": 4}, (25.0, 1, SECOND)),
        (meta_of("SUCCESS", {"done": 9}), {"done": 4, "total": 4}, (100.0, 4, SECOND)),
        (meta_of("SUCCESS"), {"done": 3, "total": 4}, (100.0, 3, SECOND)),
        (meta_of("SUCCESS"), {"custom": 1}, (100.0, None, None)),
        (meta_of("FAILURE", EXCEPTION), {"done": 3, "total": 4}, (75.0, 3, SECOND)),
        (meta_of("FAILURE", EXCEPTION), {"text": "x" * 2_000_000}, None),
    ],
)
def test_progress_comes_from_the_meta_or_the_record(meta, record, expected):
    """A meta without progress is replaced by the last recorded progress, with its time."""
    recorded = record_of("STARTED", progress=record, progress_at=str(SECOND_MS)) if record else {}

    progress = status_of(meta, recorded).progress

    assert (progress and (progress.percent, progress.current, progress.updated_at)) == expected


@pytest.mark.parametrize(("fact", "eta_seconds"), [("STARTED", 40), ("FINISHED", None), ("RETRYING", None)])
def test_only_a_running_task_has_an_estimated_end(fact, eta_seconds):
    """The end is estimated from the recorded start and report; a task that is not running has no estimate."""
    times = {"started_at": str(SECOND_MS), "progress_at": str(SECOND_MS + 10_000)}

    progress = status_of(None, record_of(fact, progress={"done": 1, "total": 4}, **times)).progress

    assert progress.eta_at == (eta_seconds and SECOND + timedelta(seconds=eta_seconds))


def test_a_task_that_waits_for_its_next_execution_has_no_progress():
    """Progress and custom meta of an earlier execution are not shown."""
    record = record_of("REQUEUED", requeues=1, progress={"done": 3, "total": 4})

    status = status_of(meta_of("PROGRESS", {"done": 3, "total": 4}), record)

    assert (status.progress, status.meta) == (None, None)


def test_a_task_that_succeeded_without_a_meta_is_complete():
    """The progress of a task that succeeded is 100 percent."""
    assert status_of(record=record_of("FINISHED", outcome="SUCCESS")).progress.percent == 100.0


@pytest.mark.parametrize(
    ("celery_state", "shown"),
    [("PROGRESS", True), ("STARTED", True), ("PENDING", True), ("IGNORED", True), ("SUCCESS", False), ("RETRY", False)],
)
def test_results_and_failures_are_not_custom_meta(celery_state, shown):
    """The stored value is custom meta only in a state that is neither success nor a failure."""
    assert status_of(meta_of(celery_state, {"a": 1})).meta == ({"a": 1} if shown else None)


def test_finished_at_comes_from_the_record_or_the_meta():
    """The time of the record is used, else Celery's `date_done` if the meta agrees with the state."""
    meta = meta_of("SUCCESS", date_done=DATE_DONE.isoformat())

    assert status_of(meta).finished_at == DATE_DONE
    assert status_of(meta, record_of("FINISHED", outcome="SUCCESS", finished_at=str(SECOND_MS))).finished_at == SECOND
    assert status_of(meta, record_of("STARTED")).finished_at == DATE_DONE
    assert status_of(meta, record_of("REVOKED")).finished_at is None
    assert status_of(meta_of("PROGRESS", date_done=DATE_DONE.isoformat())).finished_at is None


def test_only_a_retrying_task_has_a_next_retry():
    """`next_retry_at` is null once the next attempt has started."""
    at = str(SECOND_MS)

    assert status_of(record=record_of("RETRYING", next_retry_at=at)).next_retry_at == SECOND
    assert status_of(record=record_of("STARTED", next_retry_at=at)).next_retry_at is None


def test_an_unknown_outcome_is_finished():
    """A task without an outcome is done, and a diagnostic reports it unless the meta has the outcome."""
    status = status_of(record=record_of("FINISHED"))

    assert (status.done, status.successful, codes_of(status)) == (True, None, {"outcome_unknown"})
    assert codes_of(status_of(meta_of("SUCCESS"), record_of("FINISHED"))) == set()


def test_an_unconfirmed_send_is_reported_until_a_worker_has_the_message():
    """The diagnostic disappears when a worker receives the message."""
    assert codes_of(status_of(record=record_of("SUBMITTED", send_unconfirmed=1))) == {"send_unconfirmed"}
    assert codes_of(status_of(record=record_of("RECEIVED", send_unconfirmed=1))) == set()


def test_descriptive_fields_come_from_the_record():
    """Each field of the record is in the field of the same name, in preference to the meta."""
    text = ("name", "queue", "worker", "parent_id", "root_id", "group_id")
    times = ("submitted_at", "scheduled_for", "expires_at", "received_at", "started_at", "updated_at")
    record = record_of(
        "STARTED",
        **{name: f"recorded {name}" for name in text},
        **{name: str(SECOND_MS + position * 1000) for position, name in enumerate(times)},
        labels={"a": "b"},
        attempt=2,
        executions=3,
    )
    extended = {"name": "n", "queue": "q", "worker": "w", "parent_id": "p", "group_id": "g", "retries": 1}

    status = status_of(meta_of("STARTED", **extended), record)

    assert {name: getattr(status, name) for name in text} == {name: f"recorded {name}" for name in text}
    assert [getattr(status, name).timestamp() for name in times] == [SECOND.timestamp() + n for n in range(len(times))]
    assert (status.labels, status.retries, status.executions) == ({"a": "b"}, 2, 3)


@pytest.mark.parametrize("name", ["name", "worker", "queue", "parent_id", "root_id", "group_id"])
def test_an_empty_recorded_text_is_null(name):
    """An empty text of the record is null, with a diagnostic, whether the state is known or not."""
    for record in (record_of("STARTED"), {b"cancel_requested": b"1"}):
        status = status_of(None, {**record, name.encode(): b""})

        assert getattr(status, name) is None
        assert "empty_text" in {diagnostic.code for diagnostic in status.diagnostics}


def test_an_empty_outcome_is_unknown():
    """A task that ended with an empty outcome has no Celery state."""
    status = status_of(None, {**record_of("FINISHED"), b"outcome": b""})

    assert (status.state, status.celery_state) == ("finished", None)
    assert "outcome_unknown" in {diagnostic.code for diagnostic in status.diagnostics}


def test_descriptive_fields_come_from_an_extended_meta():
    """Without a record the fields of `result_extended` are used."""
    extended = {"name": "n", "queue": "q", "worker": "w", "parent_id": "p", "group_id": "g", "retries": 1}
    children = [[["c", "x"], None]]

    status = status_of(meta_of("SUCCESS", children=children, **extended))

    assert {name: getattr(status, name) for name in extended} == extended
    assert status.children == ["c"]


def test_a_larger_budget_permits_a_larger_result():
    """A result over the limits of a status is null, and complete with those of a result that is read alone."""
    meta = meta_of("SUCCESS", "x" * 2_000_000)

    assert status_of(meta).result is None
    assert status_of(meta, budget=Budget(RESULT)).result == "x" * 2_000_000


def test_a_status_has_30_fields():
    """The JSON of a status contains every field, even of null values."""
    wire = json.loads(msgspec.json.encode(status_of(meta_of("SUCCESS"))))

    assert len(wire) == 30
