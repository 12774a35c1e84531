"""The client commands as subprocesses, against the real service and a real worker."""

import json
import os
import signal
import subprocess
import sys
from typing import Any

from support.servers import wait_until

from .conftest import Service


def start(service: Service, *words: str, **options: Any) -> subprocess.Popen[str]:
    """Start a command."""
    environ = {**os.environ, "TASK_STATUS_URL": service.url}
    command = [sys.executable, "-m", "task_status_service.cli", *words]
    pipe = subprocess.PIPE
    return subprocess.Popen(command, env=environ, stdout=pipe, stderr=pipe, text=True, **options)


def run(service: Service, *words: str) -> tuple[int, str, str]:
    """Run a command to its end."""
    process = start(service, *words)
    out, err = process.communicate(timeout=30)
    return process.returncode, out, err


def test_submit_and_follow(service: Service) -> None:
    """Progress goes to stderr, and the result to stdout."""
    code, out, err = run(service, "submit", "demo.count", "total=10", "interval=0.05", "--follow")

    assert (code, out) == (0, "10\n"), err
    lines = err.splitlines()
    assert lines[0].startswith("task ")
    assert lines[-1] == "succeeded 100%"
    assert any(line.startswith("running ") for line in lines)

    code, out, err = run(service, "submit", "demo.fail", "message=boom", "-f", "--json")
    assert code == 1, err
    assert json.loads(out.splitlines()[-1])["failure"]["message"] == "boom"


def test_watch_cancel_retry_list(service: Service) -> None:
    """A watched task is killed, retried and listed with its retry."""
    _, out, _ = run(service, "submit", "demo.sleep", "seconds=60", "--label", "suite:commands")
    task_id = out.strip()
    service.wait(task_id, lambda task: task["state"] == "running")
    watching = start(service, "watch", task_id, "--json")
    assert run(service, "cancel", task_id, "--terminate") == (0, "canceling\n", "")
    out, _ = watching.communicate(timeout=30)
    assert watching.returncode == 3
    assert json.loads(out.splitlines()[-1])["state"] == "canceled"

    code, out, _ = run(service, "retry", task_id)
    assert code == 0
    again = out.strip()
    assert run(service, "cancel", again, "--terminate")[0] == 0
    _, out, _ = run(service, "list", "--label", "suite:commands", "--json")
    assert [json.loads(line)["id"] for line in out.splitlines()] == [again, task_id]


def test_interrupt_does_not_stop_the_task(service: Service) -> None:
    """Ctrl-C ends the command; the task continues."""
    process = start(service, "submit", "demo.count", "total=100000", "--follow")
    assert process.stderr is not None
    task_id = process.stderr.readline().split()[1]
    wait_until(lambda: process.stderr and "running" in process.stderr.readline(), what="a line of progress")
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=10)

    assert process.returncode == 130
    assert f"task-status watch {task_id}" in err
    assert service.read(task_id)["state"] == "running"
    assert run(service, "cancel", task_id, "--terminate")[0] == 0


def test_types_lists_announced_task_types(service: Service) -> None:
    """`types` lists the task types that the demo worker announces."""
    wait_until(
        lambda: "demo.add\t1\tdemo\tAdd two numbers." in run(service, "types")[1].splitlines(),
        what="a worker of demo.add",
    )
    code, out, _ = run(service, "types", "demo.add", "--json")
    assert (code, json.loads(out)["positional"]) == (0, ["x", "y"])
