"""A server without keys is for its machine, and not for the pages that are open on it."""

import pytest
from support.problems import problem_of
from support.use_cases import create_api
from task_status_service.api.auth.authentication import Access

ADD = {"name": "demo.add", "kwargs": {"x": 1, "y": 2}}


@pytest.mark.parametrize("path", ["/tasks/a", "/tasks/a?wait=0", "/tasks", "/tasks/a/events"])
@pytest.mark.parametrize(
    "host", ["evil.example", "127.0.0.1.evil.example", "localhost.evil.example", "10.0.0.1", "a@[::1]"]
)
def test_other_names(client, path, host):
    """A name that resolves to this machine is not this machine."""
    problem_of(client.get(path, headers={"Host": host}), 403, "forbidden")


@pytest.mark.parametrize(
    "host", ["127.0.0.1", "127.0.0.1:8000", "localhost:8000", "LOCALHOST", "[::1]:80", "a.localhost"]
)
def test_names_of_this_machine(client, host):
    """With any port."""
    for path in ("/tasks/a", "/tasks/a?wait=0"):
        problem_of(client.get(path, headers={"Host": host}), 404, "task-not-found")


@pytest.mark.parametrize(
    "origin", ["https://evil.example", "null", "http://localhost:3000", "http://localhost.evil.example"]
)
def test_pages_of_other_origins(client, submit, broker, origin):
    """They change nothing, also where a browser needs no leave to ask: without a body."""
    task_id = submit(**ADD).get_json()["id"]
    broker.sent.clear()

    for path in ("/tasks", f"/tasks/{task_id}/cancel", f"/tasks/{task_id}/retry"):
        problem_of(client.post(path, headers={"Origin": origin}), 403, "forbidden")
    problem_of(client.delete(f"/tasks/{task_id}", headers={"Origin": origin}), 403, "forbidden")

    assert (broker.sent, broker.canceled) == ([], [])


def test_pages_of_this_server_and_of_listed_ones(tracker, submitter, feed):
    """They do."""
    origins = {"https://app.example.com"}
    client = create_api(tracker, submitter, feed, access=Access(None, origins=origins)).test_client()

    for origin in ("http://localhost", *origins):
        assert client.post("/tasks", json=ADD, headers={"Origin": origin}).status_code == 202
    problem_of(client.post("/tasks", json=ADD, headers={"Origin": "https://a.example"}), 403, "forbidden")


def test_behind_a_socket(tracker, submitter, feed):
    """What is in front of a socket knows whom it lets through."""
    client = create_api(tracker, submitter, feed, access=Access(None, is_local=False)).test_client()

    problem_of(client.get("/tasks/a", headers={"Host": "tasks.example"}), 404, "task-not-found")
