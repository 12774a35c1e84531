"""The report of the fault suite."""

from faults.checker import Totals
from faults.report import PAGE, Count, sum_of, table, write

COUNTS = [Count("tasks", "3", "3"), Count("- lost", "0", "")]


def test_written_between_the_markers(tmp_path):
    """The table replaces the last one; the text around it stays."""
    page = tmp_path / "page.md"
    page.write_text("before\n<!-- begin: make faults -->\nold\n<!-- end: make faults -->\nafter\n")
    write(page, COUNTS, redis_version="7.0")
    text = page.read_text()
    assert text.startswith("before\n<!-- begin: make faults -->\n")
    assert text.endswith("<!-- end: make faults -->\nafter\n")
    assert "old" not in text
    assert table(COUNTS) in text
    assert "Redis 7.0." in text


def test_published_page_has_markers():
    """The committed page has both markers."""
    before, _, rest = PAGE.read_text().partition("<!-- begin: make faults -->")
    assert before
    assert "<!-- end: make faults -->" in rest


def test_table():
    """The table is Markdown with one row per count."""
    assert table(COUNTS).splitlines()[2:] == ["| tasks | 3 | 3 |", "| - lost | 0 |  |"]


def test_sum():
    """Counts of all scenarios are added; the slowest answer is the maximum."""
    rows = sum_of([Totals(1_000, 5, 0.5, 0, 1), Totals(234, 6, 1.25, 2, 2)])
    assert [count.found for count in rows] == ["1,234", "1.25 s", "11", "2", "3"]
