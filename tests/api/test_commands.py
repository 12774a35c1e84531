"""The client commands, over a real connection to the API; fakes replace Redis and Celery."""

import json
import re
import threading
from collections.abc import Callable, Iterator
from datetime import timedelta
from typing import Any

import pytest
from click.testing import CliRunner, Result
from flask.testing import FlaskClient
from support.fakes import MemoryBroker, MemoryFeed, MemoryStore
from task_status_service.cli.main import main
from task_status_service.client.retries import Retries
from task_status_worker.record.model import Fact, Note
from werkzeug.serving import WSGIRequestHandler, make_server

Run = Callable[..., Result]


class SilentHandler(WSGIRequestHandler):
    """A request handler that logs nothing."""

    def log(self, *_: Any) -> None:
        """Log nothing."""


@pytest.fixture
def url(client: FlaskClient) -> Iterator[str]:
    """Serve the API during a test; return its URL."""
    server = make_server("127.0.0.1", 0, client.application, threaded=True, request_handler=SilentHandler)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    thread.join()
    server.server_close()


@pytest.fixture
def run(url: str) -> Run:
    """Return a function that runs a command against that server."""
    return lambda *words: CliRunner().invoke(main, words, env={"TASK_STATUS_URL": url}, catch_exceptions=False)


def finish(store: MemoryStore, meta: dict[str, Any], fact: Fact = Fact.FINISHED) -> Callable[[], object]:
    """Return a function that ends the only task in the store."""

    def end() -> None:
        (task_id,) = store.records
        store.metas[task_id] = json.dumps({"traceback": None, "children": [], "task_id": task_id, **meta}).encode()
        store.note(Note(task_id=task_id, fact=fact, outcome=meta["status"] if fact is Fact.FINISHED else None))

    return end


def test_submit_prints_the_id(run: Run, store: MemoryStore, broker: MemoryBroker) -> None:
    """`submit` sends arguments, labels and queue, and prints the task id."""
    result = run("submit", "demo.add", "x=1", "y=2.5", "--label", "customer:42", "--queue", "slow")

    (task_id,) = store.records
    assert (result.exit_code, result.stdout, result.stderr) == (0, f"{task_id}\n", "")
    ((_, submission, queue),) = broker.sent
    assert (submission.call.kwargs, submission.labels, queue) == ({"x": 1, "y": 2.5}, {"customer": "42"}, "slow")


def test_submit_sends_zero_expires(run: Run, broker: MemoryBroker) -> None:
    """`--expires 0` differs from no `--expires`."""
    assert run("submit", "demo.add", "x=1", "y=2", "--expires", "0").exit_code == 0

    ((_, submission, _),) = broker.sent
    assert submission.expires_at is not None


def test_submit_with_positional_arguments(run: Run, broker: MemoryBroker) -> None:
    """`--args` takes a JSON array; `--json` prints the whole status."""
    result = run("submit", "demo.add", "--args", "[1, 2]", "--countdown", "60", "--json")

    assert json.loads(result.stdout)["state"] == "queued"
    ((_, submission, _),) = broker.sent
    assert submission.call.args == [1, 2]
    assert submission.scheduled_for is not None


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ("5", 5),
        ('"5"', "5"),
        ("null", None),
        ("[1,{}]", [1, {}]),
        ("Ada", "Ada"),
        ("a=b", "a=b"),
        ("", ""),
        ("NaN", "NaN"),
        ("-Infinity", "-Infinity"),
        ("01", "01"),
        ("[" * 100_000, "[" * 100_000),
    ],
)
def test_values_are_json_or_text(run: Run, store: MemoryStore, broker: MemoryBroker, value: str, expected: Any) -> None:
    """A value that is not JSON is text; NaN and Infinity are not JSON."""
    store.announced[b"any"] = json.dumps({"name": "any", "announced_at": store.time.timestamp()}).encode()

    assert run("submit", "any", f"x={value}").exit_code == 0
    ((_, submission, _),) = broker.sent
    assert submission.call.kwargs == {"x": expected}


@pytest.mark.parametrize(
    "words",
    [
        ("submit", "demo.add", "x"),
        ("submit", "demo.add", "=1"),
        ("submit", "demo.add", "x=1", "x=2"),
        ("submit", "demo.add", "--args", "{}"),
        ("submit", "demo.add", "--args", "[1"),
        ("submit", "demo.add", "--label", "none"),
        ("submit", "demo.add", "--countdown", "-1"),
        ("submit", "demo.add", "x=1"),
        ("submit", "demo.other"),
        ("submit",),
        ("list", "--limit", "0"),
        ("list", "--state", "bogus"),
        ("types", "--url", "nowhere"),
        ("types", "--key", "a b"),
    ],
)
def test_usage_errors_exit_with_2(run: Run, broker: MemoryBroker, words: tuple[str, ...]) -> None:
    """An error found by click, the client or the service exits with 2 and sends no task."""
    result = run(*words)

    assert (result.exit_code, result.stdout) == (2, "")
    assert "Error: " in result.stderr
    assert broker.sent == []


def test_submit_prints_the_pointer_of_a_fault(run: Run) -> None:
    """The JSON pointer is the one of the service's problem."""
    assert "  #/kwargs/x This value is not of type 'number'" in run("submit", "demo.add", "x=one", "y=2").stderr


def test_follow_prints_the_result(run: Run, store: MemoryStore, feed: MemoryFeed) -> None:
    """Stdout has only the result; stderr has the progress."""
    feed.script = [finish(store, {"status": "SUCCESS", "result": 3})]
    result = run("submit", "demo.add", "x=1", "y=2", "--follow")

    assert (result.exit_code, result.stdout) == (0, "3\n")
    assert result.stderr.splitlines()[1:] == ["queued", "succeeded 100%"]


def test_follow_with_json_prints_each_status(run: Run, store: MemoryStore, feed: MemoryFeed) -> None:
    """Each status is one line of JSON; the exit code follows from the last state."""
    failed = {"exc_type": "ValueError", "exc_message": ["boom"], "exc_module": "builtins"}
    feed.script = [finish(store, {"status": "FAILURE", "result": failed})]
    result = run("submit", "demo.add", "x=1", "y=2", "--follow", "--json")

    assert result.exit_code == 1
    assert [json.loads(line)["state"] for line in result.stdout.splitlines()] == ["queued", "failed"]


@pytest.mark.parametrize(
    ("fact", "meta", "code"),
    [
        (Fact.FINISHED, {"status": "SUCCESS", "result": "x" * 100_000}, 0),
        (Fact.FINISHED, {"status": "FAILURE", "result": {"exc_type": "E", "exc_message": []}}, 1),
        (Fact.REVOKED, {"status": "REVOKED", "result": {"exc_type": "TaskRevokedError", "exc_message": []}}, 3),
        (Fact.IGNORED, {"status": "MINE", "result": {}}, 8),
    ],
)
def test_watch_exits_by_the_final_state(
    run: Run, store: MemoryStore, fact: Fact, meta: dict[str, Any], code: int
) -> None:
    """The exit code follows from the final state; a result of any size is printed."""
    run("submit", "demo.add", "x=1", "y=2")
    finish(store, meta, fact)()
    (task_id,) = store.records
    result = run("watch", task_id)

    assert result.exit_code == code, result.stderr
    assert result.stdout == ("" if code else json.dumps(meta["result"]) + "\n")


def test_missing_task_or_type_exits_with_4(run: Run) -> None:
    """An unknown task or task type exits with 4 and prints nothing on stdout."""
    for words in (("watch", "t"), ("cancel", "t"), ("retry", "t"), ("types", "t"), ("watch", "../x")):
        result = run(*words)
        assert (result.exit_code, result.stdout) == (4, ""), words
        assert result.stderr.startswith("Error: ")


def test_cancel_and_retry(run: Run, store: MemoryStore, broker: MemoryBroker) -> None:
    """A request that the task's state does not allow exits with 7; a retry is a new task."""
    run("submit", "demo.add", "x=1", "y=2")
    (task_id,) = store.records
    assert run("retry", task_id).exit_code == 7
    result = run("cancel", task_id, "--terminate")
    assert (result.exit_code, result.stdout) == (0, "canceling\n")
    assert broker.canceled == [(task_id, True, None)]

    finish(store, {"status": "SUCCESS", "result": 3})()
    assert run("cancel", task_id, "--json").exit_code == 7
    result = run("retry", task_id)
    assert result.exit_code == 0
    assert store.records.keys() == {task_id, result.stdout.strip()}


def test_list_prints_lines_with_tabs(run: Run, store: MemoryStore) -> None:
    """Without a terminal each task is a line with tabs; tabs and control characters in names are replaced."""
    for number in range(3):
        store.time += timedelta(seconds=1)
        store.note(
            Note(task_id=f"t-{number}", fact=Fact.SUBMITTED, name="evil\t\x1b[2Jname", labels={"n": str(number)})
        )
    result = run("list", "--limit", "2")

    assert result.exit_code == 0
    rows = [line.split("\t") for line in result.stdout.splitlines()]
    assert [row[:4] for row in rows] == [
        ["t-2", "queued", "", "evil \ufffd[2Jname"],
        ["t-1", "queued", "", "evil \ufffd[2Jname"],
    ]
    assert [json.loads(line)["id"] for line in run("list", "--json", "--label", "n:1").stdout.splitlines()] == ["t-1"]
    assert run("list", "--state", "failed").stdout == ""


def test_types_lists_or_describes(run: Run) -> None:
    """`types` lists all task types; `types NAME` describes one with its arguments."""
    assert run("types").stdout == "demo.add\t0\tsums\tAdd two numbers.\n"
    assert run("types", "demo.add").stdout.splitlines() == [
        "demo.add: 0 worker(s) on sums",
        "  Add two numbers.",
        '  x={"type": "number"}',
        '  y={"type": "number"}',
    ]
    assert json.loads(run("types", "--json").stdout)["positional"] == ["x", "y"]


def test_repeated_idempotency_key_submits_one_task(run: Run, store: MemoryStore) -> None:
    """The repeated command prints the id of the first task."""
    words = ("submit", "demo.add", "x=1", "y=2", "--idempotency-key", "k")
    assert run(*words).stdout == run(*words).stdout
    assert len(store.records) == 1


def test_unreachable_service_exits_with_5() -> None:
    """The error says how to repeat the submission safely."""
    words = ["submit", "demo.add", "--url", "http://127.0.0.1:1", "--idempotency-key", "k-1"]
    result = CliRunner().invoke(main, words, obj=Retries(seconds=0))

    assert result.exit_code == 5
    assert "http://127.0.0.1:1 does not answer" in result.stderr
    assert "--idempotency-key k-1" in result.stderr


def test_control_characters_of_a_task_type_are_replaced(run: Run, store: MemoryStore) -> None:
    """No text of an announcement reaches the terminal with its control characters."""
    announced = json.loads(store.announced[b"demo.add"])
    store.announced[b"demo.add"] = json.dumps(
        {**announced, "queue": "\x07\x9b2Jsums", "doc": "\x1b]0;x\x07 Add."}
    ).encode()
    for words in (["types"], ["types", "demo.add"]):
        assert not re.search(r"[\x00-\x08\x0b-\x1f\x7f-\x9f]", run(*words).stdout)


def test_completes_commands_types_and_states(url: str) -> None:
    """Task types come from the service, or are empty if it is unreachable; states are a fixed list."""

    def complete(*words: str) -> list[str]:
        env = {
            "TASK_STATUS_URL": url,
            "_TASK_STATUS_COMPLETE": "bash_complete",
            "COMP_WORDS": " ".join(("task-status", *words)),
            "COMP_CWORD": str(len(words)),
        }
        return CliRunner().invoke(main, prog_name="task-status", env=env).stdout.splitlines()

    assert "plain,watch" in complete("w")
    assert complete("submit", "demo.a") == ["plain,demo.add"]
    assert complete("list", "--state", "canc") == ["plain,canceling", "plain,canceled"]
    url = "http://127.0.0.1:1"
    assert not any(complete("submit", "demo.a"))
