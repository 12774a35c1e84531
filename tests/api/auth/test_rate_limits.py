"""Rate limits by key and task token, their headers, and limits of failed authentications by address."""

import pytest
from flask.testing import FlaskClient
from support.clock import Clock
from support.keys import MemoryKeys, bearer
from support.problems import problem_of
from support.use_cases import create_api
from task_status_service.access.client_address import TrustedProxies
from task_status_service.access.watch_limits import Places
from task_status_service.api.auth.authentication import Access
from task_status_service.api.auth.rate_limits import (
    BURST_SECONDS,
    EXPIRED,
    FAILURES,
    TOKEN_SHARE,
    TOKEN_WATCHES,
    TOKENS_WATCHES,
    Limits,
)
from task_status_service.use_cases.submission import Call
from task_status_worker.record.model import Fact, Note

SECOND_NS = 1_000_000_000
#: of one request per second
BURST = BURST_SECONDS
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
    return Access(keys[0], limits=Limits(1, clock_ns=clock))


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

    clock.now += SECOND_NS
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

    clock.now += 2 * SECOND_NS
    problem_of(client.get(path), 401, "unauthorized")


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


@pytest.fixture
def limited(tracker, submitter, feed, keys, clock):
    """A function that returns a client of a server with some limits."""

    def create(rate=200, *, now=lambda: 1_790_000_000.0, **limits):
        access = Access(keys[0], limits=Limits(rate, clock_ns=clock, **limits), clock=now)
        app = create_api(tracker, submitter, feed, access=access)
        # Without the comparison with the OpenAPI document, which is slow for thousands of requests.
        return FlaskClient(app, app.response_class)

    return create


def token_of(client, key, **request_body):
    """Create a token for the task; return its header."""
    issued = client.post("/tasks/t-1/tokens", json=request_body, headers=key)
    assert issued.status_code == 201
    return bearer(issued.get_json()["token"])


@pytest.fixture
def task(store):
    """A task of ann, whose tokens the tests use."""
    store.note(Note(task_id="t-1", fact=Fact.SUBMITTED, owner="ann"))


@pytest.mark.usefixtures("task")
@pytest.mark.parametrize("is_expired", [False, True])
def test_a_token_at_full_speed_costs_its_owner_nothing(limited, keys, clock, is_expired):
    """One page with a valid or expired token sends 3,000 requests per second; each request of the owner succeeds."""
    now = [1_790_000_000.0]
    client = limited(now=lambda: now[0])
    ann = keys[1][0]
    token = token_of(client, ann, ttl_seconds=60)
    clock.now += 60 * SECOND_NS
    now[0] += 60 if is_expired else 30

    by_token, by_key = [], []
    for number in range(3_000):
        clock.now += SECOND_NS // 3_000
        by_token.append(client.get(PATHS[number % 2], headers=token).status_code)
        if number % 30 == 0:
            by_key.append(client.get(PATHS[0], headers=ann).status_code)

    assert by_key == [200] * 100
    passed = 200 * TOKEN_SHARE * (BURST_SECONDS + 1) if not is_expired else EXPIRED + 10
    assert by_token.count(401 if is_expired else 200) == pytest.approx(passed, abs=2)
    assert by_token.count(429) == pytest.approx(3_000 - passed, abs=2)


@pytest.mark.usefixtures("task")
def test_100_pages_and_their_owner_do_not_affect_each_other(limited, keys, clock):
    """The tokens of 100 open pages share one budget, and the keys of their owner another one."""
    client = limited(rate=20)
    ann = keys[1][0]
    tokens = [token_of(client, ann) for _ in range(100)]
    codes = [client.get(PATHS[0], headers=ann).status_code for _ in range(101)]
    # Creating a token is a request of the key.
    assert codes == [200] * 100 + [429]

    assert {client.get(PATHS[number % 2], headers=token).status_code for number, token in enumerate(tokens * 2)} == {
        200
    }
    response = client.get(PATHS[0], headers=tokens[0])
    problem = problem_of(response, 429, "rate-limited")
    assert "all task tokens of the owner" in problem["detail"]
    assert response.headers.getlist("RateLimit") == ['"requests";r=0;t=1']

    clock.now += SECOND_NS
    assert client.get(PATHS[0], headers=ann).status_code == 200


@pytest.mark.usefixtures("task")
@pytest.mark.parametrize("path", PATHS)
def test_headers_of_a_token(limited, keys, path):
    """The RateLimit headers of a request with a token describe the budget of this token."""
    client = limited(rate=20)
    ann, token, other = keys[1][0], *(token_of(client, keys[1][0]) for _ in range(2))

    for left in range(9, -1, -1):
        response = client.get(path, headers=token)
        assert response.headers.getlist("RateLimit") == [f'"requests";r={left};t={10 - left}']
        assert response.headers.getlist("RateLimit-Policy") == ['"requests";q=10;w=10']
    response = client.get(path, headers=token)
    assert "with this task token" in problem_of(response, 429, "rate-limited")["detail"]
    assert (response.headers["Retry-After"], response.headers["RateLimit"]) == ("1", '"requests";r=0;t=1')
    assert client.get(path, headers=ann).headers["RateLimit"].startswith('"requests";r=197;')
    assert client.get(path, headers=other).headers["RateLimit"] == '"requests";r=9;t=1'


@pytest.mark.usefixtures("task")
def test_tokens_for_one_task_have_separate_budgets(limited, keys):
    """Two tokens that are created for one task at the same moment have separate budgets; spellings of one have not."""
    client = limited(rate=20)
    first, second = (token_of(client, keys[1][0]) for _ in range(2))
    text = first["Authorization"]
    spellings = [{"Authorization": one} for one in (text, f"{text}=", text.replace("Bearer", "bearer  "))]

    codes = [client.get(PATHS[0], headers=spellings[number % 3]).status_code for number in range(12)]

    assert codes == [200] * 10 + [429] * 2
    assert client.get(PATHS[0], headers=second).status_code == 200


def test_expired_tokens_are_limited_by_address(limited, store, keys):
    """Expired tokens, and those of a revoked key, have a limit by address that is milder than that of guesses."""
    now = [1_790_000_000.0]
    client = limited(now=lambda: now[0])
    store.note(Note(task_id="t-1", fact=Fact.SUBMITTED, owner="ann"))
    expired, revoked = token_of(client, keys[1][0], ttl_seconds=60), token_of(client, keys[1][1])
    keys[0].revoke(keys[1][1]["Authorization"].removeprefix("Bearer "))
    now[0] += 60
    store.down = True

    codes = [
        client.get(PATHS[number % 2], headers=(expired, revoked)[number % 3 % 2]).status_code
        for number in range(EXPIRED)
    ]

    assert codes == [401] * EXPIRED
    problem = problem_of(client.get(PATHS[0], headers=expired), 429, "rate-limited")
    assert "expired task tokens from this address" in problem["detail"]
    # The limit of guesses is separate.
    problem_of(client.get(PATHS[0]), 401, "unauthorized")
    elsewhere = {"REMOTE_ADDR": "192.0.2.1"}
    assert client.get(PATHS[0], headers=expired, environ_overrides=elsewhere).status_code == 401


@pytest.mark.usefixtures("task")
def test_streams_of_a_token_leave_those_of_its_owner(limited, feed, keys, clock):
    """Of 505 streams with one token, four are open at one time; the keys of its owner have separate places."""
    feed.places = Places(10_000)
    client = limited()
    ann, token = keys[1][0], token_of(client, keys[1][0])

    def stream(headers):
        clock.now += SECOND_NS
        return client.get("/tasks/t-1/events", headers=headers, buffered=False)

    by_token = [stream(token) for _ in range(505)]
    assert [response.status_code for response in by_token] == [200] * TOKEN_WATCHES + [429] * (505 - TOKEN_WATCHES)
    assert "with this task token" in problem_of(by_token[-1], 429, "rate-limited")["detail"]
    by_key = [stream(ann) for _ in range(501)]
    assert [response.status_code for response in by_key] == [200] * 500 + [429]
    assert "with the keys of this owner" in problem_of(by_key[-1], 429, "rate-limited")["detail"]
    for response in by_token + by_key:
        response.close()
    assert stream(token).status_code == 200


@pytest.mark.usefixtures("task")
def test_streams_of_all_tokens_are_limited(limited, keys):
    """The tokens of one owner share a number of streams, which leaves those of its keys and of other owners."""
    client = limited(watches_per_caller=3)

    def streams(*headers):
        return [client.get("/tasks/t-1/events", headers=one, buffered=False) for one in headers]

    opened = streams(*(token_of(client, keys[1][number % 2]) for number in range(3 * TOKENS_WATCHES + 1)))
    assert [response.status_code for response in opened] == [200] * 3 * TOKENS_WATCHES + [429]
    assert "all task tokens of the owner" in problem_of(opened[-1], 429, "rate-limited")["detail"]
    opened += streams(*keys[1][:2] * 2)
    assert [response.status_code for response in opened[-4:]] == [200] * 3 + [429]
    for response in opened:
        response.close()


@pytest.mark.usefixtures("task")
def test_waits_are_counted_like_streams(limited, feed, keys):
    """A wait takes a place of its caller; without a free place it is answered at once."""
    client = limited(watches_per_caller=1)
    ann, token = keys[1][0], token_of(client, keys[1][0])
    opened = [client.get("/tasks/t-1/events", headers=headers, buffered=False) for headers in (ann, *[token] * 2)]
    looks = []
    feed.script = [lambda: looks.append(len(feed.watches))] * 2

    for headers in (ann, token):
        assert client.get("/tasks/t-1?wait=0.01", headers=headers).status_code == 200
    assert looks == []
    for response in opened:
        response.close()
    for headers in (ann, token):
        assert client.get("/tasks/t-1?wait=0.01", headers=headers).status_code == 200
    assert looks == [1, 1]


def test_without_keys_streams_are_counted_by_address(tracker, submitter, feed, store):
    """On a server without keys, streams are limited by the address, which a trusted proxy may report."""
    access = Access(limits=Limits(watches_per_caller=1), proxies=TrustedProxies.parse("unix"), is_local=False)
    client = create_api(tracker, submitter, feed, access=access).test_client()
    store.note(Note(task_id="t-1", fact=Fact.SUBMITTED))

    opened = [
        client.get(
            "/tasks/t-1/events",
            headers={"X-Forwarded-For": address},
            environ_overrides={"REMOTE_ADDR": ""},
            buffered=False,
        )
        for address in ("192.0.2.1", "192.0.2.2", "192.0.2.1")
    ]

    assert [response.status_code for response in opened] == [200, 200, 429]
    assert "from this address" in problem_of(opened[-1], 429, "rate-limited")["detail"]
    for response in opened:
        response.close()


def test_without_keys_nothing_is_limited(tracker, submitter, feed, store, clock):
    """A server without keys, which only this machine can reach, limits nothing."""
    client = create_api(tracker, submitter, feed, access=Access(limits=Limits(1, clock_ns=clock))).test_client()
    store.note(Note(task_id="t-1", fact=Fact.SUBMITTED))

    assert {client.get(PATHS[0]).status_code for _ in range(2 * BURST)} == {200}


def test_too_many_stored_bytes_of_an_owner_return_429(client, keys, store, broker):
    """A submission or a retry over the owner's limit of bytes returns 429; other owners can submit."""
    _, (ann, _, ben) = keys
    submission = {"name": "demo.add", "args": [1, 2]}
    # A second task: the fixture has written one.
    store.note(Note(task_id="t-9", fact=Fact.SUBMITTED, owner="ann", name="demo.add"))
    store.note(Note(task_id="t-9", fact=Fact.FINISHED, outcome="FAILURE"))
    store.calls["t-9"] = Call(name="demo.add", args=[1, 2])
    store.stored_bytes_per_owner = 1_900

    for path, body in (("/tasks", submission), ("/tasks/t-9/retry", None)):
        problem = problem_of(client.post(path, json=body, headers=ann), 429, "quota-exceeded")
        assert "of 1,900 bytes" in problem["detail"]
        assert "TASK_STATUS_STORED_BYTES_PER_OWNER" in problem["detail"]
    assert client.post("/tasks", json=submission, headers=ann).headers["Retry-After"] == "60"
    assert broker.sent == []
    assert client.post("/tasks", json=submission, headers=ben).status_code == 202


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
