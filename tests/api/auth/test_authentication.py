"""Access of two keys, an admin key, a task token and no key, on every route and for every kind of task.

A task of another owner must read as unknown. The same request goes to two servers: one stores the task for another
owner, and one has no data. The tests compare the answers, including the headers.
"""

import functools
import json

import pytest
from support.fakes import MemoryBroker, MemoryFeed, MemoryStore
from support.keys import UNLIMITED, WORKING, MemoryKeys, bearer
from support.problems import problem_of
from support.use_cases import announce, create_api, create_tracker
from task_status_service.access.caller import Scope
from task_status_service.api.auth.authentication import Access
from task_status_service.task_types.catalog import Catalog
from task_status_service.use_cases.submission import Call
from task_status_service.use_cases.submitter import Submitter
from task_status_worker.record.model import Fact, Note

#: every route of tasks: required scope, method, path, body, headers
ROUTES = [
    (Scope.READ, "GET", "/tasks/t-1", None, {}),
    (Scope.READ, "GET", "/tasks/t-1", None, {"If-None-Match": "*"}),
    (Scope.READ, "GET", "/tasks/t-1", None, {"If-None-Match": "{etag}"}),
    (Scope.READ, "HEAD", "/tasks/t-1", None, {}),
    (Scope.READ, "GET", "/tasks/t-1?wait=0.01", None, {}),
    (Scope.READ, "GET", "/tasks/t-1?wait=0.01", None, {"If-None-Match": "{etag}"}),
    (Scope.READ, "GET", "/tasks/t-1", None, {"Prefer": "wait=0"}),
    (Scope.READ, "GET", "/tasks/t-1/result", None, {}),
    (Scope.READ, "GET", "/tasks/t-1/result", None, {"If-None-Match": "*"}),
    (Scope.READ, "GET", "/tasks/t-1/events", None, {}),
    (Scope.READ, "GET", "/tasks/t-1/events", None, {"Last-Event-ID": "{etag}"}),
    (Scope.READ, "GET", "/events?id=t-1", None, {}),
    (Scope.READ, "GET", "/tasks?id=t-1", None, {}),
    (Scope.READ, "GET", "/tasks", None, {}),
    (Scope.READ, "GET", "/tasks?name=demo.add", None, {}),
    (Scope.READ, "GET", "/tasks?state=queued&state=running&state=succeeded", None, {}),
    (Scope.READ, "GET", "/tasks?label=a:b", None, {}),
    (Scope.CANCEL, "POST", "/tasks/t-1/cancel", {}, {}),
    (Scope.CANCEL, "POST", "/tasks/t-1/cancel", {"terminate": True}, {}),
    (Scope.SUBMIT, "POST", "/tasks/t-1/retry", None, {}),
    (Scope.SUBMIT, "POST", "/tasks/t-1/retry", None, {"Idempotency-Key": "k"}),
    (Scope.SUBMIT, "DELETE", "/tasks/t-1", None, {}),
    (Scope.READ, "POST", "/tasks/t-1/tokens", {}, {}),
]
#: kinds of tasks
TASKS = ["queued", "running", "done", "failed", "expired", "only Celery's"]
PUBLIC = {"health.get_liveness", "health.get_readiness", "openapi", "docs", "docs_asset"}


class World:
    """A server with keys for Alice, Bob and an admin, over fakes."""

    def __init__(self) -> None:
        self.store, self.broker, self.feed, self.keys = MemoryStore(), MemoryBroker(), MemoryFeed(), MemoryKeys()
        tracker = create_tracker(self.store, self.broker, final_states={})
        submitter = Submitter(
            tracker,
            self.store,
            self.broker,
            Catalog(self.store),
            default_queue="celery",
            new_id=lambda: f"new-{len(self.broker.sent)}",
        )
        self.app = create_api(tracker, submitter, self.feed, access=Access(self.keys, limits=UNLIMITED))
        self.client = self.app.test_client()
        self.reset()

    def reset(self) -> None:
        """Delete all data and create new keys; much faster than creating another app."""
        for fake in (self.store, self.broker, self.feed, self.keys):
            fake.clear()
        announce(self.store)
        self.alice, self.bob = self.keys.add("alice"), self.keys.add("bob")
        self.admin = self.keys.add("operator", [*WORKING, Scope.ADMIN])

    def put(self, kind: str, owner: str | None, task_id: str = "t-1") -> None:
        """Store a task of some kind."""
        store = self.store
        if kind == "only Celery's":
            store.metas[task_id] = json.dumps({"status": "SUCCESS", "result": 42}).encode()
            return
        store.note(Note(task_id=task_id, fact=Fact.SUBMITTED, name="demo.add", owner=owner, labels={"a": "b"}))
        store.calls[task_id] = Call(name="demo.add", args=[1, 2])
        if kind == "expired":
            del store.records[task_id], store.calls[task_id]
        if kind == "running":
            store.note(Note(task_id=task_id, fact=Fact.STARTED, run="1"))
        if kind in ("done", "failed"):
            outcome = "SUCCESS" if kind == "done" else "FAILURE"
            store.note(Note(task_id=task_id, fact=Fact.FINISHED, outcome=outcome))
            store.metas[task_id] = json.dumps({"status": outcome, "result": 42}).encode()

    def etag(self, key: str) -> str:
        """Return the version of the task that a caller sees."""
        return self.client.get("/tasks/t-1", headers=bearer(key)).headers.get("ETag", '"none"')

    def ask(self, route, key: str | None, etag: str = '"none"'):
        """Send a request; return status, headers and body, without the request id."""
        _, method, path, body, headers = route
        # A stream ends at once, because the feed is closed.
        self.feed.is_closed = True
        headers = {name: text.replace("{etag}", etag) for name, text in headers.items()}
        response = self.client.open(path, method=method, json=body, headers={**headers, **(bearer(key) if key else {})})
        answer = response.get_data(as_text=True)
        if response.content_type == "application/problem+json" and answer:
            answer = {**json.loads(answer), "request_id": ""}
        kept = [(name, text) for name, text in response.headers if (name, method) != ("Content-Length", "HEAD")]
        return response.status_code, sorted(kept), answer

    def stored(self):
        """Return all data that a request can change."""
        store, broker = self.store, self.broker
        return json.dumps(
            [store.records, store.metas, store.calls, store.claims, sorted(store.known), broker.sent, broker.canceled],
            default=repr,
            sort_keys=True,
            skipkeys=True,
        )


@functools.cache
def server(_name: str) -> World:
    """Return a server, which is created once per name."""
    return World()


def empty_server(name: str = "") -> World:
    """Return a server without data."""
    server(name).reset()
    return server(name)


@pytest.fixture
def world() -> World:
    """A server without data."""
    return empty_server()


def route_name(route) -> str:
    """Return the name of a route for a test id."""
    return f"{route[1]} {route[2]} {','.join(route[4])}"


@pytest.mark.parametrize("kind", TASKS)
@pytest.mark.parametrize("route", ROUTES, ids=route_name)
def test_tasks_of_other_owners_read_as_unknown(route, kind):
    """A task of Bob, or without an owner, reads as unknown for Alice, and no request changes it."""
    for owner in ("bob", None):
        empty, others = empty_server(), empty_server("others")
        others.put(kind, owner)
        before = others.stored()
        etag = others.etag(others.admin)

        assert others.ask(route, others.alice, etag) == empty.ask(route, empty.alice, etag)
        assert others.stored() == before


@pytest.mark.parametrize("kind", TASKS)
@pytest.mark.parametrize("route", ROUTES, ids=route_name)
def test_other_tasks_read_as_unknown_with_a_token(route, kind):
    """A token for one task does not show another task, even of the same owner."""
    empty, others = empty_server(), empty_server("others")
    for one in (empty, others):
        one.put("queued", "alice", "t-2")
    others.put(kind, "alice")
    before = others.stored()
    etag = others.etag(others.alice)

    asked = [one.ask(route, token_of(one, one.alice, "t-2"), etag) for one in (others, empty)]

    assert asked[0] == asked[1]
    assert asked[0][0] in (403, 404)
    assert others.stored() == before


@pytest.mark.parametrize("kind", TASKS)
@pytest.mark.parametrize("route", ROUTES, ids=route_name)
def test_own_tasks_read_the_same_with_each_key(route, kind):
    """Every key of the owner and every admin key return the same answer."""
    if kind != "only Celery's":
        answers = []
        for name in ("alice", "operator"):
            mine = empty_server()
            mine.put(kind, "alice")
            other = mine.keys.add(name, [*WORKING, *([Scope.ADMIN] if name == "operator" else [])])
            answers.append(without_tokens(mine.ask(route, other, mine.etag(other))))
        assert answers[0] == answers[1]
        assert answers[0][0] not in (401, 403, 404) or (kind == "expired" and "id=" in route[2])


def without_tokens(asked):
    """Drop the answer if it contains a token, because each token differs."""
    status, headers, answer = asked
    if "expires_at" in answer and "tst_" in answer:
        return status, [], ""
    return status, headers, answer


@pytest.mark.parametrize("route", ROUTES, ids=route_name)
def test_an_admin_reads_tasks_without_an_owner(route):
    """An admin key reads tasks that have no owner."""
    for kind in ("done", "only Celery's"):
        one = empty_server()
        one.put(kind, None)
        status, _, answer = one.ask(route, one.admin)
        assert status not in (401, 403, 404)
        if route[2].startswith("/tasks?id="):
            assert [item["id"] for item in json.loads(answer)["items"]] == ["t-1"]


@pytest.mark.parametrize("route", ROUTES, ids=route_name)
def test_requests_without_a_valid_key_return_401(route, world):
    """A missing or invalid key returns 401 on every route, before the store is read."""
    world.put("done", None)
    before, trips = world.stored(), world.store.trips

    for key in (None, "", "tsk_", "x" * 5_000, world.alice[:-1], world.alice + "A", "tst_e30.x", "ż"):
        status, headers, answer = world.ask(route, key)
        assert status == 401, key
        assert ("WWW-Authenticate", "Bearer") in headers
        assert not answer or answer["type"] == "/problems/unauthorized"
    assert (world.stored(), world.store.trips) == (before, trips)


def test_all_routes_except_public_ones_require_a_key(world):
    """Every route except health and documentation requires a key, and checks it before the rest of the request."""
    for rule in world.app.url_map.iter_rules():
        path = rule.rule.replace("<task_id>", "not an id").replace("<path:name>", "a").replace("<name>", "a")
        for method in sorted(rule.methods - {"OPTIONS"}):
            response = world.client.open(path, method=method, data="{", headers={"Content-Type": "text/plain"})
            is_public = rule.endpoint in PUBLIC
            assert (response.status_code != 401) == is_public, rule
    assert {rule.endpoint for rule in world.app.url_map.iter_rules()} >= PUBLIC


@pytest.mark.parametrize("route", [*ROUTES, (Scope.SUBMIT, "POST", "/tasks", {"name": "demo.add"}, {})], ids=route_name)
def test_each_route_requires_one_scope(route, world):
    """Each route requires exactly one scope; no other scope replaces it, not even `admin`."""
    scope = route[0]
    world.put("done", "alice")
    before = world.stored()

    status, _, answer = world.ask(route, world.keys.add("alice", set(Scope) - {scope}))
    assert status == 403
    assert not answer or (answer["type"], scope in answer["detail"]) == ("/problems/forbidden", True)
    assert world.stored() == before

    assert world.ask(route, world.keys.add("alice", {scope}))[0] not in (401, 403, 404)


def test_lists_contain_own_tasks(world):
    """Each owner lists its own tasks, page by page; an admin lists all tasks."""
    for number in range(6):
        world.put("queued", ["alice", "bob", None][number % 3], f"t-{number}")

    def listed(key, query=""):
        found, cursor = [], ""
        while cursor is not None:
            page = world.client.get(f"/tasks?limit=1{query}{cursor and '&cursor='}{cursor}", headers=bearer(key))
            found += [item["id"] for item in page.get_json()["items"]]
            # An empty page with a next cursor would reveal tasks of other owners.
            assert page.get_json()["items"]
            cursor = page.get_json()["next_cursor"]
        return sorted(found)

    for query in ("", "&name=demo.add", "&state=queued", "&label=a:b"):
        assert listed(world.alice, query) == ["t-0", "t-3"]
        assert listed(world.bob, query) == ["t-1", "t-4"]
        assert listed(world.admin, query) == [f"t-{number}" for number in range(6)]


def test_tasks_of_other_owners_are_missing_in_a_batch(world):
    """A batch reports tasks of other owners as missing, like unknown ids."""
    world.put("queued", "alice", "mine")
    world.put("queued", "bob", "others")

    batch = world.client.get("/tasks?id=others&id=mine&id=never", headers=bearer(world.alice)).get_json()

    assert ([item["id"] for item in batch["items"]], batch["missing"]) == (["mine"], ["others", "never"])


def test_all_keys_of_a_name_own_a_submitted_task(world):
    """A second key with the same name reads the task, even after the first key is revoked."""
    task_id = world.client.post(
        "/tasks", json={"name": "demo.add", "args": [1, 2]}, headers=bearer(world.alice)
    ).get_json()["id"]
    second = world.keys.add("alice")
    world.keys.revoke(world.alice)

    assert world.client.get(f"/tasks/{task_id}", headers=bearer(second)).status_code == 200
    assert world.client.get(f"/tasks/{task_id}", headers=bearer(world.bob)).status_code == 404
    problem_of(world.client.get(f"/tasks/{task_id}", headers=bearer(world.alice)), 401, "unauthorized")


def test_idempotency_keys_belong_to_their_owner(world):
    """Two owners can use the same idempotency key, and each gets its own task."""

    def send(key, **body):
        return world.client.post(
            "/tasks",
            json={"name": "demo.add", "args": [1, 2], **body},
            headers={**bearer(key), "Idempotency-Key": "order-1"},
        )

    alice, bob, again = send(world.alice), send(world.bob), send(world.alice)

    assert alice.get_json()["id"] != bob.get_json()["id"]
    assert "Idempotency-Replayed" not in bob.headers
    assert (again.get_json(), again.headers["Idempotency-Replayed"]) == (alice.get_json(), "true")
    assert send(world.bob, args=[3, 4]).status_code == 422


def test_waiting_after_a_submission_requires_the_read_scope(world):
    """A key that can only submit cannot wait for the outcome."""
    key = world.keys.add("alice", {Scope.SUBMIT})
    body = {"name": "demo.add", "args": [1, 2]}

    problem_of(world.client.post("/tasks?wait=1", json=body, headers=bearer(key)), 403, "forbidden")
    assert world.broker.sent == []

    response = world.client.post("/tasks", json=body, headers={**bearer(key), "Prefer": "wait=1"})
    assert (response.status_code, "Preference-Applied" in response.headers) == (202, False)


# Task tokens.


def token_of(world: World, key: str, task_id: str = "t-1", **request_body):
    """Create a token as a client does."""
    response = world.client.post(f"/tasks/{task_id}/tokens", json=request_body or None, headers=bearer(key))
    assert response.status_code == 201, response.data
    issued = response.get_json()
    assert issued["scopes"] == sorted(request_body.get("scopes", ["read"]))
    return issued["token"]


@pytest.mark.parametrize("route", ROUTES, ids=route_name)
def test_a_token_is_valid_only_for_its_task(route):
    """A token reads or cancels its task, by its scopes; on every other route it returns 403."""
    for scopes in (["read"], ["cancel"], ["read", "cancel"]):
        one = empty_server()
        one.put("running", "alice")
        key = one.keys.add("alice")
        token = token_of(one, key, scopes=scopes)
        is_possible = "t-1/" in route[2] or route[2].startswith("/tasks/t-1")
        is_possible = is_possible and route[0] in scopes and not route[2].endswith("/tokens")

        by_token, by_key = one.ask(route, token), empty_server("by key")
        by_key.put("running", "alice")

        assert by_token == by_key.ask(route, by_key.alice) if is_possible else by_token[0] == 403


def test_a_token_in_the_query_is_valid_only_for_a_stream(world):
    """The stream of one task accepts a token in its query, because an EventSource cannot send headers."""
    world.put("done", "alice")
    token = token_of(world, world.alice)

    def status(path, text=token, **headers):
        return world.client.get(f"{path}access_token={text}", headers=headers).status_code

    assert status("/tasks/t-1/events?") == 200
    assert status("/tasks/t-2/events?") == 404
    for path in ("/tasks/t-1?", "/tasks/t-1/result?", "/events?id=t-1&", "/tasks?id=t-1&", "/tasks?"):
        assert status(path) == 401, path
    assert status("/tasks/t-1/events?", world.alice) == 401
    assert status(f"/tasks/t-1/events?access_token={token}&") == 401
    assert status("/tasks/t-1/events?", **bearer("tsk_")) == 401
    assert world.client.post(f"/tasks/t-1/cancel?access_token={token}").status_code == 401


def test_a_token_cannot_exceed_its_key(world):
    """A caller creates tokens only for tasks that it can read, and only with its own scopes."""
    world.put("running", "alice")

    problem_of(world.client.post("/tasks/t-1/tokens", headers=bearer(world.bob)), 404, "task-not-found")
    reader = world.keys.add("alice", {Scope.READ})
    problem_of(
        world.client.post("/tasks/t-1/tokens", json={"scopes": ["cancel"]}, headers=bearer(reader)), 403, "forbidden"
    )
    token = token_of(world, world.alice)
    problem_of(world.client.post("/tasks/t-1/tokens", headers=bearer(token)), 403, "forbidden")

    token = token_of(world, world.admin)
    assert world.client.get("/tasks/t-1", headers=bearer(token)).status_code == 200
    world.put("running", "bob", "t-2")
    assert world.client.get("/tasks/t-2", headers=bearer(token)).status_code == 404


def test_a_token_is_invalid_after_its_key_is_revoked(world):
    """A revoked key invalidates its tokens at once."""
    world.put("running", "alice")
    token = token_of(world, world.alice)
    assert world.client.get("/tasks/t-1", headers=bearer(token)).status_code == 200

    world.keys.revoke(world.alice)

    problem_of(world.client.get("/tasks/t-1", headers=bearer(token)), 401, "unauthorized")


@pytest.mark.parametrize(
    "request_body",
    [
        {"scopes": []},
        {"scopes": ["read", "read"]},
        {"scopes": ["admin"]},
        {"scopes": ["submit"]},
        {"scopes": "read"},
        {"scopes": [1]},
        {"ttl_seconds": 0},
        {"ttl_seconds": 86_401},
        {"ttl_seconds": "60"},
        {"ttl_seconds": True},
        {"ttl": 60},
    ],
)
def test_invalid_token_requests_return_422(request_body, world):
    """Unknown scopes, lifetimes and properties of a token return 422."""
    world.put("running", "alice")

    problem_of(
        world.client.post("/tasks/t-1/tokens", json=request_body, headers=bearer(world.alice)), 422, "validation"
    )


def test_a_stream_ends_when_its_key_is_revoked(world):
    """A stream sends no more events after its key is revoked."""
    world.put("queued", "alice")
    world.feed.script = [
        lambda: world.store.note(Note(task_id="t-1", fact=Fact.STARTED, run="1")),
        lambda: world.keys.revoke(world.alice),
        lambda: world.store.note(Note(task_id="t-1", fact=Fact.FINISHED, outcome="SUCCESS")),
    ]

    response = world.client.get("/tasks/t-1/events", headers=bearer(world.alice))
    stream = response.get_data(as_text=True)
    response.close()  # as a server does

    assert ('"running"' in stream, '"succeeded"' in stream) == (True, False)
    assert world.feed.watches == []


def test_without_keys_every_request_is_allowed(client, store):
    """A server without keys ignores the Authorization header; its tokens are valid."""
    store.note(Note(task_id="t-1", fact=Fact.SUBMITTED, owner="alice"))
    store.metas["t-2"] = b'{"status": "SUCCESS", "result": 1}'

    for headers in ({}, bearer("anything"), {"Authorization": "Basic YTpi"}):
        for task_id in ("t-1", "t-2"):
            assert client.get(f"/tasks/{task_id}", headers=headers).status_code == 200
    token = client.post("/tasks/t-1/tokens").get_json()["token"]
    assert client.get(f"/tasks/t-1/events?access_token={token}", headers=bearer(token)).status_code == 200


def test_fast_reads_return_the_same_denials(world):
    """A denial is the same for the fast read and through Flask."""
    world.put("done", "bob")
    for key in (None, world.alice, world.keys.add("bob", {Scope.SUBMIT})):
        fast, by_flask = (world.ask((None, "GET", f"/tasks/t-1{query}", None, {}), key) for query in ("", "?wait=0"))
        assert fast == by_flask
