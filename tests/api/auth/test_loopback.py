"""A server without keys accepts requests of this machine, and no changes by pages of other origins."""

import pytest
from support.problems import problem_of
from support.use_cases import create_api
from task_status_service.api.auth.authentication import Access

ADD = {"name": "demo.add", "kwargs": {"x": 1, "y": 2}}


@pytest.mark.parametrize("path", ["/tasks/a", "/tasks/a?wait=0", "/tasks", "/tasks/a/events", "/readyz"])
@pytest.mark.parametrize(
    "host", ["evil.example", "127.0.0.1.evil.example", "localhost.evil.example", "10.0.0.1", "a@[::1]"]
)
def test_other_host_names_are_denied(client, path, host):
    """A host name that resolves to this machine does not name this machine."""
    problem_of(client.get(path, headers={"Host": host}), 403, "forbidden")


@pytest.mark.parametrize(
    "host", ["127.0.0.1", "127.0.0.1:8000", "localhost:8000", "LOCALHOST", "[::1]:80", "a.localhost"]
)
def test_names_of_this_machine_are_allowed(client, host):
    """Loopback host names are allowed, with any port."""
    for path in ("/tasks/a", "/tasks/a?wait=0"):
        problem_of(client.get(path, headers={"Host": host}), 404, "task-not-found")


@pytest.mark.parametrize(
    "origin", ["https://evil.example", "null", "http://localhost:3000", "http://localhost.evil.example"]
)
def test_pages_of_other_origins_change_nothing(client, submit, broker, origin):
    """A page of another origin cannot change a task, not even by a request without a body, which needs no preflight."""
    task_id = submit(**ADD).get_json()["id"]
    broker.sent.clear()

    for path in ("/tasks", f"/tasks/{task_id}/cancel", f"/tasks/{task_id}/retry"):
        problem_of(client.post(path, headers={"Origin": origin}), 403, "forbidden")
    problem_of(client.delete(f"/tasks/{task_id}", headers={"Origin": origin}), 403, "forbidden")

    assert (broker.sent, broker.canceled) == ([], [])


@pytest.mark.parametrize("site", ["cross-site", "same-site", "Cross-Site", "", "same-origin, none"])
def test_pages_of_other_sites_change_nothing(client, submit, broker, site):
    """A request that the browser marks as another site's changes nothing, although it has no origin."""
    task_id = submit(**ADD).get_json()["id"]
    broker.sent.clear()
    marked = {"Sec-Fetch-Site": site}

    for path in ("/tasks", f"/tasks/{task_id}/cancel", f"/tasks/{task_id}/retry", f"/tasks/{task_id}/tokens"):
        problem_of(client.post(path, headers=marked), 403, "forbidden")
    problem_of(client.delete(f"/tasks/{task_id}", headers=marked), 403, "forbidden")
    assert (broker.sent, broker.canceled) == ([], [])

    for query in ("", "?wait=0"):
        assert client.get(f"/tasks/{task_id}{query}", headers=marked).status_code == 200
    for own in ("same-origin", "none"):
        assert client.post("/tasks", json=ADD, headers={"Sec-Fetch-Site": own}).status_code == 202


def test_pages_of_listed_origins_can_submit(tracker, submitter, feed):
    """Pages of this server and of listed origins can submit tasks."""
    origins = {"https://app.example.com"}
    client = create_api(tracker, submitter, feed, access=Access(None, origins=origins)).test_client()

    for origin in ("http://localhost", *origins):
        headers = {"Origin": origin, "Sec-Fetch-Site": "cross-site"}
        assert client.post("/tasks", json=ADD, headers=headers).status_code == 202
    problem_of(client.post("/tasks", json=ADD, headers={"Origin": "https://a.example"}), 403, "forbidden")


def test_any_host_name_is_allowed_behind_a_socket(tracker, submitter, feed):
    """A server behind a Unix socket accepts any host name, because its proxy checks it."""
    client = create_api(tracker, submitter, feed, access=Access(None, is_local=False)).test_client()

    problem_of(client.get("/tasks/a", headers={"Host": "tasks.example"}), 404, "task-not-found")
