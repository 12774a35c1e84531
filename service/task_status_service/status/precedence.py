"""Whose word counts: every claim that a meta or a record can make about a state, the strongest first."""

from collections.abc import Mapping
from typing import Final, Literal, NamedTuple

from task_status_worker.record.model import Fact, Record

from task_status_service.status.model import FinalStates, TaskState
from task_status_service.status.stored import celery_states as celery
from task_status_service.status.stored.meta import Meta

Source = Literal["record", "meta"]

# What a source says that is neither a word of Celery's nor the name of a fact.
_AGAIN_AFTER_RETRY: Final = "RECEIVED after RETRYING"
_AGAIN_AFTER_REQUEUE: Final = "RECEIVED after REQUEUED"
_ONLY_PROGRESS: Final = "only progress"
_FINAL_STATE_OF_ITS_OWN: Final = "a word of final_states"
_STATE_OF_ITS_OWN: Final = "any other word"

#: strongest first: who says what, and the state that follows. What `final_states` names has the state it maps to
PRECEDENCE: Final[tuple[tuple[Source, str, TaskState], ...]] = (
    # A final fact; FINISHED and IGNORED say the outcome they carry if it is one of these.
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
    ("meta", _FINAL_STATE_OF_ITS_OWN, TaskState.FINISHED),
    # It ended in a state of its own, or nobody knows in which.
    ("record", Fact.IGNORED, TaskState.FINISHED),
    ("record", Fact.FINISHED, TaskState.FINISHED),
    # It has not ended. These facts are newer than a meta that is not final.
    ("record", Fact.REQUEUED, TaskState.QUEUED),
    ("record", _AGAIN_AFTER_REQUEUE, TaskState.QUEUED),
    ("record", Fact.RETRYING, TaskState.RETRYING),
    ("record", _AGAIN_AFTER_RETRY, TaskState.RETRYING),
    ("record", Fact.STARTED, TaskState.RUNNING),
    ("meta", celery.RETRY, TaskState.RETRYING),
    ("meta", celery.ABORTED, TaskState.CANCELING),
    ("meta", celery.STARTED, TaskState.RUNNING),
    ("meta", _STATE_OF_ITS_OWN, TaskState.RUNNING),
    ("record", _ONLY_PROGRESS, TaskState.RUNNING),
    # No worker has started it.
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
    (source, said): Claim(rank, state) for rank, (source, said, state) in enumerate(PRECEDENCE)
}
_CELERY_WORDS: Final = frozenset(said for source, said, _ in PRECEDENCE if source == "meta") - {
    _FINAL_STATE_OF_ITS_OWN,
    _STATE_OF_ITS_OWN,
}


def claim_of_record(record: Record, final_states: FinalStates) -> Claim | None:
    """Give what the last fact claims, an end in a custom state as `final_states` maps it; None without a fact."""
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
    """Give what the meta claims, a custom state as `final_states` maps it; None if it is unreadable."""
    word = meta.celery_state
    if word is None:
        return None
    if word in _CELERY_WORDS:
        return _CLAIMS["meta", word]
    if word in final_states:
        return _CLAIMS["meta", _FINAL_STATE_OF_ITS_OWN]._replace(state=final_states[word])
    return _CLAIMS["meta", _STATE_OF_ITS_OWN]
