"""Each route shows tracebacks, workers and paths only to callers with the scope `tracebacks`."""

import json
from datetime import UTC, datetime

import pytest
from support.fakes import MemoryBroker
from support.use_cases import create_api, create_tracker
from task_status_service.access.api_keys import KeyFile, Keyring, new_key
from task_status_service.access.caller import Scope
from task_status_service.api.auth.authentication import Access
from task_status_worker.record.model import Fact, Note, RecordedFailure

#: a worker, a directory and a line of code: for callers with the scope `tracebacks` only
OPERATOR = ("celery@build-7", "/srv/shop", "charge(card)")
#: a password, which no response may contain
SECRET = "kanarienvogel"


class Keys:
    """Two fixed keys of one owner, without and with the scope `tracebacks`."""

    def __init__(self) -> None:
        now = datetime.now(UTC)
        file = KeyFile.new()
        plain = frozenset(Scope) - {Scope.TRACEBACKS}
        made = [new_key("shop", scopes, created_at=now) for scopes in (plain, frozenset(Scope))]
        self.public, self.operator = (text for _, text in made)
        self._keyring = Keyring(KeyFile(signing_secret=file.signing_secret, keys=tuple(key for key, _ in made)))

    def current(self) -> Keyring:
        """Return the keyring."""
        return self._keyring


@pytest.fixture
def keys():
    """Two keys of one owner."""
    return Keys()


@pytest.fixture
def stored(store):
    """A failure with secrets and internal details, one in a record and one in a meta."""
    text = f"postgres://bob:{SECRET}@db, see /srv/shop/db.ini"
    trace = f'Traceback (most recent call last):\n  File "/srv/shop/pay.py", line 7\n    charge(card)\nE: {text}'
    failure = RecordedFailure(type="E", module="db", message=text, details={"in": text}, traceback=trace)
    store.note(Note(task_id="a", fact=Fact.SUBMITTED, owner="shop", name="demo.add"))
    store.note(Note(task_id="a", fact=Fact.STARTED, worker=OPERATOR[0]))
    store.note(Note(task_id="a", fact=Fact.FINISHED, outcome="FAILURE", failure=failure))
    store.note(Note(task_id="b", fact=Fact.STARTED, owner="shop", worker=OPERATOR[0]))
    store.note(Note(task_id="b", fact=Fact.RETRYING))
    result = {"exc_type": "E", "exc_message": [text], "exc_module": "db", "password": SECRET}
    store.metas["b"] = json.dumps({"status": "RETRY", "result": result, "traceback": trace}).encode()


@pytest.fixture
def client_of(submitter, feed, keys):
    """Return a function that creates a client of a service with keys."""
    return lambda tracker: create_api(tracker, submitter, feed, access=Access(keys)).test_client()


#: all routes that return a status
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
    """Return the response to a request with a key."""
    return client.open(path, method=method, headers={"Authorization": f"Bearer {key}", **headers})


@pytest.mark.usefixtures("stored")
@pytest.mark.parametrize(("method", "path"), ROUTES)
def test_details_require_the_scope(tracker, client_of, keys, method, path):
    """Only the key with the scope sees the details of the same task, and neither key sees the password."""
    client = client_of(tracker)

    public, operator = (ask(client, key, method, path) for key in (keys.public, keys.operator))

    assert public.status_code == operator.status_code in {200, 202}
    assert not [word for word in (*OPERATOR, SECRET) if word in public.text]
    shown = [word for word in OPERATOR if word in operator.text]
    # The response of a cancel has no failure.
    assert shown == list(OPERATOR) if method == "GET" else shown == [OPERATOR[0]]
    assert SECRET not in operator.text
    assert SECRET not in str(public.headers)


@pytest.mark.usefixtures("stored")
@pytest.mark.parametrize("query", ["", "?wait=0"])
def test_each_visibility_has_its_own_etag(tracker, client_of, keys, query):
    """The ETag of one visibility does not get 304 with a key of the other."""
    client = client_of(tracker)
    path = f"/tasks/a{query}"
    etags = {key: ask(client, key, "GET", path).headers["ETag"] for key in (keys.public, keys.operator)}

    for key, own in etags.items():
        codes = {ask(client, key, "GET", path, **{"If-None-Match": etag}).status_code for etag in etags.values()}
        assert codes == {200, 304}
        assert ask(client, key, "GET", path, **{"If-None-Match": own}).status_code == 304
    assert len(set(etags.values())) == 2


@pytest.mark.usefixtures("stored")
@pytest.mark.parametrize(("method", "path"), ROUTES)
def test_the_setting_hides_details_from_all_callers(store, client_of, keys, method, path):
    """With `TASK_STATUS_TRACEBACKS=no`, a key with the scope sees no details either."""
    client = client_of(create_tracker(store, MemoryBroker(), final_states={}, tracebacks=False))

    text = ask(client, keys.operator, method, path).text

    assert not [word for word in (*OPERATOR, SECRET) if word in text]


def test_a_replayed_response_has_no_details(store, client, broker):
    """The stored response of a claim has no worker or traceback: another key of the owner may receive it."""
    headers = {"Idempotency-Key": "k-1"}
    body = {"name": "demo.add", "kwargs": {"x": 1, "y": 2}}
    broker.down = True
    assert client.post("/tasks", json=body, headers=headers).status_code == 503
    (task_id,) = store.records
    broker.down = False
    store.note(Note(task_id=task_id, fact=Fact.STARTED, worker=OPERATOR[0]))

    assert client.post("/tasks", json=body, headers=headers).get_json()["worker"] == OPERATOR[0]
    assert client.post("/tasks", json=body, headers=headers).get_json()["worker"] is None
