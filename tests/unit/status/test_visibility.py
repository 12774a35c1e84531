"""What is seen of a status from outside and from inside."""

import json

import pytest
from task_status_service.status import Snapshot, Visibility, decode

URL = "postgres://bob:kanarienvogel@db/prod"


def status_of(view, *, state="FAILURE", exc_type="OperationalError", traceback=None, record=None, **details):
    """Decode a failure with a secret and a path wherever there may be one."""
    result = {"exc_type": exc_type, "exc_message": [f"no {URL} in /srv/shop/db.ini"], "exc_module": "db", **details}
    meta = {"status": state, "result": result, "traceback": traceback or f'File "/srv/shop/db.py"\n{URL}'}
    record = {b"worker": b"celery@build-7", **(record or {})}
    return decode(Snapshot(task_id="a", meta=json.dumps(meta).encode(), record=record), view=view)


@pytest.mark.parametrize("view", Visibility)
@pytest.mark.parametrize("state", ["FAILURE", "RETRY", "REVOKED"])
def test_no_credentials(view, state):
    """From nowhere: neither in the message, nor in details, nor in a traceback, nor in a made-up type."""
    status = status_of(view, state=state, dsn=[URL], password="kanarienvogel", exc_type=f"it is {URL}")

    assert "kanarienvogel" not in repr(status)
    assert status.failure.details["dsn"] == ["postgres://[redacted]@db/prod"]


def test_from_outside():
    """No traceback, no worker, no path."""
    status = status_of(Visibility.PUBLIC, file="/srv/shop/in.csv")

    assert status.worker is None
    assert status.failure.traceback is None
    assert status.failure.message == "no postgres://[redacted]@db/prod in [path]"
    assert status.failure.details == {"file": "[path]"}
    assert (status.failure.type, status.failure.module) == ("OperationalError", "db")


def test_from_inside():
    """All of them."""
    status = status_of(Visibility.OPERATOR, file="/srv/shop/in.csv")

    assert status.worker == "celery@build-7"
    assert status.failure.traceback == 'File "/srv/shop/db.py"\npostgres://[redacted]@db/prod'
    assert status.failure.message == "no postgres://[redacted]@db/prod in /srv/shop/db.ini"
    assert status.failure.details == {"file": "/srv/shop/in.csv"}


def test_without_a_message():
    """Nothing to say is nothing to hide."""
    record = {b"fact": b"FINISHED", b"outcome": b"FAILURE", b"final": b"1"}
    status = decode(Snapshot(task_id="a", record=record), view=Visibility.PUBLIC)

    assert status.failure.message == ""
    assert status.failure.traceback is None


def test_what_an_author_shows_stays():
    """A result and a custom meta are what the task says on purpose."""
    for state, shown in (("SUCCESS", "result"), ("PROGRESS", "meta")):
        meta = {"status": state, "result": {"token": URL, "file": "/srv/x/y"}}
        status = decode(Snapshot(task_id="a", meta=json.dumps(meta).encode()), view=Visibility.PUBLIC)
        assert getattr(status, shown) == meta["result"]


def test_hides_by_default():
    """A caller of `decode` that names no visibility gets the public one."""
    record = {b"fact": b"STARTED", b"worker": b"celery@host"}

    assert decode(Snapshot(task_id="a", record=record)).worker is None
