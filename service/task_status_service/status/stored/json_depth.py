"""Cut JSON text that is nested too deeply, so that the parser recurses at most `MAX_READ_DEPTH` levels.

The limit of Python's parser depends on its version and on the depth of the caller's stack; this one does not.
"""

import re
from typing import Final

from task_status_service.status.stored.bounds import MAX_JSON_DEPTH, MAX_READ_DEPTH
from task_status_service.status.stored.diagnostics import Unreadable

#: a string, even unterminated, which avoids backtracking; or the bracket of a container
_TOKEN: Final = re.compile(r'"[^"\\]*(?:\\.[^"\\]*)*"?|[\[\]{}]', re.DOTALL)
_OMITTED: Final = "null"


def cut_nesting(text: str) -> str:
    """Replace every container that is nested deeper than `MAX_READ_DEPTH` with null.

    Raises:
        Unreadable: `too_deep`, if the text is nested deeper than `MAX_JSON_DEPTH`.
    """
    if text.count("[") + text.count("{") <= MAX_READ_DEPTH:
        return text
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
