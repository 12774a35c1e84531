"""`GET /task-types` and `GET /task-types/{name}`."""

import json

import pytest
from support.problems import problem_of
from support.use_cases import ADD, create_api
from task_status_service.task_types.catalog import Catalog


@pytest.fixture
def more_types(store):
    """Announcements of unusual task types, and one live worker for `demo.add`."""
    at = store.time.timestamp()
    for announced in (
        {"name": "shop/pay it?", "announced_at": at},
        {
            "name": "shop/pay#1",
            "queue": "pay",
            "arguments": True,
            "var_positional": {"type": "string"},
            "announced_at": at,
        },
        {"name": "odd", "arguments": 3, "var_positional": False, "announced_at": at},
    ):
        store.announced[announced["name"].encode()] = json.dumps(announced).encode()
    entry = {"task_types": ["demo.add"], "queues": ["sums"], "announced_at": at}
    store.consumer_entries["w@h/1"] = json.dumps(entry).encode()


@pytest.mark.usefixtures("more_types")
def test_a_task_type_is_returned_as_announced(client):
    """The response has the announcement of a worker and the number of live workers for the type."""
    response = client.get("/task-types/demo.add")

    assert response.status_code == 200
    assert response.get_json() == {
        "name": "demo.add",
        "doc": "Add two numbers.",
        "queue": "sums",
        "workers": 1,
        "ignores_result": False,
        "arguments": ADD["arguments"],
        "positional": ["x", "y"],
        "positional_only": 0,
        "var_positional": False,
    }


@pytest.mark.usefixtures("more_types")
def test_the_list_contains_all_types_that_clients_may_submit(client):
    """The list is sorted by name, each type as a single read returns it; types with invalid names are omitted."""
    items = client.get("/task-types").get_json()["items"]

    assert [item["name"] for item in items] == ["demo.add", "odd", "shop/pay#1"]
    assert items[0] == client.get("/task-types/demo.add").get_json()
    assert items[2] == client.get("/task-types/shop/pay%231").get_json()
    assert [item["arguments"] for item in items[1:]] == [{"type": "object"}] * 2
    assert [item["var_positional"] for item in items] == [False, False, True]
    assert [item["workers"] for item in items] == [1, 0, 0]


@pytest.mark.parametrize(
    "name", ["demo.other", "celery.backend_cleanup", "demo.add/", "a%20b", "%00", "%ff", "x" * 300]
)
def test_an_unknown_task_type_gets_404(client, name):
    """A task type that clients may not submit gets 404, and so does an invalid name."""
    response = client.get(f"/task-types/{name}")

    assert problem_of(response, 404, "task-type-not-found")["instance"].startswith("/task-types/")


@pytest.mark.parametrize("path", ["/task-types", "/task-types/demo.add"])
def test_a_conditional_request_gets_304(client, store, path):
    """A matching ETag gets 304; a changed announcement changes the ETag."""
    response = client.get(path)
    etag = response.headers["ETag"]
    assert response.headers["Cache-Control"] == "private, no-cache"

    for sent in (etag, f"W/{etag}", f'"other", {etag}', "*"):
        again = client.get(path, headers={"If-None-Match": sent})
        assert (again.status_code, again.data, again.headers["ETag"]) == (304, b"", etag)
    assert client.get(path, headers={"If-None-Match": '"other"'}).status_code == 200

    store.announced[b"demo.add"] = store.announced[b"demo.add"].replace(b"two numbers", b"some numbers")
    client = create_api(None, None, None, catalog=Catalog(store.announcements)).test_client()  # an empty cache
    assert client.get(path, headers={"If-None-Match": etag}).status_code == 200


def test_task_types_get_503_while_the_store_is_down(client, store):
    """An unavailable store results in 503."""
    store.down = True

    problem_of(client.get("/task-types"), 503, "store-unavailable")
    problem_of(client.get("/task-types/demo.add"), 503, "store-unavailable")


def test_the_catalog_is_cached(client, store):
    """The first request needs two round trips to the store, the next ones none."""
    before = store.trips
    for _ in range(3):
        client.get("/task-types")
        client.get("/task-types/demo.add")
    assert store.trips == before + 2
