"""Every regular expression of both packages takes linear time: 100 kB that are meant to be slow are over at once."""

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
#: for all texts of one pattern and method; one that is quadratic takes minutes. In seconds.
BOUND_SECONDS = 1.0
#: modules that read no input of others, and do something when they are imported
UNREAD = {"task_status_worker.demo"}

FUNCTIONS = {"compile", "match", "fullmatch", "search", "sub", "findall", "finditer", "split"}
METHODS = FUNCTIONS - {"compile"}


def modules() -> Iterator[ModuleType]:
    """Import every module of both packages."""
    for package in (task_status_service, task_status_worker):
        for found in pkgutil.walk_packages(package.__path__, f"{package.__name__}."):
            if found.name not in UNREAD:
                yield importlib.import_module(found.name)


def calls(module: ModuleType) -> Iterator[tuple[str, str, ast.expr]]:
    """Give what is called on what with what: `re.compile(…)`, `_NAME.fullmatch(…)`, `Regexp(…)`."""
    for node in ast.walk(ast.parse(Path(str(module.__file__)).read_text(encoding="utf-8"))):
        if not isinstance(node, ast.Call) or not node.args:
            continue
        if isinstance(node.func, ast.Attribute):
            yield ast.unparse(node.func.value).rpartition(".")[2], node.func.attr, node.args[0]
        elif isinstance(node.func, ast.Name):
            yield "", node.func.id, node.args[0]


def patterns() -> dict[str, tuple[re.Pattern[Any], set[str]]]:
    """Give every pattern that is written anywhere, and the methods by which it is used."""
    found: dict[str, tuple[re.Pattern[Any], set[str]]] = {}
    used: dict[str, set[str]] = {}
    for module in modules():
        for of, name, argument in calls(module):
            if name in METHODS and of != "re":
                used.setdefault(of, set()).add(name)
            if (of == "re" and name in FUNCTIONS) or name == "Regexp":
                try:
                    text = eval(ast.unparse(argument), vars(module))  # noqa: S307  # our own source
                except NameError:
                    # Handed in: it is written elsewhere.
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
    """Repeat what patterns are made of, alone and in pairs, with an end that does not fit."""
    text = pattern.pattern if isinstance(pattern.pattern, str) else pattern.pattern.decode("latin-1")
    atoms = {"A", "f", "\n", "_", ".", "[", "(", "é", "\x00", *re.findall(r"[A-Za-z]{2,}|[^\w\s]", text)}
    often = ("a", "0", " ", "-", '"', "\\")
    for atom in [*sorted(atoms), *often, *(f"{one}{other}" for one in often for other in often if one != other)]:
        hostile = atom * (LENGTH // len(atom)) + "\x01"
        yield hostile if isinstance(pattern.pattern, str) else hostile.encode("latin-1")


def test_finds_them() -> None:
    """What there is to be found is found, with how it is used."""
    found = {pattern.pattern: methods for pattern, methods in PATTERNS.values()}
    assert found["[A-Za-z0-9][A-Za-z0-9._:-]{0,127}"] >= {"fullmatch"}
    assert found[rb'"[^"\\]*(?:\\.[^"\\]*)*"?'] == {"sub"}
    assert r"-?[0-9]+(\.[0-9]+)?([eE][+-]?[0-9]+)?" in found
    assert len(found) > 20


@pytest.mark.parametrize("where", PATTERNS)
def test_is_linear(where: str) -> None:
    """No text takes long."""
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
