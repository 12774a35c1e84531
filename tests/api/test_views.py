"""Who has the scope `tracebacks` sees from inside, and everybody else from outside, on every route."""

import json
from datetime import UTC, datetime

import pytest
from support.fakes import MemoryBroker
from support.use_cases import create_api, create_tracker
from task_status_service.access.api_keys import KeyFile, Keyring, new_key
from task_status_service.access.caller import Scope
from task_status_service.api.auth.authentication import Access
from task_status_worker.record.model import Fact, Note, RecordedFailure

#: a worker, a directory, a line of code and a password; the last is for nobody
OPERATOR = ("celery@build-7", "/srv/shop", "charge(card)")
NEVER = "kanarienvogel"


class Keys:
    """Keys that never change."""

    def __init__(self) -> None:
        now = datetime.now(UTC)
        file = KeyFile.new()
        plain = frozenset(Scope) - {Scope.TRACEBACKS}
        made = [new_key("shop", scopes, created_at=now) for scopes in (plain, frozenset(Scope))]
        self.outside, self.inside = (text for _, text in made)
        self._keyring = Keyring(KeyFile(signing_secret=file.signing_secret, keys=tuple(key for key, _ in made)))

    def current(self) -> Keyring:
        """Return the keys."""
        return self._keyring


@pytest.fixture
def keys():
    """Give two keys of one owner."""
    return Keys()


@pytest.fixture
def stored(store):
    """Store a failure that says too much, in the meta and in the record."""
    text = f"postgres://bob:{NEVER}@db, see /srv/shop/db.ini"
    trace = f'Traceback (most recent call last):\n  File "/srv/shop/pay.py", line 7\n    charge(card)\nE: {text}'
    failure = RecordedFailure(type="E", module="db", message=text, details={"in": text}, traceback=trace)
    store.note(Note(task_id="a", fact=Fact.SUBMITTED, owner="shop", name="demo.add"))
    store.note(Note(task_id="a", fact=Fact.STARTED, worker=OPERATOR[0]))
    store.note(Note(task_id="a", fact=Fact.FINISHED, outcome="FAILURE", failure=failure))
    store.note(Note(task_id="b", fact=Fact.STARTED, owner="shop", worker=OPERATOR[0]))
    store.note(Note(task_id="b", fact=Fact.RETRYING))
    result = {"exc_type": "E", "exc_message": [text], "exc_module": "db", "password": NEVER}
    store.metas["b"] = json.dumps({"status": "RETRY", "result": result, "traceback": trace}).encode()


@pytest.fixture
def client_of(submitter, feed, keys):
    """Give a function that makes a client of a service with keys."""
    return lambda tracker: create_api(tracker, submitter, feed, access=Access(keys)).test_client()


#: each way in which a status leaves
ROUTES = [
    ("GET", "/tasks/a"),
    ("GET", "/tasks/b"),
    ("GET", "/tasks/a?wait=0.01"),
    ("GET", "/tasks/b?wait=0.01"),
    ("GET", "/tasks"),
    ("GET", "/tasks?state=failed"),
    ("GET", "/tasks?id=a&id=b"),
    ("GET", "/tasks/a/events"),
    ("GET", "/events?id=a"),
    ("POST", "/tasks/b/cancel"),
]


def ask(client, key, method, path, **headers):
    """Give the answer to a request with a key."""
    return client.open(path, method=method, headers={"Authorization": f"Bearer {key}", **headers})


@pytest.mark.usefixtures("stored")
@pytest.mark.parametrize(("method", "path"), ROUTES)
def test_by_scope(tracker, client_of, keys, method, path):
    """The same task, with two keys of its owner."""
    client = client_of(tracker)

    outside, inside = (ask(client, key, method, path) for key in (keys.outside, keys.inside))

    assert outside.status_code == inside.status_code in {200, 202}
    assert not [word for word in (*OPERATOR, NEVER) if word in outside.text]
    shown = [word for word in OPERATOR if word in inside.text]
    # A cancel answers without a failure.
    assert shown == list(OPERATOR) if method == "GET" else shown == [OPERATOR[0]]
    assert NEVER not in inside.text
    assert NEVER not in str(outside.headers)


@pytest.mark.usefixtures("stored")
@pytest.mark.parametrize("query", ["", "?wait=0"])
def test_another_version(tracker, client_of, keys, query):
    """A key that sees more is not told that nothing has changed, nor is one that sees less."""
    client = client_of(tracker)
    path = f"/tasks/a{query}"
    etags = {key: ask(client, key, "GET", path).headers["ETag"] for key in (keys.outside, keys.inside)}

    for key, own in etags.items():
        codes = {ask(client, key, "GET", path, **{"If-None-Match": etag}).status_code for etag in etags.values()}
        assert codes == {200, 304}
        assert ask(client, key, "GET", path, **{"If-None-Match": own}).status_code == 304
    assert len(set(etags.values())) == 2


@pytest.mark.usefixtures("stored")
@pytest.mark.parametrize(("method", "path"), ROUTES)
def test_setting(store, client_of, keys, method, path):
    """`TASK_STATUS_TRACEBACKS=no`: from inside nobody sees anything more."""
    client = client_of(create_tracker(store, MemoryBroker(), final_states={}, tracebacks=False))

    text = ask(client, keys.inside, method, path).text

    assert not [word for word in (*OPERATOR, NEVER) if word in text]


def test_replay(store, client, broker):
    """What is kept of a claim has no worker and no traceback: it may be replayed to another key of the owner."""
    headers = {"Idempotency-Key": "k-1"}
    body = {"name": "demo.add", "kwargs": {"x": 1, "y": 2}}
    broker.down = True
    assert client.post("/tasks", json=body, headers=headers).status_code == 503
    (task_id,) = store.records
    broker.down = False
    store.note(Note(task_id=task_id, fact=Fact.STARTED, worker=OPERATOR[0]))

    assert client.post("/tasks", json=body, headers=headers).get_json()["worker"] == OPERATOR[0]
    assert client.post("/tasks", json=body, headers=headers).get_json()["worker"] is None
