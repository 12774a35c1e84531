"""What Flask, werkzeug and webargs would answer by themselves is a problem document too."""

import pytest
from support.problems import problem_of


@pytest.mark.parametrize("path", ["/", "/tasks/", "/tasks/a/b", "/nothing", "/%ff"])
def test_no_such_page(client, path):
    """A path that is none."""
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
def test_method_not_allowed(client, method, path, allowed):
    """A method that a path does not answer: 405 with the ones that it does."""
    response = client.open(path, method=method)

    problem_of(response, 405, "method-not-allowed")
    assert set(response.headers["Allow"].split(", ")) == allowed


def test_bug_is_a_problem(client, store):
    """Our own mistakes are problems too, and say nothing of the inside."""
    store.read = lambda _: 1 / 0

    problem = problem_of(client.get("/tasks/t-1"), 500, "internal-error")

    assert "division" not in str(problem)
