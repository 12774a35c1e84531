"""The file that heartbeats touch, and the command that reads its age."""

import os
import time
from pathlib import Path

import pytest
from task_status_worker import alive


@pytest.fixture
def file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The file of the worker `celery@h/1`, in an empty folder."""
    monkeypatch.setattr(alive.tempfile, "gettempdir", lambda: str(tmp_path))
    return alive.alive_file("celery@h/1")


def test_a_worker_is_alive_after_a_touch(file: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The exit code is 0 after a touch."""
    alive.touch(file)
    assert alive.main(["alive", "celery@h/1"]) == 0
    assert capsys.readouterr().out == "celery@h/1: last heartbeat 0 s ago\n"


def test_a_worker_is_dead_without_a_recent_touch(file: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The exit code is 1 without a file, and after the maximum age; a later touch makes the file current."""
    assert alive.main(["alive", "celery@h/1"]) == 1
    alive.touch(file)
    old = time.time() - 31
    os.utime(file, (old, old))
    assert alive.main(["alive", "celery@h/1"]) == 1
    assert alive.main(["alive", "celery@h/1", "--max-age", "60"]) == 0
    alive.touch(file)
    assert alive.main(["alive", "celery@h/1"]) == 0
    assert "no heartbeat" in capsys.readouterr().out


def test_a_link_is_not_followed(file: Path, tmp_path: Path) -> None:
    """A symbolic link that another user has put there is not followed."""
    target = tmp_path / "target"
    file.symlink_to(target)
    with pytest.raises(OSError, match="symbolic"):
        alive.touch(file)
    assert not target.exists()
