"""The commands that are a client, over a real connection to the API with fakes behind it."""

import json
import threading
from collections.abc import Callable, Iterator
from datetime import timedelta
from typing import Any

import pytest
from click.testing import CliRunner, Result
from flask.testing import FlaskClient
from support.fakes import MemoryBroker, MemoryFeed, MemoryStore
from task_status_service.cli.main import main
from task_status_worker.record.model import Fact, Note
from werkzeug.serving import WSGIRequestHandler, make_server

Run = Callable[..., Result]


class Quiet(WSGIRequestHandler):
    """Log nothing."""

    def log(self, *_: Any) -> None:
        """Let it be."""


@pytest.fixture
def url(client: FlaskClient) -> Iterator[str]:
    """Serve the API for the length of a test."""
    server = make_server("127.0.0.1", 0, client.application, threaded=True, request_handler=Quiet)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    thread.join()
    server.server_close()


@pytest.fixture
def run(url: str) -> Run:
    """Give a function that runs a command against that server."""
    return lambda *words: CliRunner().invoke(main, words, env={"TASK_STATUS_URL": url}, catch_exceptions=False)


def finish(store: MemoryStore, meta: dict[str, Any], fact: Fact = Fact.FINISHED) -> Callable[[], object]:
    """Give what ends the only task there is."""

    def end() -> None:
        (task_id,) = store.records
        store.metas[task_id] = json.dumps({"traceback": None, "children": [], "task_id": task_id, **meta}).encode()
        store.note(Note(task_id=task_id, fact=fact, outcome=meta["status"] if fact is Fact.FINISHED else None))

    return end


def test_submit(run: Run, store: MemoryStore, broker: MemoryBroker) -> None:
    """It prints the id; values are JSON where they are, else text."""
    result = run("submit", "demo.add", "x=1", "y=2.5", "--label", "customer:42", "--queue", "other")

    (task_id,) = store.records
    assert (result.exit_code, result.stdout, result.stderr) == (0, f"{task_id}\n", "")
    ((_, submission, queue),) = broker.sent
    assert (submission.call.kwargs, submission.labels, queue) == ({"x": 1, "y": 2.5}, {"customer": "42"}, "other")


def test_submit_what_expires_at_once(run: Run, broker: MemoryBroker) -> None:
    """Zero seconds are not the same as none."""
    assert run("submit", "demo.add", "x=1", "y=2", "--expires", "0").exit_code == 0

    ((_, submission, _),) = broker.sent
    assert submission.expires_at is not None


def test_submit_by_position(run: Run, broker: MemoryBroker) -> None:
    """As a JSON array; `--json` prints the whole status."""
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
def test_values(run: Run, store: MemoryStore, broker: MemoryBroker, value: str, expected: Any) -> None:
    """What is no JSON is text."""
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
def test_usage(run: Run, broker: MemoryBroker, words: tuple[str, ...]) -> None:
    """What cannot be used ends with 2, whoever finds out, and nothing is sent."""
    result = run(*words)

    assert (result.exit_code, result.stdout) == (2, "")
    assert "Error: " in result.stderr
    assert broker.sent == []


def test_submit_tells_where_the_fault_is(run: Run) -> None:
    """As the service does."""
    assert "  #/kwargs/x This value is not of type 'number'" in run("submit", "demo.add", "x=one", "y=2").stderr


def test_follow(run: Run, store: MemoryStore, feed: MemoryFeed) -> None:
    """The result is all that comes on stdout."""
    feed.script = [finish(store, {"status": "SUCCESS", "result": 3})]
    result = run("submit", "demo.add", "x=1", "y=2", "--follow")

    assert (result.exit_code, result.stdout) == (0, "3\n")
    assert result.stderr.splitlines()[1:] == ["queued", "succeeded 100%"]


def test_follow_for_scripts(run: Run, store: MemoryStore, feed: MemoryFeed) -> None:
    """Each status is a line; the exit code tells how it ended."""
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
def test_watch(run: Run, store: MemoryStore, fact: Fact, meta: dict[str, Any], code: int) -> None:
    """It ends as the task did; a result of any size is printed."""
    run("submit", "demo.add", "x=1", "y=2")
    finish(store, meta, fact)()
    (task_id,) = store.records
    result = run("watch", task_id)

    assert result.exit_code == code, result.stderr
    assert result.stdout == ("" if code else json.dumps(meta["result"]) + "\n")


def test_unknown(run: Run) -> None:
    """A task or a type that is not there."""
    for words in (("watch", "t"), ("cancel", "t"), ("retry", "t"), ("types", "t"), ("watch", "../x")):
        result = run(*words)
        assert (result.exit_code, result.stdout) == (4, ""), words
        assert result.stderr.startswith("Error: ")


def test_cancel_and_retry(run: Run, store: MemoryStore, broker: MemoryBroker) -> None:
    """What may not be done now is a conflict; a retry is another task."""
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


def test_list(run: Run, store: MemoryStore) -> None:
    """Lines with tabs where there is no terminal; what others wrote cannot break them."""
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


def test_types(run: Run) -> None:
    """All, or one with its arguments."""
    assert run("types").stdout == "demo.add\t0\tsums\tAdd two numbers.\n"
    assert run("types", "demo.add").stdout.splitlines() == [
        "demo.add: 0 worker(s) on sums",
        "  Add two numbers.",
        '  x={"type": "number"}',
        '  y={"type": "number"}',
    ]
    assert json.loads(run("types", "--json").stdout)["positional"] == ["x", "y"]


def test_the_same_key_is_the_same_task(run: Run, store: MemoryStore) -> None:
    """For a script that does not know whether it was here before."""
    words = ("submit", "demo.add", "x=1", "y=2", "--idempotency-key", "k")
    assert run(*words).stdout == run(*words).stdout
    assert len(store.records) == 1


def test_without_the_service(monkeypatch: pytest.MonkeyPatch) -> None:
    """It says so after a while, and how to ask again."""
    monkeypatch.setattr("task_status_service.client.api_client._PAUSE_SECONDS", 60.0)
    result = CliRunner().invoke(main, ["submit", "demo.add", "--url", "http://127.0.0.1:1", "--idempotency-key", "k-1"])

    assert result.exit_code == 5
    assert "http://127.0.0.1:1 does not answer" in result.stderr
    assert "--idempotency-key k-1" in result.stderr


def test_completion(url: str) -> None:
    """Names of task types come from the service, as far as it answers; states are known."""

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
