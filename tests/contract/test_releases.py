"""The committed OpenAPI document may follow its last release; the rules for releases hold."""

import copy
import json

import pytest

from contract.release import (
    OPENAPI,
    ReleaseError,
    complaints,
    is_breaking_step,
    release,
    releases,
    section_of,
    version_of,
)

DOCUMENT = json.loads((OPENAPI / "openapi.json").read_bytes())
HISTORY = (OPENAPI / "CHANGES.md").read_text(encoding="utf-8")
WITH_A_NEW_STATE = "## 2.0.0\n\n- `TaskState`: `paused` is new.\n\n## 1.0.0\n\nThe first one.\n"


def versioned(version, *, states=()):
    """Return the document with another version and additional states."""
    document = copy.deepcopy(DOCUMENT)
    document["info"]["version"] = version
    document["components"]["schemas"]["TaskState"]["enum"] += states
    return document


def test_nothing_breaks_clients_of_the_last_release():
    """Every breaking change has a breaking version and is listed in openapi/CHANGES.md."""
    assert releases(), "There is no release: run make openapi-release."
    found = complaints(releases()[-1], DOCUMENT, HISTORY)
    assert not found, "\n".join(found)


def test_every_release_has_a_history():
    """The file of a release has the name of its version, and openapi/CHANGES.md has its section."""
    names = {path.stem for path in (OPENAPI / "releases").iterdir()}
    assert names == {document["info"]["version"] for document in releases()}
    assert {name for name in names if not section_of(name, HISTORY)} == set()


@pytest.mark.parametrize(
    ("old", "new", "breaking"),
    [
        ("0.1.0", "0.1.9", False),
        ("0.1.0", "0.2.0", True),
        ("0.9.0", "0.10.0", True),
        ("0.1.0", "1.0.0", True),
        ("1.1.0", "1.1.1", False),
        ("1.1.0", "1.2.0", False),
        ("1.9.0", "10.0.0", True),
        ("2.0.0", "1.0.0", False),
        ("1.0.0", "1.0.0", False),
    ],
)
def test_steps(old, new, breaking):
    """A new major version may break clients; before 1.0.0 a new minor version may, too."""
    assert is_breaking_step(version_of(old), version_of(new)) is breaking


def test_breaking_change_needs_a_breaking_version():
    """Otherwise the complaint names the change and the needed version."""
    (first, *listed) = complaints(versioned("1.0.0"), versioned("1.1.0", states=["paused"]), WITH_A_NEW_STATE)
    assert "2.0.0" in first
    assert listed == ["  TaskState: paused may come now"]


def test_breaking_change_needs_a_history():
    """The section of the same version must name the changed schema or operation."""
    old, new = versioned("1.0.0"), versioned("2.0.0", states=["paused"])
    assert complaints(old, new, WITH_A_NEW_STATE) == []
    for history in ("", "## 2.0.0\n\nNew states.\n", WITH_A_NEW_STATE.replace("2.0.0", "2.0.1")):
        (complaint,) = complaints(old, new, history)
        assert "TaskState: paused may come now" in complaint


def test_harmless_change_needs_no_new_version():
    """A changed description needs neither a new version nor a history."""
    changed = versioned("1.0.0")
    changed["info"]["description"] = "Another text."
    assert complaints(versioned("1.0.0"), changed, "") == []


def test_lower_version_is_rejected():
    """A document with a lower version than the last release may not follow it."""
    assert complaints(versioned("1.0.0"), versioned("0.9.0"), "") == [
        "The version 0.9.0 is lower than the released version 1.0.0: raise the version of the service."
    ]


def test_release(tmp_path):
    """A release is stored once, byte for byte; the next one is compared with it."""
    document = tmp_path / "openapi.json"
    history = tmp_path / "CHANGES.md"
    document.write_text(json.dumps(versioned("1.0.0")))
    history.write_text("# History\n\n## 1.0.0\n\n## 0.9.0\n\nNot part of the section above.\n")
    with pytest.raises(ReleaseError, match=r"no section 1\.0\.0"):
        release(tmp_path)
    history.write_text(WITH_A_NEW_STATE)
    assert release(tmp_path).read_bytes() == document.read_bytes()
    with pytest.raises(ReleaseError, match="already released"):
        release(tmp_path)
    document.write_text(json.dumps(versioned("1.1.0", states=["paused"])))
    history.write_text(f"## 1.1.0\n\nNothing.\n\n{WITH_A_NEW_STATE}")
    with pytest.raises(ReleaseError, match="TaskState: paused may come now"):
        release(tmp_path)
    document.write_text(json.dumps(versioned("2.0.0", states=["paused"])))
    release(tmp_path)
    assert [one["info"]["version"] for one in releases(tmp_path)] == ["1.0.0", "2.0.0"]
