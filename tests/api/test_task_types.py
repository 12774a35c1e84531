"""`GET /task-types` and `GET /task-types/{name}`."""

import functools
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
    client = create_api(None, None, None, catalog=Catalog(store)).test_client()  # an empty cache
    assert client.get(path, headers={"If-None-Match": etag}).status_code == 200


def test_task_types_get_503_while_the_store_is_down(client, store):
    """An unavailable store results in 503."""
    store.down = True

    problem_of(client.get("/task-types"), 503, "store-unavailable")
    problem_of(client.get("/task-types/demo.add"), 503, "store-unavailable")


def test_the_catalog_is_cached(client, store):
    """The list, one task type and the workers need one round trip to the store each, and later requests none."""
    before = store.trips
    for _ in range(3):
        client.get("/task-types")
        client.get("/task-types/demo.add")
    assert store.trips == before + 3


@pytest.mark.usefixtures("more_types")
def test_the_list_says_whether_it_is_complete(client, store):
    """`truncated` means that the store has more task types than a list contains; each can be read by its name."""
    assert client.get("/task-types").get_json()["truncated"] is False
    store.is_complete = False
    again = create_api(None, None, None, catalog=Catalog(store)).test_client()
    assert again.get("/task-types").get_json()["truncated"] is True


HOSTILE = {
    "another type": 3,
    "an invalid schema": {"type": "nonsense"},
    "many levels": functools.reduce(lambda inner, _: {"not": inner}, range(900), {}),
    "a large schema": {"enum": ["x" * 70_000]},
}


@pytest.mark.parametrize("case", HOSTILE)
def test_an_unusable_schema_hides_no_task_type(client, store, case):
    """A task type with an unusable schema is listed, read and submitted like one that accepts anything."""
    announced = {"name": "odd", "arguments": HOSTILE[case], "announced_at": store.time.timestamp()}
    store.announced[b"odd"] = json.dumps(announced).encode()

    assert [item["name"] for item in client.get("/task-types").get_json()["items"]] == ["demo.add", "odd"]
    assert isinstance(client.get("/task-types/odd").get_json()["arguments"], dict)
    assert client.post("/tasks", json={"name": "odd", "args": [1], "kwargs": {"a": 2}}).status_code == 202


@pytest.mark.parametrize("text", [b'"\\ud800"', b'"\xff"'])
def test_unreadable_texts_in_a_schema(client, store, text):
    """A schema with texts that are no Unicode does not fail the list."""
    at = str(store.time.timestamp()).encode()
    store.announced[b"odd"] = b'{"name":"odd","arguments":{"enum":[' + text + b']},"announced_at":' + at + b"}"
    response = client.get("/task-types")
    assert response.status_code == 200
    response.data.decode()
