"""Every regular expression of both packages matches in linear time, also against hostile texts of 100 kB."""

import ast
import importlib
import pkgutil
import re
import time
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import task_status_service
import task_status_worker

LENGTH = 100_000
#: for one match; a quadratic pattern takes minutes
BOUND_SECONDS = 1.0
#: modules that parse no external input, and have effects when they are imported
SKIPPED_MODULES = {"task_status_worker.demo"}

FUNCTIONS = {"compile", "match", "fullmatch", "search", "sub", "findall", "finditer", "split"}
METHODS = FUNCTIONS - {"compile"}


def modules() -> Iterator[ModuleType]:
    """Yield every module of both packages, imported."""
    for package in (task_status_service, task_status_worker):
        for found in pkgutil.walk_packages(package.__path__, f"{package.__name__}."):
            if found.name not in SKIPPED_MODULES:
                yield importlib.import_module(found.name)


def calls(module: ModuleType) -> Iterator[tuple[str, str, ast.expr]]:
    """Yield receiver, name and first argument of each call: `re.compile(…)`, `_NAME.fullmatch(…)`, `Regexp(…)`."""
    for node in ast.walk(ast.parse(Path(str(module.__file__)).read_text(encoding="utf-8"))):
        if not isinstance(node, ast.Call) or not node.args:
            continue
        if isinstance(node.func, ast.Attribute):
            yield ast.unparse(node.func.value).rpartition(".")[2], node.func.attr, node.args[0]
        elif isinstance(node.func, ast.Name):
            yield "", node.func.id, node.args[0]


def patterns() -> dict[str, tuple[re.Pattern[Any], set[str]]]:
    """Return every pattern of both packages, by module and text, and the methods that are called on it."""
    found: dict[str, tuple[re.Pattern[Any], set[str]]] = {}
    used: dict[str, set[str]] = {}
    for module in modules():
        for receiver, name, argument in calls(module):
            if name in METHODS and receiver != "re":
                used.setdefault(receiver, set()).add(name)
            if (receiver == "re" and name in FUNCTIONS) or name == "Regexp":
                try:
                    text = eval(ast.unparse(argument), vars(module))  # noqa: S307  # our own source
                except NameError:
                    # A parameter: the pattern is defined elsewhere.
                    continue
                pattern = text if isinstance(text, re.Pattern) else re.compile(text)
                methods = {"match"} if name == "Regexp" else {name} & METHODS
                found[f"{module.__name__.partition('.')[2]}: {pattern.pattern!r:.60}"] = pattern, methods
        for name, value in vars(module).items():
            if isinstance(value, re.Pattern):
                where = f"{module.__name__.partition('.')[2]}: {value.pattern!r:.60}"
                _, methods = found.setdefault(where, (value, set()))
                methods.add(f"as {name}")
    return {
        where: (
            pattern,
            {method for method in methods if method in METHODS}.union(*(used.get(m[3:], set()) for m in methods)),
        )
        for where, (pattern, methods) in found.items()
    }


PATTERNS = patterns()


def hostile_texts(pattern: re.Pattern[Any]) -> Iterator[Any]:
    """Yield texts that repeat the atoms of a pattern, alone and in pairs, and end with an unmatched character."""
    text = pattern.pattern if isinstance(pattern.pattern, str) else pattern.pattern.decode("latin-1")
    atoms = {"A", "f", "\n", "_", ".", "[", "(", "é", "\x00", *re.findall(r"[A-Za-z]{2,}|[^\w\s]", text)}
    common = ("a", "0", " ", "-", '"', "\\")
    for atom in [*sorted(atoms), *common, *(f"{one}{other}" for one in common for other in common if one != other)]:
        hostile = atom * (LENGTH // len(atom)) + "\x01"
        yield hostile if isinstance(pattern.pattern, str) else hostile.encode("latin-1")


def test_finds_patterns_and_their_methods() -> None:
    """Known patterns are found, with the methods that are called on them."""
    found = {pattern.pattern: methods for pattern, methods in PATTERNS.values()}
    assert found["[A-Za-z0-9][A-Za-z0-9._:-]{0,127}"] >= {"fullmatch"}
    assert found[rb'"[^"\\]*(?:\\.[^"\\]*)*"?'] == {"sub"}
    assert r"-?[0-9]+(\.[0-9]+)?([eE][+-]?[0-9]+)?" in found
    assert len(found) > 20


@pytest.mark.parametrize("where", PATTERNS)
def test_patterns_are_linear(where: str) -> None:
    """No hostile text takes more than a second."""
    pattern, methods = PATTERNS[where]
    for method in methods or {"fullmatch"}:
        for text in hostile_texts(pattern):
            started = time.process_time()
            if method == "sub":
                pattern.sub(text[:0], text)
            elif method == "finditer":
                list(pattern.finditer(text))
            else:
                getattr(pattern, method)(text)
            assert time.process_time() - started < BOUND_SECONDS, (method, text[:20])
