"""What openapi/README.md shows: its commands, and the code that it quotes."""

import re
from pathlib import Path
from typing import Final

ROOT: Final = Path(__file__).parents[2]
EXAMPLES: Final = ROOT / "examples" / "generated_clients"
TEXT: Final = (ROOT / "openapi" / "README.md").read_text()

_BLOCK: Final = re.compile(r"^```(\w+)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
#: what a command starts with; `go` only runs every night, for its toolchain is large
_PROGRAMS: Final = ("cd", "curl", "docker", "go", "java", "javac", "make", "mvn", "node", "npm", "npx", "pip", "python")
_PROGRAM: Final = re.compile(rf"(?:{'|'.join(_PROGRAMS)}|uvx?|python3|task-status|openapi-\S+)\s")


def blocks(language: str) -> list[str]:
    """Give the fenced blocks of a language."""
    return [text for name, text in _BLOCK.findall(TEXT) if name == language]


def commands(text: str = TEXT) -> list[str]:
    """Give every command, in order: the lines of the shell blocks, and code within a sentence that is one."""
    found = []
    for part in re.split(r"(^```\w+\n.*?^```$)", text, flags=re.MULTILINE | re.DOTALL):
        if block := _BLOCK.match(part):
            lines = block[2].splitlines() if block[1] == "sh" else []
        else:
            lines = [code for code in re.findall(r"`([^`]+)`", part) if _PROGRAM.match(f"{code} ")]
        found += [line for line in lines if line.strip()]
    return found


def is_nightly(command: str) -> bool:
    """Tell whether a command runs only every night."""
    return command.startswith("go ")
