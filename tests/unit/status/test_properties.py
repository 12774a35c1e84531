"""Any stored value decodes to a status or None, without an exception and within a memory limit."""

import base64
import io
import json
import pickle
import tracemalloc
import zlib

import msgspec
import pytest
import yaml
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from support.stored_values import ROWS, stored_bytes
from task_status_service.status import Snapshot, TaskState, TaskStatus, Visibility, decode
from task_status_service.status.stored.bounds import MAX_NODES, MAX_YAML_BYTES
from task_status_worker.record.model import Fact, Record

#: short values, which are quick to mutate; test_corpus.py decodes the others
VALUES = [value for row in ROWS if (value := stored_bytes(row)) is not None and len(value) < 3_000]
#: limit of memory while a value is decoded; without limits the bombs would take gigabytes
MEMORY_BYTES = 160 * 1024 * 1024

CELERY_STATES = st.sampled_from(
    ["PENDING", "RECEIVED", "STARTED", "PROGRESS", "RETRY", "SUCCESS", "FAILURE", "REVOKED", "REJECTED", "IGNORED"]
)
KEYS = (
    *("exc_type", "exc_message", "exc_module", "error", "errors", "traceback", "__type__", "__value__"),
    *("progress", "percent", "done", "total", "i", "n", "message", "pid", "hostname"),
)
JSON_VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.dictionaries(
            st.sampled_from(KEYS) | st.text(max_size=5),
            inner,
            max_size=5,
        )
    ),
    max_leaves=12,
)
DOCUMENTS = st.fixed_dictionaries(
    {},
    optional={
        "status": CELERY_STATES | JSON_VALUES,
        "result": JSON_VALUES,
        "traceback": JSON_VALUES,
        "children": JSON_VALUES,
        "date_done": JSON_VALUES | st.datetimes().map(str),
        "task_id": JSON_VALUES,
        "retries": JSON_VALUES,
        "name": JSON_VALUES,
    },
)
RECORDS = st.dictionaries(
    st.sampled_from([name.encode() for name in Record.__struct_fields__]) | st.binary(max_size=8),
    st.sampled_from([fact.encode() for fact in Fact])
    | st.sampled_from([b"1", b"0", b"SUCCESS", b"EXPIRED", b"PARTIAL", b'{"done":1,"total":4}', b'{"message":"m"}'])
    | st.integers().map(lambda number: str(number).encode())
    | JSON_VALUES.map(lambda value: json.dumps(value).encode())
    | st.binary(max_size=40),
    max_size=12,
)
FINAL_STATES = {"PARTIAL": TaskState.SUCCEEDED, "INVALID": TaskState.FAILED}


def check(meta, record):
    """Decode, and assert the invariants of every status."""
    snapshot = Snapshot(task_id="x", meta=meta, record=record)

    status = decode(snapshot, final_states=FINAL_STATES, view=Visibility.OPERATOR)

    if status is None:
        assert not meta
        assert not record
        return
    assert isinstance(status, TaskStatus)
    assert status == decode(snapshot, final_states=FINAL_STATES, view=Visibility.OPERATOR)
    json.loads(msgspec.json.encode(status), parse_constant=pytest.fail)
    assert status.done or status.successful is None
    assert status.done or status.finished_at is None
    assert status.state is TaskState.SUCCEEDED or status.result is None
    assert (status.failure is not None) or status.state is not TaskState.FAILED
    assert status.progress is None or status.progress.percent is None or 0 <= status.progress.percent <= 100


def pack_yaml(document):
    """Return YAML as Celery writes it; JSON if YAML cannot represent the document."""
    try:
        return yaml.safe_dump(document).encode()
    except (yaml.YAMLError, UnicodeEncodeError):
        return json.dumps(document).encode()


def pack_msgpack(document):
    """Return msgpack as Celery writes it; JSON if msgpack cannot represent the document."""
    try:
        return msgspec.msgpack.encode(document)
    except (OverflowError, UnicodeEncodeError):
        return json.dumps(document).encode()


no_deadline = settings(deadline=None)


@no_deadline
@given(st.binary(max_size=200), RECORDS)
def test_any_bytes_and_any_record_can_be_decoded(meta, record):
    """Any bytes with any record decode to a valid status or None."""
    check(meta, record)


@no_deadline
@given(DOCUMENTS, RECORDS)
def test_any_json_and_any_record_can_be_decoded(document, record):
    """Any JSON with the keys of a meta decodes to a valid status."""
    check(json.dumps(document).encode(), record)


@no_deadline
@given(DOCUMENTS, st.integers(0, pickle.HIGHEST_PROTOCOL))
def test_any_pickle_can_be_decoded(document, protocol):
    """A pickle of any protocol decodes to a valid status, even with halves of surrogate pairs."""
    check(pickle.dumps(document, protocol), {})


@no_deadline
@given(DOCUMENTS)
def test_any_yaml_can_be_decoded(document):
    """Output of Celery's yaml serializer decodes to a valid status."""
    check(pack_yaml(document), {})


@no_deadline
@given(DOCUMENTS)
def test_any_msgpack_can_be_decoded(document):
    """Output of Celery's msgpack serializer decodes to a valid status."""
    check(pack_msgpack(document), {})


@no_deadline
@given(st.sampled_from([b"\x80\x04", b"(dp0\n", b"}q\x00(", b"status: ", b"--- ", b"\x86\xa6status"]), st.binary())
def test_any_bytes_after_a_known_beginning_can_be_decoded(beginning, rest):
    """Random bytes that begin like a pickle, YAML or msgpack decode to a valid status."""
    check(beginning + rest, {})


@no_deadline
@given(st.text(alphabet="!&*?:-[]{}<>=|#,'\"0aszint \n", max_size=60))
def test_any_yaml_syntax_can_be_decoded(text):
    """Tags, anchors, aliases, merges and invalid scalars decode to a valid status."""
    check(b"status: S\nresult: " + text.encode(), {})


@settings(deadline=None, max_examples=300, suppress_health_check=[HealthCheck.too_slow])
@given(st.data(), RECORDS)
def test_mutated_stored_values_can_be_decoded(data, record):
    """Values of the corpus with changed, deleted and inserted bytes decode to a valid status."""
    value = bytearray(data.draw(st.sampled_from(VALUES)))
    for _ in range(data.draw(st.integers(1, 4))):
        position = data.draw(st.integers(0, len(value)))
        value[position : position + data.draw(st.integers(0, 3))] = data.draw(st.binary(max_size=3))

    check(bytes(value), record)


def text_bomb():
    """Return YAML that repeats a long text by an alias."""
    return b"status: SUCCESS\na: &a " + b"x" * 100_000 + b"\nresult: [" + b"*a, " * 30_000 + b"]\n"


def alias_bomb():
    """Return YAML with 19 levels of nine aliases each."""
    levels = "\n".join(f"l{n}: &l{n} [{', '.join([f'*l{n - 1}'] * 9)}]" for n in range(1, 20))
    return f"status: PROGRESS\nl0: &l0 [lol]\n{levels}\nresult: *l19\nchildren: *l19\ntraceback: *l19\n".encode()


def memo_bomb():
    """Return a pickle with 20 levels of ten references each."""
    value = ["lol"]
    for _ in range(20):
        value = [value] * 10
    return pickle.dumps({"status": "SUCCESS", "result": value, "children": value, "traceback": value})


def memo_text_bomb():
    """Return a pickle that repeats a long text by references."""
    return pickle.dumps(
        {"status": "FAILURE", "result": ["x" * 1_000_000] * 10_000, "traceback": ["x" * 1_000] * 10_000}
    )


def key_bomb():
    """Return a pickle with a dict key of 2 to the power of 60 nested tuples, which would be hashed."""
    opcodes = io.BytesIO()
    opcodes.write(b"\x80\x04})")
    opcodes.write(b"2\x86" * 60)
    opcodes.write(b"K\x01s.")
    return opcodes.getvalue()


BOMBS = {
    "yaml aliases": alias_bomb(),
    "yaml text": text_bomb(),
    "yaml nodes": (b"status: SUCCESS\nresult:\n" + b"- \n" * MAX_YAML_BYTES)[:MAX_YAML_BYTES],
    "yaml traceback": text_bomb().replace(b"result", b"traceback"),
    "pickle memo": memo_bomb(),
    "pickle texts": memo_text_bomb(),
    "pickle keys": key_bomb(),
    "pickle opcodes": b"\x80\x04" + b"]" * MAX_NODES + b".",
    "pickle integer": pickle.dumps({"status": "SUCCESS", "result": 1 << 20_000_000}),
    "msgpack maps": b"\x82\xa6status\xa1S\xa6result\xdd\x00\x0f\xff\x00" + b"\x80" * (MAX_NODES),
    "msgpack length": b"\x82\xa6status\xa1S\xa6result\xdd\xff\xff\xff\xff",
    "json integer": b'{"status": "SUCCESS", "result": ' + b"9" * 5_000_000 + b"}",
    "json nesting": b'{"status": "SUCCESS", "result": ' + b"[" * 5_000_000,
    "json open string": b'{"status": "SUCCESS", "result": ' + b"[" * 300 + b'"' + b'\\\\"' * 2_000_000,
    "record": b'{"status": "SUCCESS", "result": null}',
}


@pytest.mark.parametrize("name", BOMBS)
def test_memory_is_bounded(name):
    """Values that expand to gigabytes are decoded within the memory limit."""
    record = {b"fact": b"STARTED", b"progress": b"[" * 10_000_000} if name == "record" else {}
    snapshot = Snapshot(task_id="x", meta=BOMBS[name], record=record)

    tracemalloc.start()
    try:
        status = decode(snapshot, view=Visibility.OPERATOR)
        _, peak_bytes = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()

    assert peak_bytes < MEMORY_BYTES
    assert len(msgspec.json.encode(status)) < 7_000_000


def test_truncated_stored_values_can_be_decoded():
    """Values of the corpus that are cut at any position decode to a valid status."""
    for value in VALUES[::10]:
        for end in range(0, len(value), 7):
            check(value[:end], {})
            check(zlib.decompress(zlib.compress(value[end:])), {})
            check(base64.b64encode(value[:end]), {})
