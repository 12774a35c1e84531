"""The checker of the fault suite accepts correct histories and finds each broken promise."""

import msgspec
import pytest
from faults.checker import NEVER_BACK, PROMISES, Promise, check, explain, totals
from faults.history import Answer, Fault, SeenFailure, StatusEvent
from faults.truth import Action

ID = "t-1"


def status(state="queued", **fields):
    """Return a consistent status with this state."""
    done = state in ("succeeded", "failed", "canceled", "expired", "finished")
    fields = {
        "id": ID,
        "state": state,
        "done": done,
        "successful": {"succeeded": True, "finished": None}.get(state, False) if done else None,
        "failure": SeenFailure("exception") if state == "failed" else None,
        **fields,
    }
    seen = StatusEvent(**fields)
    return msgspec.structs.replace(seen, whole=msgspec.json.encode(seen).decode()) if done and not seen.whole else seen


def answer(at, *seen, operation="read", seconds=0.1, http=200, **fields):
    """Return an answer to a request at a given time."""
    return Answer(at=at, ended=at + seconds, operation=operation, status=http, seen=list(seen), **fields)


def submitted(at=0.0, *seen, **fields):
    """Return the answer of an accepted submission."""
    return answer(at, *(seen or (status(),)), operation="submit", http=202, **fields)


def action(at, what, *, task_id=ID, attempt=0, run="r-1"):
    """Return one action of a task."""
    return Action(at=at, task_id=task_id, run=run, attempt=attempt, pid=1, what=what)


RAN = [action(1.5, "started"), action(2.5, "finished")]
RUNNING = status("running", executions=1, worker="w@one", liveness="alive")
SUCCEEDED = status("succeeded", executions=1, result=1)
CANCELING = status("canceling", cancel_requested=True)
GOOD = [submitted(), answer(1, status()), answer(2, RUNNING), answer(3, SUCCEEDED), answer(4, SUCCEEDED)]


def broken(history, truth=RAN, **promise):
    """Return the broken promises."""
    return {violation.promise for violation in check(history, truth, Promise(**promise))}


def test_accepts_correct_history():
    """A task that runs and succeeds breaks no promise; neither does an empty history."""
    assert check(GOOD, RAN, Promise()) == []
    assert check([], [], Promise()) == []


FOUND = "an accepted task is found"
ENDS = "an accepted task ends or is lost"
ONE_TASK = "one key, one task"
ONCE = "one task runs once"
TRUE = "succeeded if and only if it finished"
CANCELED = "a task canceled before its start never runs"
WELL_FORMED = "a status does not contradict itself"
IN_TIME = "every answer in time"
NO_ERROR = "no server error except a complete 503"
LIFELESS = "stalled or lost only if its worker was stopped"

CASES = {
    "404 after it was accepted": (FOUND, [*GOOD, answer(5, http=404, task_id=ID)], RAN),
    "410 after it was accepted": (FOUND, [*GOOD, answer(5, http=410, task_id=ID)], RAN),
    "missing in a batch": (FOUND, [*GOOD, answer(5, operation="batch", missing=[ID])], RAN),
    "queued for ever": (ENDS, [submitted(), answer(1, status())], []),
    "never read again": (ENDS, [submitted()], []),
    "stalled for ever": (
        ENDS,
        [
            submitted(),
            Fault(at=1, what="worker killed", subject="w@one"),
            answer(20, status("running", liveness="stalled", worker="w@one")),
        ],
        RAN[:1],
    ),
    "running, then queued": (NEVER_BACK, [submitted(), answer(1, RUNNING), answer(2, status()), *GOOD[3:]], RAN),
    "another attempt, then the first again": (
        NEVER_BACK,
        [submitted(), answer(1, status("retrying", retries=1)), answer(2, RUNNING), *GOOD[3:]],
        RAN,
    ),
    "retrying, then running in the same attempt": (
        NEVER_BACK,
        [submitted(), answer(1, status("retrying")), answer(2, RUNNING), *GOOD[3:]],
        RAN,
    ),
    "executions went down": (
        NEVER_BACK,
        [submitted(), answer(1, status("running", executions=2)), answer(2, RUNNING), *GOOD[3:]],
        RAN,
    ),
    "a cancel was forgotten": (NEVER_BACK, [submitted(), answer(1, CANCELING), answer(2, RUNNING), *GOOD[3:]], RAN),
    "done, then running": (NEVER_BACK, [*GOOD, answer(5, RUNNING), answer(6, SUCCEEDED)], RAN),
    "succeeded, then failed": (NEVER_BACK, [*GOOD, answer(5, status("failed"))], RAN),
    "another result after done": (NEVER_BACK, [*GOOD, answer(5, status("succeeded", executions=1, result=2))], RAN),
    "done, then forgotten in between": (NEVER_BACK, [submitted(), *GOOD[3:], answer(9, status())], RAN),
    "two tasks of one key": (
        ONE_TASK,
        [submitted(0, key="k"), *GOOD[1:], submitted(1, status("succeeded", id="t-2"), key="k")],
        [*RAN, action(1, "finished", task_id="t-2")],
    ),
    "ran twice": (ONCE, GOOD, [*RAN, action(3, "started", run="r-2")]),
    "succeeded without finishing": (TRUE, GOOD, RAN[:1]),
    "succeeded without starting": (TRUE, GOOD, []),
    "finished and failed": (TRUE, [submitted(), answer(3, status("failed"))], RAN),
    "finished and failed, for its result could not be stored": (
        TRUE,
        [submitted(), answer(3, status("failed", failure=SeenFailure("infrastructure")))],
        RAN,
    ),
    "finished and canceled": (TRUE, [submitted(), answer(3, status("canceled"))], RAN),
    "failed by an exception without starting": (TRUE, [submitted(), answer(3, status("failed"))], []),
    "canceled, and ran": (
        CANCELED,
        [submitted(), answer(1, CANCELING, operation="cancel", http=202), answer(3, SUCCEEDED)],
        RAN,
    ),
    "canceled, and began": (
        CANCELED,
        [submitted(), answer(1, CANCELING, operation="cancel", http=202), answer(3, status("canceled"))],
        RAN[:1],
    ),
    "succeeded and not done": (WELL_FORMED, [*GOOD, answer(5, msgspec.structs.replace(SUCCEEDED, done=False))], RAN),
    "running and done": (WELL_FORMED, [submitted(), answer(1, status("running", done=True)), *GOOD[3:]], RAN),
    "succeeded and not successful": (WELL_FORMED, [submitted(), answer(3, status("succeeded", successful=False))], RAN),
    "failed with a result": (WELL_FORMED, [submitted(), answer(3, status("failed", result=1))], RAN[:1]),
    "failed without a failure": (WELL_FORMED, [submitted(), answer(3, status("failed", failure=None))], RAN[:1]),
    "alive when done": (WELL_FORMED, [submitted(), answer(3, status("succeeded", liveness="alive"))], RAN),
    "late": (IN_TIME, [*GOOD, answer(5, SUCCEEDED, seconds=2.1)], RAN),
    "a late 503": (
        IN_TIME,
        [*GOOD, answer(5, http=503, problem="store-unavailable", retry_after=True, seconds=2.1)],
        RAN,
    ),
    "no answer": (IN_TIME, [*GOOD, answer(5, http=None, error="reset")], RAN),
    "500": (NO_ERROR, [*GOOD, answer(5, http=500, problem="internal-error")], RAN),
    "502": (NO_ERROR, [*GOOD, answer(5, http=502)], RAN),
    "503 that is no problem": (NO_ERROR, [*GOOD, answer(5, http=503, retry_after=True)], RAN),
    "503 without Retry-After": (NO_ERROR, [*GOOD, answer(5, http=503, problem="store-unavailable")], RAN),
    "stalled, and nobody was killed": (
        LIFELESS,
        [submitted(), answer(1, status("running", liveness="stalled", worker="w@one")), *GOOD[3:]],
        RAN,
    ),
    "lost, and another one was killed": (
        LIFELESS,
        [
            submitted(),
            Fault(at=0.5, what="worker killed", subject="w@two"),
            answer(1, status("running", liveness="lost", worker="w@one")),
            *GOOD[3:],
        ],
        RAN,
    ),
    "stalled before it was killed": (
        LIFELESS,
        [
            submitted(),
            answer(1, status("running", liveness="stalled", worker="w@one")),
            Fault(at=2, what="worker killed", subject="w@one"),
            *GOOD[3:],
        ],
        RAN,
    ),
}


@pytest.mark.parametrize(("promise", "history", "truth"), CASES.values(), ids=CASES)
def test_finds_violation(promise, history, truth):
    """Each violation is reported under its promise."""
    assert promise in broken(history, truth)


def test_every_promise_has_a_violation():
    """Each promise has a case that breaks it."""
    assert {promise for promise, _, _ in CASES.values()} == set(PROMISES)


ALLOWED = {
    "what overlaps comes in any order": (
        [submitted(), answer(1, SUCCEEDED, seconds=1), answer(1.5, RUNNING), answer(3, SUCCEEDED)],
        RAN,
        {},
    ),
    "404 before it was accepted": ([answer(-1, http=404, task_id=ID), *GOOD], RAN, {}),
    "lost is an end": (
        [
            submitted(),
            Fault(at=1, what="worker killed", subject="w@one"),
            answer(70, status("running", liveness="lost", worker="w@one")),
        ],
        RAN[:1],
        {},
    ),
    "another attempt": (
        [
            submitted(),
            answer(1, RUNNING),
            answer(2, status("retrying", executions=1)),
            answer(3, status("running", retries=1, executions=2)),
            answer(4, status("succeeded", retries=1, executions=2)),
        ],
        [*RAN, action(1, "started", attempt=1)],
        {},
    ),
    "times are made exact, late copies are counted": (
        [
            *GOOD,
            answer(
                5,
                msgspec.structs.replace(
                    SUCCEEDED, executions=2, whole=SUCCEEDED.whole.replace('"executions":1', '"executions":2')
                ),
            ),
        ],
        RAN,
        {},
    ),
    "what describes it is filled in": (
        [
            submitted(),
            answer(3, status("succeeded", whole='{"state":"succeeded","worker":null}')),
            answer(4, status("succeeded", whole='{"state":"succeeded","worker":"w@one"}')),
        ],
        RAN,
        {},
    ),
    "its last progress is told once more": (
        [
            submitted(),
            answer(3, status("succeeded", whole='{"progress":{"current":1,"updated_at":"2026-01-01T00:00:01Z"}}')),
            answer(4, status("succeeded", whole='{"progress":{"current":1,"updated_at":"2026-01-01T00:00:02Z"}}')),
        ],
        RAN,
        {},
    ),
    "a killed process could not say that it finished": (
        [submitted(), answer(3, status("failed", failure=SeenFailure("worker_lost")))],
        RAN,
        {},
    ),
    "canceled while it ran": (
        [
            submitted(),
            answer(1, status("canceling", cancel_requested=True, executions=1), operation="cancel", http=202),
            answer(3, SUCCEEDED),
        ],
        RAN,
        {},
    ),
    "terminated at its last line": (
        [
            submitted(),
            answer(
                1,
                status("canceling", cancel_requested=True, executions=1),
                operation="cancel",
                http=202,
                terminate=True,
            ),
            answer(3, status("canceled", executions=1)),
        ],
        RAN,
        {},
    ),
    "canceled in time": (
        [submitted(), answer(1, CANCELING, operation="cancel", http=202), answer(3, status("canceled"))],
        [],
        {},
    ),
    "one task of one key": ([submitted(0, key="k"), submitted(1, key="k"), *GOOD[1:]], RAN, {}),
    "a good 503": ([*GOOD, answer(5, http=503, problem="store-full", retry_after=True)], RAN, {}),
    "no answer of a killed server": (
        [*GOOD, answer(5, http=None, error="reset")],
        RAN,
        {"servers_were_killed": True},
    ),
    "a message that came twice on purpose": (GOOD, [*RAN, action(3, "started", run="r-2")], {"runs_once": False}),
    "deleted": ([*GOOD, answer(5, http=404, task_id=ID)], RAN, {"forgotten": [ID]}),
    "orphaned": ([submitted(), answer(1, status())], [], {"orphaned": [ID]}),
    "all data lost": ([submitted(), answer(1, http=404, task_id=ID)], [], {"data_was_lost": True}),
}


@pytest.mark.parametrize(("history", "truth", "promise"), ALLOWED.values(), ids=ALLOWED)
def test_allows_correct_history(history, truth, promise):
    """A history that keeps the promises has no violation."""
    assert explain(check(history, truth, Promise(**promise))) == ""


def test_explains_violations():
    """An explanation has the promise, the number of violations, and examples."""
    late = [answer(at, SUCCEEDED, seconds=3) for at in range(10, 20)]
    lines = explain(check([*GOOD, *late], RAN, Promise())).splitlines()
    assert lines[0] == f"{IN_TIME}: not kept 10 times"
    assert len(lines) == 6


def test_totals():
    """The totals count checks and violations, and state regressions separately."""
    history = [*GOOD, answer(5, RUNNING, seconds=3), answer(9, SUCCEEDED)]
    assert totals(history, check(history, RAN, Promise()), Promise()) == (7, 7, 3.0, 1, 2)
    assert totals(history, [], Promise(servers_were_killed=True)) == (7, 7, 0.0, 0, 0)
    assert totals([], [], Promise()) == (0, 0, 0.0, 0, 0)
