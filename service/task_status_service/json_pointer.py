"""JSON Pointers into a request body, as URI fragments (RFC 6901 section 6)."""

from collections.abc import Iterable
from urllib.parse import quote


def fragment(steps: Iterable[object]) -> str:
    """Join steps, names and list positions, into a pointer such as `#/kwargs/x`."""
    return "#" + "".join("/" + quote(str(step).replace("~", "~0").replace("/", "~1")) for step in steps)
