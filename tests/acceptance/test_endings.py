"""Every end that only the worker's main process sees is the final state, on each supported Celery.

`make test-celery-versions` runs this module with workers of other versions.
"""

import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from support.servers import WORKER_PYTHON, RedisServer, running_service, running_worker, wait_until

from acceptance.conftest import Service


class Ending(NamedTuple):
    """The expected end of a task."""

    state: str
    #: kind of the failure; None without one
    kind: str | None = None
    celery_state: str = "FAILURE"
    result: Any = None
    executions: int = 1
    kwargs: dict[str, Any] = {}  # noqa: RUF012 - never changed


ENDINGS = {
    "killed": Ending("failed", "worker_lost"),
    "killed_late": Ending("failed", "worker_lost"),
    "killed_once": Ending("succeeded", celery_state="SUCCESS", result="second", executions=2),
    "hard_limit": Ending("failed", "timeout"),
    "hard_limit_late": Ending("failed", "timeout"),
    "soft_limit": Ending("failed", "timeout"),
    "soft_limit_caught": Ending("succeeded", celery_state="SUCCESS", result="a part"),
    "flaky": Ending("succeeded", celery_state="SUCCESS", result="in the end", executions=3, kwargs={"fail_times": 2}),
    "auto": Ending("failed", "exception", executions=2),
}


@pytest.fixture(scope="module")
def endings(real_redis: RedisServer, folder: Path) -> Iterator[Service]:
    """The service, with a prefork worker of the endings app."""
    url = real_redis.url.removesuffix("/0") + "/2"
    with (
        running_worker("acceptance.endings_app", "--concurrency", "4", redis_url=url, folder=folder),
        running_service({"TASK_STATUS_REDIS_URL": url}, folder=folder) as service_url,
    ):
        service = Service(service_url)
        wait_until(lambda: service.session.get(f"{service_url}/readyz", timeout=5).ok, what="ready")
        yield service
        service.session.close()


@pytest.fixture(scope="module")
def submitted(endings: Service) -> dict[str, str]:
    """The ids of all tasks; they run side by side."""
    return {name: endings.submit(f"endings.{name}", **ending.kwargs) for name, ending in ENDINGS.items()}


@pytest.mark.parametrize("name", ENDINGS)
def test_ending(endings: Service, submitted: dict[str, str], name: str) -> None:
    """A task ends as Celery stores it, with the kind of its failure."""
    expected = ENDINGS[name]
    task = endings.wait(submitted[name])
    kind = task["failure"]["kind"] if task["failure"] else None
    assert (task["state"], kind, task["celery_state"]) == (expected.state, expected.kind, expected.celery_state)
    assert (task["result"], task["executions"]) == (expected.result, expected.executions)


def test_a_running_task_is_terminated(endings: Service) -> None:
    """A terminated task is canceled."""
    task_id = endings.submit("endings.long")
    endings.wait(task_id, lambda task: task["state"] == "running")
    endings.session.post(f"{endings.url}/tasks/{task_id}/cancel", json={"terminate": True}, timeout=10)
    task = endings.wait(task_id)
    assert (task["state"], task["celery_state"]) == ("canceled", "REVOKED")


@pytest.mark.usefixtures("endings")
def test_the_worker_is_alive() -> None:
    """The command of the kit finds the heartbeat of the worker."""
    hostname = "acceptance.endings_app@test"
    command = [WORKER_PYTHON, "-m", "task_status_worker.alive", "alive"]
    wait_until(lambda: subprocess.run([*command, hostname], check=False).returncode == 0, what="the heartbeat")
    assert subprocess.run([*command, "celery@nowhere"], check=False).returncode == 1
