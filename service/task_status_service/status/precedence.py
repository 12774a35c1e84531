"""Every claim that a meta or a record can make about the state of a task, strongest first."""

from collections.abc import Mapping
from typing import Final, Literal, NamedTuple

from task_status_worker.record.model import Fact, Record

from task_status_service.status.model import FinalStates, TaskState
from task_status_service.status.stored import celery_states as celery
from task_status_service.status.stored.meta import Meta

Source = Literal["record", "meta"]

# Claims that are neither a Celery state nor the name of a fact.
_AGAIN_AFTER_RETRY: Final = "RECEIVED after RETRYING"
_AGAIN_AFTER_REQUEUE: Final = "RECEIVED after REQUEUED"
_ONLY_PROGRESS: Final = "only progress"
_CUSTOM_FINAL_STATE: Final = "a state in final_states"
_CUSTOM_STATE: Final = "any other state"

#: source, claim and resulting state, strongest first; a state in `final_states` results in the state it maps to
PRECEDENCE: Final[tuple[tuple[Source, str, TaskState], ...]] = (
    # A final fact. FINISHED and IGNORED claim their outcome, if it is SUCCESS, FAILURE or REVOKED.
    ("record", celery.REVOKED, TaskState.CANCELED),
    ("record", celery.REJECTED, TaskState.FAILED),
    ("record", celery.SUCCESS, TaskState.SUCCEEDED),
    ("record", celery.FAILURE, TaskState.FAILED),
    # A final meta.
    ("meta", celery.SUCCESS, TaskState.SUCCEEDED),
    ("meta", celery.FAILURE, TaskState.FAILED),
    ("meta", celery.REVOKED, TaskState.CANCELED),
    ("meta", celery.REJECTED, TaskState.FAILED),
    ("meta", celery.IGNORED, TaskState.FINISHED),
    ("meta", _CUSTOM_FINAL_STATE, TaskState.FINISHED),
    # The task ended in a custom or unknown state.
    ("record", Fact.IGNORED, TaskState.FINISHED),
    ("record", Fact.FINISHED, TaskState.FINISHED),
    # The task has not ended. These facts are newer than a meta that is not final.
    ("record", Fact.REQUEUED, TaskState.QUEUED),
    ("record", _AGAIN_AFTER_REQUEUE, TaskState.QUEUED),
    ("record", Fact.RETRYING, TaskState.RETRYING),
    ("record", _AGAIN_AFTER_RETRY, TaskState.RETRYING),
    ("record", Fact.STARTED, TaskState.RUNNING),
    ("meta", celery.RETRY, TaskState.RETRYING),
    ("meta", celery.ABORTED, TaskState.CANCELING),
    ("meta", celery.STARTED, TaskState.RUNNING),
    ("meta", _CUSTOM_STATE, TaskState.RUNNING),
    ("record", _ONLY_PROGRESS, TaskState.RUNNING),
    # No worker has started the task.
    ("record", Fact.RECEIVED, TaskState.QUEUED),
    ("record", Fact.SUBMITTED, TaskState.QUEUED),
    ("meta", celery.RECEIVED, TaskState.QUEUED),
    ("meta", celery.PENDING, TaskState.QUEUED),
)

_CELERY_OUTCOMES: Final = frozenset({celery.SUCCESS, celery.FAILURE, celery.REVOKED})


class Claim(NamedTuple):
    """One row of `PRECEDENCE`; the lowest rank decides."""

    rank: int
    state: TaskState


_CLAIMS: Final[Mapping[tuple[Source, str], Claim]] = {
    (source, claim): Claim(rank, state) for rank, (source, claim, state) in enumerate(PRECEDENCE)
}
_CELERY_STATES: Final = frozenset(claim for source, claim, _ in PRECEDENCE if source == "meta") - {
    _CUSTOM_FINAL_STATE,
    _CUSTOM_STATE,
}


def claim_of_record(record: Record, final_states: FinalStates) -> Claim | None:
    """Return the claim of the last fact; None without one. `final_states` maps a custom outcome."""
    match record.fact:
        case None:
            return None if record.progress is None else _CLAIMS["record", _ONLY_PROGRESS]
        case Fact.FINISHED | Fact.IGNORED if record.outcome in _CELERY_OUTCOMES:
            return _CLAIMS["record", record.outcome]
        case Fact.FINISHED | Fact.IGNORED as fact:
            claim = _CLAIMS["record", fact]
            return claim._replace(state=final_states.get(record.outcome or "", claim.state))
        case Fact.RECEIVED if record.attempt:
            return _CLAIMS["record", _AGAIN_AFTER_RETRY]
        case Fact.RECEIVED if record.requeues:
            return _CLAIMS["record", _AGAIN_AFTER_REQUEUE]
        case fact:
            return _CLAIMS["record", fact]


def claim_of_meta(meta: Meta, final_states: FinalStates) -> Claim | None:
    """Return the claim of the meta; None if it is unreadable. `final_states` maps a custom state."""
    stated = meta.celery_state
    if stated is None:
        return None
    if stated in _CELERY_STATES:
        return _CLAIMS["meta", stated]
    if stated in final_states:
        return _CLAIMS["meta", _CUSTOM_FINAL_STATE]._replace(state=final_states[stated])
    return _CLAIMS["meta", _CUSTOM_STATE]
