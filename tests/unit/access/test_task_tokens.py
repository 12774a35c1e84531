"""Task tokens: only signed ones are valid."""

from datetime import UTC, datetime, timedelta

from hypothesis import example, given
from hypothesis import strategies as st
from itsdangerous import URLSafeSerializer
from task_status_service.access.caller import Scope
from task_status_service.access.task_tokens import TaskToken, expiry, sign, verify

SECRET = b"s" * 32
NOW = datetime(2026, 1, 2, tzinfo=UTC)
TOKEN = TaskToken(
    task_id="t-1", scopes=frozenset({Scope.READ}), key_id="0" * 12, expires=int(NOW.timestamp()) + 60, id="i" * 11
)
TEXT = sign(TOKEN, SECRET)


def test_a_signed_token_is_read():
    """`verify` returns a signed token, also an expired one."""
    assert TEXT.startswith("tst_")
    assert verify(TEXT, SECRET) == TOKEN
    assert TOKEN.expires_at == NOW + timedelta(seconds=60)
    assert verify(TEXT, b"t" * 32) is None


@example(0, "\ud800")
@given(st.integers(0, len(TEXT) - 1), st.characters())
def test_a_changed_token_is_invalid(at, character):
    """A token with any changed character is invalid."""
    changed = TEXT[:at] + character + TEXT[at + 1 :]
    assert verify(changed, SECRET) is None or _same(changed)


def _same(changed):
    # Base64 has unused bits in the last character of a signature.
    return changed[:-1] == TEXT[:-1] or changed == TEXT


@given(st.text())
def test_any_other_text_is_invalid(text):
    """A text that is not a token is invalid."""
    assert verify(text, SECRET) is None


def test_other_signed_values_are_invalid():
    """A value of another kind or shape is invalid, even if signed with the same secret."""
    assert verify("tst_" + URLSafeSerializer(SECRET).dumps(["t-1", ["read"], "0" * 12, 2**40, "i"]), SECRET) is None
    for shape in (
        {},
        [],
        ["t-1"],
        ["t-1", ["read"], "0", 2**40],
        ["t-1", ["root"], "0", 2**40, "i"],
        ["t-1", ["read"], "0", "later", "i"],
    ):
        signed = sign(shape, SECRET)
        assert verify(signed, SECRET) is None


def test_a_token_expires_with_its_key():
    """A token expires after its lifetime, or with its key if that is earlier."""
    assert expiry(NOW, 60, None) == expiry(NOW, 60, NOW + timedelta(days=1)) == NOW.timestamp() + 60
    assert expiry(NOW, 60, NOW + timedelta(seconds=30)) == NOW.timestamp() + 30
