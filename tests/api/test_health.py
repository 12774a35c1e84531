"""`/livez` and `/readyz`."""

import pytest
from support.fakes import MemoryBroker
from support.problems import problem_of
from support.use_cases import create_api
from task_status_service.errors import StoreVolatile
from task_status_service.use_cases.readiness import Readiness, VolatileStore


def test_alive_without_anything(client, store, broker):
    """A process is alive whatever its surroundings do, and asks them nothing."""
    store.down = broker.down = True

    response = client.get("/livez")

    assert (response.status_code, response.get_json()) == (200, {"status": "alive"})


def test_ready(client):
    """Ready: Redis and the broker answer, and a worker was seen."""
    response = client.get("/readyz")

    assert response.status_code == 200
    assert response.get_json() == {"status": "ready", "store_epoch": "2026-01-02T03:04:05Z/9f2c61ab", "warnings": []}


@pytest.mark.parametrize(
    ("volatile_store", "told"),
    [
        (VolatileStore.WARN, ["keeps nothing", "has lost its data"]),
        (VolatileStore.ACCEPT, ["has lost its data"]),
        (VolatileStore.REFUSE, None),
    ],
)
def test_a_store_that_may_lose_tasks(store, volatile_store, told):
    """It is told, or not, or is no store to serve with, as the settings say; data that is lost is told in any case."""
    store.durability_warnings, store.warnings = ["keeps nothing"], ["has lost its data"]
    readiness = Readiness(store, MemoryBroker(), volatile_store=volatile_store)
    response = create_api(None, None, None, readiness=readiness).test_client().get("/readyz")

    assert response.get_json().get("warnings") == told
    if told is None:
        [error] = problem_of(response, 503, "not-ready")["errors"]
        assert error["detail"].startswith("store: keeps nothing `TASK_STATUS_VOLATILE_STORE=refuse`")
        with pytest.raises(StoreVolatile, match="keeps nothing"):
            readiness.check_store()
    else:
        assert readiness.check_store() == told


def test_says_what_is_missing(client, store, broker):
    """Each part that is missing is named."""
    store.worker_seen = None
    broker.down = True
    problem = problem_of(client.get("/readyz"), 503, "not-ready")
    assert [error["detail"] for error in problem["errors"]] == [
        "broker: does not answer",
        "worker: no worker has sent a heartbeat: start one",
    ]

    store.down = True
    problem = problem_of(client.get("/readyz"), 503, "not-ready")
    assert [error["detail"].split(":")[0] for error in problem["errors"]] == ["store", "broker", "worker"]
