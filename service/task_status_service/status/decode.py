"""Decode Celery's meta and our record to a `TaskStatus`. Accepts any stored bytes; never raises.

Rule 1: `PRECEDENCE` decides whether the meta or the record determines the state.
Rule 2: a requested cancel makes an unfinished task `canceling`.
Rule 3: result and failure come from the meta if it agrees with the state, else from the record.
Rule 4: while the worker that runs a task is alive or stalled, only the record can end the task. The record follows the
meta within milliseconds. Until then the task may overwrite its meta: `update_state("FAILURE", …)`, then a result.
"""

from collections.abc import Mapping
from datetime import datetime
from types import MappingProxyType
from typing import Any, Final

import msgspec
from task_status_worker.record.codec import unpack
from task_status_worker.record.model import FINAL_FACTS, Fact, Record, RecordedFailure

from task_status_service.status.failures.failure import decode_failure, failure_of_record
from task_status_service.status.model import (
    Failure,
    FailureKind,
    FinalStates,
    Liveness,
    Progress,
    Snapshot,
    TaskState,
    TaskStatus,
)
from task_status_service.status.precedence import claim_of_meta, claim_of_record
from task_status_service.status.progress import COMPLETE, decode_progress, with_eta
from task_status_service.status.stored import celery_states as celery
from task_status_service.status.stored.budget import UNSEEN, Budget
from task_status_service.status.stored.diagnostics import FROZEN, diagnose
from task_status_service.status.stored.meta import UNREADABLE, Meta, decode_meta
from task_status_service.status.stored.plain_json import PlainCopy, TooLarge, not_empty
from task_status_service.status.visibility import Visibility, redact_for

#: final state -> `successful`; null for custom Celery states, whose meaning is unknown
_SUCCESSFUL: Final[Mapping[TaskState, bool | None]] = {
    TaskState.SUCCEEDED: True,
    TaskState.FAILED: False,
    TaskState.CANCELED: False,
    TaskState.EXPIRED: False,
    TaskState.FINISHED: None,
}

#: fact -> Celery state; the state of FINISHED and IGNORED is their outcome
_CELERY_STATES: Final[Mapping[Fact | None, str]] = {
    Fact.SUBMITTED: celery.PENDING,
    Fact.REQUEUED: celery.PENDING,
    Fact.RECEIVED: celery.RECEIVED,
    Fact.STARTED: celery.STARTED,
    Fact.RETRYING: celery.RETRY,
    Fact.REJECTED: celery.REJECTED,
    Fact.REVOKED: celery.REVOKED,
}

_FAILURE_STATES: Final = frozenset({TaskState.FAILED, TaskState.RETRYING, TaskState.CANCELED})
#: message of the failure of an expired task; source: celery/worker/request.py, maybe_expire
_EXPIRED_MESSAGE: Final = "expired"
#: outcome that the worker kit records with REVOKED for an expired task
_EXPIRED_OUTCOME: Final = "EXPIRED"

_NO_FINAL_STATES: Final[FinalStates] = MappingProxyType({})


def decode(
    snapshot: Snapshot,
    *,
    final_states: FinalStates = _NO_FINAL_STATES,
    budget: Budget | None = None,
    view: Visibility = Visibility.PUBLIC,
) -> TaskStatus | None:
    """Return the status of a task from one read of the store; None if nothing is stored about it.

    `final_states` maps the custom Celery states that end a task. A result over the limits of the `budget` is omitted;
    the default is the budget of a task that is read alone. Never raises, and the status can always be encoded as JSON.
    """
    status = _decode(snapshot, final_states, budget or Budget())
    return status and redact_for(status, view)


def _decode(snapshot: Snapshot, final_states: FinalStates, budget: Budget) -> TaskStatus | None:
    budget.start_value()
    codes: set[str] = set()
    stored_record = unpack(snapshot.record)
    stored_meta = _decode_meta(snapshot, codes, budget)
    if stored_record is None and stored_meta is None:
        return None
    record, meta = stored_record or Record(), stored_meta or UNREADABLE

    meta_claim = claim_of_meta(meta, final_states)
    has_returned = meta.celery_state == celery.SUCCESS
    if meta_claim is not None and meta_claim.state in _SUCCESSFUL and _has_live_worker(record, snapshot):
        meta, meta_claim = UNREADABLE, None
    claims = [claim for claim in (claim_of_record(record, final_states), meta_claim) if claim is not None]
    decided = min(claims, default=None)
    if decided is None:
        return _unknown(snapshot, record, codes, has_meta=stored_meta is not None)

    agrees = meta_claim is not None and meta_claim.state is decided.state
    celery_state = _celery_state(meta, record, agrees=agrees)
    state, failure = decided.state, None
    done = state in _SUCCESSFUL
    if not done and (record.cancel_requested or meta.celery_state == celery.ABORTED):
        state = TaskState.CANCELING
    if state in _FAILURE_STATES:
        failure = _failure(state, meta if agrees else UNREADABLE, record, codes, budget)
    if state is TaskState.CANCELED and _is_expired(record, failure):
        state = TaskState.EXPIRED
    # The meta of an earlier execution does not describe a task that waits for its next one.
    has_begun = decided.state is not TaskState.QUEUED or agrees
    # A task that has returned is still `running` by rule 4: its progress stays at 100 percent.
    is_complete = celery_state == celery.SUCCESS or (has_returned and decided.state is TaskState.RUNNING)
    progress = _progress(meta, record, codes, is_complete=is_complete) if has_begun else None
    if progress is not None and state is TaskState.RUNNING and not is_complete:
        progress = msgspec.structs.replace(progress, eta_at=_eta_at(record))
    _add_record_codes(state, record, codes, has_meta=stored_meta is not None)
    common = _common_fields(snapshot, record, meta, codes)

    return TaskStatus(
        state=state,
        done=done,
        successful=_SUCCESSFUL.get(state),
        celery_state=celery_state,
        progress=progress,
        result=meta.result if agrees and celery_state == celery.SUCCESS else None,
        failure=failure,
        meta=_custom_meta(meta) if has_begun else None,
        # A task can be done with a record that is STARTED: its worker was lost, or is unknown, after it wrote the meta.
        liveness=Liveness.UNKNOWN if done or record.fact is not Fact.STARTED else snapshot.liveness,
        next_retry_at=record.next_retry_at if state is TaskState.RETRYING else None,
        children=meta.children,
        # The time of the record is preferred: all its times come from one clock, so no task ends before it starts.
        finished_at=(record.finished_at or (meta.date_done if agrees else None)) if done else None,
        diagnostics=diagnose(codes),
        **common,
    )


def _has_live_worker(record: Record, snapshot: Snapshot) -> bool:
    return record.fact is Fact.STARTED and snapshot.liveness in (Liveness.ALIVE, Liveness.STALLED)


def is_ending(snapshot: Snapshot, *, final_states: FinalStates = _NO_FINAL_STATES) -> bool:
    """Return whether the meta is final but ignored by rule 4: the record follows, or an earlier execution wrote it."""
    record = unpack(snapshot.record)
    if record is None or not _has_live_worker(record, snapshot):
        return False
    meta = _decode_meta(snapshot, set(), Budget(UNSEEN))
    meta_claim = claim_of_meta(meta, final_states) if meta is not None else None
    return meta_claim is not None and meta_claim.state in _SUCCESSFUL


def _decode_meta(snapshot: Snapshot, codes: set[str], budget: Budget) -> Meta | None:
    if snapshot.wrong_type:
        codes.add("wrong_redis_type")
        return UNREADABLE
    # As in Celery, an empty value is no meta.
    return decode_meta(snapshot.meta, snapshot.task_id, codes, budget) if snapshot.meta else None


def _celery_state(meta: Meta, record: Record, *, agrees: bool) -> str | None:
    """Return the state in the meta, unless the task has ended since; then the state of the record."""
    if meta.celery_state is not None and (agrees or record.fact not in FINAL_FACTS):
        return meta.celery_state
    if record.fact is Fact.FINISHED:
        return record.outcome or None
    if record.fact is Fact.IGNORED:
        states = (record.outcome, meta.celery_state)
        return next((state for state in states if state and state not in celery.UNFINISHED_STATES), celery.IGNORED)
    return _CELERY_STATES.get(record.fact)


def _failure(state: TaskState, meta: Meta, record: Record, codes: set[str], budget: Budget) -> Failure | None:
    """Return the failure in the meta, else the recorded one. A failed task always has a failure."""
    kind = _known_kind(state, meta, record)
    if meta.celery_state is not None:
        failure = decode_failure(meta, codes, kind=kind)
        if failure is not None:
            return failure
    if record.failure is None and state is not TaskState.FAILED:
        return None
    return failure_of_record(record.failure or RecordedFailure(), codes, budget, kind=kind)


def _known_kind(state: TaskState, meta: Meta, record: Record) -> FailureKind | None:
    if state is TaskState.CANCELED:
        return FailureKind.CANCELED
    if record.fact is Fact.REJECTED or meta.celery_state == celery.REJECTED:
        return FailureKind.REJECTED
    return None


def _is_expired(record: Record, failure: Failure | None) -> bool:
    return record.outcome == _EXPIRED_OUTCOME or (failure is not None and failure.message == _EXPIRED_MESSAGE)


def _custom_meta(meta: Meta) -> Any:
    has_one = meta.celery_state != celery.SUCCESS and meta.celery_state not in celery.FAILURE_STATES
    return meta.result if has_one else None


def _progress(meta: Meta, record: Record, codes: set[str], *, is_complete: bool) -> Progress | None:
    """Read progress from the custom meta, or from the record if a final meta has replaced the custom one."""
    returned = meta.celery_state == celery.SUCCESS
    progress = None if returned else decode_progress(meta.result, meta.celery_state, codes)
    if record.progress is not None:
        if progress is None:
            progress = _recorded_progress(record, codes)
        elif record.progress == meta.result:
            progress = msgspec.structs.replace(progress, updated_at=record.progress_at)
    if is_complete:
        return msgspec.structs.replace(progress or COMPLETE, percent=COMPLETE.percent)
    return progress


def _recorded_progress(record: Record, codes: set[str]) -> Progress | None:
    try:
        custom_meta = PlainCopy(codes, Budget()).copy(record.progress)
    except TooLarge:
        return None
    progress = decode_progress(custom_meta, celery.PROGRESS, codes)
    return progress and msgspec.structs.replace(progress, updated_at=record.progress_at)


def _eta_at(record: Record) -> datetime | None:
    """Estimate the end from the last recorded report; a report in the meta has no time."""
    recorded = None if record.progress is None else _recorded_progress(record, set())
    return None if recorded is None else with_eta(recorded, record.started_at).eta_at


def _add_record_codes(state: TaskState, record: Record, codes: set[str], *, has_meta: bool) -> None:
    if state is TaskState.SUCCEEDED and record.result_stored and not has_meta:
        codes.add("result_expired")
    if state is TaskState.FINISHED and record.fact is Fact.FINISHED and not record.outcome:
        codes.add("outcome_unknown")
    if record.fact is Fact.SUBMITTED and record.send_unconfirmed:
        codes.add("send_unconfirmed")


def _unknown(snapshot: Snapshot, record: Record, codes: set[str], *, has_meta: bool) -> TaskStatus:
    """Return the status of a task whose stored data has no readable state."""
    if not has_meta:
        codes.add("no_fact")
    done = not codes.isdisjoint(FROZEN)
    canceling = record.cancel_requested and not done
    common = _common_fields(snapshot, record, UNREADABLE, codes)
    return TaskStatus(
        state=TaskState.CANCELING if canceling else TaskState.UNKNOWN,
        done=done,
        diagnostics=diagnose(codes),
        **common,
    )


def _common_fields(snapshot: Snapshot, record: Record, meta: Meta, codes: set[str]) -> dict[str, Any]:
    """Return the fields that do not depend on the state; the record takes precedence over the meta."""

    def text(recorded: str | None, stored: str | None = None) -> str | None:
        return not_empty(recorded, codes) or stored

    return {
        "id": snapshot.task_id,
        "name": text(record.name, meta.name),
        "retries": max(record.attempt, meta.retries),
        "cancel_requested": record.cancel_requested,
        "executions": record.executions,
        "worker": text(record.worker, meta.worker),
        "queue": text(record.queue, meta.queue),
        "parent_id": text(record.parent_id, meta.parent_id),
        "root_id": text(record.root_id, snapshot.task_id if record.is_root else None),
        "group_id": text(record.group_id, meta.group_id),
        "labels": record.labels,
        "submitted_at": record.submitted_at,
        "scheduled_for": record.scheduled_for,
        "received_at": record.received_at,
        "started_at": record.started_at,
        "updated_at": record.updated_at,
        "expires_at": record.expires_at,
    }
