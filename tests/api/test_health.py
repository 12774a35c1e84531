"""`/livez` and `/readyz`."""

from api.problems import problem_of


def test_alive_without_anything(client, store, broker):
    """A process is alive whatever its surroundings do, and asks them nothing."""
    store.down = broker.down = True

    response = client.get("/livez")

    assert (response.status_code, response.get_json()) == (200, {"status": "alive"})


def test_ready(client):
    """Ready: Redis and the broker answer, and a worker was seen."""
    response = client.get("/readyz")

    assert (response.status_code, response.get_json()) == (200, {"status": "ready"})


def test_says_what_is_missing(client, store, broker):
    """Each part that is missing is named."""
    store.worker_seen = None
    broker.down = True
    problem = problem_of(client.get("/readyz"), 503, "not-ready")
    assert [error["detail"] for error in problem["errors"]] == ["broker: does not answer", "worker: none was ever seen"]

    store.down = True
    problem = problem_of(client.get("/readyz"), 503, "not-ready")
    assert [error["detail"].split(":")[0] for error in problem["errors"]] == ["store", "broker", "worker"]
