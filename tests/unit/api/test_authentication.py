"""How callers are told and remembered: quick, for a second, and not without bounds."""

import pytest
from support.keys import MemoryKeys, bearer
from task_status_service.access.api_keys import Keyring
from task_status_service.access.caller import ANYBODY
from task_status_service.api.auth import authentication
from task_status_service.api.auth.authentication import CACHE_SECONDS, MAX_CACHED_LENGTH, Access
from task_status_service.errors import Unauthorized


@pytest.fixture
def asked(monkeypatch):
    """Give the list of what is really looked at, as it grows."""
    asked = []
    key_of = Keyring.key_of
    monkeypatch.setattr(Keyring, "key_of", lambda self, text, now: asked.append(text) or key_of(self, text, now))
    return asked


def request(header):
    """Give a request."""
    return {"HTTP_AUTHORIZATION": header, "PATH_INFO": "/tasks/t-1", "QUERY_STRING": ""}


def test_remembered(asked):
    """Who was here a moment ago is not looked at again; a second later, or when the keys change, it is."""
    keys, now = MemoryKeys(), [1_767_323_045.0]
    text = keys.add("web")
    header = bearer(text)["Authorization"]
    who = Access(keys, clock=lambda: now[0])

    first = who.authenticate(request(header))
    assert who.authenticate(request(header)) is first
    assert (first.owner, asked) == ("web", [text])
    now[0] += CACHE_SECONDS
    assert who.authenticate(request(header)) == first
    assert asked == [text] * 2
    keys.revoke(text)
    with pytest.raises(Unauthorized):
        who.authenticate(request(header))


def test_bounds(asked, monkeypatch):
    """Neither too many nor long ones; and nobody who does not count."""
    monkeypatch.setattr(authentication, "MAX_CACHED", 2)
    keys = MemoryKeys()
    texts = [keys.add(f"web-{number}") for number in range(5)]
    who = Access(keys)

    for text in (*texts, *texts):
        assert who.authenticate(request(f"Bearer {text}")).owner
    long = f"Bearer {' ' * MAX_CACHED_LENGTH}{texts[0]}"
    for _ in range(2):
        assert who.authenticate(request(long)).owner == "web-0"
        with pytest.raises(Unauthorized):
            who.authenticate(request("Bearer tsk_"))
    assert len(asked) == 14


@pytest.mark.parametrize(
    "header", ["{}", "Bearer", "Basic {}", "Bearer {} x", "Bearer {},Bearer {}", "Token {}", "x Bearer {}"]
)
def test_headers_that_are_none(header):
    """One scheme, one key."""
    keys = MemoryKeys()
    text = keys.add("web")

    with pytest.raises(Unauthorized):
        Access(keys).authenticate(request(header.format(text, text)))


@pytest.mark.parametrize("header", ["Bearer {}", "bearer {}", "BEARER  {}", " Bearer {} "])
def test_headers_that_are_one(header):
    """The scheme is not case-sensitive (RFC 9110 section 11.1)."""
    keys = MemoryKeys()

    assert Access(keys).authenticate(request(header.format(keys.add("web")))).owner == "web"


def test_without_keys():
    """Nothing is looked at."""
    assert Access().authenticate(request("Bearer anything")) is ANYBODY
