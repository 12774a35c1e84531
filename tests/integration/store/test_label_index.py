"""The index by label, and the texts that reach keys: no note makes a key of a text of a client or of a message."""

import hashlib
import re

import msgspec
import pytest
from task_status_service.use_cases.listing import Filter
from task_status_worker.record.codec import FIELDS, note_call
from task_status_worker.record.keys import Keys, Retention
from task_status_worker.record.model import Fact, Note

KEYS = Keys()
LABELS = {"customer": "42", "a/b": 'ż"\\ \u2028'}
#: every key that notes may write
NAMED = re.compile(
    r"task-status:(record:[^\x00-\x1f\x7f]{1,255}|epoch|repairs|index:(expiry(:\d+)?|keys|"
    r"(owner:[A-Za-z0-9][A-Za-z0-9._-]{0,63}:)?(state:[a-z]+|name:[^\x00-\x1f\x7f]{1,1024}|label:[0-9a-f]{40})))"
)


def labeled(client):
    """Return the members of each set of a label."""
    return {key.decode(): set(client.zrange(key, 0, -1)) for key in client.keys("*:label:*")}


def listed(store, **wanted):
    """Return the ids of the first page."""
    return store.page(Filter(**wanted), limit=50, after=None).task_ids


def keys_of(labels, *owners):
    """Return the keys of labels in the indexes of some owners."""
    return {KEYS.index_by_label(name, text, owner) for name, text in labels.items() for owner in owners}


def test_a_task_is_in_the_sets_of_its_labels(store, client):
    """The first note with labels adds a task, in the index of all tasks and in that of the owner."""
    store.note(Note(task_id="t-1", fact=Fact.SUBMITTED, labels=LABELS, owner="ann"))
    store.note(Note(task_id="t-2", fact=Fact.SUBMITTED, labels={"customer": "42"}))
    store.note(Note(task_id="t-2", fact=Fact.STARTED))

    assert labeled(client).keys() == keys_of(LABELS, None, "ann")
    assert listed(store, labels={"customer": "42"}) == ["t-2", "t-1"]
    assert listed(store, labels=LABELS) == listed(store, labels=LABELS, owner="ann") == ["t-1"]
    assert listed(store, labels={"customer": "42"}, owner="ben") == []
    assert listed(store, labels={"customer": "4"}) == listed(store, labels={"customer\0": "42"}) == []


def test_the_key_of_a_label_is_a_digest(store, client):
    """A key contains no part of a label, and two labels of the same joined text have different keys."""
    store.note(Note(task_id="t-1", fact=Fact.SUBMITTED, labels=LABELS))

    assert not any(b"customer" in key or b"42" in key for key in client.keys("*:label:*"))
    digest = hashlib.sha1(b"customer\x0042", usedforsecurity=False).hexdigest()
    assert KEYS.index_by_label("customer", "42").endswith(f":label:{digest}")
    assert KEYS.index_by_label("a", "bc") != KEYS.index_by_label("ab", "c")


def test_late_labels_and_owners_are_indexed(store, client):
    """A later note may add the labels or the owner."""
    store.note(Note(task_id="t-1", fact=Fact.STARTED))
    store.note(Note(task_id="t-1", fact=Fact.SUBMITTED, labels=LABELS))
    assert listed(store, labels=LABELS) == ["t-1"]
    store.note(Note(task_id="t-1", fact=Fact.SUBMITTED, owner="ann", labels={"other": "1"}))

    assert listed(store, labels=LABELS, owner="ann") == ["t-1"]
    assert labeled(client).keys() == keys_of(LABELS, None, "ann")


def test_forgetting_removes_a_task_from_its_labels(store, client):
    """A forgotten task is in no set, and an empty set has no key."""
    for task_id in ("t-1", "t-2"):
        store.note(Note(task_id=task_id, fact=Fact.FINISHED, labels=LABELS, owner="ann"))
    assert store.forget(store.read("t-1"))
    assert set.union(*labeled(client).values()) == {b"t-2"}
    assert store.forget(store.read("t-2"))
    assert labeled(client) == {}


def expire(client, task_id):
    """Let a record expire now: it is due in the index by expiry."""
    client.hset(KEYS.record(task_id), FIELDS["valid_until"], 1)
    client.zadd(KEYS.index_by_expiry, {"1": 1})
    client.rpush(f"{KEYS.index_by_expiry}:1", task_id)


def test_an_expired_task_leaves_its_labels(store, client):
    """The note that turns a record into a tombstone removes the task from its labels; so does a new record."""
    for task_id in ("t-1", "t-2"):
        store.note(Note(task_id=task_id, fact=Fact.SUBMITTED, labels=LABELS, owner="ann"))
    expire(client, "t-1")
    store.note(Note(task_id="t-3", fact=Fact.SUBMITTED))
    assert set.union(*labeled(client).values()) == {b"t-2"}

    client.hset(KEYS.record("t-2"), FIELDS["valid_until"], 1)
    store.note(Note(task_id="t-2", fact=Fact.SUBMITTED, labels={"new": "1"}, owner="ann"))
    assert labeled(client).keys() == keys_of({"new": "1"}, None, "ann")


def test_a_label_lives_longer_than_its_tasks(store, client):
    """The key of a label has a TTL beyond the records, because nothing else removes the members of evicted records."""
    store.note(Note(task_id="t-1", fact=Fact.SUBMITTED, labels={"a": "b"}))
    key, kept = KEYS.index_by_label("a", "b"), Retention()

    assert client.ttl(key) > client.ttl(KEYS.record("t-1")) + kept.record_seconds - 60
    client.expire(key, 60)
    store.note(Note(task_id="t-2", fact=Fact.SUBMITTED, labels={"a": "b"}))
    assert client.ttl(key) > kept.record_seconds


def test_a_task_that_lives_long_stays_in_its_labels(store, client):
    """A note to a task that is older than the retention of records prolongs the TTL of its labels."""
    store.note(Note(task_id="t-1", fact=Fact.SUBMITTED, labels={"a": "b"}))
    client.hset(KEYS.record("t-1"), FIELDS["indexed_at"], 1_000)
    client.delete(KEYS.index_by_label("a", "b"))
    store.note(Note(task_id="t-1", progress={"done": 1}))

    assert listed(store, labels={"a": "b"}) == ["t-1"]


@pytest.mark.parametrize(
    "stored",
    [
        b"[",
        b"[" * 15_000,
        b"7",
        b'["a"]',
        b'{"a": 1}',
        b'{"a": {"b": "c"}}',
        msgspec.json.encode({f"a{number}": "" for number in range(33)}),
        msgspec.json.encode({"a": "x" * 20_000}),
        b'{"a": "\xff"}',
        b"",
    ],
    ids=ascii,
)
def test_forged_labels_stop_nothing(store, client, stored):
    """Labels in a record that no note has written are not indexed, and its task can be noted, forgotten and expire."""
    for task_id in ("t-1", "t-2"):
        store.note(Note(task_id=task_id, fact=Fact.STARTED))
        client.hset(KEYS.record(task_id), FIELDS["labels"], stored)
        store.note(Note(task_id=task_id, fact=Fact.FINISHED, owner="ann"))
        assert all(NAMED.fullmatch(key.decode()) for key in client.keys("*"))
    assert store.forget(store.read("t-1"))
    expire(client, "t-2")
    store.note(Note(task_id="t-3", fact=Fact.SUBMITTED))

    assert listed(store) == ["t-3"]
    assert labeled(client) == {}


HOSTILE = ["a\0b", "a\nb", "x" * 10_000, "\x7f", "a:state:queued", "*", "{a}", "", " ", "é" * 600, "owner:ann"]


@pytest.mark.parametrize("text", HOSTILE, ids=ascii)
def test_texts_of_messages_make_no_other_keys(store, client, text):
    """Names, labels and owners of any form reach only keys of the index that are meant for them."""
    client.config_set("slowlog-log-slower-than", 10_000)
    store.note(Note(task_id="t-1", fact=Fact.SUBMITTED, name=text, labels={text: text}, queue=text, owner=text))
    store.note(Note(task_id="t-1", fact=Fact.STARTED, worker=text, instance=text))
    store.note(Note(task_id="t-1", fact=Fact.FINISHED, outcome=text, run=text))

    keys = [key.decode() for key in client.keys("*")]
    assert [key for key in keys if not NAMED.fullmatch(key)] == []
    assert listed(store) == ["t-1"]
    is_name = 0 < len(text.encode()) <= 1_024 and text.isprintable()
    assert listed(store, name=text or "none") == (["t-1"] if is_name else [])
    assert store.forget(store.read("t-1"))
    assert client.keys("*:state:*") == client.keys("*:name:*") == client.keys("*:label:*") == []


def test_a_forged_owner_reaches_no_other_index(store, client):
    """An owner in a record that no key has is in the index of no owner."""
    for number, owner in enumerate(["a:state:queued", "ann:", "x" * 65, "a b", "*", "\xff"]):
        task_id = f"t-{number}"
        store.note(Note(task_id=task_id, fact=Fact.SUBMITTED, labels={"a": "b"}))
        client.hset(KEYS.record(task_id), FIELDS["owner"], owner)
        store.note(Note(task_id=task_id, fact=Fact.STARTED, name="demo.add"))

    assert client.keys("*:owner:*") == []
    assert len(listed(store, labels={"a": "b"})) == len(listed(store, name="demo.add")) == 6


@pytest.mark.parametrize("task_id", ["", "x" * 256, "é" * 128, "a\0b", "a\nb", "\x7f"], ids=ascii)
def test_ids_that_are_no_part_of_a_key(task_id):
    """A note about a task with such an id is not written: the worker logs it and runs the task."""
    with pytest.raises(ValueError, match="cannot be part of a key"):
        note_call(Note(task_id=task_id, fact=Fact.STARTED), keys=KEYS, retention=Retention())


@pytest.mark.parametrize("task_id", ["a b", "é", "x" * 255, "{17}", "*", "a:b:", "-"], ids=ascii)
def test_other_ids_break_nothing(store, client, task_id):
    """A task with an id that a submission would not accept is recorded, listed and forgotten like any other."""
    store.note(Note(task_id=task_id, fact=Fact.STARTED, labels={"a": "b"}, name="demo.add"))
    store.note(Note(task_id=task_id, fact=Fact.FINISHED, outcome="SUCCESS"))
    assert listed(store) == listed(store, labels={"a": "b"}) == listed(store, name="demo.add") == [task_id]
    assert store.forget(store.read(task_id))

    assert client.keys("*:state:*") == client.keys("*:label:*") == []
