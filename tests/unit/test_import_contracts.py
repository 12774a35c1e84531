"""Each import contract of pyproject.toml is effective: one added line breaks it."""

import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
CONTRACTS = [
    contract["name"]
    for contract in tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["importlinter"]["contracts"]
]
#: contract -> module of the service or the worker kit, and a line that breaks the contract there
BREAKING_LINES = {
    "Service: rooms": ("service/task_status_service/status/model.py", "import task_status_service.settings"),
    "API: resources": ("service/task_status_service/api/auth/loopback.py", "import task_status_service.api.tasks"),
    "Worker kit: signals": ("worker/task_status_worker/record/keys.py", "import task_status_worker.signals"),
    "The service imports only the record": (
        "service/task_status_service/broker.py",
        "import task_status_worker.task_types",
    ),
    "The worker kit does not": ("worker/task_status_worker/demo.py", "import task_status_service.version"),
    "The client imports only": ("service/task_status_service/client/display.py", "import task_status_service.errors"),
    "The pure rooms": ("service/task_status_service/use_cases/tracker.py", "import werkzeug, flask"),
    "Only the store": ("service/task_status_service/settings.py", "import redis"),
    "Only the app and the API": ("service/task_status_service/broker.py", "import marshmallow"),
    "Only the broker": ("service/task_status_service/store/records.py", "import kombu"),
    "Only the server": ("service/task_status_service/store/feed.py", "import gevent"),
}


@pytest.fixture(scope="module")
def tree(tmp_path_factory):
    """A copy of both packages, which a test can change."""
    copy = tmp_path_factory.mktemp("tree")
    shutil.copy(ROOT / "pyproject.toml", copy)
    for package in ("service/task_status_service", "worker/task_status_worker"):
        shutil.copytree(ROOT / package, copy / package, ignore=shutil.ignore_patterns("__pycache__"))
    return copy


def broken_contracts(tree):
    """Return the names of the contracts that the tree breaks."""
    script = "from importlinter.cli import lint_imports_command; lint_imports_command()"
    paths = f"import sys; sys.path[:0] = [{str(tree / 'service')!r}, {str(tree / 'worker')!r}]; "
    command = [sys.executable, "-c", paths + script, "--no-cache"]
    done = subprocess.run(command, cwd=tree, capture_output=True, text=True, check=False)
    lines = done.stdout.splitlines()
    assert any(line.startswith("Contracts: ") for line in lines), done.stdout + done.stderr
    return [line for line in lines if " BROKEN" in line]


def test_every_contract_has_a_line_that_breaks_it():
    """Each contract of pyproject.toml has an entry in BREAKING_LINES."""
    assert [name for name in CONTRACTS if not any(name.startswith(start) for start in BREAKING_LINES)] == []


@pytest.mark.parametrize("start", BREAKING_LINES)
def test_one_line_breaks_the_contract(tree, start):
    """The contract reports an import that it forbids."""
    path, line = BREAKING_LINES[start]
    module = tree / path
    text = module.read_text()
    module.write_text(f"{text}\n{line}\n")
    try:
        assert any(name.startswith(start) for name in broken_contracts(tree))
    finally:
        module.write_text(text)


@pytest.mark.parametrize(
    ("path", "start"),
    [
        ("service/task_status_service/stray.py", "Service: rooms"),
        ("service/task_status_service/api/stray.py", "API: resources"),
        ("worker/task_status_worker/stray.py", "Worker kit: signals"),
    ],
)
def test_a_module_outside_every_layer_is_reported(tree, path, start):
    """The contract reports a new module that belongs to no layer."""
    (tree / path).write_text("")
    try:
        assert any(name.startswith(start) for name in broken_contracts(tree))
    finally:
        (tree / path).unlink()
