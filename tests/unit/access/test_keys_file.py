"""The keys file: written atomically, readable by its owner only, and read again when it changes."""

import json
import logging
import threading
from datetime import UTC, datetime

import pytest
from support.clock import Clock
from task_status_service.access import keys_file
from task_status_service.access.api_keys import new_key
from task_status_service.access.caller import Scope
from task_status_service.access.keys_file import CHECK_SECONDS, LiveKeyring, change, read
from task_status_service.errors import KeysUnreadable

NOW = datetime(2026, 1, 2, tzinfo=UTC)


@pytest.fixture
def path(tmp_path):
    """The path of a keys file that does not exist yet."""
    return tmp_path / "keys.json"


def add(path, name="web"):
    """Add a key, and return its text."""
    key, text = new_key(name, {Scope.READ, Scope.SUBMIT}, created_at=NOW, expires_at=datetime(2030, 1, 1, tzinfo=UTC))
    change(path, lambda held: held.with_key(key))
    return text


def test_keys_are_added_without_their_secrets(path):
    """The file contains all keys but not their secrets, and only its owner can read it."""
    texts = [add(path), add(path, "app")]

    assert [key.name for key in read(path).keys] == ["web", "app"]
    assert path.stat().st_mode & 0o777 == 0o600
    assert not any(text.split("_", 2)[2] in path.read_text() for text in texts)
    assert [file.name for file in path.parent.iterdir()] == ["keys.json"]


def test_the_signing_secret_stays(path):
    """Task tokens stay valid when a key is added."""
    add(path)
    secret = read(path).signing_secret
    add(path, "app")

    assert (read(path).signing_secret, len(bytes.fromhex(secret))) == (secret, 32)


def test_concurrent_changes_are_kept(path):
    """Concurrent additions lose no key."""
    threads = [threading.Thread(target=add, args=(path, f"web-{number}")) for number in range(20)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert len(read(path).keys) == 20


def test_a_change_that_fails_changes_nothing(path, monkeypatch):
    """A failed write leaves the old file, and no temporary one."""
    add(path)
    before = path.read_bytes()

    def fail(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(keys_file.os, "fsync", fail)
    with pytest.raises(KeysUnreadable, match="No space left on device"):
        add(path, "app")
    assert path.read_bytes() == before
    assert [file.name for file in path.parent.iterdir()] == ["keys.json"]


@pytest.mark.parametrize(
    "held",
    [
        "",
        "[]",
        "{}",
        '{"signing_secret": "short", "keys": []}',
        json.dumps({"signing_secret": "0" * 64 + "\n", "keys": []}),
        json.dumps({"signing_secret": "0" * 64, "keys": [{"id": "s3cret"}]}),
    ],
)
def test_an_invalid_file_is_rejected(path, held):
    """An invalid file is neither quoted in the error nor overwritten."""
    path.write_text(held)
    with pytest.raises(KeysUnreadable) as raised:
        read(path)
    assert str(path) in str(raised.value)
    assert "s3cret" not in str(raised.value)
    with pytest.raises(KeysUnreadable):
        add(path)
    assert path.read_text() == held


def test_names_must_be_safe_in_redis_keys(path):
    """A name that would be ambiguous in a Redis key is rejected."""
    add(path)
    text = path.read_text()
    for name in ("a:state:queued", "", "a\\u0000", "a\\n", "-a", "a" * 65):
        path.write_text(text.replace('"web"', f'"{name}"'))
        with pytest.raises(KeysUnreadable):
            read(path)


@pytest.fixture
def clock():
    """A clock that the test sets."""
    return Clock(0.0)


def test_a_changed_file_is_read_again(path, clock):
    """A change applies after `CHECK_SECONDS`; an unchanged file returns the same object."""
    first = add(path)
    live = LiveKeyring(path, clock=clock)
    ring = live.current()
    second = add(path, "app")
    assert live.current() is ring
    assert ring.key_of(second, NOW) is None

    clock.now = CHECK_SECONDS
    assert live.current().key_of(second, NOW).name == "app"
    change(path, lambda held: held.without_key(first.split("_")[1]))
    assert live.current().key_of(first, NOW) is not None
    clock.now *= 2
    ring = live.current()
    assert ring.key_of(first, NOW) is None
    clock.now *= 2
    assert live.current() is ring


@pytest.mark.parametrize("breaking", [lambda path: path.write_text("{"), lambda path: path.unlink()])
def test_a_broken_file_keeps_the_keys(path, clock, caplog, breaking):
    """A broken file is logged once, the old keys stay valid, and a repaired file is read."""
    text = add(path)
    live = LiveKeyring(path, clock=clock)
    held = path.read_bytes()
    with caplog.at_level(logging.ERROR):
        breaking(path)
        for clock.now in (10, 20, 30):
            assert live.current().key_of(text, NOW) is not None
    [line] = caplog.messages
    assert str(path) in line
    path.write_bytes(held)
    add(path, "app")
    clock.now = 40
    assert len(read(path).keys) == 2
    assert live.current().key_of(text, NOW) is not None


def test_a_missing_file_is_an_error_at_start(path):
    """A server does not start without its keys file."""
    with pytest.raises(KeysUnreadable, match="No such file"):
        LiveKeyring(path)


def test_a_world_readable_file_is_logged(path, caplog):
    """A file that other users can read is used, with a warning."""
    add(path)
    path.chmod(0o644)
    LiveKeyring(path)

    assert "chmod 600" in caplog.text
