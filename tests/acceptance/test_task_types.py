"""Task types, from the signature in a worker to the answer of the service."""

from support.servers import wait_until

from .conftest import Service


def test_announced_task_type(service: Service) -> None:
    """A task type of the demo worker is listed with its arguments and the number of workers."""

    def look() -> object:
        count = service.session.get(f"{service.url}/task-types/demo.count", timeout=10).json()
        return count.get("workers") and count

    count = wait_until(look, what="a worker of demo.count")
    assert isinstance(count, dict)
    assert (count["queue"], count["workers"], count["positional"]) == ("demo", 1, ["total", "interval"])
    assert count["arguments"]["properties"]["interval"]["default"] == 0.1
    assert count["doc"].startswith("Count up to `total`")

    listed = service.session.get(f"{service.url}/task-types", timeout=10).json()["items"]
    assert count in listed
    assert not [item["name"] for item in listed if item["name"].startswith("celery.")]
    assert service.session.get(f"{service.url}/task-types/demo.nothing", timeout=10).status_code == 404


def test_arguments_are_checked_against_the_announcement(service: Service) -> None:
    """Invalid positional and keyword arguments are both rejected."""
    for arguments in ({"args": [0]}, {"kwargs": {"total": 0}}):
        faults = service.post("demo.count", args=arguments.get("args", []), kwargs=arguments.get("kwargs", {})).json()
        assert [fault["pointer"] for fault in faults["errors"]] == [
            "#/args/0" if "args" in arguments else "#/kwargs/total"
        ]
