"""`/livez` and `/readyz`."""

import threading
from concurrent.futures import ThreadPoolExecutor

import pytest
from support.fakes import MemoryBroker
from support.keys import WORKING, MemoryKeys, bearer
from support.problems import problem_of
from support.use_cases import create_api, create_readiness
from task_status_service.access.caller import Scope
from task_status_service.api.auth.authentication import Access
from task_status_service.errors import StoreVolatile
from task_status_service.use_cases.readiness import Readiness, VolatileStore


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


def test_strangers_read_only_the_verdict(store, broker):
    """Without a key there are no warnings, no epoch and no addresses; these need the scope `tracebacks`."""
    store.warnings, store.cause = ["has lost its data"], "Redis at db.internal:6379 does not answer."
    keys = MemoryKeys()
    tenant, operator = keys.add("shop"), keys.add("ops", [*WORKING, Scope.TRACEBACKS])
    app = create_api(None, None, None, readiness=create_readiness(store, broker), access=Access(keys))
    client = app.test_client()
    callers = ({}, {"Authorization": "Bearer wrong"}, bearer(tenant), bearer(operator))
    epochs = [client.get("/readyz", headers=headers).get_json() for headers in callers]

    nothing = {"status": "ready", "store_epoch": None, "warnings": []}
    everything = {"status": "ready", "store_epoch": store.epoch, "warnings": store.warnings}
    assert epochs == [nothing, nothing, everything, everything]

    store.down = True
    details = [client.get("/readyz", headers=headers).get_json()["errors"][0]["detail"] for headers in callers]
    assert details == ["store: The store does not answer: retry later."] * 3 + [f"store: {store.cause}"]


def test_concurrent_requests_share_one_check(store):
    """Requests within a second, also concurrent ones, cost one check."""
    seconds, checks = [0.0], []
    begun, may_end = threading.Event(), threading.Event()

    class SlowBroker(MemoryBroker):
        def check(self):
            checks.append(seconds[0])
            begun.set()
            may_end.wait(5)

    readiness = Readiness(store, SlowBroker(), volatile_store=VolatileStore.WARN, clock=lambda: seconds[0])
    with ThreadPoolExecutor(16) as pool:
        found = [pool.submit(readiness.health) for _ in range(16)]
        assert begun.wait(5)
        may_end.set()
        assert len({id(one.result(5)) for one in found}) == 1
    assert checks == [0.0]
    seconds[0] = 0.9
    readiness.health()
    assert checks == [0.0]
    seconds[0] = 1.0
    readiness.health()
    assert checks == [0.0, 1.0]
