"""A list counts as one request for each 50 tasks that it may return."""

from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from support.keys import bearer
from support.problems import problem_of
from task_status_service.access.api_keys import new_key
from task_status_service.access.caller import Scope
from task_status_service.access.keys_file import change
from task_status_service.app import create_service
from task_status_service.settings import Settings

OWNERS = [f"owner-{number}" for number in range(8)]
BURST = 10


@pytest.fixture
def clients(redis_url: str, tmp_path: Path) -> Iterator[Callable[[str], Any]]:
    """Functions that request a path with the key of an owner, each with its own limit."""
    path, texts = tmp_path / "keys.json", {}
    for owner in OWNERS:
        key, texts[owner] = new_key(owner, {Scope.READ}, created_at=datetime.now(UTC), expires_at=None)
        change(path, lambda held, key=key: held.with_key(key))
    service = create_service(
        Settings(
            broker_url=redis_url,
            result_url=redis_url,
            record_url=redis_url,
            api_keys_file=path,
            requests_per_second=1,
        )
    )
    client = service.app.test_client()
    yield iter([lambda where, text=text: client.get(where, headers=bearer(text)) for text in texts.values()])
    service.close()


def left(response: Any) -> int:
    """Return the remaining requests of a response."""
    assert response.status_code == 200, response.text
    return int(response.headers["RateLimit"].partition("r=")[2].partition(";")[0])


@pytest.mark.parametrize(
    ("query", "cost"),
    [
        ("", 1),
        ("?limit=1&label=a:b&name=demo.add", 1),
        ("?limit=50", 1),
        ("?limit=51", 2),
        ("?limit=200", 4),
        ("?id=a", 1),
        (f"?{'&'.join(f'id={number}' for number in range(51))}", 2),
    ],
)
def test_a_list_counts_by_its_size(clients: Iterator[Callable[[str], Any]], query: str, cost: int) -> None:
    """The RateLimit header shows what a list has cost; the default page costs as much as a read."""
    assert left(next(clients)(f"/tasks{query}")) == BURST - cost


def test_a_list_beyond_the_limit_is_rejected(clients: Iterator[Callable[[str], Any]]) -> None:
    """A list that costs more than is left gets 429, and other owners are not affected."""
    get, other = next(clients), next(clients)
    assert [get("/tasks?limit=200").status_code for _ in range(2)] == [200, 200]

    problem_of(get("/tasks?limit=200"), 429, "rate-limited")
    assert left(other("/tasks")) == BURST - 1


def test_an_invalid_list_costs_one_request(clients: Iterator[Callable[[str], Any]]) -> None:
    """A request that is rejected costs no more than a read."""
    get = next(clients)
    problem_of(get("/tasks?limit=200&name="), 422, "validation")

    assert left(get("/tasks")) == BURST - 2
