"""A user's folder, in which tests run the commands of openapi/README.md offline."""

import os
import shutil
import subprocess
from collections.abc import Mapping
from pathlib import Path
from typing import Final

from clients.readme import EXAMPLES, ROOT

HERE: Final = Path(__file__).parent
#: made by `make test-clients`: the packages that the commands install, and the caches of uv, npm and Go
INSTALLED: Final = ROOT / ".venv-clients"


class Workspace:
    """A folder with the files that the README names; its commands find their packages without a network."""

    def __init__(self, folder: Path, service: Mapping[str, str]) -> None:
        self.folder = folder
        #: the finished process of each command
        self.ran: dict[str, subprocess.CompletedProcess[str]] = {}
        tools = (INSTALLED / "node_modules" / ".bin", INSTALLED / "bin", ROOT / ".venv" / "bin")
        paths = [folder / "node_modules" / ".bin", *tools, os.environ["PATH"]]
        lock = str(ROOT / "requirements" / "clients.txt")
        self.environ = {
            **{name: value for name, value in os.environ.items() if not name.startswith(("UV_", "npm_", "PYTHON"))},
            **service,
            "PATH": os.pathsep.join(map(str, paths)),
            "UV_CACHE_DIR": str(INSTALLED / "uv"),
            "UV_OFFLINE": "1",
            "UV_CONSTRAINT": lock,
            "UV_BUILD_CONSTRAINT": lock,
            "UV_PYTHON": str(INSTALLED / "bin" / "python"),
            "npm_config_cache": str(INSTALLED / "npm"),
            "npm_config_offline": "true",
            # Node and pyright, which no command installs.
            "npm_config_omit": "optional",
            # Packages run no scripts when npm installs them.
            "npm_config_ignore_scripts": "true",
            "GOFLAGS": "-mod=mod",
            "GOPROXY": "off",
            "GOTOOLCHAIN": "local",
            "GOPATH": str(folder / "gopath"),
            "GOCACHE": str(INSTALLED / "go-build"),
            "NO_COLOR": "1",
        }
        for file in EXAMPLES.iterdir():
            if file.is_file() and not file.name.startswith("."):
                shutil.copy(file, folder)
        # npm installs the versions of this lock, so that each run uses the same ones.
        for name in ("package.json", "package-lock.json"):
            shutil.copy(HERE / name, folder)

    def run(self, *command: str, timeout: float = 100) -> subprocess.CompletedProcess[str]:
        """Run a program; return the finished process, with its errors in stdout."""
        return subprocess.run(
            command,
            cwd=self.folder,
            env=self.environ,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=timeout,
            check=False,
        )

    def succeed(self, *command: str) -> str:
        """Run a program that must succeed; return its output."""
        done = self.run(*command)
        assert done.returncode == 0, f"{command}\n{done.stdout}"
        return done.stdout

    def type(self, command: str) -> None:
        """Run a command as a user types it, in a shell."""
        self.ran[command] = self.run("bash", "-c", command)
