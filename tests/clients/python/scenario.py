"""Uses each operation of the generated Python client, and asserts the type of each response.

The URL and the key come from the environment. Each step prints its results as JSON, which the test checks.
"""

import json
import os
import time
from collections.abc import Iterator
from datetime import datetime
from http import HTTPStatus
from typing import Any, assert_type

import httpx
from task_status_client import AuthenticatedClient
from task_status_client.api.actions import cancel_task
from task_status_client.api.events import watch_task
from task_status_client.api.tasks import get_task, list_tasks, submit_task
from task_status_client.errors import UnexpectedStatus
from task_status_client.models import (
    Cancellation,
    Failure,
    FailureKind,
    Liveness,
    Problem,
    Progress,
    Submission,
    SubmissionKwargs,
    SubmissionLabels,
    TaskList,
    TaskState,
    TaskStatus,
    TaskStatusLabels,
)
from task_status_client.types import UNSET, Response, Unset


def submission(name: str, labels: dict[str, str] | None = None, **arguments: Any) -> Submission:
    """Return a submission with keyword arguments."""
    return Submission(
        name, kwargs=SubmissionKwargs.from_dict(arguments), labels=SubmissionLabels.from_dict(labels or {})
    )


def submit(client: AuthenticatedClient, body: Submission, wait: float = 0) -> TaskStatus:
    """Submit a task; the service must accept it."""
    task = submit_task.sync(client=client, body=body, wait=wait)
    assert isinstance(task, TaskStatus), task
    return task


def poll(client: AuthenticatedClient, task: TaskStatus) -> Iterator[TaskStatus | None]:
    """Poll a task with the pauses of Retry-After; yield each new status, and None for a 304."""
    etag = ""
    while not task.done:
        response = get_task.sync_detailed(task.id, client=client, if_none_match=etag)
        assert_type(response, Response[Any | Problem | TaskStatus])
        if response.status_code == HTTPStatus.NOT_MODIFIED:
            assert response.parsed is None
            yield None
        else:
            assert isinstance(response.parsed, TaskStatus), response
            task = response.parsed
            yield task
        etag = response.headers["ETag"]
        if not task.done:
            time.sleep(int(response.headers["Retry-After"]))


def follow_by_etag(client: AuthenticatedClient) -> None:
    """Submit a task and poll it with ETags until it is done."""
    # demo.sleep reports no progress, so that a poll returns 304.
    seen = list(poll(client, submit(client, submission("demo.sleep", seconds=3))))
    statuses = [status for status in seen if status is not None]
    assert None in seen
    assert statuses[0].state in {TaskState.QUEUED, TaskState.RUNNING}
    last = statuses[-1]
    assert_type(last.id, str)
    assert_type(last.state, TaskState)
    assert_type(last.liveness, Liveness)
    assert_type(last.done, bool)
    assert_type(last.successful, bool | None)
    assert_type(last.progress, Progress | None)
    assert_type(last.failure, Failure | None)
    assert_type(last.labels, TaskStatusLabels)
    assert_type(last.finished_at, datetime | None)
    assert last.state is TaskState.SUCCEEDED
    assert last.result == 3
    assert last.finished_at is not None
    assert last.finished_at.tzinfo is not None
    print(json.dumps({"seen": [None if status is None else status.state.value for status in seen]}))


def wait(client: AuthenticatedClient) -> None:
    """Wait for the end of a task, and for a change of its progress."""
    assert submit(client, submission("demo.add", x=2, y=3), wait=10).result == 5
    task = submit(client, submission("demo.checkpointed", total=10))
    while not task.done and task.progress is None:
        etag = get_task.sync_detailed(task.id, client=client).headers["ETag"]
        changed = get_task.sync(task.id, client=client, if_none_match=etag, wait=10)
        task = changed if isinstance(changed, TaskStatus) else task
    assert task.progress is not None
    assert_type(task.progress.percent, float | None)
    assert task.progress.total == 10
    done = get_task.sync(task.id, client=client, wait=20)
    assert isinstance(done, TaskStatus)
    assert done.done
    print(json.dumps({"waited": done.state.value}))


def failure(client: AuthenticatedClient) -> None:
    """Read the failure of a task."""
    body = submission("demo.fail_with_details", message="too much", details={"field": "amount"})
    task = submit(client, body, wait=10)
    assert task.state is TaskState.FAILED
    assert task.failure is not None
    assert_type(task.failure.kind, FailureKind)
    assert_type(task.failure.message, str)
    assert task.failure.kind is FailureKind.EXCEPTION
    assert task.failure.message == "too much"
    print(json.dumps({"failure": task.failure.to_dict()}))


def problems(client: AuthenticatedClient) -> None:
    """Read an unknown task, submit invalid arguments, and send an invalid key."""
    not_found = get_task.sync("no-such-task", client=client)
    assert isinstance(not_found, Problem)
    assert_type(not_found.status, int)
    assert (not_found.status, not_found.type_) == (404, "/problems/task-not-found")
    invalid = submit_task.sync(client=client, body=submission("demo.add", x="two", y=3))
    assert isinstance(invalid, Problem)
    assert (invalid.status, invalid.type_) == (422, "/problems/validation")
    assert [fault.pointer for fault in invalid.errors] == ["#/kwargs/x"]
    with AuthenticatedClient(os.environ["TASK_STATUS_URL"], "invalid-key") as unauthorized:
        rejected = get_task.sync("no-such-task", client=unauthorized)
    assert isinstance(rejected, Problem)
    assert rejected.status == 401
    print(json.dumps({"problems": [not_found.status, invalid.status, rejected.status]}))


def cancel(client: AuthenticatedClient) -> None:
    """Cancel a running task; a second cancel succeeds too."""
    task = submit(client, submission("demo.sleep", seconds=600))
    canceling = cancel_task.sync(task.id, client=client, body=Cancellation(terminate=True))
    assert isinstance(canceling, TaskStatus)
    assert canceling.cancel_requested
    canceled = get_task.sync(task.id, client=client, wait=20)
    assert isinstance(canceled, TaskStatus)
    assert canceled.state is TaskState.CANCELED
    again = cancel_task.sync_detailed(task.id, client=client)
    assert again.status_code == HTTPStatus.OK
    print(json.dumps({"canceled": canceled.state.value}))


def pages(client: AuthenticatedClient) -> None:
    """List the tasks with a label, page by page."""
    labels = {"walk": f"python-{time.time_ns()}"}
    ids = {submit(client, submission("demo.add", labels, x=1, y=number), wait=10).id for number in range(5)}
    label = [f"walk:{labels['walk']}"]
    found: list[str] = []
    sizes: list[int] = []
    cursor: str | Unset | None = UNSET
    while cursor is not None:
        page = list_tasks.sync(client=client, label=label, state=[TaskState.SUCCEEDED], limit=2, cursor=cursor)
        assert isinstance(page, TaskList), page
        assert all(task.labels["walk"] == labels["walk"] for task in page.items)
        found += [task.id for task in page.items]
        sizes.append(len(page.items))
        cursor = page.next_cursor
    assert len(found) == len(ids)
    assert set(found) == ids
    print(json.dumps({"pages": sizes}))


def events(client: AuthenticatedClient) -> None:
    """Follow a task by its events: the client's connection can stream, but its functions read to the end."""
    task = submit(client, submission("demo.checkpointed", total=5))
    seen: list[TaskStatus] = []
    # The README shows it from here
    with client.get_httpx_client().stream("GET", f"/tasks/{task.id}/events", timeout=60) as stream:
        for line in stream.iter_lines():
            if line.startswith("data: "):
                status = TaskStatus.from_dict(json.loads(line.removeprefix("data: ")))
                # to here.
                seen.append(status)
    assert seen[-1].done
    assert not seen[0].done
    whole = watch_task.sync(task.id, client=client)
    assert isinstance(whole, str)
    print(json.dumps({"events": [status.state.value for status in seen]}))


def later(client: AuthenticatedClient) -> None:
    """Read statuses of a later version: a new member is kept, a new enum value is an error."""
    sent = submit(client, submission("demo.add", x=1, y=1), wait=10).to_dict()
    status = TaskStatus.from_dict({**sent, "added_later": "kept"})
    assert status.state is TaskState.SUCCEEDED
    try:
        TaskStatus.from_dict({**sent, "state": "paused"})
    except ValueError:
        print(json.dumps({"later": status.additional_properties["added_later"]}))
    # The client has no default timeout.
    assert client.get_httpx_client().timeout == httpx.Timeout(None)


def proxy(_: AuthenticatedClient) -> None:
    """Read the response of a proxy whose service is unavailable."""
    bad_gateway = httpx.MockTransport(lambda _: httpx.Response(502, text="<html>Bad Gateway</html>"))
    for raises in (False, True):
        client = AuthenticatedClient("http://proxy", "key", raise_on_unexpected_status=raises)
        client.set_httpx_client(httpx.Client(base_url="http://proxy", transport=bad_gateway))
        try:
            assert get_task.sync("t-1", client=client) is None
        except UnexpectedStatus as error:
            assert raises
            print(json.dumps({"proxy": error.status_code}))


def main() -> None:
    """Run all steps."""
    with AuthenticatedClient(os.environ["TASK_STATUS_URL"], os.environ["TASK_STATUS_API_KEY"]) as client:
        for step in (follow_by_etag, wait, failure, problems, cancel, pages, events, later, proxy):
            step(client)


if __name__ == "__main__":
    main()
