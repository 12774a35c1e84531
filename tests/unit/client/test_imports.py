"""The commands of the service run without the packages of the client."""

import subprocess
import sys

import pytest


@pytest.mark.parametrize("words", ["serve --help", "dev --help", "openapi --help"])
def test_service_commands_do_not_import_the_client(words):
    """They import neither the client nor rich and urllib3, which may not be installed."""
    script = f"""
import sys
sys.argv = ["task-status", *{words.split()!r}]
from task_status_service.cli.main import main
main(standalone_mode=False)
print([name for name in ("rich", "urllib3", "task_status_service.client") if name in sys.modules])
"""
    shown = subprocess.run([sys.executable, "-c", script], check=True, capture_output=True, text=True).stdout
    assert shown.splitlines()[-1] == "[]"


def test_missing_extra_prints_how_to_install_it(tmp_path):
    """Without rich, a client command prints the pip command instead of a traceback."""
    (tmp_path / "rich.py").write_text("raise ModuleNotFoundError('No module named rich')")
    done = subprocess.run(
        [sys.executable, "-m", "task_status_service.cli", "types"],
        env={"PYTHONPATH": str(tmp_path)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert "pip install 'task-status-service[client]'" in done.stderr
    assert "Traceback" not in done.stderr
