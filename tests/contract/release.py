"""The document's releases, and what a new one may change. `make openapi-release` keeps the document as one."""

import json
import re
import sys
from pathlib import Path
from typing import Any, Final

from contract.compatibility import breaking_changes

OPENAPI: Final = Path(__file__).parents[2] / "openapi"

Version = tuple[int, int, int]


class Refused(Exception):
    """The document cannot be released; the message says why."""


def version_of(text: str) -> Version:
    """Read `1.2.3`; what comes after, such as `rc1`, does not count."""
    major, minor, patch = map(int, re.match(r"(\d+)\.(\d+)\.(\d+)", text).groups())
    return major, minor, patch


def releases(folder: Path = OPENAPI) -> list[Any]:
    """Read the released documents, the oldest first."""
    documents = [json.loads(path.read_bytes()) for path in (folder / "releases").glob("*.json")]
    return sorted(documents, key=lambda document: version_of(document["info"]["version"]))


def section_of(version: str, history: str) -> str:
    """Give what a history says of a version; empty if nothing."""
    found = re.search(rf"^## {re.escape(version)}\b[^\n]*\n(.*?)(?=^## |\Z)", history, re.MULTILINE | re.DOTALL)
    return found[1].strip() if found else ""


def complaints(released: Any, document: Any, history: str) -> list[str]:
    """Say what is wrong with a document that is to follow another one; nothing if it may.

    What breaks clients needs a version that says so, and a line in the history that names it.
    """
    old, new = released["info"]["version"], document["info"]["version"]
    breaks = breaking_changes(released, document)
    if version_of(new) < version_of(old):
        return [f"The version is {new}, and {old} is released already."]
    if not breaks:
        return []
    if not is_breaking_step(version_of(old), version_of(new)):
        needed = ".".join(map(str, next_breaking(version_of(old))))
        advice = f"Take it back, or make the version {needed} and list it in openapi/CHANGES.md:"
        return [f"This breaks clients of {old}. {advice}", *(f"  {one}" for one in breaks)]
    section = section_of(new, history)
    return [
        f"openapi/CHANGES.md does not name `{one.name}` in its section {new}, and this breaks clients: {one}"
        for one in breaks
        if f"`{one.name}`" not in section
    ]


def next_breaking(version: Version) -> Version:
    """Give the first version that may break what a version promised: the next major one, while that is 0 the minor."""
    major, minor, _ = version
    return (major + 1, 0, 0) if major else (0, minor + 1, 0)


def is_breaking_step(old: Version, new: Version) -> bool:
    """Tell whether clients expect to break between two versions."""
    return new >= next_breaking(old)


def release(folder: Path = OPENAPI) -> Path:
    """Keep the document as the release of its version.

    Raises:
        Refused: there is one of this version, it may not follow the last one, or the history does not tell of it.
    """
    text = (folder / "openapi.json").read_bytes()
    document = json.loads(text)
    version = document["info"]["version"]
    path = folder / "releases" / f"{version}.json"
    history = (folder / "CHANGES.md").read_text(encoding="utf-8")
    if path.exists():
        raise Refused(f"{version} is released already, and stays as it is. Raise the version of the service first.")
    if not section_of(version, history):
        raise Refused(f"openapi/CHANGES.md has no section {version}, or an empty one.")
    before = releases(folder)
    if before and (found := complaints(before[-1], document, history)):
        raise Refused("\n".join(found))
    path.parent.mkdir(exist_ok=True)
    path.write_bytes(text)
    return path


if __name__ == "__main__":
    try:
        print(f"Kept as openapi/releases/{release().name}. Commit it.")  # noqa: T201  # what make shows
    except Refused as refused:
        sys.exit(str(refused))
