"""The check of a problem document."""

from typing import Any

PROBLEM_KEYS = {"type", "title", "status", "detail", "instance", "errors", "request_id"}


def problem_of(response: Any, status: int, slug: str) -> dict[str, Any]:
    """Check that a response is this problem in the form of RFC 9457, and return the problem."""
    assert response.status_code == status, response.get_data(as_text=True)
    assert response.content_type == "application/problem+json"
    problem: dict[str, Any] = response.get_json()
    assert problem.keys() == PROBLEM_KEYS
    assert problem["status"] == status
    assert problem["type"] == f"/problems/{slug}"
    assert problem["title"]
    assert problem["detail"]
    return problem
