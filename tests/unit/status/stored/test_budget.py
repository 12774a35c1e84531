"""A budget limits each value, and all values of a page; a value over it still has its state."""

import bz2
import functools
import json
import lzma
import pickle
import zlib

import brotli
import msgspec
import pytest
import yaml
import zstandard
from support.clock import Clock
from task_status_service.status import INLINE, LISTED, RESULT, UNSEEN, Budget, Snapshot, decode
from task_status_service.status.stored.bounds import (
    MAX_PAGE_BYTES,
    MAX_PAGE_NODES,
    MAX_PAGE_SECONDS,
    PAUSE_NODES,
)
from task_status_service.status.stored.compression import PREFIX

SERIALIZERS = {
    "json": lambda value: json.dumps(value).encode(),
    "yaml": lambda value: yaml.dump(value, Dumper=yaml.CSafeDumper).encode(),
    "msgpack": msgspec.msgpack.encode,
    "pickle": pickle.dumps,
    "pickle 0": lambda value: pickle.dumps(value, 0),
}
COMPRESSIONS = {
    "plain": bytes,
    "gzip": lambda data: PREFIX + b"application/x-gzip\x00" + zlib.compress(data),
    "bzip2": lambda data: PREFIX + b"application/x-bz2\x00" + bz2.compress(data),
    "xz": lambda data: PREFIX + b"application/x-lzma\x00" + lzma.compress(data),
    "brotli": lambda data: PREFIX + b"application/x-brotli\x00" + brotli.compress(data, quality=1),
    "zstd": lambda data: PREFIX + b"application/zstd\x00" + zstandard.ZstdCompressor().compress(data),
}
#: each needs more than a value of a list may take
LARGE = {
    "numbers": list(range(40_000)),
    "objects": [{}] * 20_000,
    "lists": [[]] * 20_000,
    "texts": ["x"] * 40_000,
    "keys": {f"k{number}": 0 for number in range(40_000)},
    "text": "x" * 600_000,
    "rows": [{"id": number, "name": "n", "ok": True} for number in range(8_000)],
}


@functools.cache
def stored_shape(shape, serializer, compression):
    """Return the stored value of one of the large results."""
    return stored(LARGE[shape], serializer, compression)


def stored(result, serializer="json", compression="plain"):
    """Return the stored value of a task that has succeeded, with the fields in Celery's order."""
    document = {"status": "SUCCESS", "result": result, "traceback": None, "children": [], "task_id": "x"}
    return COMPRESSIONS[compression](SERIALIZERS[serializer](document))


def read(meta, budget):
    """Return the status and the codes of its diagnostics."""
    status = decode(Snapshot(task_id="x", meta=meta), budget=budget)
    return status, {diagnostic.code for diagnostic in status.diagnostics}


@pytest.mark.parametrize("shape", LARGE)
@pytest.mark.parametrize("serializer", SERIALIZERS)
@pytest.mark.parametrize("compression", COMPRESSIONS)
def test_a_value_over_the_limits_has_its_state(shape, serializer, compression):
    """The state of a value that is too large for a list is read; its result is omitted, with a diagnostic."""
    status, codes = read(stored_shape(shape, serializer, compression), Budget(LISTED))

    # YAML has its keys in alphabetic order: the state comes after the result, which is not inflated to its end.
    is_late = serializer == "yaml" and compression != "plain" and shape == "text"
    assert (status.state, status.result) == ("unknown" if is_late else "succeeded", None)
    assert ("too_large" if is_late else "result_too_large") in codes
    assert codes - {"too_large"} <= {"result_too_large", "was_compressed", "pickle"}


@pytest.mark.parametrize("limits", [UNSEEN, LISTED, INLINE], ids=["unseen", "listed", "inline"])
@pytest.mark.parametrize("serializer", SERIALIZERS)
def test_a_small_value_is_read_within_all_limits(serializer, limits):
    """A small value is complete, also if only its state matters."""
    status, codes = read(stored({"a": [1, None]}, serializer), Budget(limits))

    assert status.result == {"a": [1, None]}
    assert codes <= {"pickle"}


def test_a_budget_without_a_clock_is_of_one_value():
    """The limits of a task that is read alone do not depend on earlier values."""
    budget = Budget(INLINE)
    budget.spend(nodes=MAX_PAGE_NODES, inflated_bytes=MAX_PAGE_BYTES)

    status, _ = read(stored(LARGE["rows"]), budget)

    assert len(status.result) == 8_000
    assert not budget.is_short


@pytest.mark.parametrize(
    "spent",
    [
        lambda budget, _: budget.spend(nodes=MAX_PAGE_NODES),
        lambda budget, _: budget.spend(inflated_bytes=MAX_PAGE_BYTES),
        lambda _, clock: setattr(clock, "now", clock.now + MAX_PAGE_SECONDS),
    ],
    ids=["nodes", "bytes", "seconds"],
)
def test_the_values_after_a_spent_budget(spent):
    """After the budget is spent, small values are complete, and of large ones only the state is read."""
    clock = Clock()
    budget = Budget(LISTED, clock=clock)
    medium = stored(list(range(5_000)), "json", "gzip")
    assert read(medium, budget)[0].result is not None
    assert not budget.is_short

    spent(budget, clock)

    status, codes = read(medium, budget)
    assert (status.state, status.result, codes) == ("succeeded", None, {"result_too_large", "was_compressed"})
    assert budget.is_short
    assert read(stored([1, 2]), budget)[0].result == [1, 2]


@pytest.mark.parametrize("serializer", SERIALIZERS)
@pytest.mark.parametrize("shape", LARGE)
def test_a_page_of_bombs_costs_no_more_than_its_budget(serializer, shape):
    """A page of 200 large values spends the budget of the page, and little more for each value after it."""
    spent = {"nodes": 0, "inflated_bytes": 0}
    clock = Clock()
    budget = Budget(LISTED, clock=clock)
    spend = budget.spend
    meta = stored_shape(shape, serializer, "gzip")

    def count(**amounts):
        for name, amount in amounts.items():
            spent[name] += amount
        spend(**amounts)

    budget.spend = count
    for _ in range(200):
        # The state of YAML comes after its result.
        assert read(meta, budget)[0].state == "succeeded" or serializer == "yaml"

    # A block is inflated, and some nodes are counted, before their limit is found.
    assert spent["nodes"] <= MAX_PAGE_NODES + LISTED.nodes + 200 * (UNSEEN.nodes + 2_000)
    assert spent["inflated_bytes"] <= MAX_PAGE_BYTES + LISTED.bytes + 200 * (UNSEEN.bytes + 128 * 1024)


@pytest.mark.parametrize("compression", COMPRESSIONS)
def test_a_long_decoding_pauses(compression):
    """Other requests run between the parts of a long decoding; a short one has no pause."""
    pauses = []
    budget = Budget(INLINE, pause=lambda: pauses.append(None))
    read(stored([1, 2]), budget)
    assert not pauses

    read(stored(list(range(200_000)), "json", compression), budget)

    assert len(pauses) >= 200_000 // PAUSE_NODES


@pytest.mark.parametrize(
    ("field", "value", "code"),
    [
        ("children", [[[str(number), None], None] for number in range(100_000)], "children_truncated"),
        ("traceback", ["line"] * 300_000, "truncated_text"),
        ("args", [0] * 300_000, None),
        ("name", [0] * 300_000, None),
    ],
)
def test_a_large_field_does_not_hide_the_others(field, value, code):
    """A JSON value with one field over the limit is read without this field."""
    document = {"status": "SUCCESS", "date_done": "2026-01-02T03:04:05", field: value, "result": [1], "task_id": "x"}

    status, codes = read(json.dumps(document).encode(), Budget())

    assert status.result == [1]
    assert status.finished_at is not None
    assert codes == ({code} if code else set())


@pytest.mark.parametrize(
    ("meta", "state", "codes"),
    [
        # msgspec rejects it, or it is cut: the state is read if it is the first field
        (b' { "status" : "SUCCESS", "result": [NaN' + b",0" * 300_000 + b"]}", "succeeded", {"result_too_large"}),
        (b'{"result": [NaN' + b",0" * 300_000 + b'], "status": "SUCCESS"}', "unknown", {"too_large"}),
        (b'{"status": "\\u0053", "result": [NaN' + b",0" * 300_000 + b"]}", "unknown", {"too_large"}),
        (b'{"result": [0' + b",0" * 300_000 + b'], "status": "SUCCESS"}', "succeeded", {"result_too_large"}),
        (b'{"result": [0' + b",0" * 300_000 + b'], "status": 5}', "unknown", {"bad_status", "result_too_large"}),
        (b'{"result": [0' + b",0" * 300_000 + b"]}", "unknown", {"no_status", "result_too_large"}),
        (b'\xef\xbb\xbf{"status": "SUCCESS", "x": [0' + b",0" * 300_000 + b"]}", "succeeded", {"no_result"}),
        (b"[0" + b",0" * 300_000 + b"]", "unknown", {"not_an_object"}),
        (b"0" + b",0" * 300_000 + b"]", "unknown", {"too_large"}),
        (b'{"status": "SUCCESS", "result": ' + b"[" * 951 + b",0" * 300_000, "unknown", {"too_deep"}),
        (b'{"status": "S", "result": [0' + b",0" * 300_000 + b"," + b"[" * 2_000, "unknown", {"too_deep"}),
        (
            b'{"status": "S", "result": [' + b"[]," * 130_000 + b"[" * 100_000 + b"]" * 100_000 + b"]}",
            "unknown",
            {"too_deep"},
        ),
        (b'{"status": "SUCCESS", "result": ["a"' + b',"a"' * 600_000 + b"]}", "succeeded", {"result_too_large"}),
        (b"status: SUCCESS\r\nresult: [0" + b",0" * 300_000 + b"]", "succeeded", {"result_too_large"}),
        (b"a: 1\nstatus: 'SUCCESS'\nresult: [0" + b",0" * 30_000 + b"]", "succeeded", {"result_too_large"}),
        (b"a: 1\nstatus: [a, b]\nresult: [0" + b",0" * 30_000 + b"]", "unknown", {"too_large"}),
        (b"\x80\x04}(\x8c\x06status\x8c\x07SUCCESSK\x01" + b"]" * 300_000, "succeeded", {"pickle", "result_too_large"}),
        (b"\x80\x04](" + b"]" * 300_000, "unknown", {"pickle", "too_large"}),
        (
            b"\x82\xa6status\xa7SUCCESS\xa6result\xdd\x00\x0f\xff\xff" + bytes(300_000),
            "succeeded",
            {"result_too_large"},
        ),
    ],
)
def test_the_state_at_the_beginning_of_a_large_value(meta, state, codes):
    """The state of a value that is too large is read where it can be found quickly; else the state is unknown."""
    status, found = read(meta, Budget())

    assert (status.state, found - {"no_task_id"}) == (state, codes)


def test_repeated_values_are_counted_each_time():
    """A list that a pickle repeats is a part of the result each time: a million numbers are too many."""
    numbers = [0] * 1_000

    status, codes = read(stored([numbers] * 1_000, "pickle"), Budget(RESULT))

    assert (status.state, status.result) == ("succeeded", None)
    assert codes == {"pickle", "result_too_large"}


@pytest.mark.parametrize("serializer", ["json", "msgpack", "pickle"])
@pytest.mark.parametrize("compression", ["plain", "gzip", "brotli"])
def test_a_value_beyond_the_largest_size_has_its_state(serializer, compression):
    """The state of a value of more than 8 MiB, which is not read as a whole, is at its beginning."""
    status, codes = read(stored("x" * 9_000_000, serializer, compression), Budget())

    assert status.state == "succeeded"
    assert "result_too_large" in codes
