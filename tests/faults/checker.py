"""The checker: a history and the truth -> what was promised and not kept. Pure; one function per promise.

An answer is later than another if it was asked for after the other had come: what overlaps may come in any order.
"""

import collections
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from typing import Any, Final, NamedTuple

import msgspec

from faults.history import Answer, Event, Fault, StatusEvent
from faults.truth import Deed

#: seconds in which every request is answered that does not ask to wait
BOUND_SECONDS: Final = 2.0

#: the promise that is counted by itself
NEVER_BACK: Final = "a state never goes back, done never changes"

#: states in the order in which one attempt goes through them
_RANKS: Final[Mapping[str, int]] = {"queued": 0, "running": 1, "retrying": 2}
#: what a failed task may have died of although its code came to its end: whoever ran it could not say so any more
_UNCERTAIN_KINDS: Final = frozenset({"worker_lost", "timeout"})
#: what is counted or made exact after the end: a message that came again, and was dropped; times by Redis's clock,
#: which replace those of the worker when its last word arrives
_MAY_SETTLE: Final = frozenset({"executions", "received_at", "updated_at", "finished_at"})
#: what is null after the end until a worker's notes arrive: Celery's result came before them
_MAY_BE_FILLED: Final = frozenset({"worker", "queue", "root_id", "parent_id", "group_id", "started_at"})
_ENDS_WELL: Final = frozenset({"succeeded", "finished"})
_GONE: Final = frozenset({404, 410})
_LIFELESS: Final = frozenset({"stalled", "lost"})
_UNAVAILABLE: Final = 503
_SERVER_ERROR: Final = 500
#: violations of one promise that are told in full
_EXAMPLES: Final = 5


class Promise(msgspec.Struct, frozen=True, kw_only=True):
    """Say what a scenario promises where it is not the same for all."""

    bound_seconds: float = BOUND_SECONDS
    #: servers were killed: their clients got no answer, or waited until there was a server again
    servers_were_killed: bool = False
    #: each task is to run once: no message is given to a second worker on purpose
    runs_once: bool = True
    #: data was thrown away on purpose: what was accepted may be gone, and nothing is said about its end
    data_was_lost: bool = False
    #: tasks were deleted by request
    forgotten: Collection[str] = ()
    #: tasks of a worker that was killed, and nobody waited until they are `lost`
    orphaned: Collection[str] = ()


class Violation(msgspec.Struct, frozen=True):
    """Name a promise that was not kept, what it was about, and how."""

    promise: str
    subject: str
    detail: str


class Totals(NamedTuple):
    """Count what was checked in one scenario, and what was found."""

    answers: int
    statuses: int
    slowest_seconds: float
    #: statuses that changed after `done`, and states that went back
    regressions: int
    violations: int


class Evidence(msgspec.Struct, frozen=True, kw_only=True):
    """Hold the history and the truth, sorted by what they are about."""

    answers: list[Answer]
    faults: list[Fault]
    #: by task id: each status that was seen of it, with the answer that carried it, in the order of asking
    seen: Mapping[str, list[tuple[Answer, StatusEvent]]]
    #: by task id: what it did
    deeds: Mapping[str, list[Deed]]
    #: ids that a client was promised
    accepted: frozenset[str]


def sort(history: Sequence[Event], truth: Sequence[Deed]) -> Evidence:
    """Sort a history and the truth by what they are about."""
    answers = sorted((event for event in history if isinstance(event, Answer)), key=lambda answer: answer.at)
    seen: dict[str, list[tuple[Answer, StatusEvent]]] = collections.defaultdict(list)
    for answer in answers:
        for status in answer.seen:
            seen[status.id].append((answer, status))
    deeds: dict[str, list[Deed]] = collections.defaultdict(list)
    for deed in truth:
        deeds[deed.task_id].append(deed)
    return Evidence(
        answers=answers,
        faults=[event for event in history if isinstance(event, Fault)],
        seen=seen,
        deeds=deeds,
        accepted=frozenset(status.id for answer in answers if (status := answer.accepted)),
    )


def check(history: Sequence[Event], truth: Sequence[Deed], promise: Promise) -> list[Violation]:
    """List what was not kept; empty on a good day."""
    evidence = sort(history, truth)
    return [
        Violation(name, subject, detail)
        for name, find in PROMISES.items()
        for subject, detail in find(evidence, promise)
    ]


def explain(violations: Sequence[Violation]) -> str:
    """Say how often each promise was not kept, with a few examples."""
    lines: list[str] = []
    for name in PROMISES:
        found = [violation for violation in violations if violation.promise == name]
        if found:
            lines.append(f"{name}: not kept {len(found)} times")
            lines += [f"    {violation.subject}: {violation.detail}" for violation in found[:_EXAMPLES]]
    return "\n".join(lines)


def totals(history: Sequence[Event], violations: Sequence[Violation], promise: Promise) -> Totals:
    """Count what was checked, and what was found."""
    answers = [event for event in history if isinstance(event, Answer)]
    return Totals(
        answers=len(answers),
        statuses=sum(len(answer.seen) for answer in answers),
        slowest_seconds=0.0
        if promise.servers_were_killed
        else max((answer.seconds for answer in answers), default=0.0),
        regressions=sum(violation.promise == NEVER_BACK for violation in violations),
        violations=len(violations),
    )


_Found = Iterator[tuple[str, str]]


def _readable(evidence: Evidence, promise: Promise) -> _Found:
    """A task that was accepted is found from then on."""
    if promise.data_was_lost:
        return
    since: dict[str, float] = {}
    for answer in evidence.answers:
        if status := answer.accepted:
            since[status.id] = min(answer.ended, since.get(status.id, answer.ended))
    for answer in evidence.answers:
        gone = [answer.task_id] if answer.status in _GONE and answer.task_id else answer.missing
        for task_id in gone:
            if answer.at > since.get(task_id, float("inf")) and task_id not in promise.forgotten:
                yield task_id, f"accepted, and {answer.status} or missing in {answer.operation} at {answer.at:.3f}"


def _ends(evidence: Evidence, promise: Promise) -> _Found:
    """A task that was accepted ends, or is said to be lost."""
    if promise.data_was_lost:
        return
    for task_id in evidence.accepted.difference(promise.forgotten, promise.orphaned):
        _, last = max(evidence.seen[task_id], key=lambda pair: pair[0].ended)
        if not last.done and last.liveness != "lost":
            yield task_id, f"the last that was seen is {last.state} ({last.liveness})"


def _never_back(evidence: Evidence, _promise: Promise) -> _Found:
    """What was seen later is never behind what was seen before; after `done` nothing changes at all."""
    for task_id, seen in evidence.seen.items():
        ended = sorted(seen, key=lambda pair: pair[0].ended)
        done_before = 0
        #: the furthest of what had come before the present one was asked for
        furthest: StatusEvent | None = None
        for answer, status in seen:
            while done_before < len(ended) and ended[done_before][0].ended <= answer.at:
                furthest = _further(furthest, ended[done_before][1])
                done_before += 1
            if furthest is not None and (wrong := _is_behind(furthest, status)):
                yield task_id, f"{wrong} at {answer.at:.3f} ({answer.operation})"
                break


def _further(one: StatusEvent | None, other: StatusEvent) -> StatusEvent:
    if one is None or (not one.done and (other.done or _place(other) >= _place(one))):
        return other
    return one


def _place(status: StatusEvent) -> tuple[bool, int, int, int]:
    rank = _RANKS.get(status.state, 0)
    return (status.cancel_requested, status.retries, rank, status.executions)


def _is_behind(before: StatusEvent, after: StatusEvent) -> str | None:
    if before.done:
        return f"changed after done: {changes}" if (changes := _changes(before, after)) else None
    if before.cancel_requested and not (after.cancel_requested or after.done):
        return f"its cancel was forgotten: {before.state} -> {after.state}"
    if after.executions < before.executions:
        return f"executions went from {before.executions} to {after.executions}"
    if before.state in _RANKS and after.state in _RANKS:
        places = [(status.retries, _RANKS[status.state]) for status in (before, after)]
        if places[1] < places[0]:
            return f"{before.state} (retries {before.retries}) -> {after.state} (retries {after.retries})"
    return None


def _changes(before: StatusEvent, after: StatusEvent) -> str | None:
    """Say what changed since a status was done; None if nothing that may not."""
    if before.whole == after.whole:
        return None
    if before.whole is None or after.whole is None:
        return f"{before.state} -> {after.state}"
    one, other = _without_time_of_progress(before.whole), _without_time_of_progress(after.whole)
    names = [
        name
        for name in one
        if one[name] != other.get(name)
        and name not in _MAY_SETTLE
        and not (one[name] is None and name in _MAY_BE_FILLED)
    ]
    return ", ".join(f"{name} {one[name]!r} -> {other.get(name)!r}" for name in names) or None


def _without_time_of_progress(whole: str) -> dict[str, Any]:
    """Decode a status, without the time of its progress: the worker's last word carries the progress once more."""
    status: dict[str, Any] = msgspec.json.decode(whole)
    if status.get("progress"):
        status["progress"].pop("updated_at", None)
    return status


def _one_task_per_key(evidence: Evidence, _promise: Promise) -> _Found:
    """One idempotency key names one task."""
    tasks: dict[str, set[str]] = collections.defaultdict(set)
    for answer in evidence.answers:
        if answer.key is not None and (status := answer.accepted):
            tasks[answer.key].add(status.id)
    for key, ids in tasks.items():
        if len(ids) > 1:
            yield key, f"{len(ids)} tasks: {', '.join(sorted(ids))}"


def _runs_once(evidence: Evidence, promise: Promise) -> _Found:
    """A task runs once per attempt, however often its message was sent."""
    if not promise.runs_once:
        return
    for task_id, deeds in evidence.deeds.items():
        starts = collections.Counter(deed.attempt for deed in deeds if deed.what == "started")
        for attempt, count in starts.items():
            if count > 1:
                yield task_id, f"attempt {attempt} ran {count} times"


def _true_to_deeds(evidence: Evidence, _promise: Promise) -> _Found:
    """`succeeded` if and only if the task came to its end; what has not started has not failed by itself."""
    for task_id, seen in evidence.seen.items():
        deeds = evidence.deeds.get(task_id, [])
        finished = any(deed.what == "finished" for deed in deeds)
        for status in _ends_of(seen):
            kind = status.failure.kind if status.failure else None
            if status.state == "succeeded" and not finished:
                yield task_id, "succeeded, and never finished"
            elif finished and status.state not in _ENDS_WELL and not _may_not_know(status, kind, seen):
                yield task_id, f"finished, and reads {status.state} ({kind})"
            elif status.state == "failed" and kind == "exception" and not deeds:
                yield task_id, "failed by an exception, and never started"


def _ends_of(seen: Sequence[tuple[Answer, StatusEvent]]) -> list[StatusEvent]:
    """Give each end that was told of a task; there is to be one, which is another promise."""
    return list({status.state: status for _, status in seen if status.done}.values())


def _may_not_know(status: StatusEvent, kind: str | None, seen: Sequence[tuple[Answer, StatusEvent]]) -> bool:
    """Tell whether the process was stopped between the last line of the task and its return."""
    terminated = any(answer.operation == "cancel" and answer.terminate for answer, _ in seen)
    return kind in _UNCERTAIN_KINDS or (status.state == "canceled" and terminated)


def _canceled_before_start(evidence: Evidence, _promise: Promise) -> _Found:
    """A task of which a cancel was recorded before it was started is not run."""
    for task_id, seen in evidence.seen.items():
        before_start = [
            answer
            for answer, status in seen
            if answer.operation == "cancel" and status.cancel_requested and not status.executions
        ]
        if before_start and evidence.deeds.get(task_id):
            yield task_id, f"canceled at {before_start[0].at:.3f}, started at {evidence.deeds[task_id][0].at:.3f}"


def _well_formed(evidence: Evidence, _promise: Promise) -> _Found:
    """`done`, `successful`, `result` and `failure` say the same."""
    for task_id, seen in evidence.seen.items():
        for _, status in seen:
            if wrong := _contradiction(status):
                yield task_id, f"{status.state}: {wrong}"


def _contradiction(status: StatusEvent) -> str | None:
    outcome = {"succeeded": True, "failed": False, "canceled": False, "expired": False}.get(status.state)
    if status.done != (status.state in {"succeeded", "failed", "canceled", "expired", "finished"}):
        return f"done is {status.done}"
    if status.successful is not outcome:
        return f"successful is {status.successful}"
    if status.result is not None and (status.failure is not None or status.state != "succeeded"):
        return "it has a result"
    if status.state == "failed" and status.failure is None:
        return "it has no failure"
    if status.liveness != "unknown" and status.state not in ("running", "canceling"):
        return f"liveness is {status.liveness}"
    return None


def _in_time(evidence: Evidence, promise: Promise) -> _Found:
    """Every request is answered, and in time, as long as there is a server."""
    if promise.servers_were_killed:
        return
    for answer in evidence.answers:
        if answer.status is None:
            yield answer.operation, f"no answer at {answer.at:.3f} after {answer.seconds:.3f} s: {answer.error}"
        elif answer.seconds > promise.bound_seconds:
            yield answer.operation, f"{answer.status} at {answer.at:.3f} after {answer.seconds:.3f} s"


def _no_server_error(evidence: Evidence, _promise: Promise) -> _Found:
    """The only server error is a 503 that is a problem and says when to ask again."""
    for answer in evidence.answers:
        if answer.status is None or answer.status < _SERVER_ERROR:
            continue
        if answer.status != _UNAVAILABLE or answer.problem is None or not answer.retry_after:
            yield answer.operation, f"{answer.status} {answer.problem} at {answer.at:.3f}"


def _lifeless_only_if_so(evidence: Evidence, _promise: Promise) -> _Found:
    """No task is `stalled` or `lost` unless its worker was killed or stopped before."""
    since = {fault.subject: fault.at for fault in reversed(evidence.faults) if fault.what.startswith("worker ")}
    for task_id, seen in evidence.seen.items():
        for answer, status in seen:
            if status.liveness in _LIFELESS and answer.ended < since.get(status.worker, float("inf")):
                yield task_id, f"{status.liveness} at {answer.at:.3f}, and {status.worker} was alive"


#: every promise by its name
PROMISES: Final[Mapping[str, Callable[[Evidence, Promise], _Found]]] = {
    "what is accepted is found": _readable,
    "what is accepted ends or is lost": _ends,
    NEVER_BACK: _never_back,
    "one key, one task": _one_task_per_key,
    "one task runs once": _runs_once,
    "succeeded if and only if it finished": _true_to_deeds,
    "canceled before its start, it never runs": _canceled_before_start,
    "a status does not contradict itself": _well_formed,
    "every answer in time": _in_time,
    "no server error but a good 503": _no_server_error,
    "lifeless only if its worker is": _lifeless_only_if_so,
}
