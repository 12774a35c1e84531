"""What the commands of the service pay for those of its client: nothing."""

import subprocess
import sys

import pytest


@pytest.mark.parametrize("words", ["serve --help", "dev --help", "openapi --help"])
def test_the_service_does_not_import_its_client(words):
    """Neither the client nor what only the client needs, which may not be installed."""
    script = f"""
import sys
sys.argv = ["task-status", *{words.split()!r}]
from task_status_service.cli.main import main
main(standalone_mode=False)
print([name for name in ("rich", "urllib3", "task_status_service.client") if name in sys.modules])
"""
    shown = subprocess.run([sys.executable, "-c", script], check=True, capture_output=True, text=True).stdout
    assert shown.splitlines()[-1] == "[]"


def test_a_client_that_is_not_installed_says_how(tmp_path):
    """Not by a traceback."""
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
