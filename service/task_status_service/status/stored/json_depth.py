"""Cut JSON text where it is nested too deep, so that no reader recurses further than `MAX_READ_DEPTH`.

How deep Python's reader gets depends on the version and on how deep its caller's stack is; this does not.
"""

import re
from typing import Final

from task_status_service.status.stored.bounds import MAX_JSON_DEPTH, MAX_READ_DEPTH
from task_status_service.status.stored.diagnostics import Unreadable

#: a string, also one that never ends, so that nothing is tried twice; or what opens or closes a container
_TOKEN: Final = re.compile(r'"[^"\\]*(?:\\.[^"\\]*)*"?|[\[\]{}]', re.DOTALL)
_LEFT_OUT: Final = "null"


def cut_nesting(text: str) -> str:
    """Put null in place of every container that is nested deeper than `MAX_READ_DEPTH`.

    Raises:
        Unreadable: `too_deep`, beyond `MAX_JSON_DEPTH`.
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
                    kept += (text[end : token.start()], _LEFT_OUT)
            case "]" | "}":
                if depth == MAX_READ_DEPTH + 1:
                    end = token.end()
                depth -= 1
    # A container that is never closed is left as it is: the reader refuses it.
    return "".join((*kept, text[end:])) if kept else text
