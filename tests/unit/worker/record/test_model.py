"""The record and its packing: packed fields are unpacked, and any hash gives a record."""

from datetime import UTC, datetime, timedelta

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.note_model import read_args
from task_status_worker.record.codec import (
    FIELDS,
    MAX_FIELD_BYTES,
    NOTE_SCRIPT,
    named,
    note_call,
    unpack,
    unpack_answer,
    unpack_seconds,
)
from task_status_worker.record.keys import Keys, Retention
from task_status_worker.record.model import (
    FINAL_FACTS,
    RANKS,
    Denial,
    Fact,
    Note,
    Noted,
    Record,
    RecordedFailure,
    StartRequest,
)

NOW = datetime(2026, 1, 2, 3, 4, 5, 678_000, tzinfo=UTC)
NOW_MS = round(NOW.timestamp() * 1000)
KEYS = Keys()
RETENTION = Retention(record_seconds=100, known_seconds=1000)


def arguments_of(note, **options):
    """Return the head and the fields of a note's arguments."""
    return read_args(note_call(note, keys=KEYS, retention=RETENTION, **options).args)


def stored_by(note):
    """Return the hash that `NOTE_SCRIPT` writes for the first note of a task."""
    head, packed = arguments_of(note)
    stored = {
        "fact": head.fact,
        "final": int(head.is_final),
        "generation": head.generation,
        "attempt": head.attempt,
        "run": head.run,
        "seq": 1,
        "updated_at": NOW_MS,
    }
    times = {head.stamp.encode(): str(NOW_MS).encode()} if head.stamp else {}
    kept = {name: value for name, value in packed.items() if value}
    return {name.encode(): str(value).encode() for name, value in stored.items()} | kept | named(times)


def test_keys_without_a_prefix():
    """Celery's key has Celery's name, and ours stand beside it."""
    assert KEYS.meta("x") == "celery-task-meta-x"
    assert KEYS.record("x") == "task-status:record:x"
    assert KEYS.task_types == "task-status:task-types"
    assert KEYS.workers == "task-status:workers"


@pytest.mark.parametrize(
    ("global_keyprefix", "key"),
    [
        (None, "celery-task-meta-x"),
        ("", "celery-task-meta-x"),
        ("app", "app_celery-task-meta-x"),
        ("app_", "app_celery-task-meta-x"),
        ("app:", "app:celery-task-meta-x"),
        ("app-", "app-celery-task-meta-x"),
        ("app.", "app.celery-task-meta-x"),
    ],
)
def test_keys_under_a_prefix(global_keyprefix, key):
    """A prefix is joined as Celery joins it."""
    assert Keys.under(global_keyprefix).meta("x") == key


def test_every_fact_has_a_rank():
    """All final facts share the highest rank."""
    assert RANKS.keys() == set(Fact)
    assert {RANKS[fact] for fact in FINAL_FACTS} == {max(RANKS.values())}


def test_the_script_is_packaged():
    """The script is a file of the package."""
    assert "HSET" in NOTE_SCRIPT


def test_call_of_a_note():
    """A note becomes the keys, a JSON head, and the names and values of fields in turn."""
    note = Note(
        task_id="x",
        fact=Fact.FINISHED,
        generation=1,
        attempt=2,
        run="r",
        name="demo.add",
        scheduled_for=NOW,
        send_unconfirmed=False,
        outcome="SUCCESS",
        result_stored=True,
    )

    keys, (head, *fields) = note_call(note, keys=KEYS, retention=RETENTION, age_seconds=1.5)

    assert keys == ["task-status:record:x", "task-status:index:expiry", "task-status:index:keys"]
    assert msgspec.json.decode(head) == {
        "id": "x",
        "fact": "FINISHED",
        "rank": 5,
        "is_final": True,
        "generation": 1,
        "attempt": 2,
        "run": "r",
        "stamp": FIELDS["finished_at"],
        "age_ms": 1500,
        "scheduled_ms": NOW_MS,
        "record_seconds": 100,
        "known_seconds": 1000,
        "describes_count": 2,
        "names": {
            "records": "task-status:record:",
            "index": "task-status:index:",
            "owner": "task-status:index:owner:",
            "owner_end": ":",
            "state": "state:",
            "name": "name:",
            "label": "label:",
            "repairs": "task-status:repairs",
            "calls": "task-status:call:",
            "claims": "task-status:claim:",
            "stored": "task-status:bytes:",
        },
    }
    assert fields == [
        FIELDS["name"],
        b"demo.add",
        FIELDS["scheduled_for"],
        str(NOW_MS).encode(),
        FIELDS["send_unconfirmed"],
        b"",
        FIELDS["outcome"],
        b"SUCCESS",
        FIELDS["result_stored"],
        b"",
    ]


def test_call_of_a_note_without_a_fact():
    """A note without a fact only reports progress, and ranks below every fact."""
    head, fields = arguments_of(Note(task_id="x", progress={"done": 1}), age_seconds=-1.0)

    assert (head.fact, head.rank, head.is_final, head.generation, head.attempt) == ("", -1, False, 0, 0)
    assert (head.run, head.stamp, head.age_ms, head.scheduled_ms) == ("", "", 0, 0)
    assert (head.record_seconds, head.known_seconds) == (100, 1000)
    assert (head.describes_count, fields) == (0, {b"progress": b'{"done":1}'})


@pytest.mark.parametrize("request_", [None, StartRequest(), StartRequest(redelivered=True, delivery_limit=5)])
def test_call_of_a_start_request(request_):
    """The head of a requested start holds everything that the decision depends on."""
    head, _ = arguments_of(Note(task_id="x", fact=Fact.STARTED, start_request=request_))
    assert head.start == request_


def test_a_cancel_is_only_ever_requested():
    """A note that does not request a cancel does not take one back."""
    requested = Note(task_id="x", cancel_requested=True, terminate=True)
    assert arguments_of(requested)[1] == {b"cancel_requested": b"1", b"terminate": b"1"}
    not_requested = Note(task_id="x", cancel_requested=False, terminate=False)
    assert arguments_of(not_requested)[1] == {}


@pytest.mark.parametrize(
    ("answer", "noted"),
    [
        (
            [1, 7, 0, 0, 0, b"", NOW_MS],
            Noted(advanced=True, seq=7, cancel_requested=False, terminate=False, final=False, denial=None, at=NOW),
        ),
        (
            [0, 8, 1, 1, 1, b"DUPLICATE", NOW_MS],
            Noted(
                advanced=False,
                seq=8,
                cancel_requested=True,
                terminate=True,
                final=True,
                denial=Denial.DUPLICATE,
                at=NOW,
            ),
        ),
    ],
)
def test_reads_the_answer(answer, noted):
    """The answer of the script is read as redis-py returns it."""
    assert unpack_answer(answer) == noted


@pytest.mark.parametrize("fact", Fact)
def test_call_of_every_fact(fact):
    """Rank and finality of each fact are those of the tables."""
    head, _ = arguments_of(Note(task_id="x", fact=fact))

    assert (head.fact, head.rank, head.is_final) == (fact, RANKS[fact], fact in FINAL_FACTS)


def test_leaves_out_a_field_that_is_too_large():
    """A field above the limit is not stored, so that records stay small."""
    largest = "x" * MAX_FIELD_BYTES

    assert arguments_of(Note(task_id="x", worker=largest))[1] == {b"worker": largest.encode()}
    assert arguments_of(Note(task_id="x", worker=largest + "x"))[1] == {}


class Unshowable:
    """An object without a text."""

    def __str__(self):
        raise RuntimeError("no text")


@pytest.mark.parametrize(
    ("value", "packed"),
    [
        ({"o": Unshowable()}, b'{"o":"<Unshowable that cannot be shown>"}'),
        ({"at": NOW}, b'{"at":"2026-01-02T03:04:05.678000Z"}'),
        ({"class": dict}, b"""{"class":"<class 'dict'>"}"""),
        ([float("nan")], b"[null]"),
        ({"half": "\ud800"}, b"null"),
    ],
)
def test_packs_what_a_task_may_report(value, packed):
    """A value that JSON cannot hold becomes text or null, and never an error."""
    _, fields = arguments_of(Note(task_id="x", progress=value))

    assert fields == {b"progress": packed}


def test_unpacks_what_the_script_stores():
    """Each field that the script stores is unpacked to its value."""
    failure = RecordedFailure(type="ValueError", module="builtins", message="bad", details={"row": 7}, traceback="t")
    note = Note(
        task_id="x",
        fact=Fact.RETRYING,
        generation=1,
        attempt=2,
        run="r",
        name="demo.ż",
        queue="q",
        labels={"a": "b"},
        parent_id="p",
        root_id="o",
        group_id="g",
        scheduled_for=NOW,
        expires_at=NOW + timedelta(days=1),
        send_unconfirmed=True,
        cancel_requested=True,
        terminate=True,
        worker="w@h",
        instance="w@h/1234abcd",
        outcome="RETRY",
        result_stored=False,
        progress={"done": 1, "total": [2.5, None, "x"]},
        failure=failure,
        next_retry_at=NOW + timedelta(seconds=3),
    )

    assert unpack(stored_by(note)) == Record(
        fact=Fact.RETRYING,
        seq=1,
        generation=1,
        attempt=2,
        cancel_requested=True,
        terminate=True,
        send_unconfirmed=True,
        outcome="RETRY",
        result_stored=False,
        name="demo.ż",
        queue="q",
        worker="w@h",
        instance="w@h/1234abcd",
        labels={"a": "b"},
        parent_id="p",
        root_id="o",
        group_id="g",
        progress={"done": 1, "total": [2.5, None, "x"]},
        failure=failure,
        scheduled_for=NOW,
        expires_at=NOW + timedelta(days=1),
        next_retry_at=NOW + timedelta(seconds=3),
        updated_at=NOW,
    )


@pytest.mark.parametrize(
    ("packed", "seconds"),
    [(str(NOW_MS).encode(), NOW.timestamp()), (b"0", 0.0), (None, None), (b"", None), (b"-1", None), (b"soon", None)],
)
def test_unpacks_one_time(packed, seconds):
    """One time is read without the rest of the record."""
    assert unpack_seconds(packed) == seconds


@pytest.mark.parametrize("fact", sorted(FINAL_FACTS))
def test_unpacks_a_final_fact(fact):
    """A record with a final fact is final and has an end."""
    record = unpack(stored_by(Note(task_id="x", fact=fact)))

    assert (record.fact, record.final, record.finished_at) == (fact, True, NOW)


def test_unpacks_nothing():
    """An empty hash is no record."""
    assert unpack({}) is None


@pytest.mark.parametrize(
    ("field", "packed"),
    [
        (b"fact", b"DANCED"),
        (b"seq", b"-1"),
        (b"seq", b"many"),
        (b"labels", b'{"a": 1}'),
        (b"labels", b"[]"),
        (b"progress", b"{"),
        (b"progress", b"[" * 5000),
        (b"failure", b'{"type": 5}'),
        (b"updated_at", b"soon"),
        (b"updated_at", b"9" * 15),
        (b"name of no field", b"x"),
    ],
)
def test_a_field_that_cannot_be_read_keeps_its_default(field, packed):
    """An unreadable field keeps its default, and the other fields are read."""
    assert unpack({field: packed, b"worker": b"w"}) == Record(worker="w")


@given(
    st.dictionaries(
        st.sampled_from([name.encode() for name in Record.__struct_fields__]) | st.binary(max_size=8),
        st.binary(max_size=40),
        min_size=1,
    )
)
def test_unpacks_any_hash(stored):
    """Any hash gives a record that can be encoded."""
    msgspec.json.encode(unpack(stored))


@given(
    st.recursive(
        st.none() | st.booleans() | st.integers(-(2**63), 2**63) | st.text(st.characters(codec="utf-8")),
        lambda inner: st.lists(inner) | st.dictionaries(st.text(st.characters(codec="utf-8")), inner),
        max_leaves=10,
    ).filter(lambda value: value is not None)
)
def test_progress_comes_back_as_it_was_reported(progress):
    """Any JSON value is a valid progress, also a bare text or number."""
    assert unpack(stored_by(Note(task_id="x", fact=Fact.STARTED, progress=progress))).progress == progress
