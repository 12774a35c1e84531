"""The checker: finds the broken promises in a history and the truth. Pure; one function per promise.

An answer is later than another if its request was sent after the other answer had arrived. Overlapping answers have
no order.
"""

import collections
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from typing import Any, Final, NamedTuple

import msgspec

from faults.history import Answer, Event, Fault, StatusEvent
from faults.truth import Action

#: seconds within which every request is answered, unless it asks to wait
BOUND_SECONDS: Final = 2.0

#: the promise whose violations are counted separately
NEVER_BACK: Final = "a state never goes back, done never changes"

#: order of the states within one attempt
_RANKS: Final[Mapping[str, int]] = {"queued": 0, "running": 1, "retrying": 2}
#: failure kinds that a finished task may have: its process ended before it could report the success
_UNCERTAIN_KINDS: Final = frozenset({"worker_lost", "timeout"})
#: fields that may change after the end: a discarded duplicate delivery is counted; times by Redis's clock replace
#: those of the worker when its last note arrives
_MAY_CHANGE: Final = frozenset({"executions", "received_at", "updated_at", "finished_at"})
#: fields that may be null after the end until the worker's notes arrive: Celery's result came before them
_MAY_BE_FILLED: Final = frozenset({"worker", "queue", "root_id", "parent_id", "group_id", "started_at"})
_RETURNED: Final = frozenset({"succeeded", "finished"})
#: answers that arrive when something happens, and not when they are asked for
_WHILE_IT_LASTS: Final = frozenset({"event"})
_GONE: Final = frozenset({404, 410})
_LIFELESS: Final = frozenset({"stalled", "lost"})
_UNAVAILABLE: Final = 503
_SERVER_ERROR: Final = 500
#: maximum number of violations of one promise that are printed
_EXAMPLES: Final = 5


class Promise(msgspec.Struct, frozen=True, kw_only=True):
    """The promises of a scenario, where it differs from the others."""

    bound_seconds: float = BOUND_SECONDS
    #: servers were killed, so clients got no answer, or waited for a new server
    servers_were_killed: bool = False
    #: each attempt runs once; False if the scenario causes duplicate deliveries
    runs_once: bool = True
    #: the scenario deleted data: accepted tasks may be missing and need not end
    data_was_lost: bool = False
    #: ids of tasks deleted by request
    forgotten: Collection[str] = ()
    #: ids of tasks of a killed worker, in scenarios that do not wait until these tasks are `lost`
    orphaned: Collection[str] = ()


class Violation(msgspec.Struct, frozen=True):
    """A broken promise, with its subject (a task, key or operation) and a description."""

    promise: str
    subject: str
    detail: str


class Totals(NamedTuple):
    """Numbers of checked answers and of violations in one scenario."""

    answers: int
    statuses: int
    slowest_seconds: float
    #: violations of `NEVER_BACK`
    regressions: int
    violations: int


class Evidence(msgspec.Struct, frozen=True, kw_only=True):
    """The history and the truth, grouped by task."""

    answers: list[Answer]
    faults: list[Fault]
    #: by task id: each status, with the answer that contained it, in the order of the requests
    seen: Mapping[str, list[tuple[Answer, StatusEvent]]]
    #: by task id: its real starts and ends
    actions: Mapping[str, list[Action]]
    #: ids of accepted tasks
    accepted: frozenset[str]


def sort(history: Sequence[Event], truth: Sequence[Action]) -> Evidence:
    """Group a history and the truth by task."""
    answers = sorted((event for event in history if isinstance(event, Answer)), key=lambda answer: answer.at)
    seen: dict[str, list[tuple[Answer, StatusEvent]]] = collections.defaultdict(list)
    for answer in answers:
        for status in answer.seen:
            seen[status.id].append((answer, status))
    actions: dict[str, list[Action]] = collections.defaultdict(list)
    for action in truth:
        actions[action.task_id].append(action)
    return Evidence(
        answers=answers,
        faults=[event for event in history if isinstance(event, Fault)],
        seen=seen,
        actions=actions,
        accepted=frozenset(status.id for answer in answers if (status := answer.accepted)),
    )


def check(history: Sequence[Event], truth: Sequence[Action], promise: Promise) -> list[Violation]:
    """Return all violations of the promises."""
    evidence = sort(history, truth)
    return [
        Violation(name, subject, detail)
        for name, find in PROMISES.items()
        for subject, detail in find(evidence, promise)
    ]


def explain(violations: Sequence[Violation]) -> str:
    """Return a text with the number of violations of each broken promise, and a few examples."""
    lines: list[str] = []
    for name in PROMISES:
        found = [violation for violation in violations if violation.promise == name]
        if found:
            lines.append(f"{name}: not kept {len(found)} times")
            lines += [f"    {violation.subject}: {violation.detail}" for violation in found[:_EXAMPLES]]
    return "\n".join(lines)


def totals(history: Sequence[Event], violations: Sequence[Violation], promise: Promise) -> Totals:
    """Count the checked answers and the violations."""
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
    """An accepted task can be read from then on."""
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
                yield task_id, f"accepted, but {answer.status} or missing in {answer.operation} at {answer.at:.3f}"


def _ends(evidence: Evidence, promise: Promise) -> _Found:
    """An accepted task ends, or its liveness is `lost`."""
    if promise.data_was_lost:
        return
    for task_id in evidence.accepted.difference(promise.forgotten, promise.orphaned):
        _, last = max(evidence.seen[task_id], key=lambda pair: pair[0].ended)
        if not last.done and last.liveness != "lost":
            yield task_id, f"its last status is {last.state} ({last.liveness})"


def _never_back(evidence: Evidence, _promise: Promise) -> _Found:
    """A later status is never behind an earlier one; after `done` a status does not change."""
    for task_id, seen in evidence.seen.items():
        ended = sorted(seen, key=lambda pair: pair[0].ended)
        done_before = 0
        #: the furthest status that had arrived before the request for the present one
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
        return f"its cancel was lost: {before.state} -> {after.state}"
    if after.executions < before.executions:
        return f"executions went from {before.executions} to {after.executions}"
    if before.state in _RANKS and after.state in _RANKS:
        places = [(status.retries, _RANKS[status.state]) for status in (before, after)]
        if places[1] < places[0]:
            return f"{before.state} (retries {before.retries}) -> {after.state} (retries {after.retries})"
    return None


def _changes(before: StatusEvent, after: StatusEvent) -> str | None:
    """Return the changes of a done status that are not allowed, or None."""
    if before.whole == after.whole:
        return None
    if before.whole is None or after.whole is None:
        return f"{before.state} -> {after.state}"
    one, other = _without_time_of_progress(before.whole), _without_time_of_progress(after.whole)
    names = [
        name
        for name in one
        if one[name] != other.get(name)
        and name not in _MAY_CHANGE
        and not (one[name] is None and name in _MAY_BE_FILLED)
    ]
    return ", ".join(f"{name} {one[name]!r} -> {other.get(name)!r}" for name in names) or None


def _without_time_of_progress(whole: str) -> dict[str, Any]:
    """Decode a status without the time of its progress: the worker's last note repeats the progress."""
    status: dict[str, Any] = msgspec.json.decode(whole)
    if status.get("progress"):
        status["progress"].pop("updated_at", None)
    return status


def _one_task_per_key(evidence: Evidence, _promise: Promise) -> _Found:
    """One idempotency key creates one task."""
    tasks: dict[str, set[str]] = collections.defaultdict(set)
    for answer in evidence.answers:
        if answer.key is not None and (status := answer.accepted):
            tasks[answer.key].add(status.id)
    for key, ids in tasks.items():
        if len(ids) > 1:
            yield key, f"{len(ids)} tasks: {', '.join(sorted(ids))}"


def _runs_once(evidence: Evidence, promise: Promise) -> _Found:
    """Each attempt runs once, also after duplicate deliveries."""
    if not promise.runs_once:
        return
    for task_id, actions in evidence.actions.items():
        starts = collections.Counter(action.attempt for action in actions if action.what == "started")
        for attempt, count in starts.items():
            if count > 1:
                yield task_id, f"attempt {attempt} ran {count} times"


def _true_to_actions(evidence: Evidence, _promise: Promise) -> _Found:
    """A task is `succeeded` if and only if it returned; an unstarted task does not fail with an exception."""
    for task_id, seen in evidence.seen.items():
        actions = evidence.actions.get(task_id, [])
        finished = any(action.what == "finished" for action in actions)
        for status in _ends_of(seen):
            kind = status.failure.kind if status.failure else None
            if status.state == "succeeded" and not finished:
                yield task_id, "succeeded, but did not finish"
            elif finished and status.state not in _RETURNED and not _may_not_know(status, kind, seen):
                yield task_id, f"finished, but reads {status.state} ({kind})"
            elif status.state == "failed" and kind == "exception" and not actions:
                yield task_id, "failed by an exception, but did not start"


def _ends_of(seen: Sequence[tuple[Answer, StatusEvent]]) -> list[StatusEvent]:
    """Return each reported end of a task; another promise checks that there is only one."""
    return list({status.state: status for _, status in seen if status.done}.values())


def _may_not_know(status: StatusEvent, kind: str | None, seen: Sequence[tuple[Answer, StatusEvent]]) -> bool:
    """Return whether the process may have been stopped between the last line of the task and its return."""
    terminated = any(answer.operation == "cancel" and answer.terminate for answer, _ in seen)
    return kind in _UNCERTAIN_KINDS or (status.state == "canceled" and terminated)


def _canceled_before_start(evidence: Evidence, _promise: Promise) -> _Found:
    """A task does not run if its cancel was recorded before its start."""
    for task_id, seen in evidence.seen.items():
        before_start = [
            answer
            for answer, status in seen
            if answer.operation == "cancel" and status.cancel_requested and not status.executions
        ]
        if before_start and evidence.actions.get(task_id):
            yield task_id, f"canceled at {before_start[0].at:.3f}, started at {evidence.actions[task_id][0].at:.3f}"


def _well_formed(evidence: Evidence, _promise: Promise) -> _Found:
    """`state`, `done`, `successful`, `result` and `failure` agree."""
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
    """Every request is answered in time while a server is running."""
    if promise.servers_were_killed:
        return
    for answer in evidence.answers:
        if answer.status is None:
            yield answer.operation, f"no answer at {answer.at:.3f} after {answer.seconds:.3f} s: {answer.error}"
        elif answer.seconds > promise.bound_seconds and answer.operation not in _WHILE_IT_LASTS:
            yield answer.operation, f"{answer.status} at {answer.at:.3f} after {answer.seconds:.3f} s"


def _no_server_error(evidence: Evidence, _promise: Promise) -> _Found:
    """The only server error is a 503 with a problem and `Retry-After`."""
    for answer in evidence.answers:
        if answer.status is None or answer.status < _SERVER_ERROR:
            continue
        if answer.status != _UNAVAILABLE or answer.problem is None or not answer.retry_after:
            yield answer.operation, f"{answer.status} {answer.problem} at {answer.at:.3f}"


def _lifeless_after_fault(evidence: Evidence, _promise: Promise) -> _Found:
    """No task is `stalled` or `lost` unless its worker was killed or stopped before."""
    since = {fault.subject: fault.at for fault in reversed(evidence.faults) if fault.what.startswith("worker ")}
    for task_id, seen in evidence.seen.items():
        for answer, status in seen:
            if status.liveness in _LIFELESS and answer.ended < since.get(status.worker, float("inf")):
                yield task_id, f"{status.liveness} at {answer.at:.3f}, but {status.worker} was alive"


#: all promises, by name
PROMISES: Final[Mapping[str, Callable[[Evidence, Promise], _Found]]] = {
    "an accepted task is found": _readable,
    "an accepted task ends or is lost": _ends,
    NEVER_BACK: _never_back,
    "one key, one task": _one_task_per_key,
    "one task runs once": _runs_once,
    "succeeded if and only if it finished": _true_to_actions,
    "a task canceled before its start never runs": _canceled_before_start,
    "a status does not contradict itself": _well_formed,
    "every answer in time": _in_time,
    "no server error except a complete 503": _no_server_error,
    "stalled or lost only if its worker was stopped": _lifeless_after_fault,
}
