"""Rate limits by owner, their headers, and limits of failed authentications by address."""

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
#: a fast read, and a read through Flask
PATHS = ["/tasks/t-1", "/tasks/t-1?wait=0"]


@pytest.fixture
def clock():
    """The clock of the limits, in nanoseconds."""
    return Clock(0)


@pytest.fixture
def keys():
    """The keys of a server, and a header for each; the first two keys have the same owner."""
    kept = MemoryKeys()
    return kept, [bearer(kept.add(name)) for name in ("ann", "ann", "ben")]


@pytest.fixture
def access(keys, clock):
    """Access by key, within narrow limits."""
    limits = Limits(RateLimit(1, BURST, clock_ns=clock), failures=RateLimit(0.5, FAILURES, clock_ns=clock))
    return Access(keys[0], limits=limits)


@pytest.fixture
def client(tracker, submitter, feed, store, access):
    """A client of a server with keys."""
    store.note(Note(task_id="t-1", fact=Fact.SUBMITTED, owner="ann"))
    return create_api(tracker, submitter, feed, access=access).test_client()


@pytest.mark.parametrize("path", PATHS)
def test_too_many_requests_of_an_owner_return_429(client, keys, clock, path):
    """All keys of an owner share one limit, and get 429 until `Retry-After`; other owners are not affected."""
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
    # The task has another owner, but the request is not limited.
    assert client.get(path, headers=ben).status_code == 404

    clock.now += 1_000_000_000
    assert client.get(path, headers=also_ann).status_code == 200


def test_fast_reads_and_flask_share_one_limit(client, keys):
    """Fast reads and requests through Flask use the same limit."""
    _, (ann, *_) = keys
    codes = [client.get(PATHS[number % 2], headers=ann).status_code for number in range(BURST + 2)]
    assert codes == [200] * BURST + [429] * 2


@pytest.mark.parametrize("path", [*PATHS, "/tasks", "/tasks/t-2", "/tasks/t-1?wait=x", "/tasks/t-1/events"])
def test_every_answer_has_rate_limit_headers(client, keys, path):
    """Every answer has each RateLimit header exactly once."""
    response = client.get(path, headers=keys[1][0])

    assert [len(response.headers.getlist(name)) for name in ("RateLimit", "RateLimit-Policy")] == [1, 1]


def test_excess_requests_read_nothing(client, keys, store):
    """A request over the limit reads neither the store nor its body."""
    _, (ann, *_) = keys
    for _ in range(BURST):
        client.get(PATHS[0], headers=ann)
    store.down = True

    problem_of(client.post("/tasks", data=b"{", headers=ann, content_type="application/json"), 429, "rate-limited")
    problem_of(client.get(PATHS[0], headers=ann), 429, "rate-limited")


@pytest.mark.parametrize("path", PATHS)
def test_failed_authentications_are_limited_by_address(client, keys, clock, path):
    """Failed authentications are limited by address; requests with a valid key and other addresses are not affected."""
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


def test_expired_tokens_count_against_their_owner(tracker, submitter, feed, store, keys):
    """An expired token uses the limit of its owner, and not the limit of failed authentications."""
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
    # The expired tokens have not used the one failure that is allowed to this address.
    assert [client.get("/tasks/t-1").status_code for _ in range(2)] == [401, 429]


def test_an_ipv6_network_shares_one_failure_limit(client):
    """All 2^64 addresses of an IPv6 /64 network share one limit of failures."""
    codes = [
        client.get(PATHS[0], environ_overrides={"REMOTE_ADDR": f"2001:db8::{number:x}"}).status_code
        for number in range(FAILURES + 1)
    ]
    assert codes == [401] * FAILURES + [429]
    other = {"REMOTE_ADDR": "2001:db8:0:1::1%eth0"}
    assert client.get(PATHS[0], environ_overrides=other).status_code == 401


def test_health_requests_are_unlimited(client):
    """Health requests, which need no key, are not limited."""
    for _ in range(FAILURES + BURST):
        response = client.get("/livez")
        assert response.status_code == 200
        assert "RateLimit" not in response.headers


@pytest.mark.parametrize("path", ["/tasks/t-1/events", "/tasks/t-1?wait=0.01"])
def test_streams_and_waits_are_counted_by_owner(client, keys, feed, path):
    """Streams and waits of two keys of one owner are counted together."""
    for headers in keys[1][:2]:
        client.get(path, headers=headers).close()

    assert feed.callers == ["ann", "ann"]


def test_without_keys_nothing_is_limited(tracker, submitter, feed, store, clock):
    """A server without keys, which only this machine can reach, limits nothing."""
    limits = Limits(RateLimit(1, 1, clock_ns=clock))
    client = create_api(tracker, submitter, feed, access=Access(limits=limits)).test_client()
    store.note(Note(task_id="t-1", fact=Fact.SUBMITTED))

    assert {client.get(PATHS[0]).status_code for _ in range(3)} == {200}


def test_too_many_queued_tasks_of_an_owner_return_429(client, keys, store, broker):
    """A submission over the owner's queue limit returns 429; other owners can submit."""
    _, (ann, _, ben) = keys
    store.queued_per_owner = 1
    submission = {"name": "demo.add", "args": [1, 2]}

    response = client.post("/tasks", json=submission, headers=ann)

    problem_of(response, 429, "too-many-queued")
    assert response.headers["Retry-After"] == "5"
    assert broker.sent == []
    assert client.post("/tasks", json=submission, headers=ben).status_code == 202
