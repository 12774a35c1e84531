"""docs/security.md names existing tests for each threat, or the reason why there is no test."""

import re
from pathlib import Path

TESTS = Path(__file__).parents[1]
PAGE = TESTS.parent / "docs" / "security.md"
ROWS = re.findall(r"^\| T(\d+) \| (.+) \| (.+) \| (.+) \|$", PAGE.read_text(encoding="utf-8"), re.MULTILINE)


def test_every_threat_has_a_proof():
    """The threats T1 to T40 each name a test, a limit, or the reason why there is no test."""
    assert [int(row[0]) for row in ROWS] == list(range(1, 41))
    for number, *_, proof in ROWS:
        assert "`" in proof or proof == "limits" or "nothing to test" in proof, number


def test_named_tests_exist():
    """Each file and test that the page names exists."""
    named = re.findall(r"`(\w+/[\w/]+\.py)(?:::(\w+))?`", PAGE.read_text(encoding="utf-8"))
    assert len(named) > 100
    for file, function in named:
        source = (TESTS / file).read_text(encoding="utf-8")
        assert not function or f"def {function}(" in source, (file, function)
