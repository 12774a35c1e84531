"""The connections of a server process fit into its limit of open files."""

import multiprocessing
import resource

import pytest
from hypothesis import given
from hypothesis import strategies as st
from task_status_service.server.open_files import OTHER_FILES, PLAIN_CONNECTIONS, make_room, room_within


@given(st.integers(16, 30_000), st.integers(0, 20_000))
def test_the_connections_fit(limit, watches):
    """Connections and other open files fit into the limit; at least half of the connections are for plain requests."""
    room = room_within(limit, watches)

    assert 0 < room.connections <= limit - min(OTHER_FILES, limit // 2)
    assert 0 <= room.watches <= watches
    assert room.connections - room.watches >= min(PLAIN_CONNECTIONS, room.connections // 2)
    assert room.watches <= room.kept_alive < room.connections
    if limit >= room.needed:
        assert (room.connections, room.watches, room.warning) == (watches + PLAIN_CONNECTIONS, watches, None)
    else:
        assert room.connections + OTHER_FILES >= limit


@pytest.mark.parametrize(
    ("limit", "connections", "watches"),
    [(256, 128, 64), (1_024, 768, 384), (4_096, 3_840, 1_920), (12_255, 11_999, 9_999)],
)
def test_a_small_limit_is_reported(limit, connections, watches):
    """The warning names the limit, what is needed, what remains, and how to raise it."""
    room = room_within(limit, 10_000)

    assert (room.connections, room.watches) == (connections, watches)
    for part in (f"{limit:,}", "12,256", f"{connections:,} connections", f"{watches:,} waits", "ulimit", "LimitNOFILE"):
        assert part in room.warning


@pytest.mark.parametrize(("soft", "hard", "after"), [(64, 500, 500), (64, 5_000, 2_266), (3_000, 5_000, 3_000)])
def test_the_soft_limit_is_raised(soft, hard, after):
    """The soft limit is raised to the necessary number, up to the hard limit, and never lowered."""

    def run() -> None:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
        room = make_room(10)
        assert resource.getrlimit(resource.RLIMIT_NOFILE) == (after, hard)
        assert room == room_within(after, 10)

    process = multiprocessing.get_context("fork").Process(target=run)
    process.start()
    process.join()
    assert process.exitcode == 0
