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
    """Give a store with five tasks, one second between them."""
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
    """Give the ids of an answer, which has every key."""
    assert response.status_code == 200, response.get_data(as_text=True)
    answer = response.get_json()
    assert answer.keys() == {"items", "next_cursor", "missing"}
    return [item["id"] for item in answer["items"]]


def put_meta(store, task_id, status, result=None):
    """Store a meta as Celery does."""
    store.metas[task_id] = json.dumps({"status": status, "result": result, "task_id": task_id}).encode()


def test_nothing(client):
    """Without tasks the list is empty."""
    response = client.get("/tasks")

    assert response.get_json() == {"items": [], "next_cursor": None, "missing": []}
    assert response.content_type == "application/json"
    assert response.headers["Cache-Control"] == "private, no-cache"


def test_newest_first(client, tasks):
    """All of them, each as it reads alone, in two trips."""
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
def test_filters(client, query, ids):
    """Each alone and together; a parameter that may be repeated means any state, and every label."""
    assert ids_of(client.get(f"/tasks?{query}")) == ids
    for limit in (1, 2):
        assert walk(client, f"{query}&limit={limit}") == ids


def walk(client, query):
    """Give the ids of all pages."""
    ids, cursor = [], ""
    for _ in range(20):
        response = client.get(f"/tasks?{query}{cursor}")
        ids += ids_of(response)
        next_cursor = response.get_json()["next_cursor"]
        if next_cursor is None:
            return ids
        cursor = f"&cursor={next_cursor}"
    raise AssertionError(ids)


def test_pages(client, tasks):
    """A walk meets each task once, while others arrive and change."""
    first = client.get("/tasks?limit=2")
    assert ids_of(first) == ["t-4", "t-3"]
    tasks.note(Note(task_id="t-5", fact=Fact.SUBMITTED))
    tasks.note(Note(task_id="t-2", fact=Fact.FINISHED, outcome="SUCCESS"))

    second = client.get(f"/tasks?limit=2&cursor={first.get_json()['next_cursor']}")
    assert ids_of(second) == ["t-2", "t-1"]
    last = client.get(f"/tasks?limit=2&cursor={second.get_json()['next_cursor']}")
    assert ids_of(last) == ["t-0"]
    assert last.get_json()["next_cursor"] is None


def test_limit(client, store):
    """Fifty unless asked otherwise, and up to two hundred."""
    for number in range(201):
        store.note(Note(task_id=f"t-{number}", fact=Fact.SUBMITTED))

    assert len(ids_of(client.get("/tasks"))) == 50
    assert len(ids_of(client.get("/tasks?limit=200"))) == 200


def test_celerys_meta_has_the_last_word(client, tasks):
    """A task that is not in the state asked for is left out, though its record says so."""
    put_meta(tasks, "t-2", "SUCCESS", 42)

    assert ids_of(client.get("/tasks?state=running")) == []
    assert client.get("/tasks").get_json()["items"][2]["state"] == "succeeded"


@pytest.mark.usefixtures("tasks")
def test_custom_final_states(store, broker, submitter):
    """What the settings say of a custom final state holds here too, also for pages of one."""
    tracker = create_tracker(store, broker, final_states={"PARTIAL": TaskState.FAILED})
    client = create_api(tracker, submitter, MemoryFeed()).test_client()

    assert ids_of(client.get("/tasks?state=failed")) == ["t-4", "t-3", "t-1"]
    assert walk(client, "state=failed&limit=1") == ["t-4", "t-3", "t-1"]
    assert ids_of(client.get("/tasks?state=finished")) == []
    assert ids_of(client.get("/tasks?state=finished&state=failed&name=demo.mul")) == ["t-4", "t-3"]


def test_a_long_result_is_left_out(client, store):
    """What is short is there, what is long is null and said to be: the answer stays bounded."""
    for task_id, size in (("short", 60_000), ("long", 70_000)):
        put_meta(store, task_id, "SUCCESS", "x" * size)

    short, long = client.get("/tasks?id=short&id=long").get_json()["items"]

    assert (len(short["result"]), short["diagnostics"]) == (60_000, [])
    assert (long["state"], long["result"]) == ("succeeded", None)
    assert [diagnostic["code"] for diagnostic in long["diagnostics"]] == ["result_too_large"]


def test_expired_is_left_out(client, tasks):
    """What has expired between the index and the read is not there."""

    class Forgetful(type(tasks)):
        """A store whose records expire as soon as the index was read."""

        def page(self, *args, **kwargs):
            page = super().page(*args, **kwargs)
            del self.records["t-3"]
            return page

    tasks.__class__ = Forgetful

    assert ids_of(client.get("/tasks")) == ["t-4", "t-2", "t-1", "t-0"]


def test_by_id(client, tasks):
    """Several at once, in the order asked, each once, the unknown ones named; in one trip."""
    put_meta(tasks, "plain", "SUCCESS", 42)

    response = client.get("/tasks?id=t-3&id=never&id=plain&id=t-0&id=t-3&id=never")

    assert ids_of(response) == ["t-3", "plain", "t-0"]
    assert response.get_json()["missing"] == ["never"]
    assert response.get_json()["next_cursor"] is None
    assert tasks.trips == 1
    assert response.get_json()["items"][1] == client.get("/tasks/plain").get_json()


def test_a_hundred_by_id_are_one_trip(client, tasks):
    """The most that may be asked for."""
    ids = [f"t-{number}" for number in range(100)]

    response = client.get("/tasks", query_string={"id": ids})

    assert ids_of(response) == ids[:5]
    assert response.get_json()["missing"] == ids[5:]
    assert tasks.trips == 1


def cursor_of(value, separators=(",", ":")):
    """Write anything as a cursor is written."""
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
def test_bad_input(client, store, query, parameter):
    """What cannot be used is named; nothing is read."""
    problem = problem_of(client.get(f"/tasks?{query}"), 422, "validation")

    assert {error["parameter"] for error in problem["errors"]} == {parameter}
    assert all(error["detail"] for error in problem["errors"])
    assert store.trips == 0


@pytest.mark.parametrize("position", [Position(0, ""), Position(2**53, 'ż:\0"x'), Position(1767323045123, "t-1")])
def test_a_cursor_comes_back_as_it_went(client, position):
    """Any position, also one at an id that no submission here would have."""
    assert from_cursor(to_cursor(position)) == position
    assert ids_of(client.get(f"/tasks?cursor={to_cursor(position)}")) == []


def test_store_unavailable(client, store):
    """A store that is away: 503."""
    store.down = True

    for query in ("", "?id=t-1"):
        problem_of(client.get(f"/tasks{query}"), 503, "store-unavailable")
