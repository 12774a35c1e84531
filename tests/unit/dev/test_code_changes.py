"""The watcher of the code, for `task-status dev --reload`."""

import sys

import pytest
from click.testing import CliRunner
from task_status_service.cli.main import main
from task_status_service.dev.code_changes import code_changes
from task_status_service.errors import ReloadMissing


def test_watchfiles_is_optional(monkeypatch):
    """Without watchfiles, `--reload` ends with a sentence that names the command to install it."""
    monkeypatch.setitem(sys.modules, "watchfiles", None)
    with pytest.raises(ReloadMissing):
        code_changes()
    result = CliRunner().invoke(main, ["dev", "--reload"])
    assert result.exit_code == 1
    assert "pip install 'task-status-service[reload]'" in result.output
