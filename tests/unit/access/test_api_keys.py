"""Keys: random, kept as a hash, compared in constant time, and what counts is what is in the ring now."""

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


def test_a_new_key():
    """An id of 48 random bits and a secret of 256, of which only the SHA-256 is kept."""
    key, text = new_key("web", {Scope.READ}, created_at=NOW)
    other, other_text = new_key("web", {Scope.READ}, created_at=NOW)

    key_id, secret = re.fullmatch(r"tsk_([0-9a-f]{12})_([A-Za-z0-9_-]{43})", text).groups()
    assert (key.id, key.secret_sha256) == (key_id, hashlib.sha256(secret.encode()).hexdigest())
    assert secret not in repr(key)
    assert key.id != other.id
    assert text[17:] != other_text[17:]


def test_which_counts():
    """Its own secret and no other one's, while it is there."""
    keys = MemoryKeys()
    web, app = keys.add("web", {Scope.READ}), keys.add("app")

    assert keys.current().key_of(web, NOW).name == "web"
    assert keys.current().key_of(web, NOW).scopes == {Scope.READ}
    assert keys.current().key_of(web[:17] + app[17:], NOW) is None
    keys.revoke(web)
    assert keys.current().key_of(web, NOW) is None
    assert keys.current().key_of(app, NOW).name == "app"


def test_until_when():
    """From the moment of its expiry on it does not count."""
    keys = MemoryKeys()
    text = keys.add("web", expires_at=NOW)

    assert keys.current().key_of(text, NOW - timedelta(microseconds=1)) is not None
    assert keys.current().key_of(text, NOW) is None


@pytest.mark.parametrize("is_known", [True, False])
def test_unknown_ids_take_as_long(is_known, monkeypatch):
    """There is one comparison, in constant time, whether the id is known or not."""
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
def test_no_guess_counts(text):
    """Whatever somebody sends."""
    assert RING.key_of(text, NOW) is None
    assert RING.key_of(TEXT + text, NOW) is None or not text


_KEY, TEXT = new_key("web", {Scope.READ}, created_at=NOW)
RING = Keyring(KeyFile.new().with_key(_KEY))
