"""The hooks of a worker process, over a service of fakes."""

import logging
from types import SimpleNamespace

import pytest
from gunicorn.errors import AppImportError
from task_status_service.errors import StoreUnavailable, StoreVolatile
from task_status_service.server import gunicorn
from task_status_service.server.gunicorn import Server
from task_status_service.server.open_files import room_within
from task_status_service.settings import Settings


class FakeFeed:
    """A feed that counts its closes, and may fail."""

    def __init__(self, error=None):
        self.closed = 0
        self.error = error

    def close(self):
        self.closed += 1
        if self.error:
            raise self.error


class FakeReadiness:
    """Readiness checks with a scripted outcome."""

    def __init__(self, outcome):
        self.outcome = outcome

    def check_store(self):
        if isinstance(self.outcome, Exception):
            raise self.outcome
        return self.outcome


def worker_with(*, age=1, alive=False, **parts):
    """Return a worker process that runs a service of these parts."""
    service = SimpleNamespace(**parts) if parts else None
    return SimpleNamespace(app=SimpleNamespace(service=service), age=age, alive=alive, log=logging.getLogger("worker"))


def test_the_master_builds_no_service():
    """The master process must not import what gevent patches, so only a worker process builds the service."""
    assert Server(Settings()).service is None


def test_worker_processes_get_separate_memory():
    """A process gets memory for its counts before the fork, and a replacement gets it after the end of the process."""
    server = Server(Settings(workers=1))
    workers = [SimpleNamespace(app=server) for _ in range(4)]
    for worker in workers[:3]:
        gunicorn.claim_memory(None, worker)
    assert [worker.process for worker in workers[:3]] == [0, 1, None]

    gunicorn.release_memory(None, workers[0])
    gunicorn.claim_memory(None, workers[3])
    assert (workers[3].process, server.process) == (0, 0)


@pytest.mark.parametrize("limit", [256, 100_000])
def test_connections_fit_into_the_limit_of_open_files(limit, monkeypatch, caplog):
    """With too few open files, the server permits fewer connections and watches, and logs one warning at its start."""
    monkeypatch.setattr(gunicorn, "make_room", lambda watches: room_within(limit, watches))
    server = Server(Settings(watches=500))
    is_small = limit == 256

    assert (server.cfg.worker_connections, server.settings.watches) == ((128, 64) if is_small else (2_500, 500))
    gunicorn.warn_of_room(SimpleNamespace(app=server, log=logging.getLogger("master")))
    assert len(caplog.records) == is_small


def test_streams_end_when_the_process_is_told_to_stop():
    """The feed is closed as soon as the worker is no longer alive."""
    feed = FakeFeed()

    gunicorn.close_feed_when_stopped(worker_with(feed=feed))

    assert feed.closed == 1


def test_a_feed_that_cannot_be_closed_is_logged(caplog):
    """An exception of the feed is logged with its traceback; the thread ends without another error."""
    gunicorn.close_feed_when_stopped(worker_with(feed=FakeFeed(ZeroDivisionError())))

    [record] = caplog.records
    assert (record.levelname, record.exc_info[0]) == ("ERROR", ZeroDivisionError)


def test_closes_the_service_of_a_process_that_ends():
    """The server closes the service, because building it registers no exit handler."""
    feed = FakeFeed()

    gunicorn.close_service(None, worker_with(close=feed.close))

    assert feed.closed == 1


def test_closes_nothing_where_no_service_was_built():
    """A worker process that failed to start has no service to close."""
    gunicorn.close_service(None, worker_with())


@pytest.mark.parametrize(
    ("outcome", "logged"),
    [
        ([], []),
        (["keeps nothing"], ["keeps nothing"]),
        (
            StoreUnavailable(cause="Redis at db:6379 does not answer."),
            ["Redis at db:6379 does not answer. The durability of the store was not checked: see /readyz later."],
        ),
    ],
)
def test_logs_the_warnings_about_the_store(outcome, logged, caplog):
    """Each warning about the store is logged once, when the server starts."""
    gunicorn.check_store(worker_with(readiness=FakeReadiness(outcome)))

    assert [record.getMessage() for record in caplog.records] == logged


def test_a_store_that_the_settings_forbid_ends_the_server():
    """The error is the one for which gunicorn prints the text and starts no other worker."""
    with pytest.raises(AppImportError, match="keeps nothing"):
        gunicorn.check_store(worker_with(readiness=FakeReadiness(StoreVolatile("keeps nothing"))))


def test_a_replaced_process_does_not_check_the_store():
    """Only the first worker process checks, so that a restart during an outage logs nothing new."""
    gunicorn.check_store(worker_with(age=2, readiness=FakeReadiness(["keeps nothing"])))
