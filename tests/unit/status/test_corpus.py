"""Every value of the corpus is decoded to the status that the corpus expects, field by field."""

import json
from pathlib import Path

import msgspec
import pytest
from support.stored_values import ROWS, snapshot_of, stored_bytes
from task_status_service.status import Visibility, decode

OMITTED = "__omitted_here__"
CUT = "...[cut here, "
CUT_LIST = "... cut here"


def is_as_expected(expected, actual):
    """Return whether the values are equal; of a value that the corpus cuts, compare the beginning."""
    match expected:
        case str() if expected == OMITTED:
            return True
        case str() if CUT in expected:
            return actual.startswith(expected[: expected.index(CUT)])
        case [*kept, last] if last == CUT_LIST:
            return actual[: len(kept)] == kept and len(actual) > len(kept)
        case dict():
            return expected.keys() == actual.keys() and all(is_as_expected(expected[k], actual[k]) for k in expected)
        case _:
            return expected == actual and type(expected) is type(actual)


def shown(status):
    """Return the JSON of a status, without the fields that the corpus does not contain."""
    wire = json.loads(msgspec.json.encode(status), parse_constant=pytest.fail)
    for name in ("updated_at", "eta_at"):
        wire["progress"] and wire["progress"].pop(name)
    wire["failure"] and wire["failure"].pop("kind")
    wire["diagnostics"] = sorted(diagnostic["code"] for diagnostic in wire["diagnostics"])
    return wire


@pytest.mark.parametrize("row", ROWS, ids=[row["id"] for row in ROWS])
def test_a_stored_value_decodes_to_the_expected_status(row):
    """The status of a stored value, decoded without a record, is the expected one."""
    expected = row["expected"]

    status = decode(snapshot_of(row), view=Visibility.OPERATOR)

    if expected["http_status"] == 404:
        assert status is None
        return
    actual = shown(status)
    expected = {**expected, "diagnostics": sorted(expected["diagnostics"])}
    if expected["failure"] and expected["failure"]["message"] is None:
        expected["failure"] = {**expected["failure"], "message": ""}
    differences = {
        name: (value, actual[name])
        for name, value in expected.items()
        if name != "http_status" and not is_as_expected(value, actual[name])
    }
    assert not differences


def test_every_changed_expectation_has_a_reason():
    """Each row with a changed expectation contains the reason."""
    assert all(row["expected_changed"] for row in ROWS if "expected_changed" in row)


def test_no_stored_value_is_executed():
    """The hostile rows would create a file if they were executed."""
    bombs = [row for row in ROWS if b"poisoned" in (stored_bytes(row) or b"")]

    assert [decode(snapshot_of(row)).state for row in bombs]
    assert not list(Path("/var/tmp").glob("poisoned-*"))  # noqa: S108 - the path that the hostile rows name
