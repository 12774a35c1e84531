"""The commands and the quoted code of openapi/README.md."""

import re
from pathlib import Path
from typing import Final

ROOT: Final = Path(__file__).parents[2]
EXAMPLES: Final = ROOT / "examples" / "generated_clients"
TEXT: Final = (ROOT / "openapi" / "README.md").read_text()

_BLOCK: Final = re.compile(r"^```(\w+)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
#: the programs that commands start with
_PROGRAMS: Final = ("cd", "curl", "docker", "go", "java", "javac", "make", "mvn", "node", "npm", "npx", "pip", "python")
_PROGRAM: Final = re.compile(rf"(?:{'|'.join(_PROGRAMS)}|uvx?|python3|task-status|openapi-\S+)\s")


def blocks(language: str) -> list[str]:
    """Return the fenced blocks of a language."""
    return [text for name, text in _BLOCK.findall(TEXT) if name == language]


def commands(text: str = TEXT) -> list[str]:
    """Return every command, in order: the lines of shell blocks, and inline code that starts with a program."""
    found = []
    for part in re.split(r"(^```\w+\n.*?^```$)", text, flags=re.MULTILINE | re.DOTALL):
        if block := _BLOCK.match(part):
            lines = block[2].splitlines() if block[1] == "sh" else []
        else:
            lines = [code for code in re.findall(r"`([^`]+)`", part) if _PROGRAM.match(f"{code} ")]
        found += [line for line in lines if line.strip()]
    return found


def is_nightly(command: str) -> bool:
    """Return whether a command runs only at night: the Go toolchain is large."""
    return command.startswith("go ")
