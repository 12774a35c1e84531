"""How often one may ask: counted by owner, told in headers, and nobody held up by others."""

import pytest
from support.clock import Clock
from support.keys import MemoryKeys, bearer
from support.problems import problem_of
from support.use_cases import create_api
from task_status_service.access.rate_limit import RateLimit
from task_status_service.api.auth.authentication import Access
from task_status_service.api.auth.rate_limits import FAILURES, Limits
from task_status_worker.record.model import Fact, Note

BURST = 5
#: answered before Flask, and by it
PATHS = ["/tasks/t-1", "/tasks/t-1?wait=0"]


@pytest.fixture
def clock():
    """Give the clock of the limits."""
    return Clock(0)


@pytest.fixture
def keys():
    """Give the keys of a server, and the headers of who holds them; two are of one owner."""
    kept = MemoryKeys()
    return kept, [bearer(kept.add(name)) for name in ("ann", "ann", "ben")]


@pytest.fixture
def access(keys, clock):
    """Let in who has a key, within narrow limits."""
    limits = Limits(RateLimit(1, BURST, clock_ns=clock), failures=RateLimit(0.5, FAILURES, clock_ns=clock))
    return Access(keys[0], limits=limits)


@pytest.fixture
def client(tracker, submitter, feed, store, access):
    """Give a client of a server with keys."""
    store.note(Note(task_id="t-1", fact=Fact.SUBMITTED, owner="ann"))
    return create_api(tracker, submitter, feed, access=access).test_client()


@pytest.mark.parametrize("path", PATHS)
def test_too_many_requests(client, keys, clock, path):
    """Each answer says how much is left; then 429 until `Retry-After`, for all keys of the owner and no other."""
    _, (ann, also_ann, ben) = keys
    for left in range(BURST - 1, -1, -1):
        response = client.get(path, headers=ann)
        assert response.status_code == 200
        assert response.headers.getlist("RateLimit") == [f'"requests";r={left};t={BURST - left}']
        assert response.headers.getlist("RateLimit-Policy") == [f'"requests";q={BURST};w={BURST}']

    for headers in (ann, also_ann):
        response = client.get(path, headers=headers)
        problem_of(response, 429, "rate-limited")
        assert response.headers["Retry-After"] == "1"
        assert response.headers.getlist("RateLimit") == ['"requests";r=0;t=1']
    # Not ben's task, but ben is answered.
    assert client.get(path, headers=ben).status_code == 404

    clock.now += 1_000_000_000
    assert client.get(path, headers=also_ann).status_code == 200


def test_both_ways_count_as_one(client, keys):
    """What is answered before Flask and what is answered by it uses up the same."""
    _, (ann, *_) = keys
    codes = [client.get(PATHS[number % 2], headers=ann).status_code for number in range(BURST + 2)]
    assert codes == [200] * BURST + [429] * 2


@pytest.mark.parametrize("path", [*PATHS, "/tasks", "/tasks/t-2", "/tasks/t-1?wait=x", "/tasks/t-1/events"])
def test_told_with_every_answer(client, keys, path):
    """Once, whatever the answer is."""
    response = client.get(path, headers=keys[1][0])

    assert [len(response.headers.getlist(name)) for name in ("RateLimit", "RateLimit-Policy")] == [1, 1]


def test_refused_before_anything_is_read(client, keys, store):
    """What is too much costs no trip to the store, and no look at the body."""
    _, (ann, *_) = keys
    for _ in range(BURST):
        client.get(PATHS[0], headers=ann)
    store.down = True

    problem_of(client.post("/tasks", data=b"{", headers=ann, content_type="application/json"), 429, "rate-limited")
    problem_of(client.get(PATHS[0], headers=ann), 429, "rate-limited")


@pytest.mark.parametrize("path", PATHS)
def test_too_many_failures(client, keys, clock, path):
    """Guessing is stopped by address; a key that counts is never held up by those who guess, nor is another address."""
    _, (ann, *_) = keys
    for number in range(FAILURES):
        headers = {"Authorization": f"Bearer tsk_0123456789ab_{number:043}"} if number % 2 else {}
        problem_of(client.get(path, headers=headers), 401, "unauthorized")

    response = client.get(path)
    problem_of(response, 429, "rate-limited")
    assert response.headers["Retry-After"] == "2"
    assert client.get(path, headers=ann).status_code == 200
    elsewhere = {"REMOTE_ADDR": "192.0.2.1"}
    problem_of(client.get(path, environ_overrides=elsewhere), 401, "unauthorized")

    clock.now += 2_000_000_000
    problem_of(client.get(path), 401, "unauthorized")


def test_an_expired_token_is_no_guess(tracker, submitter, feed, store, keys):
    """Pages that were left open are refused as often as they ask, by what their owner may ask; nobody else is."""
    now = [1_790_000_000.0]
    kept, (ann, _, ben) = keys
    limits = Limits(RateLimit(1, BURST, clock_ns=lambda: 0), failures=RateLimit(0.5, 1, clock_ns=lambda: 0))
    access = Access(kept, limits=limits, clock=lambda: now[0])
    store.note(Note(task_id="t-1", fact=Fact.SUBMITTED, owner="ann"))
    client = create_api(tracker, submitter, feed, access=access).test_client()
    issued = client.post("/tasks/t-1/tokens", json={"ttl_seconds": 60}, headers=ann).get_json()
    token = {"Authorization": f"Bearer {issued['token']}"}
    assert client.get("/tasks/t-1", headers=token).status_code == 200

    now[0] += 60
    codes = [client.get(PATHS[number % 2], headers=token).status_code for number in range(BURST)]

    assert codes == [401] * (BURST - 2) + [429] * 2
    assert client.get("/tasks/t-1", headers=ben).status_code == 404
    # The one failure that this address has is there to be used.
    assert [client.get("/tasks/t-1").status_code for _ in range(2)] == [401, 429]


def test_failures_of_a_network(client):
    """Who has one IPv6 address has 2^64 of them: they count as one."""
    codes = [
        client.get(PATHS[0], environ_overrides={"REMOTE_ADDR": f"2001:db8::{number:x}"}).status_code
        for number in range(FAILURES + 1)
    ]
    assert codes == [401] * FAILURES + [429]
    other = {"REMOTE_ADDR": "2001:db8:0:1::1%eth0"}
    assert client.get(PATHS[0], environ_overrides=other).status_code == 401


def test_health_is_not_counted(client):
    """Who needs no key is not counted, as often as it asks."""
    for _ in range(FAILURES + BURST):
        response = client.get("/livez")
        assert response.status_code == 200
        assert "RateLimit" not in response.headers


@pytest.mark.parametrize("path", ["/tasks/t-1/events", "/tasks/t-1?wait=0.01"])
def test_places_are_the_owners(client, keys, feed, path):
    """Streams and waits of two keys of one owner are counted as one's."""
    for headers in keys[1][:2]:
        client.get(path, headers=headers).close()

    assert feed.callers == ["ann", "ann"]


def test_without_keys_nothing_is_limited(tracker, submitter, feed, store, clock):
    """Where there are no keys only this machine asks."""
    limits = Limits(RateLimit(1, 1, clock_ns=clock))
    client = create_api(tracker, submitter, feed, access=Access(limits=limits)).test_client()
    store.note(Note(task_id="t-1", fact=Fact.SUBMITTED))

    assert {client.get(PATHS[0]).status_code for _ in range(3)} == {200}


def test_too_many_queued(client, keys, store, broker):
    """An owner who has too many tasks waiting is told so, and others are not."""
    _, (ann, _, ben) = keys
    store.queued_per_owner = 1
    submission = {"name": "demo.add", "args": [1, 2]}

    response = client.post("/tasks", json=submission, headers=ann)

    problem_of(response, 429, "too-many-queued")
    assert response.headers["Retry-After"] == "5"
    assert broker.sent == []
    assert client.post("/tasks", json=submission, headers=ben).status_code == 202
