"""`/livez` and `/readyz`."""

import pytest
from support.fakes import MemoryBroker
from support.problems import problem_of
from support.use_cases import create_api, create_readiness
from task_status_service.errors import StoreVolatile
from task_status_service.use_cases.readiness import VolatileStore


def test_liveness_ignores_other_services(client, store, broker):
    """A process is alive without Redis and the broker."""
    store.down = broker.down = True

    response = client.get("/livez")

    assert (response.status_code, response.get_json()) == (200, {"status": "alive"})


def test_ready_with_redis_broker_and_worker(client):
    """The service is ready if Redis and the broker answer, and a worker was seen."""
    response = client.get("/readyz")

    assert response.status_code == 200
    assert response.get_json() == {"status": "ready", "store_epoch": "2026-01-02T03:04:05Z/9f2c61ab", "warnings": []}


@pytest.mark.parametrize(
    ("volatile_store", "warnings"),
    [
        (VolatileStore.WARN, ["keeps nothing", "has lost its data"]),
        (VolatileStore.ACCEPT, ["has lost its data"]),
        (VolatileStore.REFUSE, None),
    ],
)
def test_a_volatile_store_is_reported(store, volatile_store, warnings):
    """The setting reports, ignores or rejects a volatile store; lost data is always reported."""
    store.durability_warnings, store.warnings = ["keeps nothing"], ["has lost its data"]
    readiness = create_readiness(store, MemoryBroker(), volatile_store=volatile_store)
    response = create_api(None, None, None, readiness=readiness).test_client().get("/readyz")

    assert response.get_json().get("warnings") == warnings
    if warnings is None:
        [error] = problem_of(response, 503, "not-ready")["errors"]
        assert error["detail"].startswith("store: keeps nothing `TASK_STATUS_VOLATILE_STORE=refuse`")
        with pytest.raises(StoreVolatile, match="keeps nothing"):
            readiness.check_store()
    else:
        assert readiness.check_store() == warnings


def test_each_failed_check_is_listed(client, store, broker):
    """Each failed check has its own error."""
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
