"""The pages of docs/problems."""

from pathlib import Path

from task_status_service.api.responses.problems import FALLBACK, HTTP_READINGS, PROBLEM_TYPES

PAGES = Path(__file__).parents[2] / "docs" / "problems"


def test_each_problem_has_a_page():
    """Each problem type has one page with its status, and each page a problem type."""
    problems = [*PROBLEM_TYPES.values(), *HTTP_READINGS.values(), FALLBACK]
    assert {problem.slug for problem in problems} == {page.stem for page in PAGES.glob("*.md")} - {"README"}
    for problem in problems:
        page = (PAGES / f"{problem.slug}.md").read_text()
        assert f"Status {problem.status if problem is not FALLBACK else '4xx'}." in page
        assert f"({problem.slug}.md)" in (PAGES / "README.md").read_text()
