"""`GET /tasks`."""

import base64
import json
from datetime import timedelta

import pytest
from support.fakes import MemoryFeed
from support.problems import problem_of
from support.use_cases import create_api, create_tracker
from task_status_service.api.requests.cursor import from_cursor, to_cursor
from task_status_service.status import TaskState
from task_status_service.use_cases.listing import Position
from task_status_worker.record.model import Fact, Note


@pytest.fixture
def tasks(store):
    """A store with five tasks, one second apart."""
    for number, (name, fact, outcome) in enumerate(
        [
            ("demo.add", Fact.SUBMITTED, None),
            ("demo.add", Fact.FINISHED, "FAILURE"),
            ("demo.mul", Fact.STARTED, None),
            ("demo.mul", Fact.FINISHED, "PARTIAL"),
            ("demo.mul", Fact.FINISHED, "FAILURE"),
        ]
    ):
        labels = {"customer": "a:b" if number % 2 else "42", "number": str(number)}
        store.note(Note(task_id=f"t-{number}", fact=fact, name=name, labels=labels, outcome=outcome))
        store.time += timedelta(seconds=1)
    store.trips = 0
    return store


def ids_of(response):
    """Return the ids of a response; check that it has all keys."""
    assert response.status_code == 200, response.get_data(as_text=True)
    answer = response.get_json()
    assert answer.keys() == {"items", "next_cursor", "missing"}
    return [item["id"] for item in answer["items"]]


def put_meta(store, task_id, status, result=None):
    """Store a meta as Celery does."""
    store.metas[task_id] = json.dumps({"status": status, "result": result, "task_id": task_id}).encode()


def test_an_empty_list(client):
    """Without tasks the list is empty."""
    response = client.get("/tasks")

    assert response.get_json() == {"items": [], "next_cursor": None, "missing": []}
    assert response.content_type == "application/json"
    assert response.headers["Cache-Control"] == "private, no-cache"


def test_the_newest_task_comes_first(client, tasks):
    """The list contains all tasks, each as a single read returns it, in two round trips to the store."""
    response = client.get("/tasks")

    assert ids_of(response) == ["t-4", "t-3", "t-2", "t-1", "t-0"]
    assert tasks.trips == 2
    for item in response.get_json()["items"]:
        assert item == client.get(f"/tasks/{item['id']}").get_json()


@pytest.mark.usefixtures("tasks")
@pytest.mark.parametrize(
    ("query", "ids"),
    [
        ("state=failed", ["t-4", "t-1"]),
        ("state=running&state=queued", ["t-2", "t-0"]),
        ("state=canceled", []),
        ("name=demo.add", ["t-1", "t-0"]),
        ("name=demo", []),
        ("state=failed&name=demo.mul", ["t-4"]),
        ("label=customer:42", ["t-4", "t-2", "t-0"]),
        ("label=customer:a:b", ["t-3", "t-1"]),
        ("label=customer:42&label=number:2", ["t-2"]),
        ("label=customer:", []),
        ("label=nothing:42", []),
        ("submitted_after=2026-01-02T03:04:07Z", ["t-4", "t-3", "t-2"]),
        ("submitted_before=2026-01-02T03:04:07Z", ["t-1", "t-0"]),
        ("submitted_after=2026-01-02T04:04:06%2B01:00&submitted_before=2026-01-02T03:04:08Z", ["t-2", "t-1"]),
        ("state=failed&label=customer:42&name=demo.mul&submitted_after=2026-01-02T03:04:07Z", ["t-4"]),
    ],
)
def test_filters_can_be_combined(client, query, ids):
    """Repeated states match any of them, repeated labels match all of them; pages do not change the result."""
    assert ids_of(client.get(f"/tasks?{query}")) == ids
    for limit in (1, 2):
        assert walk(client, f"{query}&limit={limit}") == ids


def walk(client, query):
    """Return the ids of all pages."""
    ids, cursor = [], ""
    for _ in range(20):
        response = client.get(f"/tasks?{query}{cursor}")
        ids += ids_of(response)
        next_cursor = response.get_json()["next_cursor"]
        if next_cursor is None:
            return ids
        cursor = f"&cursor={next_cursor}"
    raise AssertionError(ids)


def test_pages_stay_consistent_while_tasks_change(client, tasks):
    """The pages contain each task once, although tasks are added and change between the requests."""
    first = client.get("/tasks?limit=2")
    assert ids_of(first) == ["t-4", "t-3"]
    tasks.note(Note(task_id="t-5", fact=Fact.SUBMITTED))
    tasks.note(Note(task_id="t-2", fact=Fact.FINISHED, outcome="SUCCESS"))

    second = client.get(f"/tasks?limit=2&cursor={first.get_json()['next_cursor']}")
    assert ids_of(second) == ["t-2", "t-1"]
    last = client.get(f"/tasks?limit=2&cursor={second.get_json()['next_cursor']}")
    assert ids_of(last) == ["t-0"]
    assert last.get_json()["next_cursor"] is None


def test_the_limit_is_50_by_default_and_at_most_200(client, store):
    """A page has 50 tasks by default and at most 200."""
    for number in range(201):
        store.note(Note(task_id=f"t-{number}", fact=Fact.SUBMITTED))

    assert len(ids_of(client.get("/tasks"))) == 50
    assert len(ids_of(client.get("/tasks?limit=200"))) == 200


def test_celerys_meta_overrides_the_index(client, tasks):
    """A task is omitted when its meta has another state than the filter, even if its record matches."""
    put_meta(tasks, "t-2", "SUCCESS", 42)

    assert ids_of(client.get("/tasks?state=running")) == []
    assert client.get("/tasks").get_json()["items"][2]["state"] == "succeeded"


@pytest.mark.usefixtures("tasks")
def test_filters_apply_custom_final_states(store, broker, submitter):
    """The configured mapping of a custom final state applies to the filter, also with one task per page."""
    tracker = create_tracker(store, broker, final_states={"PARTIAL": TaskState.FAILED})
    client = create_api(tracker, submitter, MemoryFeed()).test_client()

    assert ids_of(client.get("/tasks?state=failed")) == ["t-4", "t-3", "t-1"]
    assert walk(client, "state=failed&limit=1") == ["t-4", "t-3", "t-1"]
    assert ids_of(client.get("/tasks?state=finished")) == []
    assert ids_of(client.get("/tasks?state=finished&state=failed&name=demo.mul")) == ["t-4", "t-3"]


def test_a_large_result_is_omitted(client, store):
    """A large result is null with a diagnostic, which bounds the size of the response; a small one is included."""
    for task_id, size in (("short", 60_000), ("long", 70_000)):
        put_meta(store, task_id, "SUCCESS", "x" * size)

    short, long = client.get("/tasks?id=short&id=long").get_json()["items"]

    assert (len(short["result"]), short["diagnostics"]) == (60_000, [])
    assert (long["state"], long["result"]) == ("succeeded", None)
    assert [diagnostic["code"] for diagnostic in long["diagnostics"]] == ["result_too_large"]


def test_an_expired_task_is_omitted(client, tasks):
    """A task that expires between the read of the index and the read of its record is omitted."""

    class ExpiringStore(type(tasks)):
        """A store in which a record expires right after a read of the index."""

        def page(self, *args, **kwargs):
            page = super().page(*args, **kwargs)
            del self.records["t-3"]
            return page

    tasks.__class__ = ExpiringStore

    assert ids_of(client.get("/tasks")) == ["t-4", "t-2", "t-1", "t-0"]


def test_tasks_are_read_by_id_in_one_round_trip(client, tasks):
    """The response contains each task once, in the order of the request, and lists the unknown ids."""
    put_meta(tasks, "plain", "SUCCESS", 42)

    response = client.get("/tasks?id=t-3&id=never&id=plain&id=t-0&id=t-3&id=never")

    assert ids_of(response) == ["t-3", "plain", "t-0"]
    assert response.get_json()["missing"] == ["never"]
    assert response.get_json()["next_cursor"] is None
    assert tasks.trips == 1
    assert response.get_json()["items"][1] == client.get("/tasks/plain").get_json()


def test_a_hundred_ids_are_read_in_one_round_trip(client, tasks):
    """A request for 100 ids, the maximum, needs one round trip to the store."""
    ids = [f"t-{number}" for number in range(100)]

    response = client.get("/tasks", query_string={"id": ids})

    assert ids_of(response) == ids[:5]
    assert response.get_json()["missing"] == ids[5:]
    assert tasks.trips == 1


def cursor_of(value, separators=(",", ":")):
    """Encode any value in the format of a cursor."""
    return base64.urlsafe_b64encode(json.dumps(value, separators=separators).encode()).rstrip(b"=").decode()


@pytest.mark.parametrize(
    ("query", "parameter"),
    [
        ("stat=failed", "stat"),
        ("state=broken", "state"),
        ("state=", "state"),
        ("state=failed&state=FAILURE", "state"),
        ("name=", "name"),
        (f"name={'x' * 257}", "name"),
        ("label=customer", "label"),
        ("label=:42", "label"),
        ("label=a%20b:42", "label"),
        (f"label=a:{'x' * 320}", "label"),
        ("label=a:1&label=a:2", "label"),
        ("submitted_after=yesterday", "submitted_after"),
        ("submitted_after=2026-01-02T03:04:05", "submitted_after"),
        ("submitted_before=1767323045", "submitted_before"),
        ("submitted_before=9999-01-01T00:00:00Z", "submitted_before"),
        ("limit=0", "limit"),
        ("limit=201", "limit"),
        ("limit=ten", "limit"),
        ("limit=", "limit"),
        ("cursor=", "cursor"),
        ("cursor=abc", "cursor"),
        ("cursor=%C3%A9", "cursor"),
        (f"cursor={cursor_of([1])}", "cursor"),
        (f"cursor={cursor_of([-1, 'a'])}", "cursor"),
        (f"cursor={cursor_of([10**400, 'a'])}", "cursor"),
        (f"cursor={cursor_of([1, 'a'], separators=(', ', ':'))}", "cursor"),
        (f"cursor={cursor_of([1, 'ż'])}", "cursor"),
        (f"cursor={to_cursor(Position(1, 'a'))}=", "cursor"),
        ("id=", "id"),
        ("id=a%20b", "id"),
        (f"id={'x' * 129}", "id"),
        ("&".join(f"id=t-{number}" for number in range(101)), "id"),
        ("id=t-1&state=failed", "state"),
        ("id=t-1&limit=10", "limit"),
        ("id=t-1&cursor=abc", "cursor"),
    ],
)
def test_invalid_parameters_are_rejected(client, store, query, parameter):
    """The error names the invalid parameter, and the store is not read."""
    problem = problem_of(client.get(f"/tasks?{query}"), 422, "validation")

    assert {error["parameter"] for error in problem["errors"]} == {parameter}
    assert all(error["detail"] for error in problem["errors"])
    assert store.trips == 0


@pytest.mark.parametrize(
    "position", [Position(0, ""), Position(2**53, 'ż:\0"x'), Position(1, "\udcff"), Position(1767323045123, "t-1")]
)
def test_a_cursor_decodes_to_its_position(client, position):
    """A cursor encodes any position, also one with an id that a submission would not accept."""
    assert from_cursor(to_cursor(position)) == position
    assert ids_of(client.get(f"/tasks?cursor={to_cursor(position)}")) == []


def test_the_list_gets_503_while_the_store_is_down(client, store):
    """An unavailable store results in 503."""
    store.down = True

    for query in ("", "?id=t-1"):
        problem_of(client.get(f"/tasks{query}"), 503, "store-unavailable")
