"""Who may see and do what: two keys, an admin, a task token and nobody, on every route, with every kind of task.

What is not a caller's to see must read as what never was: the same request is sent to two servers, one that knows the
task as somebody else's, and one that knows nothing. The answers are compared, headers and all.
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

#: every route of one task, or of several, by the scope that it needs: method, path, body, headers
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
#: what may have become of a task
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
            Catalog(self.store.announcements),
            default_queue="celery",
            new_id=lambda: f"new-{len(self.broker.sent)}",
        )
        self.app = create_api(tracker, submitter, self.feed, access=Access(self.keys, limits=UNLIMITED))
        self.client = self.app.test_client()
        self.reset()

    def reset(self) -> None:
        """Forget all."""
        for fake in (self.store, self.broker, self.feed, self.keys):
            fake.__init__()  # type: ignore[misc]  # quicker by far than another app
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

    def etag(self, who: str) -> str:
        """Give the version that one who sees the task has of it."""
        return self.client.get("/tasks/t-1", headers=bearer(who)).headers.get("ETag", '"none"')

    def ask(self, route, who: str | None, etag: str = '"none"'):
        """Send a request; give status, headers and body of the answer, but for the id of the request."""
        _, method, path, body, headers = route
        # A stream ends at once: this server is about to stop.
        self.feed.is_closed = True
        headers = {name: text.replace("{etag}", etag) for name, text in headers.items()}
        response = self.client.open(path, method=method, json=body, headers={**headers, **(bearer(who) if who else {})})
        told = response.get_data(as_text=True)
        if response.content_type == "application/problem+json" and told:
            told = {**json.loads(told), "request_id": ""}
        kept = [(name, text) for name, text in response.headers if (name, method) != ("Content-Length", "HEAD")]
        return response.status_code, sorted(kept), told

    def stored(self):
        """Give all that a request may change."""
        store, broker = self.store, self.broker
        return json.dumps(
            [store.records, store.metas, store.calls, store.claims, sorted(store.known), broker.sent, broker.canceled],
            default=repr,
            sort_keys=True,
            skipkeys=True,
        )


@functools.cache
def server(_which: str) -> World:
    """Make a server, once."""
    return World()


def fresh(which: str = "") -> World:
    """Give a server that knows nothing."""
    server(which).reset()
    return server(which)


@pytest.fixture
def world() -> World:
    """Give a server that knows nothing."""
    return fresh()


def names(route) -> str:
    """Name a route in a test's id."""
    return f"{route[1]} {route[2]} {','.join(route[4])}"


@pytest.mark.parametrize("kind", TASKS)
@pytest.mark.parametrize("route", ROUTES, ids=names)
def test_what_is_not_mine_never_was(route, kind):
    """A task of Bob's, or of nobody's, is for Alice what an id is that never was; and nothing happens to it."""
    for owner in ("bob", None):
        never, others = fresh(), fresh("others")
        others.put(kind, owner)
        before = others.stored()
        etag = others.etag(others.admin)

        assert others.ask(route, others.alice, etag) == never.ask(route, never.alice, etag)
        assert others.stored() == before


@pytest.mark.parametrize("kind", TASKS)
@pytest.mark.parametrize("route", ROUTES, ids=names)
def test_what_is_not_the_tokens_never_was(route, kind):
    """A token for another task, though of the same owner, sees no more."""
    never, others = fresh(), fresh("others")
    for one in (never, others):
        one.put("queued", "alice", "t-2")
    others.put(kind, "alice")
    before = others.stored()
    etag = others.etag(others.alice)

    asked = [one.ask(route, token_of(one, one.alice, "t-2"), etag) for one in (others, never)]

    assert asked[0] == asked[1]
    assert asked[0][0] in (403, 404)
    assert others.stored() == before


@pytest.mark.parametrize("kind", TASKS)
@pytest.mark.parametrize("route", ROUTES, ids=names)
def test_what_is_mine_is_as_without_keys(route, kind):
    """Its owner sees it as everybody does on a server without keys, with any key of the name; and so does an admin."""
    if kind != "only Celery's":
        told = []
        for who in ("alice", "operator"):
            mine = fresh()
            mine.put(kind, "alice")
            other = mine.keys.add(who, [*WORKING, *([Scope.ADMIN] if who == "operator" else [])])
            told.append(without_tokens(mine.ask(route, other, mine.etag(other))))
        assert told[0] == told[1]
        assert told[0][0] not in (401, 403, 404) or (kind == "expired" and "id=" in route[2])


def without_tokens(asked):
    """Take out what differs by who asks: tokens, and the owner of a new task is in no answer."""
    status, headers, told = asked
    if "expires_at" in told and "tst_" in told:
        return status, [], ""
    return status, headers, told


@pytest.mark.parametrize("route", ROUTES, ids=names)
def test_the_admin_sees_what_is_nobodys(route):
    """Tasks that nobody submitted here are the admin's to look after."""
    for kind in ("done", "only Celery's"):
        one = fresh()
        one.put(kind, None)
        status, _, told = one.ask(route, one.admin)
        assert status not in (401, 403, 404)
        if route[2].startswith("/tasks?id="):
            assert [item["id"] for item in json.loads(told)["items"]] == ["t-1"]


@pytest.mark.parametrize("route", ROUTES, ids=names)
def test_nobody_gets_in(route, world):
    """Without a key, whatever the task is, and before anything else is looked at."""
    world.put("done", None)
    before, trips = world.stored(), world.store.trips

    for who in (None, "", "tsk_", "x" * 5_000, world.alice[:-1], world.alice + "A", "tst_e30.x", "ż"):
        status, headers, told = world.ask(route, who)
        assert status == 401, who
        assert ("WWW-Authenticate", "Bearer") in headers
        assert not told or told["type"] == "/problems/unauthorized"
    assert (world.stored(), world.store.trips) == (before, trips)


def test_no_route_is_forgotten(world):
    """All that the server answers, but health and the document, asks for a key; also what is wrong with the rest."""
    for rule in world.app.url_map.iter_rules():
        path = rule.rule.replace("<task_id>", "not an id").replace("<path:name>", "a").replace("<name>", "a")
        for method in sorted(rule.methods - {"OPTIONS"}):
            response = world.client.open(path, method=method, data="{", headers={"Content-Type": "text/plain"})
            is_public = rule.endpoint in PUBLIC
            assert (response.status_code != 401) == is_public, rule
    assert {rule.endpoint for rule in world.app.url_map.iter_rules()} >= PUBLIC


@pytest.mark.parametrize("route", [*ROUTES, (Scope.SUBMIT, "POST", "/tasks", {"name": "demo.add"}, {})], ids=names)
def test_scopes(route, world):
    """Each route needs its one scope: all others do not help, not even `admin`, and it alone is enough."""
    scope = route[0]
    world.put("done", "alice")
    before = world.stored()

    status, _, told = world.ask(route, world.keys.add("alice", set(Scope) - {scope}))
    assert status == 403
    assert not told or (told["type"], scope in told["detail"]) == ("/problems/forbidden", True)
    assert world.stored() == before

    assert world.ask(route, world.keys.add("alice", {scope}))[0] not in (401, 403, 404)


def test_lists_are_ones_own(world):
    """Each sees its own tasks, page by page, and the admin all of them."""
    for number in range(6):
        world.put("queued", ["alice", "bob", None][number % 3], f"t-{number}")

    def listed(who, query=""):
        found, cursor = [], ""
        while cursor is not None:
            page = world.client.get(f"/tasks?limit=1{query}{cursor and '&cursor='}{cursor}", headers=bearer(who))
            found += [item["id"] for item in page.get_json()["items"]]
            # Nor does a page that is empty, with more to come, tell that others have tasks.
            assert page.get_json()["items"]
            cursor = page.get_json()["next_cursor"]
        return sorted(found)

    for query in ("", "&name=demo.add", "&state=queued", "&label=a:b"):
        assert listed(world.alice, query) == ["t-0", "t-3"]
        assert listed(world.bob, query) == ["t-1", "t-4"]
        assert listed(world.admin, query) == [f"t-{number}" for number in range(6)]


def test_a_batch_of_both(world):
    """Others' tasks are missing like those that never were."""
    world.put("queued", "alice", "mine")
    world.put("queued", "bob", "others")

    batch = world.client.get("/tasks?id=others&id=mine&id=never", headers=bearer(world.alice)).get_json()

    assert ([item["id"] for item in batch["items"]], batch["missing"]) == (["mine"], ["others", "never"])


def test_what_i_submit_is_mine(world):
    """Also with a second key of the same name, when the first one is revoked."""
    task_id = world.client.post(
        "/tasks", json={"name": "demo.add", "args": [1, 2]}, headers=bearer(world.alice)
    ).get_json()["id"]
    second = world.keys.add("alice")
    world.keys.revoke(world.alice)

    assert world.client.get(f"/tasks/{task_id}", headers=bearer(second)).status_code == 200
    assert world.client.get(f"/tasks/{task_id}", headers=bearer(world.bob)).status_code == 404
    problem_of(world.client.get(f"/tasks/{task_id}", headers=bearer(world.alice)), 401, "unauthorized")


def test_idempotency_keys_are_ones_own(world):
    """Two owners may use the same one; neither hears of the other's task."""

    def send(who, **body):
        return world.client.post(
            "/tasks",
            json={"name": "demo.add", "args": [1, 2], **body},
            headers={**bearer(who), "Idempotency-Key": "order-1"},
        )

    alice, bob, again = send(world.alice), send(world.bob), send(world.alice)

    assert alice.get_json()["id"] != bob.get_json()["id"]
    assert "Idempotency-Replayed" not in bob.headers
    assert (again.get_json(), again.headers["Idempotency-Replayed"]) == (alice.get_json(), "true")
    assert send(world.bob, args=[3, 4]).status_code == 422


def test_waiting_for_what_was_submitted_is_reading(world):
    """A key that only submits learns nothing of what became of it."""
    who = world.keys.add("alice", {Scope.SUBMIT})
    body = {"name": "demo.add", "args": [1, 2]}

    problem_of(world.client.post("/tasks?wait=1", json=body, headers=bearer(who)), 403, "forbidden")
    assert world.broker.sent == []

    response = world.client.post("/tasks", json=body, headers={**bearer(who), "Prefer": "wait=1"})
    assert (response.status_code, "Preference-Applied" in response.headers) == (202, False)


# Task tokens.


def token_of(world: World, who: str, task_id: str = "t-1", **wish):
    """Make a token as a client does."""
    response = world.client.post(f"/tasks/{task_id}/tokens", json=wish or None, headers=bearer(who))
    assert response.status_code == 201, response.data
    issued = response.get_json()
    assert issued["scopes"] == sorted(wish.get("scopes", ["read"]))
    return issued["token"]


@pytest.mark.parametrize("route", ROUTES, ids=names)
def test_a_token_is_good_for_its_task(route):
    """It reads, and if it may it cancels; it does nothing else, and nothing beside the paths of its task."""
    for scopes in (["read"], ["cancel"], ["read", "cancel"]):
        one = fresh()
        one.put("running", "alice")
        who = one.keys.add("alice")
        token = token_of(one, who, scopes=scopes)
        is_possible = "t-1/" in route[2] or route[2].startswith("/tasks/t-1")
        is_possible = is_possible and route[0] in scopes and not route[2].endswith("/tokens")

        by_token, by_key = one.ask(route, token), fresh("by key")
        by_key.put("running", "alice")

        assert by_token == by_key.ask(route, by_key.alice) if is_possible else by_token[0] == 403


def test_a_token_in_the_address(world):
    """Only for the stream of its one task, for an EventSource sends no headers; and no key at all."""
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


def test_tokens_of_others(world):
    """Nobody makes a token for what it does not see, or with scopes that it has not; an admin does for everybody."""
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


def test_a_token_ends_with_its_key(world):
    """At once, when the key is revoked."""
    world.put("running", "alice")
    token = token_of(world, world.alice)
    assert world.client.get("/tasks/t-1", headers=bearer(token)).status_code == 200

    world.keys.revoke(world.alice)

    problem_of(world.client.get("/tasks/t-1", headers=bearer(token)), 401, "unauthorized")


@pytest.mark.parametrize(
    "wish",
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
def test_wishes_that_are_none(wish, world):
    """What a token cannot be is refused."""
    world.put("running", "alice")

    problem_of(world.client.post("/tasks/t-1/tokens", json=wish, headers=bearer(world.alice)), 422, "validation")


def test_a_stream_ends_with_its_key(world):
    """Nothing is sent any more to a client whose key is revoked meanwhile."""
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


def test_without_keys_everybody_may_do_everything(client, store):
    """Whatever header they send; a token that they make is good for as much as any other."""
    store.note(Note(task_id="t-1", fact=Fact.SUBMITTED, owner="alice"))
    store.metas["t-2"] = b'{"status": "SUCCESS", "result": 1}'

    for headers in ({}, bearer("anything"), {"Authorization": "Basic YTpi"}):
        for task_id in ("t-1", "t-2"):
            assert client.get(f"/tasks/{task_id}", headers=headers).status_code == 200
    token = client.post("/tasks/t-1/tokens").get_json()["token"]
    assert client.get(f"/tasks/t-1/events?access_token={token}", headers=bearer(token)).status_code == 200


def test_the_same_problem_on_both_ways(world):
    """A plain read is answered before Flask; who is refused there is told the same."""
    world.put("done", "bob")
    for who in (None, world.alice, world.keys.add("bob", {Scope.SUBMIT})):
        express, by_flask = (world.ask((None, "GET", f"/tasks/t-1{query}", None, {}), who) for query in ("", "?wait=0"))
        assert express == by_flask
