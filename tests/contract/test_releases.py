"""The committed document may follow the last release of it; and the rules by which one may follow another."""

import copy
import json

import pytest

from contract.release import OPENAPI, Refused, complaints, is_breaking_step, release, releases, section_of, version_of

DOCUMENT = json.loads((OPENAPI / "openapi.json").read_bytes())
HISTORY = (OPENAPI / "CHANGES.md").read_text(encoding="utf-8")
WITH_A_NEW_STATE = "## 2.0.0\n\n- `TaskState`: `paused` is new.\n\n## 1.0.0\n\nThe first one.\n"


def versioned(version, *, states=()):
    """Give the document of a version, with more states than there are."""
    document = copy.deepcopy(DOCUMENT)
    document["info"]["version"] = version
    document["components"]["schemas"]["TaskState"]["enum"] += states
    return document


def test_nothing_breaks_clients_of_the_last_release():
    """The gate: what is committed breaks nobody, or its version says so and openapi/CHANGES.md lists it."""
    assert releases(), "There is no release: make openapi-release."
    found = complaints(releases()[-1], DOCUMENT, HISTORY)
    assert not found, "\n".join(found)


def test_every_release_has_a_history():
    """Each release is named as its version, and told of in openapi/CHANGES.md."""
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
    """A step breaks clients from one major version to another; before 1.0.0 from one minor version to another."""
    assert is_breaking_step(version_of(old), version_of(new)) is breaking


def test_what_breaks_needs_a_version_that_says_so():
    """Otherwise it is named, with the version that it takes."""
    (first, *listed) = complaints(versioned("1.0.0"), versioned("1.1.0", states=["paused"]), WITH_A_NEW_STATE)
    assert "2.0.0" in first
    assert listed == ["  TaskState: paused may come now"]


def test_what_breaks_needs_a_history():
    """A section of another version does not count, nor one that names something else."""
    old, new = versioned("1.0.0"), versioned("2.0.0", states=["paused"])
    assert complaints(old, new, WITH_A_NEW_STATE) == []
    for history in ("", "## 2.0.0\n\nNew states.\n", WITH_A_NEW_STATE.replace("2.0.0", "2.0.1")):
        (complaint,) = complaints(old, new, history)
        assert "TaskState: paused may come now" in complaint


def test_what_breaks_nobody_needs_nothing():
    """The same version may say more, in other words."""
    changed = versioned("1.0.0")
    changed["info"]["description"] = "Another text."
    assert complaints(versioned("1.0.0"), changed, "") == []


def test_versions_do_not_go_back():
    """A document older than the last release is no next one."""
    assert complaints(versioned("1.0.0"), versioned("0.9.0"), "") == [
        "The version is 0.9.0, and 1.0.0 is released already."
    ]


def test_release(tmp_path):
    """It is kept once, byte for byte, with a history; the next one is compared with it."""
    document = tmp_path / "openapi.json"
    history = tmp_path / "CHANGES.md"
    document.write_text(json.dumps(versioned("1.0.0")))
    history.write_text("# History\n\n## 1.0.0\n\n## 0.9.0\n\nNo part of the section above.\n")
    with pytest.raises(Refused, match=r"no section 1\.0\.0"):
        release(tmp_path)
    history.write_text(WITH_A_NEW_STATE)
    assert release(tmp_path).read_bytes() == document.read_bytes()
    with pytest.raises(Refused, match="released already"):
        release(tmp_path)
    document.write_text(json.dumps(versioned("1.1.0", states=["paused"])))
    history.write_text(f"## 1.1.0\n\nNothing.\n\n{WITH_A_NEW_STATE}")
    with pytest.raises(Refused, match="TaskState: paused may come now"):
        release(tmp_path)
    document.write_text(json.dumps(versioned("2.0.0", states=["paused"])))
    release(tmp_path)
    assert [one["info"]["version"] for one in releases(tmp_path)] == ["1.0.0", "2.0.0"]
