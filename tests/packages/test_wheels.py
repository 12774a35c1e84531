"""Both wheels are built, installed into empty environments and run."""

import subprocess
import sys
import tomllib
import zipfile
from email.message import Message
from email.parser import Parser
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
UV = Path(sys.executable).with_name("uv")
VERSION = tomllib.loads((ROOT / "service/pyproject.toml").read_text())["project"]["version"]


def run(*command: object, cwd: Path) -> str:
    """Run a command in a folder outside the checkout, and return its output."""
    done = subprocess.run([str(part) for part in command], cwd=cwd, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def wheels(tmp_path_factory):
    """Both wheels, built with the locked build backend."""
    folder = tmp_path_factory.mktemp("wheels")
    for member in ("service", "worker"):
        run(
            *(UV, "build", "--wheel", "--no-build-isolation", "--python", sys.executable),
            *("--out-dir", folder, ROOT / member),
            cwd=folder,
        )
    return {name: next(folder.glob(f"task_status_{name}-*.whl")) for name in ("service", "worker")}


def install(folder: Path, lock: str, *wheels: Path) -> Path:
    """Install wheels and their locked dependencies into an empty environment; return its bin folder."""
    run(UV, "venv", "--quiet", "--python", sys.executable, folder / "venv", cwd=folder)
    python = folder / "venv/bin/python"
    install = (UV, "pip", "install", "--quiet", "--python", python)
    run(*install, "--require-hashes", "-r", ROOT / "requirements" / lock, cwd=folder)
    run(*install, "--no-deps", *wheels, cwd=folder)
    run(UV, "pip", "check", "--python", python, cwd=folder)
    return python.parent


def metadata(wheel: Path) -> Message:
    """Return the metadata of a wheel."""
    with zipfile.ZipFile(wheel) as files:
        [name] = [name for name in files.namelist() if name.endswith(".dist-info/METADATA")]
        return Parser().parsestr(files.read(name).decode())


@pytest.mark.parametrize("name", ["service", "worker"])
def test_wheel_metadata(wheels, name):
    """A wheel contains its license, authors, keywords, classifiers, types and a README."""
    with zipfile.ZipFile(wheels[name]) as files:
        names = files.namelist()
    about = metadata(wheels[name])
    assert any(name.endswith("licenses/LICENSE") for name in names)
    assert f"task_status_{name}/py.typed" in names
    assert about["Author"] == "The task-status authors"
    assert about["License-Expression"] == "MIT"
    assert about["Keywords"]
    assert "Programming Language :: Python :: 3.13" in about.get_all("Classifier")
    assert f"# task-status-{name}" in str(about.get_payload())


def test_the_service_runs_from_its_wheel(wheels, tmp_path):
    """The command of the service's wheel works in an empty environment, with its help and version."""
    programs = install(tmp_path, "service.txt", wheels["worker"], wheels["service"])
    assert run(programs / "task-status", "--version", cwd=tmp_path) == f"task-status, version {VERSION}\n"
    assert "serve" in run(programs / "task-status", "--help", cwd=tmp_path)
    read_version = "import task_status_service; print(task_status_service.__version__)"
    assert run(programs / "python", "-c", read_version, cwd=tmp_path) == f"{VERSION}\n"


def test_the_worker_runs_from_its_wheel(wheels, tmp_path):
    """Celery loads the demo app from the worker's wheel in an empty environment."""
    programs = install(tmp_path, "worker.txt", wheels["worker"])
    assert "software -> celery:" in run(programs / "celery", "-A", "task_status_worker.demo", "report", cwd=tmp_path)
    read_version = "import task_status_worker; print(task_status_worker.__version__)"
    assert run(programs / "python", "-c", read_version, cwd=tmp_path).strip()
