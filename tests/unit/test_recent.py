"""What is remembered is never taken for something else."""

from hypothesis import given
from hypothesis import strategies as st
from task_status_service.recent import MAX_BYTES, Recent
from task_status_service.status import Snapshot, TaskState, decode

SNAPSHOTS = st.builds(
    Snapshot,
    task_id=st.sampled_from(["t-1", "t-2"]),
    record=st.dictionaries(
        st.sampled_from([b"fact", b"seq", b"name", b"cancel_requested"]),
        st.sampled_from([b"1", b"STARTED", b"FINISHED", b""]),
    ),
    meta=st.sampled_from([None, b"", b'{"status": "STARTED"}', b'{"status": "SUCCESS", "result": 1}']),
    wrong_type=st.booleans(),
)


@given(st.lists(SNAPSHOTS, max_size=20))
def test_as_if_nothing_were_remembered(snapshots) -> None:
    """Version and status are those of what was read, whatever was read before."""
    recent = Recent({})
    for snapshot in snapshots:
        assert recent.status(snapshot) == decode(snapshot)
        assert recent.version(snapshot) == Recent({}).version(snapshot)


@given(SNAPSHOTS, SNAPSHOTS)
def test_versions_differ(one, other) -> None:
    """Two versions are the same only where all that can be seen is."""
    if Recent({}).version(one) == Recent({}).version(other):
        assert (one.record, one.meta, one.wrong_type) == (other.record, other.meta, other.wrong_type)


def test_the_order_of_fields_does_not_count() -> None:
    """Redis gives the fields of a large hash in any order."""
    fields = [(b"fact", b"STARTED"), (b"seq", b"1")]
    versions = {Recent({}).version(Snapshot(task_id="t-1", record=dict(order))) for order in (fields, fields[::-1])}
    assert len(versions) == 1


def test_settings_count() -> None:
    """What a custom final state means is part of the version."""
    snapshot = Snapshot(task_id="t-1", meta=b'{"status": "PARTIAL"}')
    assert Recent({}).version(snapshot) != Recent({"PARTIAL": TaskState.SUCCEEDED}).version(snapshot)


def test_decodes_once() -> None:
    """The same reading is decoded once; a large one is not kept."""
    recent = Recent({})
    small = {"task_id": "t-1", "meta": b'{"status": "STARTED"}'}
    large = {"task_id": "t-2", "meta": b'{"status": "STARTED"}' + b" " * MAX_BYTES}
    assert recent.status(Snapshot(**small)) is recent.status(Snapshot(**small))
    assert recent.status(Snapshot(**large)) is not recent.status(Snapshot(**large))
