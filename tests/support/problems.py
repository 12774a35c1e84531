"""What every problem document must be."""

from typing import Any

PROBLEM_KEYS = {"type", "title", "status", "detail", "instance", "errors", "request_id"}


def problem_of(response: Any, status: int, slug: str) -> dict[str, Any]:
    """Check that an answer is this problem, as RFC 9457 has it, and give it."""
    assert response.status_code == status, response.get_data(as_text=True)
    assert response.content_type == "application/problem+json"
    problem: dict[str, Any] = response.get_json()
    assert problem.keys() == PROBLEM_KEYS
    assert problem["status"] == status
    assert problem["type"] == f"/problems/{slug}"
    assert problem["title"]
    assert problem["detail"]
    return problem
