"""The record and its packing: what is packed is unpacked, and whatever a hash holds gives a record."""

from datetime import UTC, datetime, timedelta

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from task_status_worker.record.codec import (
    MAX_FIELD_BYTES,
    NOTE_SCRIPT,
    note_call,
    unpack,
    unpack_answer,
    unpack_seconds,
)
from task_status_worker.record.keys import Keys, Retention
from task_status_worker.record.model import (
    FINAL_FACTS,
    RANKS,
    Fact,
    Note,
    Noted,
    Record,
    RecordedFailure,
    Refusal,
    StartRequest,
)

NOW = datetime(2026, 1, 2, 3, 4, 5, 678_000, tzinfo=UTC)
NOW_MS = round(NOW.timestamp() * 1000)
KEYS = Keys()
RETENTION = Retention(record_seconds=100, known_seconds=1000)
#: where the fields of a note begin in ARGV
FIRST_FIELD = 18


def arguments_of(note, **options):
    """Give ARGV of a note."""
    return note_call(note, keys=KEYS, retention=RETENTION, **options)[1]


def stored_by(note):
    """Give what `NOTE_SCRIPT` puts into the hash of a new record."""
    arguments = arguments_of(note)
    fields = arguments[FIRST_FIELD:]
    packed = dict(zip(fields[::2], fields[1::2], strict=True))
    stamp = arguments[6]
    stored = {
        "fact": arguments[0],
        "rank": arguments[1],
        "final": arguments[2],
        "generation": arguments[3],
        "attempt": arguments[4],
        "run": arguments[5],
        "seq": 1,
        "updated_at": NOW_MS,
        **({stamp: NOW_MS} if stamp else {}),
        **packed,
    }
    return {name.encode(): value if isinstance(value, bytes) else str(value).encode() for name, value in stored.items()}


def test_keys_without_a_prefix():
    """As Celery names its own, and ours beside them."""
    assert KEYS.meta("x") == "celery-task-meta-x"
    assert KEYS.record("x") == "task-status:record:x"
    assert KEYS.known("x") == "task-status:known:x"
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
    """Joined as Celery joins it."""
    assert Keys.under(global_keyprefix).meta("x") == key


def test_every_fact_has_a_rank():
    """The final ones share the highest."""
    assert RANKS.keys() == set(Fact)
    assert {RANKS[fact] for fact in FINAL_FACTS} == {max(RANKS.values())}


def test_the_script_is_at_hand():
    """It is a file of the package."""
    assert "HINCRBY" in NOTE_SCRIPT


def test_call_of_a_note():
    """KEYS and ARGV, position by position."""
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

    keys, arguments = note_call(note, keys=KEYS, retention=RETENTION, age_seconds=1.5)

    assert keys == ["task-status:record:x", "task-status:known:x", "task-status:index:expiry"]
    assert arguments[:FIRST_FIELD] == [
        "FINISHED",
        5,
        1,
        1,
        2,
        "r",
        "finished_at",
        1500,
        str(NOW_MS).encode(),
        100,
        1000,
        "x",
        "task-status:record:",
        "task-status:index:",
        0,
        0,
        0,
        4,
    ]
    assert arguments[FIRST_FIELD:] == [
        "name",
        b"demo.add",
        "scheduled_for",
        str(NOW_MS).encode(),
        "send_unconfirmed",
        b"0",
        "outcome",
        b"SUCCESS",
        "result_stored",
        b"1",
    ]


def test_call_of_a_note_without_a_fact():
    """It only reports progress, and ranks below every fact."""
    arguments = arguments_of(Note(task_id="x", progress={"done": 1}), age_seconds=-1.0)

    assert arguments[:11] == ["", -1, 0, 0, 0, "", "", 0, 0, 100, 1000]
    assert arguments[FIRST_FIELD - 1 :] == [0, "progress", b'{"done":1}']


@pytest.mark.parametrize(
    ("asks", "arguments"),
    [
        (None, [0, 0, 0]),
        (StartRequest(), [1, 0, 0]),
        (StartRequest(redelivered=True, delivery_limit=5), [1, 1, 5]),
    ],
)
def test_call_of_a_run_that_asks(asks, arguments):
    """Whether it asks at all, and what the answer depends on."""
    assert arguments_of(Note(task_id="x", fact=Fact.STARTED, asks=asks))[FIRST_FIELD - 4 : FIRST_FIELD - 1] == arguments


def test_a_cancel_is_only_ever_asked_for():
    """Who does not ask for it does not take it back."""
    asked = Note(task_id="x", cancel_requested=True, terminate=True)
    assert arguments_of(asked)[FIRST_FIELD:] == ["cancel_requested", b"1", "terminate", b"1"]
    not_asked = Note(task_id="x", cancel_requested=False, terminate=False)
    assert arguments_of(not_asked)[FIRST_FIELD:] == []


@pytest.mark.parametrize(
    ("answer", "noted"),
    [
        (
            [1, 7, 0, 0, 0, b"", NOW_MS],
            Noted(advanced=True, seq=7, cancel_requested=False, terminate=False, final=False, refusal=None, at=NOW),
        ),
        (
            [0, 8, 1, 1, 1, b"COPY", NOW_MS],
            Noted(
                advanced=False, seq=8, cancel_requested=True, terminate=True, final=True, refusal=Refusal.COPY, at=NOW
            ),
        ),
    ],
)
def test_reads_the_answer(answer, noted):
    """As redis-py gives it."""
    assert unpack_answer(answer) == noted


@pytest.mark.parametrize("fact", Fact)
def test_call_of_every_fact(fact):
    """Rank and finality are those of the tables."""
    arguments = arguments_of(Note(task_id="x", fact=fact))

    assert (arguments[0], arguments[1], arguments[2]) == (fact, RANKS[fact], int(fact in FINAL_FACTS))


def test_leaves_out_a_field_that_is_too_large():
    """A record stays small."""
    largest = "x" * MAX_FIELD_BYTES

    assert arguments_of(Note(task_id="x", worker=largest))[FIRST_FIELD:] == ["worker", largest.encode()]
    assert arguments_of(Note(task_id="x", worker=largest + "x"))[FIRST_FIELD:] == []


class Unshowable:
    """Have no text."""

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
    """Whatever JSON cannot hold is a text, or nothing; never an error."""
    fields = arguments_of(Note(task_id="x", progress=value))[FIRST_FIELD:]

    assert fields == ["progress", packed]


def test_unpacks_what_the_script_stores():
    """Field by field."""
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
    """For those who need no more of a record."""
    assert unpack_seconds(packed) == seconds


@pytest.mark.parametrize("fact", sorted(FINAL_FACTS))
def test_unpacks_a_final_fact(fact):
    """It is final, and has an end."""
    record = unpack(stored_by(Note(task_id="x", fact=fact)))

    assert (record.fact, record.final, record.finished_at) == (fact, True, NOW)


def test_unpacks_nothing():
    """No hash is no record."""
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
    """The others are not affected."""
    assert unpack({field: packed, b"worker": b"w"}) == Record(worker="w")


@given(
    st.dictionaries(
        st.sampled_from([name.encode() for name in Record.__struct_fields__]) | st.binary(max_size=8),
        st.binary(max_size=40),
        min_size=1,
    )
)
def test_unpacks_any_hash(stored):
    """Total, and what it gives can be encoded."""
    msgspec.json.encode(unpack(stored))


@given(
    st.recursive(
        st.none() | st.booleans() | st.integers(-(2**63), 2**63) | st.text(st.characters(codec="utf-8")),
        lambda inner: st.lists(inner) | st.dictionaries(st.text(st.characters(codec="utf-8")), inner),
        max_leaves=10,
    ).filter(lambda value: value is not None)
)
def test_progress_comes_back_as_it_was_reported(progress):
    """Anything that JSON can hold, also a bare text or number."""
    assert unpack(stored_by(Note(task_id="x", fact=Fact.STARTED, progress=progress))).progress == progress
