"""The composition root: building the service has no effect outside of it."""

import atexit

import pytest
from task_status_service import app
from task_status_service.app import create_service
from task_status_service.settings import Settings

#: a port that no test server listens on
NOWHERE = "redis://127.0.0.1:1/0"


def test_building_registers_no_exit_handler(monkeypatch):
    """Only the caller closes a service: a command that writes the document must not leave a handler behind."""
    registered = []
    monkeypatch.setattr(atexit, "register", registered.append)

    create_service(Settings())

    assert registered == []


def test_builds_and_closes_without_a_redis():
    """Building opens no connection, and a service that never connected can be closed."""
    service = create_service(Settings(broker_url=NOWHERE, result_url=NOWHERE, record_url=NOWHERE))

    assert service.app.test_client().get("/livez").status_code == 200
    service.close()


def test_no_resender_when_resending_is_disabled():
    """`RESEND_SECONDS` of 0 disables resending."""
    assert create_service(Settings(resend_seconds=0)).resender is None
    assert create_service(Settings()).resender is not None


@pytest.mark.parametrize("fast_read", [True, False])
def test_the_setting_disables_the_fast_read(monkeypatch, fast_read):
    """Only a service with `FAST_READ` builds the middleware of the fast read."""
    built = []
    monkeypatch.setattr(app, "FastRead", lambda flask, *_: built.append(flask) or flask.wsgi_app)

    service = app.create_service(Settings(fast_read=fast_read))

    assert built == ([service.app] if fast_read else [])
