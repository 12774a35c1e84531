"""Release the OpenAPI document, and check for breaking changes (`make openapi-release`)."""

import json
import re
import sys
from pathlib import Path
from typing import Any, Final

from contract.compatibility import breaking_changes

OPENAPI: Final = Path(__file__).parents[2] / "openapi"

Version = tuple[int, int, int]


class ReleaseError(Exception):
    """The document cannot be released; the message says why and what to do."""


def version_of(text: str) -> Version:
    """Parse `1.2.3`; a suffix such as `rc1` is ignored."""
    major, minor, patch = map(int, re.match(r"(\d+)\.(\d+)\.(\d+)", text).groups())
    return major, minor, patch


def releases(folder: Path = OPENAPI) -> list[Any]:
    """Read the released documents, oldest first."""
    documents = [json.loads(path.read_bytes()) for path in (folder / "releases").glob("*.json")]
    return sorted(documents, key=lambda document: version_of(document["info"]["version"]))


def section_of(version: str, history: str) -> str:
    """Return the section of a version in the history, or an empty string."""
    found = re.search(rf"^## {re.escape(version)}\b[^\n]*\n(.*?)(?=^## |\Z)", history, re.MULTILINE | re.DOTALL)
    return found[1].strip() if found else ""


def complaints(released: Any, document: Any, history: str) -> list[str]:
    """Return the reasons why a document may not follow a release; empty if it may.

    A breaking change requires a breaking version and an entry in the history with the name that clients use.
    """
    old, new = released["info"]["version"], document["info"]["version"]
    breaks = breaking_changes(released, document)
    if version_of(new) < version_of(old):
        return [f"The version {new} is lower than the released version {old}: raise the version of the service."]
    if not breaks:
        return []
    if not is_breaking_step(version_of(old), version_of(new)):
        needed = ".".join(map(str, next_breaking(version_of(old))))
        advice = f"Revert the change, or set the version to {needed} and list the change in openapi/CHANGES.md:"
        return [f"The document breaks clients of version {old}. {advice}", *(f"  {one}" for one in breaks)]
    section = section_of(new, history)
    return [
        f"Breaking change: {one}. Name `{one.name}` in section {new} of openapi/CHANGES.md."
        for one in breaks
        if f"`{one.name}`" not in section
    ]


def next_breaking(version: Version) -> Version:
    """Return the next version that may break clients: the next major version, or the next minor version of 0.x."""
    major, minor, _ = version
    return (major + 1, 0, 0) if major else (0, minor + 1, 0)


def is_breaking_step(old: Version, new: Version) -> bool:
    """Return whether the step between two versions may break clients."""
    return new >= next_breaking(old)


def release(folder: Path = OPENAPI) -> Path:
    """Store the document as the release of its version.

    Raises:
        ReleaseError: The version is already released, the history has no section for it, or a change is not allowed.
    """
    text = (folder / "openapi.json").read_bytes()
    document = json.loads(text)
    version = document["info"]["version"]
    path = folder / "releases" / f"{version}.json"
    history = (folder / "CHANGES.md").read_text(encoding="utf-8")
    if path.exists():
        raise ReleaseError(f"Version {version} is already released. Raise the version of the service first.")
    if not section_of(version, history):
        raise ReleaseError(f"openapi/CHANGES.md has no section {version}, or it is empty: describe the release there.")
    before = releases(folder)
    if before and (found := complaints(before[-1], document, history)):
        raise ReleaseError("\n".join(found))
    path.parent.mkdir(exist_ok=True)
    path.write_bytes(text)
    return path


if __name__ == "__main__":
    try:
        print(f"Wrote openapi/releases/{release().name}. Commit it.")  # noqa: T201  # the output of make
    except ReleaseError as error:
        sys.exit(str(error))
