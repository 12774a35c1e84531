"""The script that writes records, on a real Redis: a record only advances, for any order of notes."""

import itertools
import random
import threading
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import msgspec
import pytest
import redis
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from support import note_model
from support.expiry import due, expire_now
from support.servers import RedisServer
from task_status_worker.record.codec import FIELDS, NOTE_SCRIPT, named, note_call, unpack_answer
from task_status_worker.record.codec import unpack as unpack_record
from task_status_worker.record.keys import Keys, Retention
from task_status_worker.record.model import FINAL_FACTS, RANKS, Denial, Fact, Note, Noted, Record, StartRequest

#: fields that differ from run to run
TIMES = (
    *(f"{name}_at".encode() for name in ("submitted", "received", "started", "finished", "updated", "progress")),
    b"indexed_at",
    b"valid_until",
)

ONE_DAY = 86_400


class Store:
    """A Redis, and the note script as the kit and the service call it."""

    def __init__(self, client: redis.Redis) -> None:
        self.client: Any = client
        self.keys = Keys()
        self.retention = Retention(record_seconds=ONE_DAY, known_seconds=ONE_DAY)
        self._script = client.register_script(NOTE_SCRIPT)

    def note(self, fact: Fact | None, *, age_seconds: float = 0.0, **fields: Any) -> Noted:
        """Write one note about the task `t`."""
        return self.write(Note(task_id="t", fact=fact, **fields), age_seconds=age_seconds)

    def write(self, note: Note, *, age_seconds: float = 0.0, retention: Retention | None = None) -> Noted:
        keys, args = note_call(note, keys=self.keys, retention=retention or self.retention, age_seconds=age_seconds)
        return unpack_answer(self._script(keys=keys, args=args))

    def stored(self) -> dict[bytes, bytes]:
        """Return the fields of the record of `t`; none if it has expired."""
        fields = named(self.client.hgetall(self.keys.record("t")))
        return fields if int(fields.get(b"valid_until", b"0")) > self.client.time()[0] else {}

    @property
    def record(self) -> Record:
        record = unpack_record(self.stored())
        assert record is not None
        return record

    @property
    def seconds_left(self) -> float:
        """Return the seconds until the record of `t` expires."""
        return int(self.stored()[b"valid_until"]) - self.now.timestamp()

    @property
    def now(self) -> datetime:
        seconds, microseconds = self.client.time()
        return datetime.fromtimestamp(seconds, UTC) + timedelta(microseconds=microseconds)


@pytest.fixture
def store(redis_url: str) -> Iterator[Store]:
    """An empty store."""
    with redis.Redis.from_url(redis_url) as client:
        yield Store(client)


def test_a_task_from_submission_to_result(store: Store) -> None:
    """Every fact stores its time by the Redis clock, and the record has the last fact."""
    before = store.now
    store.note(Fact.SUBMITTED, name="demo.add", queue="celery", labels={"a": "b"})
    store.note(Fact.RECEIVED)
    store.note(Fact.STARTED, run="1", worker="w@h")
    store.note(None, run="1", progress={"done": 1})
    store.note(Fact.FINISHED, run="1", outcome="SUCCESS", result_stored=True)

    record = store.record
    assert (record.fact, record.final, record.outcome, record.executions) == (Fact.FINISHED, True, "SUCCESS", 1)
    assert (record.name, record.queue, record.labels, record.worker) == ("demo.add", "celery", {"a": "b"}, "w@h")
    assert (record.progress, record.seq) == ({"done": 1}, 5)
    times = [record.submitted_at, record.received_at, record.started_at, record.progress_at, record.finished_at]
    assert all(times)
    assert times == sorted(times)  # type: ignore[type-var]  # none is None, as checked above
    assert before - timedelta(milliseconds=1) <= times[0]  # type: ignore[operator]  # as above


def test_a_late_submission_fills_in_what_is_missing(store: Store) -> None:
    """A worker can be faster than the API's own note, which then only adds missing fields."""
    store.note(Fact.STARTED, run="1", name="from-the-worker")
    answer = store.note(Fact.SUBMITTED, name="from-the-api", labels={"a": "b"})

    assert not answer.advanced
    assert (store.record.fact, store.record.name, store.record.labels) == (Fact.STARTED, "from-the-worker", {"a": "b"})
    assert store.record.submitted_at is None


@pytest.mark.parametrize("end", sorted(FINAL_FACTS))
@pytest.mark.parametrize("later", [*Fact, None])
def test_a_late_fact_only_changes_counters(store: Store, end: Fact, later: Fact | None) -> None:
    """After a final fact only counters change, and each later fact counts as late."""
    store.note(Fact.STARTED, run="1")
    store.note(end, run="1", outcome="SUCCESS")
    before = msgspec.structs.replace(store.record, seq=0, executions=0, late=0)

    answer = store.note(later, generation=3, attempt=3, run="2", name="x", outcome="FAILURE", progress={"a": 1})

    assert (answer.advanced, answer.final) == (False, True)
    assert msgspec.structs.replace(store.record, seq=0, executions=0, late=0) == before
    assert store.record.late == (later is not None)
    assert store.record.executions == 1 + (later is Fact.STARTED)


def test_a_repeated_start_counts_as_one_execution(store: Store) -> None:
    """A start that is written again, as after a timeout, is one execution; another run id is another execution."""
    for _ in range(3):
        store.note(Fact.STARTED, run="1")
    assert store.record.executions == 1

    store.note(Fact.STARTED, run="2")
    assert (store.record.executions, store.record.fact) == (2, Fact.STARTED)


def test_a_repeated_start_keeps_the_progress(store: Store) -> None:
    """A repeated start of the same execution keeps its progress."""
    store.note(Fact.STARTED, run="1")
    store.note(None, run="1", progress={"done": 5})
    store.note(Fact.STARTED, run="1")
    assert store.record.progress == {"done": 5}


def test_a_requeued_task_is_queued_again(store: Store) -> None:
    """A requeued task is queued again, and its second execution advances the same attempt."""
    store.note(Fact.RECEIVED)
    store.note(Fact.STARTED, run="1")
    assert store.note(Fact.REQUEUED, run="1").advanced
    assert (store.record.fact, store.record.requeues) == (Fact.REQUEUED, 1)

    store.note(Fact.RECEIVED)
    assert store.record.fact is Fact.RECEIVED
    store.note(Fact.STARTED, run="2")
    assert (store.record.fact, store.record.executions) == (Fact.STARTED, 2)


def test_a_late_requeue_is_ignored(store: Store) -> None:
    """A late REQUEUED of an earlier execution does not change the state of the current one."""
    store.note(Fact.STARTED, run="1")
    store.note(Fact.STARTED, run="2")
    assert not store.note(Fact.REQUEUED, run="1").advanced
    assert store.record.fact is Fact.STARTED


@pytest.mark.parametrize("order", list(itertools.permutations(("requeued", "received", "started"))))
def test_replace_is_a_new_generation(store: Store, order: tuple[str, ...]) -> None:
    """The replacement starts a new generation, in any order of its notes and those of the replaced execution."""
    notes = {
        "requeued": Note(task_id="t", fact=Fact.REQUEUED, generation=1),
        "received": Note(task_id="t", fact=Fact.RECEIVED, generation=1),
        "started": Note(task_id="t", fact=Fact.STARTED, generation=1, run="2"),
    }
    store.note(Fact.STARTED, run="1", attempt=2)
    for name in order:
        store.write(notes[name])

    record = store.record
    assert (record.generation, record.attempt, record.fact) == (1, 0, Fact.STARTED)
    assert (record.executions, record.final) == (2, False)


def test_a_retry_clears_the_previous_attempt(store: Store) -> None:
    """The failure and the progress of an attempt are deleted when the next one starts."""
    store.note(Fact.STARTED, run="1")
    at = store.now + timedelta(seconds=60)
    store.note(Fact.RETRYING, run="1", next_retry_at=at, progress={"done": 1}, outcome="X")
    assert store.record.next_retry_at is not None
    assert abs(store.record.next_retry_at - at) < timedelta(milliseconds=2)

    store.note(Fact.STARTED, run="2", attempt=1)
    record = store.record
    assert (record.attempt, record.next_retry_at, record.progress, record.outcome) == (1, None, None, None)
    assert not store.note(Fact.FINISHED, run="1").advanced, "an earlier attempt no longer changes the record"


def test_a_cancel_is_recorded(store: Store) -> None:
    """A cancel is recorded for every attempt, and reported in the answer to each later note."""
    store.note(Fact.STARTED, run="1", attempt=2)
    before = store.record
    answer = store.note(None, cancel_requested=True)
    assert (answer.cancel_requested, answer.terminate, answer.final) == (True, False, False)
    after = store.record
    assert (after.cancel_requested, after.fact, after.attempt) == (True, Fact.STARTED, 2)
    assert after.updated_at is not None
    assert before.updated_at is not None
    assert after.updated_at >= before.updated_at

    assert store.note(None, run="1", attempt=2, progress={"done": 1}).cancel_requested
    answer = store.note(None, cancel_requested=True, terminate=True)
    assert (answer.cancel_requested, answer.terminate) == (True, True)
    assert store.note(None, cancel_requested=True).terminate, "a later note does not revoke the termination"


def test_only_the_first_cancel_changes_the_update_time(store: Store) -> None:
    """Only the first cancel changes the time of the last change."""
    store.note(Fact.STARTED, attempt=1, age_seconds=30)
    store.note(None, cancel_requested=True, age_seconds=10)
    updated_at = store.record.updated_at
    assert updated_at is not None
    assert timedelta(seconds=9) < store.now - updated_at < timedelta(seconds=15)
    store.note(None, cancel_requested=True)
    assert store.record.updated_at == updated_at


def test_a_cancel_after_the_end_changes_nothing(store: Store) -> None:
    """A cancel of an ended task changes nothing, and its answer reports the task as ended."""
    store.note(Fact.FINISHED, outcome="SUCCESS")
    before = msgspec.structs.replace(store.record, seq=0)
    answer = store.note(None, cancel_requested=True, terminate=True)
    assert (answer.final, answer.cancel_requested, answer.terminate) == (True, False, False)
    assert msgspec.structs.replace(store.record, seq=0) == before


FIRST_DELIVERY = StartRequest()
REDELIVERED = StartRequest(redelivered=True)


def test_an_allowed_start_is_written(store: Store) -> None:
    """An allowed start request records the start."""
    store.note(Fact.RECEIVED)
    answer = store.note(Fact.STARTED, run="1", start_request=FIRST_DELIVERY, instance="w@h/1")
    assert (answer.denial, answer.advanced) == (None, True)
    record = store.record
    assert (record.fact, record.executions, record.starts, record.instance) == (Fact.STARTED, 1, 1, "w@h/1")


@pytest.mark.parametrize(
    ("end", "denial", "late"),
    [
        (Note(task_id="t", fact=Fact.FINISHED, outcome="FAILURE"), Denial.ENDED, 1),
        (Note(task_id="t", cancel_requested=True), Denial.CANCELED, 0),
    ],
)
@pytest.mark.parametrize("redelivered", [True, False])
def test_an_ended_or_canceled_task_is_not_started(
    store: Store, end: Note, denial: Denial, late: int, redelivered: bool
) -> None:
    """An ended or canceled task is not started in any attempt, and no start is counted."""
    store.note(Fact.SUBMITTED)
    store.write(end)
    before = msgspec.structs.replace(store.record, seq=0)
    start_request = StartRequest(redelivered=redelivered)
    for attempt in (0, 1):
        answer = store.note(Fact.STARTED, run="1", attempt=attempt, start_request=start_request, instance="w@h/1")
        assert (answer.denial, answer.advanced) == (denial, False)
    assert msgspec.structs.replace(store.record, seq=0) == msgspec.structs.replace(before, late=2 * late)


@pytest.mark.parametrize("later", [None, Fact.RETRYING])
def test_a_duplicate_delivery_is_not_started(store: Store, later: Fact | None) -> None:
    """A duplicate delivery is denied and changes nothing about the first execution."""
    store.note(Fact.STARTED, run="1", start_request=FIRST_DELIVERY, instance="w@h/1")
    store.note(later, run="1")
    before = msgspec.structs.replace(store.record, seq=0)

    assert store.note(Fact.STARTED, run="2", start_request=FIRST_DELIVERY, instance="w@h/2").denial is Denial.DUPLICATE
    assert msgspec.structs.replace(store.record, seq=0) == before
    assert store.note(Fact.STARTED, run="1", start_request=FIRST_DELIVERY).denial is None or later, (
        "no execution is a duplicate of itself"
    )


@pytest.mark.parametrize("start_request", [FIRST_DELIVERY, REDELIVERED])
@pytest.mark.parametrize("ahead", [{"attempt": 1}, {"generation": 1}])
def test_an_earlier_attempt_is_not_started(store: Store, start_request: StartRequest, ahead: dict[str, int]) -> None:
    """An attempt before the recorded one is denied, also if its message was redelivered."""
    store.note(Fact.STARTED, run="1")
    store.note(Fact.STARTED, run="2", **ahead)
    assert store.note(Fact.STARTED, run="3", start_request=start_request).denial is Denial.DUPLICATE
    assert store.record.executions == 2


def test_a_requeued_or_retried_task_is_not_a_duplicate(store: Store) -> None:
    """A requeued task, a retry and a replacement have their own messages, which are not duplicates."""
    store.note(Fact.STARTED, run="1", start_request=FIRST_DELIVERY)
    store.note(Fact.REQUEUED, run="1")
    assert store.note(Fact.STARTED, run="2", start_request=FIRST_DELIVERY).denial is None
    store.note(Fact.RETRYING, run="2")
    assert store.note(Fact.STARTED, run="3", attempt=1, start_request=FIRST_DELIVERY).denial is None
    assert store.note(Fact.STARTED, run="4", generation=1, start_request=FIRST_DELIVERY).denial is None
    assert store.record.executions == 4


def test_a_redelivered_message_starts_up_to_its_limit(store: Store) -> None:
    """Starts count towards the delivery limit until the task is requeued, retried or replaced."""
    start_request = StartRequest(redelivered=True, delivery_limit=3)

    runs = map(str, itertools.count())

    def starts(**fields: Any) -> list[Denial | None]:
        return [
            store.note(Fact.STARTED, run=next(runs), start_request=start_request, **fields).denial for _ in range(4)
        ]

    up_to_three = [None, None, None, Denial.DELIVERY_LIMIT]
    assert starts() == up_to_three
    assert (store.record.starts, store.record.executions) == (3, 3)
    store.note(Fact.REQUEUED, run="2")
    assert store.record.starts == 0
    assert starts() == up_to_three
    assert starts(attempt=1) == up_to_three
    assert starts(generation=1) == up_to_three
    assert store.record.executions == 12


def test_without_a_limit_every_delivery_starts(store: Store) -> None:
    """A delivery limit of 0 means unlimited."""
    assert {store.note(Fact.STARTED, run=str(n), start_request=REDELIVERED).denial for n in range(20)} == {None}


def test_a_reported_start_is_always_written(store: Store) -> None:
    """A reported start is written, even of a canceled task or a duplicate delivery, because it has happened."""
    store.note(Fact.STARTED, run="1")
    store.note(None, cancel_requested=True)
    answer = store.note(Fact.STARTED, run="2", instance="w@h/2")
    assert (answer.denial, answer.advanced) == (None, True)
    record = store.record
    assert (record.executions, record.instance, record.cancel_requested) == (2, "w@h/2", True)


def test_a_start_of_an_older_kit_has_no_instance(store: Store) -> None:
    """A start without an instance deletes the instance of the previous execution."""
    store.note(Fact.STARTED, run="1", instance="w@h/1")
    store.note(Fact.STARTED, run="2")
    assert store.record.instance is None


def test_a_buffered_note_keeps_its_time(store: Store) -> None:
    """A buffered note is stored with the time at which it was made."""
    store.note(Fact.STARTED, run="1", age_seconds=30)
    started_at = store.record.started_at
    assert started_at is not None
    assert timedelta(seconds=29) < store.now - started_at < timedelta(seconds=31)


def test_no_write_shortens_a_ttl(store: Store) -> None:
    """A write never shortens the TTL of a record, whatever its retention."""
    key = store.keys.record("t")
    store.note(Fact.SUBMITTED)
    assert store.seconds_left == pytest.approx(ONE_DAY, abs=1)
    assert store.client.ttl(key) > 2 * ONE_DAY

    store.write(Note(task_id="t", fact=Fact.RECEIVED), retention=Retention(record_seconds=10, known_seconds=10))
    assert store.seconds_left > ONE_DAY - 10
    assert store.client.ttl(key) > 2 * ONE_DAY - 10

    store.write(Note(task_id="t", fact=Fact.STARTED), retention=Retention(record_seconds=3 * ONE_DAY, known_seconds=1))
    assert store.seconds_left > 2 * ONE_DAY
    assert store.client.ttl(key) > 3 * ONE_DAY


def test_a_scheduled_task_is_kept_until_it_is_due(store: Store) -> None:
    """The record of a scheduled task does not expire before the task is due."""
    store.note(Fact.SUBMITTED, scheduled_for=store.now + timedelta(days=30))
    assert store.seconds_left > 30 * ONE_DAY
    assert store.client.ttl(store.keys.record("t")) > 31 * ONE_DAY


def test_each_write_is_published(store: Store) -> None:
    """Each write is published on the record's channel, also one that only changes counters."""
    with store.client.pubsub(ignore_subscribe_messages=True) as pubsub:
        pubsub.subscribe(store.keys.record("t"))
        while pubsub.get_message(timeout=5) is not None:
            pass  # the confirmation of the subscription
        store.note(Fact.STARTED, run="1")
        store.note(None, progress={"done": 1})
        store.note(Fact.SUBMITTED)
        data = [pubsub.get_message(timeout=5)["data"] for _ in range(3)]
    assert data == [b"1:STARTED", b"2:", b"3:SUBMITTED"]


def index_of(store: Store) -> dict[bytes, dict[bytes, float]]:
    """Return every sorted set of the index, by the part of its key after `index:`, and the index by expiry."""
    prefix = store.keys.names.index.encode()
    found = {
        key.removeprefix(prefix): dict(store.client.zrange(key, 0, -1, withscores=True))
        for key in store.client.scan_iter(prefix + b"*")
        if not key.startswith(store.keys.index_by_expiry.encode() + b":")
    }
    listed = found.pop(b"keys", {})
    assert {prefix + key for key in found if key != b"expiry"} <= listed.keys(), "each key of the index is listed"
    return {**found, b"expiry": due(store.client, store.keys)}


def test_a_task_is_in_the_index_once(store: Store) -> None:
    """A task is in the index once by state, by name and by expiry, scored by the time of its first note."""
    store.note(Fact.RECEIVED, name="demo.add", age_seconds=5)
    first = store.record.received_at
    assert first is not None
    at_ms = round(first.timestamp() * 1000)

    for fact, outcome, state in [
        (Fact.RECEIVED, None, b"queued"),
        (Fact.STARTED, None, b"running"),
        (Fact.SUBMITTED, None, b"running"),
        (Fact.RETRYING, None, b"retrying"),
        (Fact.FINISHED, "SUCCESS", b"succeeded"),
        (Fact.STARTED, None, b"succeeded"),
    ]:
        store.note(fact, outcome=outcome)
        index = index_of(store)
        (expires_at,) = index.pop(b"expiry").values()
        assert index == {b"state:" + state: {b"t": at_ms}, b"name:demo.add": {b"t": at_ms}}
        assert -1 <= expires_at - store.now.timestamp() - ONE_DAY <= 10


def test_a_late_name_is_indexed(store: Store) -> None:
    """The first name in a note is indexed, and a later one is ignored."""
    store.note(None, progress={"done": 1})
    assert index_of(store).keys() == {b"state:running", b"expiry"}
    store.note(Fact.STARTED, name="demo.add")
    store.note(Fact.STARTED, name="demo.mul")

    index = index_of(store)
    assert index.keys() == {b"state:running", b"name:demo.add", b"expiry"}
    assert index[b"expiry"].keys() == {b"t"}


def test_a_requested_cancel_moves_the_task_in_the_index(store: Store) -> None:
    """A canceled task is indexed as `canceling` until it has ended."""
    store.note(Fact.STARTED, attempt=1)
    store.note(None, cancel_requested=True)
    assert index_of(store).keys() == {b"state:canceling", b"expiry"}
    store.note(Fact.REVOKED, attempt=1, outcome="REVOKED")
    assert index_of(store).keys() == {b"state:canceled", b"expiry"}


def test_the_index_drops_expired_tasks(store: Store) -> None:
    """Each note drops a few expired tasks from the index, which keeps writes fast and the index small."""
    for number in range(12):
        store.write(Note(task_id=f"old-{number}", fact=Fact.STARTED, name="demo.add" if number % 2 else None))
    expire_now(store.client, store.keys, *(f"old-{number}" for number in range(12)))
    left = []
    for number in range(3):
        store.write(Note(task_id=f"new-{number}", fact=Fact.SUBMITTED, name="demo.mul"))
        left.append(len(index_of(store).get(b"state:running", ())))

    index = index_of(store)
    assert left[0] > 0, "a note drops no more than a few"
    assert left[-1] == 0
    new = {b"new-0", b"new-1", b"new-2"}
    assert {key: set(members) for key, members in index.items() if key != b"expiry"} == {
        b"state:queued": new,
        b"name:demo.mul": new,
    }
    assert index[b"expiry"].keys() == new


def test_the_index_keeps_a_task_until_its_record_expires(store: Store) -> None:
    """The index drops a task only after its record has expired; then its key holds a tombstone."""
    short = Retention(record_seconds=1, known_seconds=ONE_DAY)
    store.write(Note(task_id="short", fact=Fact.STARTED, name="demo.add", owner="web"), retention=short)
    key, deadline = store.keys.record("short"), store.now + timedelta(seconds=10)
    while b"state:running" in index_of(store):
        assert store.now < deadline
        assert store.client.hexists(key, FIELDS["seq"])
        store.note(Fact.SUBMITTED)
    assert named(store.client.hgetall(key)).items() >= {b"owner": b"web", b"valid_until": b"0"}.items()
    assert store.client.hlen(key) == 2
    assert ONE_DAY - 60 < store.client.ttl(key) <= ONE_DAY + 1
    assert index_of(store).keys() == {b"state:queued", b"expiry"}


def test_without_known_seconds_nothing_is_left(store: Store) -> None:
    """An expired record without known seconds leaves no tombstone."""
    store.write(Note(task_id="old", fact=Fact.STARTED), retention=Retention(record_seconds=ONE_DAY, known_seconds=0))
    expire_now(store.client, store.keys, "old")
    store.note(Fact.SUBMITTED)

    assert not store.client.exists(store.keys.record("old"))


def test_a_key_of_another_type_does_not_block_notes(store: Store) -> None:
    """A record key of another type does not block the notes of other tasks when its task is due."""
    store.write(Note(task_id="broken", fact=Fact.STARTED, name="demo.add"))
    expire_now(store.client, store.keys, "broken")
    store.client.set(store.keys.record("broken"), "text")

    assert store.note(Fact.STARTED, name="demo.mul").advanced
    assert index_of(store)[b"expiry"].keys() == {b"t"}


def test_a_record_that_lives_longer_stays_in_the_index(store: Store) -> None:
    """A record that outlives its entry in the index by expiry stays in the index, and is due again."""
    store.note(Fact.STARTED, name="demo.add")
    store.client.delete(*store.client.keys(f"{store.keys.index_by_expiry}*"))
    store.client.rpush(f"{store.keys.index_by_expiry}:1", "t")
    store.client.zadd(store.keys.index_by_expiry, {"1": 1})
    store.note(Fact.RETRYING)

    index = index_of(store)
    assert index.keys() == {b"state:retrying", b"name:demo.add", b"expiry"}
    assert -1 <= index[b"expiry"][b"t"] - store.now.timestamp() - ONE_DAY <= 10


@pytest.mark.parametrize("is_swept", [True, False])
def test_a_reused_id_is_indexed_again(store: Store, is_swept: bool) -> None:
    """An id that is used again after its record has expired is in the index once, with its new name."""
    store.note(Fact.STARTED, name="demo.add")
    expire_now(store.client, store.keys, "t")
    if is_swept:
        store.write(Note(task_id="other", fact=Fact.SUBMITTED))
    store.note(Fact.SUBMITTED, name="demo.mul")
    store.note(Fact.SUBMITTED, name="demo.mul")

    assert (store.record.seq, store.record.fact, store.record.name) == (2, Fact.SUBMITTED, "demo.mul")
    index = index_of(store)
    assert index.pop(b"expiry").keys() - {b"other"} == {b"t"}
    assert {key: set(members) - {b"other"} for key, members in index.items()} == {
        b"state:queued": {b"t"},
        b"name:demo.mul": {b"t"},
    }


def test_a_vanished_record_is_indexed_once(store: Store) -> None:
    """A worker's note on a record that Redis has evicted puts the task into the index once."""
    store.note(Fact.STARTED)
    store.client.delete(store.keys.record("t"))
    store.note(Fact.FINISHED, outcome="SUCCESS")

    assert index_of(store).keys() == {b"state:succeeded", b"expiry"}


@pytest.mark.parametrize("is_swept", [True, False])
def test_the_owner_outlives_the_record(store: Store, is_swept: bool) -> None:
    """A record that is written again after it expired keeps its owner, although the note names another."""
    store.note(Fact.SUBMITTED, name="demo.add", owner="web")
    expire_now(store.client, store.keys, "t")
    if is_swept:
        store.write(Note(task_id="other", fact=Fact.SUBMITTED))

    store.note(Fact.STARTED, owner="thief")

    assert store.record.owner == "web"
    index = index_of(store)
    assert set(index[b"owner:web:state:running"]) == {b"t"}
    assert b"owner:web:state:queued" not in index
    assert b"owner:thief:state:running" not in index


def test_the_index_of_an_owner_drops_expired_tasks(store: Store) -> None:
    """The index of an owner drops expired tasks, and keeps the others."""
    for task_id in ("gone", "kept"):
        store.write(Note(task_id=task_id, fact=Fact.SUBMITTED, name="demo.add", owner="web"))
    expire_now(store.client, store.keys, "gone")
    store.write(Note(task_id="kept", fact=Fact.RECEIVED))

    index = index_of(store)
    assert index.pop(b"expiry").keys() == {b"kept"}
    assert {name: set(members) for name, members in index.items()} == {
        base + name: {b"kept"} for base in (b"", b"owner:web:") for name in (b"state:queued", b"name:demo.add")
    }


def test_stores_no_default(store: Store) -> None:
    """A submission and its end store only the fields that differ from their defaults."""
    store.write(Note(task_id="t", fact=Fact.SUBMITTED, name="demo.add", root_id="t", call=b"[1,2]"))
    names = {
        FIELDS[name].encode() for name in ("valid_until", "seq", "name", "call", "is_root", "fact", "submitted_at")
    }
    assert set(store.client.hkeys(store.keys.record("t"))) == names

    store.note(Fact.STARTED, run="1", worker="w@h", instance="w@h/1", result_stored=False, attempt=1)
    store.note(Fact.FINISHED, run="1", result_stored=True, attempt=0, generation=1)
    record, stored = store.record, store.client.hkeys(store.keys.record("t"))
    assert (record.worker, record.attempt, record.result_stored, record.is_root) == ("w@h", 0, True, True)
    assert not {FIELDS[name].encode() for name in ("worker", "attempt", "result_stored")} & set(stored)


OPTIONAL: dict[str, st.SearchStrategy[Any]] = {
    "name": st.sampled_from(["a", "b"]),
    "owner": st.sampled_from(["x", "y"]),
    "worker": st.sampled_from(["w1", "w2"]),
    "instance": st.sampled_from(["w1/1", "w2/2"]),
    "cancel_requested": st.booleans(),
    "terminate": st.booleans(),
    "start_request": st.builds(StartRequest, redelivered=st.booleans(), delivery_limit=st.integers(0, 2)),
    "outcome": st.sampled_from(["SUCCESS", "FAILURE", "REVOKED", "EXPIRED", "PARTIAL"]),
    "progress": st.fixed_dictionaries({"done": st.integers(0, 9)}),
    "send_unconfirmed": st.booleans(),
    "result_stored": st.booleans(),
    "root_id": st.sampled_from(["t", "other"]),
    "call": st.just(b"\x00\xff"),
    "next_retry_at": st.just(datetime(2030, 1, 1, tzinfo=UTC)),
}
NOTES = st.fixed_dictionaries(
    {
        "fact": st.none() | st.sampled_from(Fact),
        "generation": st.integers(0, 1),
        "attempt": st.integers(0, 2),
        "run": st.sampled_from([None, "1", "2"]),
    },
    optional=OPTIONAL,
).map(lambda fields: Note(task_id="t", **fields))


@given(notes=st.lists(NOTES, max_size=12))
@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_the_script_agrees_with_its_model(store: Store, notes: list[Note]) -> None:
    """For any sequence of notes the script and its model agree, and the record only advances."""
    store.client.flushall()
    expected: dict[bytes, bytes] = {}
    for note in notes:
        before = unpack_record(expected)
        answer = store.write(note)
        expected, answered = note_model.apply(expected, note, now_ms=0)
        stored = store.stored()
        after = unpack_record(stored)

        assert _timeless(stored) == _timeless(expected)
        at_ms = float(stored[b"indexed_at"])
        owner, name = expected.get(b"owner", b""), expected.get(b"name", b"")
        names = [b"state:" + expected[b"indexed_as"], *([b"name:" + name] if name else [])]
        index = index_of(store)
        assert index.pop(b"expiry").keys() == {b"t"}
        bases = [b"", b"owner:" + owner + b":"] if owner else [b""]
        assert index == {base + name: {b"t": at_ms} for base in bases for name in names}
        assert after is not None
        assert msgspec.structs.replace(answer, at=answered.at) == answered
        assert (answer.seq, answer.final) == (after.seq, after.final)
        assert after.seq == (before.seq if before else 0) + 1
        if before is not None:
            assert _place(after) >= _place(before) or after.fact is Fact.REQUEUED
            assert after.final >= before.final
            assert after.executions >= before.executions
            assert after.cancel_requested >= before.cancel_requested


def test_racing_writers_agree(store: Store, redis_server: RedisServer) -> None:
    """Concurrent writers of the same notes, each in another order, produce the same record."""
    notes = [
        Note(task_id="t", fact=Fact.SUBMITTED, name="demo.add"),
        Note(task_id="t", fact=Fact.RECEIVED, name="demo.add"),
        Note(task_id="t", fact=Fact.STARTED, run="1", worker="w"),
        Note(task_id="t", run="1", progress={"done": 1}),
        Note(task_id="t", fact=Fact.RETRYING, run="1"),
        Note(task_id="t", fact=Fact.STARTED, attempt=1, run="2"),
        Note(task_id="t", fact=Fact.FINISHED, attempt=1, run="2", outcome="SUCCESS"),
    ]
    rng = random.Random(0)  # noqa: S311  # a seeded order, not a secret
    for _ in range(15):
        store.client.flushall()
        _write_at_once(redis_server, [rng.sample(notes, len(notes)) for _ in range(4)])
        record = store.record
        assert (record.fact, record.outcome, record.attempt, record.final) == (Fact.FINISHED, "SUCCESS", 1, True)
        assert record.seq == 4 * len(notes)


def _write_at_once(server: RedisServer, orders: list[list[Note]]) -> None:
    def write(order: list[Note]) -> None:
        with server.client() as client:
            store = Store(client)
            barrier.wait()
            for note in order:
                store.write(note)

    barrier = threading.Barrier(len(orders))
    threads = [threading.Thread(target=write, args=(order,)) for order in orders]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()


def _timeless(stored: dict[bytes, bytes]) -> dict[bytes, bytes]:
    return {name: value for name, value in stored.items() if name not in TIMES}


def _place(record: Record) -> tuple[int, int, int]:
    return record.generation, record.attempt, RANKS[record.fact] if record.fact else -1
