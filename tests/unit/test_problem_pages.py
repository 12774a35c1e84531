"""The pages of docs/problems."""

from pathlib import Path

from task_status_service.api.responses.problems import FALLBACK, HTTP_PROBLEM_TYPES, PROBLEM_TYPES

PAGES = Path(__file__).parents[2] / "docs" / "problems"


def test_each_problem_has_a_page():
    """Each problem type has one page with its status, and each page a problem type."""
    problem_types = [*PROBLEM_TYPES.values(), *HTTP_PROBLEM_TYPES.values(), FALLBACK]
    slugs = {problem_type.slug for problem_type in problem_types}
    assert slugs == {page.stem for page in PAGES.glob("*.md")} - {"README"}
    for problem_type in problem_types:
        page = (PAGES / f"{problem_type.slug}.md").read_text()
        assert f"Status {problem_type.status if problem_type is not FALLBACK else '4xx or 501'}." in page
        assert f"({problem_type.slug}.md)" in (PAGES / "README.md").read_text()
