"""Measure JSON text before it is parsed, and cut what is nested too deeply.

The parser builds the whole value at once, so its cost must be known before. All steps run in C: they take 10 ms for the
longest text.
"""

import itertools
import re
from typing import Final, NamedTuple

from task_status_service.status.stored.bounds import MAX_JSON_DEPTH, MAX_READ_DEPTH
from task_status_service.status.stored.diagnostics import Unreadable

#: a value counts one, by its comma, a key one more, by its colon, and a container this more: an empty one takes as long
#: as four numbers
_WEIGHT_OF_BRACKET: Final = 3
#: quotes of the most texts per node: a key and a value
_QUOTES_PER_NODE: Final = 4

_NO_STRUCTURE: Final = bytes(set(range(256)).difference(b"[]{},:"))
_STEPS: Final = {ord("["): 1, ord("{"): 1, ord("]"): -1, ord("}"): -1}

#: a string, even unterminated, which avoids backtracking; or the bracket of a container
_TOKEN: Final = re.compile(r'"[^"\\]*(?:\\.[^"\\]*)*"?|[\[\]{}]', re.DOTALL)
_OMITTED: Final = "null"


class Shape(NamedTuple):
    """The size of a JSON text."""

    #: weighted number of values and containers; more than the limit if it was not counted to the end
    nodes: int
    #: nested containers among the first ones
    depth: int


def shape_of(stored: bytes, *, limit: int) -> Shape:
    """Return the size of a JSON text, valid or not, up to a `limit` of nodes."""
    if len(stored) <= limit:
        containers = stored.count(b"[") + stored.count(b"{")
        most = 1 + stored.count(b",") + stored.count(b":") + _WEIGHT_OF_BRACKET * containers
        if containers <= MAX_READ_DEPTH and most <= limit:
            return Shape(nodes=most, depth=containers)
    # Without escaped characters, every second part between quotes is inside a text.
    bare = stored.replace(b"\\\\", b"").replace(b'\\"', b"") if b"\\" in stored else stored
    # Deleting characters takes less than counting many of them.
    if len(bare) - len(bare.translate(None, b'"')) > _QUOTES_PER_NODE * limit:
        return Shape(nodes=limit + 1, depth=0)
    structure = b"".join(bare.split(b'"')[::2]).translate(None, _NO_STRUCTURE)
    brackets = structure.translate(None, b",:")
    containers = len(brackets.translate(None, b"]}"))
    depth = max(itertools.accumulate(map(_STEPS.__getitem__, brackets[:limit])), default=0)
    return Shape(nodes=1 + len(structure) - len(brackets) + _WEIGHT_OF_BRACKET * containers, depth=depth)


def cut_nesting(text: str) -> str:
    """Replace every container that is nested deeper than `MAX_READ_DEPTH` with null.

    The limit of Python's parser depends on its version and on the depth of the caller's stack; this one does not.

    Raises:
        Unreadable: `too_deep`, if the text is nested deeper than `MAX_JSON_DEPTH`.
    """
    kept: list[str] = []
    depth = end = 0
    for token in _TOKEN.finditer(text):
        match token[0]:
            case "[" | "{":
                depth += 1
                if depth > MAX_JSON_DEPTH:
                    raise Unreadable("too_deep")
                if depth == MAX_READ_DEPTH + 1:
                    kept += (text[end : token.start()], _OMITTED)
            case "]" | "}":
                if depth == MAX_READ_DEPTH + 1:
                    end = token.end()
                depth -= 1
    # An unclosed container remains in the text: the parser rejects it.
    return "".join((*kept, text[end:])) if kept else text
