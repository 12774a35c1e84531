"""Errors of Flask, Werkzeug and webargs are problem documents too."""

import pytest
from support.problems import problem_of


@pytest.mark.parametrize(
    "path",
    [
        "/",
        "/tasks/",
        "/tasks/a/b",
        "/nothing",
        "/%ff",
        # A redirect would repeat the token in its Location.
        "/tasks//a/events?access_token=secret",
        "/tasks/%2fa/events?access_token=secret",
        "/tasks/a/?access_token=secret",
        "//tasks",
        "/docs/",
    ],
)
def test_an_unknown_path_gets_404(client, path):
    """A path without a route gets 404 and no redirect."""
    problem_of(client.get(path), 404, "not-found")


@pytest.mark.parametrize(
    ("method", "path", "allowed"),
    [
        ("DELETE", "/tasks", {"GET", "HEAD", "POST", "OPTIONS"}),
        ("TRACE", "/tasks", {"GET", "HEAD", "POST", "OPTIONS"}),
        ("POST", "/tasks/t-1", {"GET", "HEAD", "DELETE", "OPTIONS"}),
        ("GET", "/tasks/t-1/cancel", {"POST", "OPTIONS"}),
        ("POST", "/livez", {"GET", "HEAD", "OPTIONS"}),
        ("PUT", "/openapi.json", {"GET", "HEAD", "OPTIONS"}),
    ],
)
def test_an_unsupported_method_gets_405(client, method, path, allowed):
    """An unsupported method gets 405 with the allowed methods of the path."""
    response = client.open(path, method=method)

    problem_of(response, 405, "method-not-allowed")
    assert set(response.headers["Allow"].split(", ")) == allowed


def test_an_unexpected_exception_gets_500(client, store):
    """An unexpected exception results in a problem document without internal details."""
    store.read = lambda _: 1 / 0

    problem = problem_of(client.get("/tasks/t-1"), 500, "internal-error")

    assert "division" not in str(problem)
