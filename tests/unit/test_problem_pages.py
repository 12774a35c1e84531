"""Each problem has its page in the documentation, and no page is left over."""

from pathlib import Path

from task_status_service.api.responses.problems import FALLBACK, HTTP_READINGS, PROBLEM_TYPES

PAGES = Path(__file__).parents[2] / "docs" / "problems"


def test_pages():
    """One page a problem, with its status."""
    readings = [*PROBLEM_TYPES.values(), *HTTP_READINGS.values(), FALLBACK]
    assert {reading.slug for reading in readings} == {page.stem for page in PAGES.glob("*.md")} - {"README"}
    for reading in readings:
        page = (PAGES / f"{reading.slug}.md").read_text()
        assert f"Status {reading.status if reading is not FALLBACK else '4xx'}." in page
        assert f"({reading.slug}.md)" in (PAGES / "README.md").read_text()
