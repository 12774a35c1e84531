"""API keys: random, stored as hashes, compared in constant time."""

import hashlib
import re
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support.keys import MemoryKeys
from task_status_service.access import api_keys
from task_status_service.access.api_keys import KeyFile, Keyring, new_key
from task_status_service.access.caller import Scope

NOW = datetime(2026, 1, 2, tzinfo=UTC)


def test_a_new_key_is_random_and_stored_as_a_hash():
    """A key has an id of 48 random bits and a secret of 256; only the SHA-256 of the secret is stored."""
    key, text = new_key("web", {Scope.READ}, created_at=NOW)
    other, other_text = new_key("web", {Scope.READ}, created_at=NOW)

    key_id, secret = re.fullmatch(r"tsk_([0-9a-f]{12})_([A-Za-z0-9_-]{43})", text).groups()
    assert (key.id, key.secret_sha256) == (key_id, hashlib.sha256(secret.encode()).hexdigest())
    assert secret not in repr(key)
    assert key.id != other.id
    assert text[17:] != other_text[17:]


def test_a_key_is_valid_with_its_own_secret():
    """A key is valid with its own secret only, until it is revoked."""
    keys = MemoryKeys()
    web, app = keys.add("web", {Scope.READ}), keys.add("app")

    assert keys.current().key_of(web, NOW).name == "web"
    assert keys.current().key_of(web, NOW).scopes == {Scope.READ}
    assert keys.current().key_of(web[:17] + app[17:], NOW) is None
    keys.revoke(web)
    assert keys.current().key_of(web, NOW) is None
    assert keys.current().key_of(app, NOW).name == "app"


def test_a_key_expires():
    """A key is invalid from the time of its expiry."""
    keys = MemoryKeys()
    text = keys.add("web", expires_at=NOW)

    assert keys.current().key_of(text, NOW - timedelta(microseconds=1)) is not None
    assert keys.current().key_of(text, NOW) is None


@pytest.mark.parametrize("is_known", [True, False])
def test_unknown_ids_take_as_long(is_known, monkeypatch):
    """A known and an unknown id both lead to one comparison in constant time."""
    compared = []
    compare = api_keys.hmac.compare_digest
    monkeypatch.setattr(api_keys.hmac, "compare_digest", lambda *both: compared.append(both) or compare(*both))
    keys = MemoryKeys()
    text = keys.add("web")
    key_id = text.split("_")[1] if is_known else "0" * 12

    assert keys.current().key_of(f"tsk_{key_id}_{'A' * 43}", NOW) is None
    assert [len(digest) for digest in compared[0]] == [64, 64]
    assert len(compared) == 1


@settings(max_examples=500, deadline=None)
@given(
    st.text(max_size=80)
    | st.from_regex(r"tsk_[0-9a-f]{12}_[A-Za-z0-9_-]{43}", fullmatch=True)
    | st.binary(max_size=80).map(lambda data: data.decode("latin-1"))
)
def test_guesses_are_invalid(text):
    """No other text than the key itself is valid."""
    assert RING.key_of(text, NOW) is None
    assert RING.key_of(TEXT + text, NOW) is None or not text


_KEY, TEXT = new_key("web", {Scope.READ}, created_at=NOW)
RING = Keyring(KeyFile.new().with_key(_KEY))
