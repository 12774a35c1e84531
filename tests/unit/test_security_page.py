"""docs/security.md names tests that there are, one or more for each threat, or says why there are none."""

import re
from pathlib import Path

TESTS = Path(__file__).parents[1]
PAGE = TESTS.parent / "docs" / "security.md"
ROWS = re.findall(r"^\| T(\d+) \| (.+) \| (.+) \| (.+) \|$", PAGE.read_text(encoding="utf-8"), re.MULTILINE)


def test_every_threat():
    """T1 to T27, each with what proves it."""
    assert [int(row[0]) for row in ROWS] == list(range(1, 28))
    for number, *_, proof in ROWS:
        assert "`" in proof or proof == "limits" or "nothing to test" in proof, number


def test_names_are_right():
    """A test that was renamed is renamed here too."""
    named = re.findall(r"`(\w+/[\w/]+\.py)(?:::(\w+))?`", " ".join(proof for *_, proof in ROWS))
    assert len(named) > 30
    for file, function in named:
        source = (TESTS / file).read_text(encoding="utf-8")
        assert not function or f"def {function}(" in source, (file, function)
