"""The client's view of the API: every answer, and everything that is none."""

import json

import pytest
from support.servers import free_port
from task_status_service.client.api_client import Client
from task_status_service.client.exit_codes import ClientError, ExitCode
from task_status_service.client.follow import follow

from .scripted import Answer, problem, serving, status, stream


def client_of(url: str, key: str | None = None) -> Client:
    """Give a client that does not really wait."""
    return Client(url, key, sleep=lambda _: None)


@pytest.mark.parametrize(
    ("answer", "code"),
    [
        (problem(400, "malformed-json"), ExitCode.USAGE),
        (problem(422, "validation"), ExitCode.USAGE),
        (problem(401, "unauthorized"), ExitCode.REFUSED),
        (problem(403, "forbidden"), ExitCode.REFUSED),
        (problem(404, "task-not-found"), ExitCode.NOT_FOUND),
        (problem(410, "task-expired"), ExitCode.NOT_FOUND),
        (Answer(409, problem(409, "task-not-done").body, "application/problem+json"), ExitCode.CONFLICT),
        (problem(500, "internal-error"), ExitCode.UNAVAILABLE),
        (Answer(404, b"<html>", "text/html"), ExitCode.UNAVAILABLE),
        (Answer(200, b"<html>", "text/html"), ExitCode.UNAVAILABLE),
        (Answer(200, b"[]"), ExitCode.UNAVAILABLE),
        (Answer(200, b"{"), ExitCode.UNAVAILABLE),
        (Answer(404, b"[" * 100_000, "application/problem+json"), ExitCode.UNAVAILABLE),
        (Answer(302, headers={"Location": "http://127.0.0.1:1/"}), ExitCode.UNAVAILABLE),
    ],
)
def test_what_is_no_success_is_an_error(answer, code):
    """A problem by its status; what is no answer of this API is no answer."""
    with serving(answer) as server, pytest.raises(ClientError) as raised:
        client_of(server.url).task_type("demo")

    assert raised.value.code is code


def test_a_problem_tells_its_faults():
    """With where each of them is."""
    errors = [{"detail": "too small", "pointer": "#/kwargs/x"}, {"detail": "odd", "parameter": "wait"}]
    with serving(problem(422, "validation", errors=errors)) as server, pytest.raises(ClientError) as raised:
        client_of(server.url).task_types()

    assert (str(raised.value), raised.value.faults) == ("it is validation", ("#/kwargs/x too small", "wait odd"))


@pytest.mark.parametrize(
    "passing",
    [
        problem(503, "store-unavailable"),
        problem(429, "rate-limited"),
        problem(409, "idempotency-in-flight"),
        Answer(502, b"<html>", "text/html"),
    ],
)
def test_what_passes_is_waited_for(passing):
    """The same request again, under the same key."""
    with serving(passing, passing, status("queued")) as server:
        assert client_of(server.url, "secret").submit({"name": "demo"}, "k")["state"] == "queued"

    assert len(server.asked) == 3
    for method, path, headers, body in server.asked:
        assert (method, path, json.loads(body)) == ("POST", "/tasks", {"name": "demo"})
        assert (headers["Idempotency-Key"], headers["Authorization"]) == ("k", "Bearer secret")


def test_who_does_not_answer_is_told_of():
    """After as long as patience lasts, with one line meanwhile."""
    told: list[str] = []
    client = Client(f"http://127.0.0.1:{free_port()}", tell=told.append)
    with pytest.raises(ClientError, match="Connection refused") as raised:
        client.task_types(patience_seconds=1.5)

    assert raised.value.code is ExitCode.UNAVAILABLE
    assert len(told) == 1


def test_a_long_list_is_walked():
    """Page by page, up to as many as were asked for; a page may be short, or empty."""

    def page(count: int, cursor: str | None) -> Answer:
        return Answer(
            body=json.dumps({"items": [{"id": str(n)} for n in range(count)], "next_cursor": cursor}).encode()
        )

    with serving(page(200, "a"), page(0, "b"), page(3, None)) as server:
        assert len(list(client_of(server.url).tasks([("state", "failed")], limit=250))) == 203

    assert server.paths == [
        "/tasks?state=failed&limit=200",
        "/tasks?state=failed&limit=50&cursor=a",
        "/tasks?state=failed&limit=50&cursor=b",
    ]


@pytest.mark.parametrize(
    ("url", "key"),
    [
        ("x", None),
        ("ftp://h", None),
        ("http://h/ x", None),
        ("http://", None),
        ("http://h?a=b", None),
        ("http://h", "a\nb"),
        ("http://h", "ä"),
    ],
)
def test_what_cannot_be_used_is_refused(url, key):
    """Before anything is sent."""
    with pytest.raises(ClientError) as raised:
        Client(url, key)
    assert raised.value.code is ExitCode.USAGE


def test_ids_and_names_are_quoted():
    """They are one step of a path, whatever they hold; the service may be below a path of its own."""
    with serving(problem(404, "task-not-found"), problem(404, "task-type-not-found")) as server:
        client = client_of(f"{server.url}/api/")
        with pytest.raises(ClientError):
            client.cancel("../x?y", terminate=False)
        with pytest.raises(ClientError):
            client.task_type("a/b")
    assert server.paths == ["/api/tasks/..%2Fx%3Fy/cancel", "/api/task-types/a%2Fb"]


def states_of(url: str) -> list[str]:
    """Follow a task."""
    return [task["state"] for task in follow(client_of(url), "t")]


def test_follows_a_stream():
    """To the end, and nothing else is asked."""
    with serving(stream("queued", "running", "succeeded")) as server:
        assert states_of(server.url) == ["queued", "running", "succeeded"]
    assert server.paths == ["/tasks/t/events"]


def test_resumes_a_stream():
    """Where it was."""
    with serving(stream("queued", "running"), stream("failed")) as server:
        assert states_of(server.url) == ["queued", "running", "failed"]
    assert [headers.get("Last-Event-ID") for _, _, headers, _ in server.asked] == [None, "1"]


@pytest.mark.parametrize(
    "refusal",
    [
        Answer(502, b"<html>", "text/html"),
        problem(429, "rate-limited"),
        Answer(204, b""),
        stream(),
        Answer(body=b"event: status\ndata: {\n\n", type="text/event-stream"),
        Answer(body=b"event: status\ndata: \xff\n\n", type="text/event-stream"),
    ],
)
def test_polls_where_there_is_no_stream(refusal):
    """As often as it is told to, and what has not changed is not sent again."""
    with serving(refusal, status("running"), Answer(304, b""), status("succeeded", version='"w"')) as server:
        assert states_of(server.url) == ["running", "succeeded"]
    assert server.paths == ["/tasks/t/events", *["/tasks/t"] * 3]
    assert [headers.get("If-None-Match") for _, _, headers, _ in server.asked[1:3]] == [None, '"v"']


def test_a_task_that_is_not_there():
    """There is no stream, and nothing to poll."""
    missing = problem(404, "task-not-found")
    with serving(missing, missing) as server, pytest.raises(ClientError) as raised:
        states_of(server.url)
    assert raised.value.code is ExitCode.NOT_FOUND
