"""Report phrases that readers had to read twice, each with a suggestion: `python -m tools.prose`.

Reads prose only: docstrings, comments and texts of Python, comments of Lua, shell and Makefiles, and Markdown without
its code. Prints `file:line: phrase → suggestion` and exits with 1 if a phrase is found. The rules are in
CONTRIBUTING.md, section Language. A phrase belongs in the list if it is hard to read in any context.
"""

import ast
import io
import os
import re
import sys
import tokenize
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Final, NamedTuple

ROOT: Final = Path(__file__).parents[1]
#: folders that are generated, downloaded, or made of data
_SKIPPED: Final = frozenset({"node_modules", "corpus", "requirements"})
#: files that quote the phrases
_QUOTING: Final = frozenset({"tools/prose.py", "tests/unit/test_prose.py"})
#: a string literal with at least this many words is a sentence, not a name
_MIN_WORDS: Final = 3

#: the start of a sentence: at the start of a text, or after punctuation, a list marker or a table's bar
_START: Final = r"(?:\A|(?<=[.!?:;] )|(?<=  )|(?<=[*|-] ))"
#: the sentence is not a question
_NO_QUESTION: Final = r"(?![^.!?]*\?)"
_PERSON: Final = r"(?:nobody|somebody|anybody|everybody|no one)"
_PREPOSITION: Final = r"(?:of|to|by|from|with|for|and|than|in|on|or|if|that)"
_BE: Final = r"(?:is|are|was|were|be|been|being)"

#: pattern, suggestion; a space also matches a line break, and (?-i:…) distinguishes upper and lower case
SUBSTITUTIONS: Final[Sequence[tuple[str, str]]] = (
    # Clauses as subjects.
    (rf"{_START}(?-i:Who(?:ever)?)\b{_NO_QUESTION}", "begin with a noun: the caller, the client, a worker"),
    (rf"{_START}(?-i:What(?:ever)?) (?!to do){_NO_QUESTION}", "begin with a noun: the value, the result"),
    (rf"{_START}(?-i:Of) (?:what|which|whom|these|those|all|each|an?|the|its)\b", "begin with the subject"),
    (rf"{_START}(?-i:It is) \w+ (?:who|that)\b", "begin with the subject"),
    (rf"\b{_PREPOSITION} what (?:is|was|are|were|has|it|they|the|a|an)\b", "name the noun"),
    (rf"\b{_PREPOSITION} who (?:asks?|sends?|has|have|may|can|reads?|waits?|watch(?:es)?)\b", "the caller, the client"),
    (r"\b(?:whoever|whomever|whosever|whatsoever)\b", "the client, the caller, any caller"),
    (r"\bwhom\b", "name the person or the process"),
    (rf"\b{_PERSON}(?:'s)?\b", "name the caller, client, worker or process"),
    (r"\ball that (?:is|was|are|may|it|they|can|has|a|the)\b", "name the noun: all keys, each value"),
    (r"\bthe (?:least|most) that\b", "the minimum, the maximum"),
    # Verbs that are not technical terms.
    (rf"\b{_BE} told\b", "receives, is sent, is informed"),
    (rf"\b{_BE} heard\b|\b(?:hears?|heard) (?:of|from)\b", "receives; the last heartbeat"),
    (rf"{_START}(?-i:Gives?) (?!up)", "Return"),
    (rf"{_START}(?-i:Tell) (?:whether|if|what|how|who|which)\b", "Return whether"),
    (rf"{_START}(?-i:Say) (?:whether|what|how|who|why|that|if)\b", "Return, Report, Describe"),
    (r"\bsays? so\b|\bsaid so\b", "reports it"),
    (r"\b(?:find|finds|found|finding) out\b", "detect, determine"),
    (r"\b(?:key|token|header|cancel|change|announcement)s? (?:that )?(?:does not )?counts?\b", "is valid, applies"),
    (r"\bcounts? (?:until|within)\b", "is valid, applies"),
    (rf"\b{_BE} at it\b", "is working"),
    (r"\b(?:go|goes|going|went) on(?: where\b|[.,;:)]| with\b)", "continue, resume"),
    (r"\bserv(?:e|es|ed|ing) (?:a|an|its|the|this|that|each|every) (?:task )?types?\b", "consumes the task type"),
    (r"\bsettl(?:e|es|ed|ing)\b", "mark as failed"),
    # Negations and amounts.
    (rf"\b(?:there|it|{_BE}) (?:{_BE} )?(?-i:none)\b", "is missing, does not exist, is not a …"),
    (r"[;,.(] (?:None|0): (?:never|none|any|no|there|it|as)\b", "None disables it; 0 means unlimited"),
    (r"\bas (?:many|much|long|often)(?: \w+){0,4} as (?:\w+ )?(?:may|likes?)\b", "up to the limit"),
    (r"\b(?:for|after|at most|by|within|than|only) so (?:long|many|much|often)\b", "state the number and unit"),
    (r"\b(?:that|which|it|they|who) never (?:was|were)\b", "does not exist, unknown"),
    (r"\bin vain\b", "without success"),
    # Idioms.
    (r"\bfor good\b(?! reasons?)", "permanently"),
    (r"\bfor ever\b", "forever"),
    (r"\bby (?:itself|themselves|oneself)\b", "automatically, separately"),
    (r"\bof (?:its|our|their|your|one's) own\b", "custom, separate, its own …"),
    (r"\bas (?:it|they) (?:lies|lie|stands|stand)\b", "unchanged"),
    (r"\bwithout a word\b", "silently"),
    # Words with a replacement in the glossary.
    (r"\bpulses?\b", "heartbeat"),
    (r"\bweakness(?:es)?\b", "durability warning"),
    (r"\brefusals?\b", "denial"),
    (r"\b(?:is|are) (?:a copy|copies)\b|\bcopies of (?:a|the) message\b", "duplicate delivery"),
)


class Finding(NamedTuple):
    """A phrase, its line, and a suggestion."""

    line: int
    phrase: str
    suggestion: str


class Prose(NamedTuple):
    """A piece of text that a person reads, and its first line."""

    line: int
    text: str


_COMPILED: Final = [(re.compile(pattern, re.IGNORECASE), suggestion) for pattern, suggestion in SUBSTITUTIONS]


def find(prose: Prose) -> Iterator[Finding]:
    """Yield the phrases of one text."""
    lines = re.sub(r"[ \t]*\n[ \t]*", "\n", prose.text)
    text = lines.replace("\n", " ")
    for pattern, suggestion in _COMPILED:
        for match in pattern.finditer(text):
            yield Finding(prose.line + lines.count("\n", 0, match.start()), match[0], suggestion)


def prose_of(path: Path) -> Iterator[Prose]:
    """Yield the prose of a file; a file of an unknown kind has none."""
    text = path.read_text(encoding="utf-8")
    if path.suffix == ".py":
        is_test = "tests" in path.parts
        yield from _python_comments(text)
        yield from _python_texts(text, docstrings_only=is_test)
    elif path.suffix == ".md":
        yield Prose(1, _without_code(text))
    elif path.suffix == ".lua":
        yield from _comments(text, "--")
    elif path.name == "Makefile" or path.suffix in {".sh", ".toml", ".yml"} or text.startswith("#!"):
        yield from _comments(text, "#")


def _python_comments(text: str) -> Iterator[Prose]:
    tokens = tokenize.generate_tokens(io.StringIO(text).readline)
    comments = [(token.start[0], token.string) for token in tokens if token.type == tokenize.COMMENT]
    yield from _joined((line, comment.lstrip("#:!").strip()) for line, comment in comments)


def _python_texts(text: str, *, docstrings_only: bool) -> Iterator[Prose]:
    """Yield docstrings, and other string literals that are sentences: errors, descriptions, help texts."""
    nodes = list(ast.walk(ast.parse(text)))
    docstrings = [node for node in map(_docstring_of, nodes) if node is not None]
    yield from (Prose(node.lineno, str(node.value)) for node in docstrings)
    if docstrings_only:
        return
    for node in nodes:
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and node not in docstrings:
            is_sentence = len(node.value.split()) >= _MIN_WORDS
            if is_sentence:
                yield Prose(node.lineno, node.value)


def _docstring_of(node: ast.AST) -> ast.Constant | None:
    if not isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef) or not node.body:
        return None
    match node.body[0]:
        case ast.Expr(value=ast.Constant(value=str()) as text):
            return text
    return None


def _comments(text: str, mark: str) -> Iterator[Prose]:
    found = []
    for number, line in enumerate(text.splitlines(), start=1):
        _, separator, comment = f" {line}".partition(f" {mark}")
        if separator:
            found.append((number, comment.lstrip(f"{mark}:!").strip()))
    yield from _joined(iter(found))


def _joined(lines: Iterator[tuple[int, str]]) -> Iterator[Prose]:
    """Join comments of consecutive lines, so that a phrase may cross a line break."""
    start, block = 0, list[str]()
    for number, comment in lines:
        if block and number != start + len(block):
            yield Prose(start, "\n".join(block))
            block = []
        if not block:
            start = number
        block.append(comment)
    if block:
        yield Prose(start, "\n".join(block))


def _without_code(markdown: str) -> str:
    """Blank out fenced blocks, code in a line and quotations of titles; keep the line numbers."""
    blocks = re.compile(r"^( *)```.*?^\1```$", re.MULTILINE | re.DOTALL)
    text = blocks.sub(lambda match: "\n" * match[0].count("\n"), markdown)
    return re.sub(r"`[^`\n]+`", "`…`", text)


def files(root: Path) -> Iterator[Path]:
    """Yield the files of a folder and its subfolders, without hidden, generated and downloaded ones."""
    for folder, folders, names in os.walk(root):
        folders[:] = sorted(name for name in folders if not name.startswith(".") and name not in _SKIPPED)
        for name in sorted(names):
            path = Path(folder, name)
            if not name.startswith(".") and path.relative_to(root).as_posix() not in _QUOTING:
                yield path


def check(paths: Sequence[Path]) -> int:
    """Print each phrase found; return their number."""
    count = 0
    for path in paths:
        try:
            found = sorted({finding for prose in prose_of(path) for finding in find(prose)})
        except UnicodeDecodeError:
            continue  # an image
        for line, phrase, suggestion in found:
            sys.stdout.write(f"{path}:{line}: {phrase!r} → {suggestion}\n")
        count += len(found)
    return count


def main(arguments: Sequence[str]) -> int:
    """Check the given files and folders, or the repository; return the exit code."""
    roots = [Path(argument) for argument in arguments] or [ROOT]
    paths = [path for root in roots for path in (files(root) if root.is_dir() else [root])]
    if count := check(paths):
        sys.stdout.write(f"{count} phrases to replace. The rules are in CONTRIBUTING.md, section Language.\n")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
