"""The client handles every answer of the API, and every answer that is not one of the API."""

import json

import pytest
from support.servers import free_port
from task_status_service.client.api_client import Client
from task_status_service.client.exit_codes import ClientError, ExitCode
from task_status_service.client.follow import follow

from .scripted import Answer, problem, serving, status, stream


def client_of(url: str, key: str | None = None) -> Client:
    """Return a client that never sleeps."""
    return Client(url, key, sleep=lambda _: None)


@pytest.mark.parametrize(
    ("answer", "code"),
    [
        (problem(400, "malformed-json"), ExitCode.USAGE),
        (problem(422, "validation"), ExitCode.USAGE),
        (problem(401, "unauthorized"), ExitCode.DENIED),
        (problem(403, "forbidden"), ExitCode.DENIED),
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
def test_raises_for_every_answer_without_success(answer, code):
    """A problem maps to the exit code of its HTTP status; an answer of another server maps to UNAVAILABLE."""
    with serving(answer) as server, pytest.raises(ClientError) as raised:
        client_of(server.url).task_type("demo")

    assert raised.value.code is code


def test_error_has_the_faults_of_the_problem():
    """Each fault starts with the JSON pointer or the parameter that it is about."""
    errors = [{"detail": "too small", "pointer": "#/kwargs/x"}, {"detail": "odd", "parameter": "wait"}]
    with serving(problem(422, "validation", errors=errors)) as server, pytest.raises(ClientError) as raised:
        client_of(server.url).task_types()

    assert (str(raised.value), raised.value.faults) == ("it is validation", ("#/kwargs/x too small", "wait odd"))


@pytest.mark.parametrize(
    "transient",
    [
        problem(503, "store-unavailable"),
        problem(429, "rate-limited"),
        problem(409, "idempotency-in-flight"),
        Answer(502, b"<html>", "text/html"),
    ],
)
def test_retries_transient_failures(transient):
    """A retry sends the same request with the same idempotency key."""
    with serving(transient, transient, status("queued")) as server:
        assert client_of(server.url, "secret").submit({"name": "demo"}, "k")["state"] == "queued"

    assert len(server.requests) == 3
    for method, path, headers, body in server.requests:
        assert (method, path, json.loads(body)) == ("POST", "/tasks", {"name": "demo"})
        assert (headers["Idempotency-Key"], headers["Authorization"]) == ("k", "Bearer secret")


def test_retries_unreachable_service_until_timeout():
    """The client reports the retries once, and raises after `retry_seconds`."""
    reports: list[str] = []
    client = Client(f"http://127.0.0.1:{free_port()}", report=reports.append)
    with pytest.raises(ClientError, match="Connection refused") as raised:
        client.task_types(retry_seconds=1.5)

    assert raised.value.code is ExitCode.UNAVAILABLE
    assert len(reports) == 1


def test_list_reads_pages_up_to_the_limit():
    """The client follows the cursor, even after a short or empty page."""

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
def test_rejects_invalid_url_and_key(url, key):
    """An invalid URL or key raises before any request."""
    with pytest.raises(ClientError) as raised:
        Client(url, key)
    assert raised.value.code is ExitCode.USAGE


def test_quotes_ids_and_names_in_paths():
    """An id or name is one path segment, whatever characters it has; the service URL may have a path."""
    with serving(problem(404, "task-not-found"), problem(404, "task-type-not-found")) as server:
        client = client_of(f"{server.url}/api/")
        with pytest.raises(ClientError):
            client.cancel("../x?y", terminate=False)
        with pytest.raises(ClientError):
            client.task_type("a/b")
    assert server.paths == ["/api/tasks/..%2Fx%3Fy/cancel", "/api/task-types/a%2Fb"]


def states_of(url: str) -> list[str]:
    """Follow a task; return its states."""
    return [task["state"] for task in follow(client_of(url), "t")]


def test_follows_event_stream_until_done():
    """A complete event stream is the only request."""
    with serving(stream("queued", "running", "succeeded")) as server:
        assert states_of(server.url) == ["queued", "running", "succeeded"]
    assert server.paths == ["/tasks/t/events"]


def test_resumes_stream_after_last_event():
    """The second request has the id of the last event."""
    with serving(stream("queued", "running"), stream("failed")) as server:
        assert states_of(server.url) == ["queued", "running", "failed"]
    assert [headers.get("Last-Event-ID") for _, _, headers, _ in server.requests] == [None, "1"]


@pytest.mark.parametrize(
    "answer",
    [
        Answer(502, b"<html>", "text/html"),
        problem(429, "rate-limited"),
        Answer(204, b""),
        stream(),
        Answer(body=b"event: status\ndata: {\n\n", type="text/event-stream"),
        Answer(body=b"event: status\ndata: \xff\n\n", type="text/event-stream"),
    ],
)
def test_polls_without_event_stream(answer):
    """Without a usable stream the client polls, with the ETag of the last answer."""
    with serving(answer, status("running"), Answer(304, b""), status("succeeded", version='"w"')) as server:
        assert states_of(server.url) == ["running", "succeeded"]
    assert server.paths == ["/tasks/t/events", *["/tasks/t"] * 3]
    assert [headers.get("If-None-Match") for _, _, headers, _ in server.requests[1:3]] == [None, '"v"']


def test_following_missing_task_raises():
    """The poll after the refused stream raises NOT_FOUND."""
    missing = problem(404, "task-not-found")
    with serving(missing, missing) as server, pytest.raises(ClientError) as raised:
        states_of(server.url)
    assert raised.value.code is ExitCode.NOT_FOUND
