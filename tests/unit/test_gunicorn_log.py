"""What gunicorn logs of a request that it cannot answer names no key and no token."""

import logging

import pytest
from keys import MemoryKeys
from task_status_service.gunicorn import hide_secrets


@pytest.mark.parametrize(
    ("message", "logged"),
    [
        ("Error handling request %s", "Error handling request /tasks/a/events?access_token=tst_…&x=1"),
        ("nothing of the kind: %s", "nothing of the kind: /tasks/a/events?access_token=tst_…&x=1"),
    ],
)
def test_tokens(message, logged):
    """They may be in an address."""
    record = logging.makeLogRecord({"msg": message, "args": ("/tasks/a/events?access_token=tst_W-x.Y_z.Ab&x=1",)})

    assert hide_secrets(record)
    assert record.getMessage() == logged


def test_keys():
    """They may be in a header that is none; which key it was may be known."""
    text = MemoryKeys().add("web")
    record = logging.makeLogRecord({"msg": f"Invalid header: 'Authorization : Bearer {text}'"})

    assert hide_secrets(record)
    assert record.getMessage() == f"Invalid header: 'Authorization : Bearer {text[:16]}_…'"


def test_other_lines_stay():
    """Also what they are made of."""
    record = logging.makeLogRecord({"msg": "Booting worker with pid: %s", "args": (42,)})

    assert hide_secrets(record)
    assert (record.msg, record.args) == ("Booting worker with pid: %s", (42,))
