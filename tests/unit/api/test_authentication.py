"""Authentication caches callers for a second, within limits."""

import contextlib

import pytest
from support.keys import MemoryKeys, bearer
from task_status_service.access.api_keys import Keyring
from task_status_service.access.caller import ANYBODY
from task_status_service.api.auth import authentication
from task_status_service.api.auth.authentication import CACHE_SECONDS, IS_ADMITTED, MAX_CACHED_LENGTH, Access
from task_status_service.api.auth.rate_limits import Limits
from task_status_service.errors import RateLimited, Unauthorized


@pytest.fixture
def checked(monkeypatch):
    """The texts that the keyring has checked, because no cached caller was found."""
    checked = []
    key_of = Keyring.key_of
    monkeypatch.setattr(Keyring, "key_of", lambda self, text, now: checked.append(text) or key_of(self, text, now))
    return checked


def request(header):
    """Return the WSGI environment of a request with this Authorization header."""
    return {"HTTP_AUTHORIZATION": header, "PATH_INFO": "/tasks/t-1", "QUERY_STRING": ""}


def test_callers_are_cached_for_a_second(checked):
    """A key is checked again after a second, or as soon as the keys change."""
    keys, now = MemoryKeys(), [1_767_323_045.0]
    text = keys.add("web")
    header = bearer(text)["Authorization"]
    access = Access(keys, clock=lambda: now[0])

    first = access.authenticate(request(header))
    assert access.authenticate(request(header)) is first
    assert (first.owner, checked) == ("web", [text])
    now[0] += CACHE_SECONDS
    assert access.authenticate(request(header)) == first
    assert checked == [text] * 2
    keys.revoke(text)
    with pytest.raises(Unauthorized):
        access.authenticate(request(header))


def test_the_cache_is_bounded(checked, monkeypatch):
    """The cache holds a limited number of callers, no long header, and no failed authentication."""
    monkeypatch.setattr(authentication, "MAX_CACHED", 2)
    keys = MemoryKeys()
    texts = [keys.add(f"web-{number}") for number in range(5)]
    access = Access(keys)

    for text in (*texts, *texts):
        assert access.authenticate(request(f"Bearer {text}")).owner
    long = f"Bearer {' ' * MAX_CACHED_LENGTH}{texts[0]}"
    for _ in range(2):
        assert access.authenticate(request(long)).owner == "web-0"
        with pytest.raises(Unauthorized):
            access.authenticate(request("Bearer tsk_"))
    assert len(checked) == 14


@pytest.mark.parametrize(
    "header", ["{}", "Bearer", "Basic {}", "Bearer {} x", "Bearer {},Bearer {}", "Token {}", "x Bearer {}"]
)
def test_malformed_headers_are_rejected(header):
    """The header must consist of the scheme Bearer and one key."""
    keys = MemoryKeys()
    text = keys.add("web")

    with pytest.raises(Unauthorized):
        Access(keys).authenticate(request(header.format(text, text)))


@pytest.mark.parametrize("header", ["Bearer {}", "bearer {}", "BEARER  {}", " Bearer {} "])
def test_the_scheme_ignores_case(header):
    """The scheme is not case-sensitive (RFC 9110 section 11.1)."""
    keys = MemoryKeys()

    assert Access(keys).authenticate(request(header.format(keys.add("web")))).owner == "web"


def test_any_header_is_accepted_without_keys():
    """A server without keys ignores the header."""
    assert Access().authenticate(request("Bearer anything")) is ANYBODY


def test_only_admitted_requests_are_marked():
    """The server learns which requests are authenticated and within their limits."""
    keys = MemoryKeys()
    access = Access(keys, limits=Limits(1, clock_ns=lambda: 0))
    environs = [request(f"Bearer {text}") for text in [keys.add("web")] * 11] + [request("Bearer tsk_")]

    for environ in environs:
        with contextlib.suppress(Unauthorized, RateLimited):
            access.admit(environ)

    assert [IS_ADMITTED in environ for environ in environs] == [True] * 10 + [False] * 2
