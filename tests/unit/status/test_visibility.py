"""The public and the operator see different parts of a status."""

import json

import pytest
from task_status_service.status import Snapshot, Visibility, decode

URL = "postgres://bob:kanarienvogel@db/prod"


def status_of(view, *, state="FAILURE", exc_type="OperationalError", traceback=None, record=None, **details):
    """Return the status of a failure that contains a secret and a path in every text."""
    result = {"exc_type": exc_type, "exc_message": [f"no {URL} in /srv/shop/db.ini"], "exc_module": "db", **details}
    meta = {"status": state, "result": result, "traceback": traceback or f'File "/srv/shop/db.py"\n{URL}'}
    record = {b"worker": b"celery@build-7", **(record or {})}
    return decode(Snapshot(task_id="a", meta=json.dumps(meta).encode(), record=record), view=view)


@pytest.mark.parametrize("view", Visibility)
@pytest.mark.parametrize("state", ["FAILURE", "RETRY", "REVOKED"])
def test_no_reader_sees_credentials(view, state):
    """Credentials are removed from message, details, traceback, and a type that is not an identifier."""
    status = status_of(view, state=state, dsn=[URL], password="kanarienvogel", exc_type=f"it is {URL}")

    assert "kanarienvogel" not in repr(status)
    assert status.failure.details["dsn"] == ["postgres://[redacted]@db/prod"]


@pytest.mark.parametrize("view", Visibility)
@pytest.mark.parametrize("field", ["exc_type", "exc_module"])
@pytest.mark.parametrize(
    "secret",
    ["ghp_0123456789abcdefABCDEF", "sk_live_0123456789abcdefABCD", "AKIAIOSFODNN7EXAMPLE", "0123456789abcdef" * 2],
)
def test_a_key_shaped_name_is_redacted(view, field, secret):
    """A type or module that has the form of a credential is redacted, also if it is an identifier."""
    status = status_of(view, **{field: secret})

    assert secret not in repr(status)
    assert "[redacted]" in getattr(status.failure, field.removeprefix("exc_"))


@pytest.mark.parametrize("name", ["PasswordError", "TokenExpired", "shop.tokens.SecretKeyMissing"])
def test_the_name_of_a_class_is_not_redacted(name):
    """A class or module whose name contains the name of a credential is shown."""
    status = status_of(Visibility.PUBLIC, exc_type=name.rpartition(".")[2], exc_module=name)

    assert (status.failure.type, status.failure.module) == (name.rpartition(".")[2], name)


def test_the_public_sees_no_internals():
    """The public status contains no traceback, no worker and no path."""
    status = status_of(Visibility.PUBLIC, file="/srv/shop/in.csv")

    assert status.worker is None
    assert status.failure.traceback is None
    assert status.failure.message == "no postgres://[redacted]@db/prod in [path]"
    assert status.failure.details == {"file": "[path]"}
    assert (status.failure.type, status.failure.module) == ("OperationalError", "db")


def test_an_operator_sees_internals():
    """The status of an operator contains traceback, worker and paths."""
    status = status_of(Visibility.OPERATOR, file="/srv/shop/in.csv")

    assert status.worker == "celery@build-7"
    assert status.failure.traceback == 'File "/srv/shop/db.py"\npostgres://[redacted]@db/prod'
    assert status.failure.message == "no postgres://[redacted]@db/prod in /srv/shop/db.ini"
    assert status.failure.details == {"file": "/srv/shop/in.csv"}


def test_a_failure_without_texts_stays_empty():
    """The public sees an empty message and no traceback of a failure that has neither."""
    record = {b"fact": b"FINISHED", b"outcome": b"FAILURE", b"final": b"1"}
    status = decode(Snapshot(task_id="a", record=record), view=Visibility.PUBLIC)

    assert status.failure.message == ""
    assert status.failure.traceback is None


def test_result_and_custom_meta_are_not_changed():
    """The public sees secrets and paths that a task stores as its result or custom meta."""
    for state, shown in (("SUCCESS", "result"), ("PROGRESS", "meta")):
        meta = {"status": state, "result": {"token": URL, "file": "/srv/x/y"}}
        status = decode(Snapshot(task_id="a", meta=json.dumps(meta).encode()), view=Visibility.PUBLIC)
        assert getattr(status, shown) == meta["result"]


def test_the_default_visibility_is_public():
    """A status that is decoded without a visibility has no worker."""
    record = {b"fact": b"STARTED", b"worker": b"celery@host"}

    assert decode(Snapshot(task_id="a", record=record)).worker is None
