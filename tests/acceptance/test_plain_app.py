"""Tasks of a Celery app without the worker kit are reported as far as Celery's meta describes them."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from support.redis_users import service_environ, worker_url
from support.servers import RedisServer, running_service, running_worker

from acceptance.conftest import Service


@pytest.fixture(scope="module")
def plain(real_redis: RedisServer, folder: Path) -> Iterator[Service]:
    """A worker without the kit, and a service whose settings allow its tasks."""
    database = {name: url.removesuffix("/0") + "/1" for name, url in service_environ(real_redis).items()}
    environ = {
        **database,
        "TASK_STATUS_TASKS": "plain.*",
        "TASK_STATUS_DEFAULT_QUEUE": "plain",
    }
    with (
        running_worker(
            "acceptance.plain_app", redis_url=worker_url(real_redis).removesuffix("/0") + "/1", folder=folder
        ),
        running_service(environ, folder=folder) as service_url,
    ):
        service = Service(service_url)
        yield service
        service.session.close()


def test_succeeds(plain: Service) -> None:
    """The record contributes the submission, Celery's meta the result."""
    task = plain.wait(plain.post("plain.add", args=[2, 3], labels={"a": "b"}).json()["id"])

    assert (task["state"], task["result"], task["labels"]) == ("succeeded", 5, {"a": "b"})
    assert task["name"] == "plain.add"


def test_reports_progress(plain: Service) -> None:
    """A task in a custom state with progress is running."""
    statuses = plain.follow(plain.submit("plain.progress", steps=10))

    assert any((status["state"], status["celery_state"]) == ("running", "CRUNCHING") for status in statuses)
    assert statuses[-1]["result"] == "crunched"


def test_fails(plain: Service) -> None:
    """A failure has the type and message of the exception."""
    failure = plain.run("plain.fail")["failure"]

    assert (failure["type"], failure["message"], failure["kind"]) == ("KeyError", "nothing there", "exception")


def test_poison(plain: Service) -> None:
    """A FAILURE that Celery cannot read has a message and a diagnostic."""
    task = plain.run("plain.poison")

    assert (task["state"], task["failure"]["message"]) == ("failed", "disk full")
    assert [diagnostic["code"] for diagnostic in task["diagnostics"]] == ["nonstandard_failure"]


def test_retries(plain: Service) -> None:
    """A retrying task has the failure of its last attempt."""
    task = plain.wait(plain.submit("plain.retry"), lambda task: task["state"] == "retrying")

    assert (task["done"], task["failure"]["type"], task["failure"]["message"]) == (False, "OSError", "not yet")


def test_task_type_outside_the_settings(plain: Service) -> None:
    """A submission of a task type that the settings do not allow is rejected."""
    assert plain.post("demo.add", args=[1, 2]).status_code == 422
