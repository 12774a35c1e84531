"""Credentials are recognized by name and by form, in linear time."""

import json
import re
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st
from task_status_service import redaction
from task_status_service.redaction import PATH, REDACTED, hide_paths, redact, redact_value

#: a word without the form of a credential: only its context reveals it
CANARY = "kanarienvogel"
KEY = "-----BEGIN RSA PRIVATE KEY-----\nProc-Type: 4,ENCRYPTED\n\n" + CANARY + "\n"
HEX = "5d41402abc4b2a76b9719d911017c592"
JWT = "eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxMjM0NTY3ODkwIn0.dozjgNryP4J3jVmNHl0w5N"


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        (f"password={CANARY}, user=bob", "password=[redacted], user=bob"),
        (f"DB_PASSWORD={CANARY} next", "DB_PASSWORD=[redacted] next"),
        (f"connect(password='{CANARY}', host=None)", "connect(password='[redacted]', host=None)"),
        (f"{{'password': 'it\\'s {CANARY}', 'a': 1}}", "{'password': '[redacted]', 'a': 1}"),
        (f'{{"api_key": "{CANARY}", "b": 2}}', '{"api_key": "[redacted]", "b": 2}'),
        (f'{{\\"apiKey\\": \\"{CANARY}\\", \\"b\\": 2}}', '{\\"apiKey\\": \\"[redacted]\\", \\"b\\": 2}'),
        (f"ValueError: secret: b'{CANARY}", "ValueError: secret: b'[redacted]"),
        (f"{{:password => '{CANARY}'}}", "{:password => '[redacted]'}"),
        (f"secrets=['{CANARY}', '{CANARY}'] end", "secrets=[redacted] end"),
        (f"https://h/?access_token={CANARY}&x=1", "https://h/?access_token=[redacted]&x=1"),
        (f"Authorization: Basic {CANARY}", "Authorization: Basic [redacted]"),
        (f"'Authorization': 'Token {CANARY}'", "'Authorization': '[redacted]'"),
        (f"Set-Cookie: a={CANARY}; b={CANARY}\nnext", "Set-Cookie: [redacted]\nnext"),
        (f"postgres://user:{CANARY}@db/prod", "postgres://[redacted]@db/prod"),
        (f"redis://:{CANARY}/not@encoded@db:1/0", "redis://[redacted]@db:1/0"),
        (f"no file 'redis:/:{CANARY}@db:1/0'", "no file 'redis:/[redacted]@db:1/0'"),
        (f"amqp://user:{CANARY}…", "amqp://[redacted]@"),
        (f"{KEY}-----END RSA PRIVATE KEY-----\nnext", "[redacted]\nnext"),
        (f"{KEY}and nothing more", "[redacted]"),
        (f"got {JWT}.", "got [redacted]."),
        ("Bearer abc123.def-4", "Bearer [redacted]"),
        ("basic dXNlcjpwYXNz", "basic [redacted]"),
        ("key AKIAIOSFODNN7EXAMPLE is unknown", "key [redacted] is unknown"),
        ("ghp_0123456789abcdefghijABCDEFGHIJ012345", "[redacted]"),
        ("key tsk_0123456789ab_aB-d_fghijklmno", "key tsk_0123456789ab_[redacted]"),
        ("?access_token=tst_aB-d.fghijklmnop", "?access_token=[redacted]"),
        ("tst_aB-d.fghijklmnop", "[redacted]"),
        (f"digest {HEX}", "digest [redacted]"),
    ],
)
def test_credentials_are_replaced(text, shown):
    """A credential is replaced, and the text around it is not changed."""
    assert redact(text) == shown
    assert CANARY not in shown


@pytest.mark.parametrize(
    "text",
    [
        "could not convert string to float: 'abc'",
        "password=None",
        '"token": null',
        "max_tokens=4096",
        "tokenizer: gpt2",
        "Unexpected token < in JSON at position 0",
        "KeyError: 'password'",
        "Bearer authentication failed",
        "Basic requirements are not met",
        "https://medium.com/@user/post",
        "https://example.com/a?b=c",
        "task-status-of-the-first-of-january",
        "6f1c7f6e-0f3a-4f0e-9d55-6f2a3c1b7a10",
        "1" * 40,
        "E" * 300,
        "passed: 3, failed: 1",
    ],
)
def test_other_texts_are_not_changed(text):
    """Texts that only resemble a credential stay readable."""
    assert redact(text) == text


def test_credentials_in_json_are_replaced():
    """A value under the name of a credential is replaced completely, and texts are redacted at any depth."""
    value = {
        "password": {"old": CANARY, "new": [CANARY]},
        "api-key": 12345678,
        "token": None,
        "has_secret": True,
        "lines": ["ok", {"url": f"redis://:{CANARY}@db"}],
        f"redis://:{CANARY}@db": 1,
        "n": 1.5,
    }

    shown = redact_value(value)

    assert CANARY not in json.dumps(shown)
    assert shown == {
        "password": REDACTED,
        "api-key": REDACTED,
        "token": None,
        "has_secret": True,
        "lines": ["ok", {"url": "redis://[redacted]@db"}],
        "redis://[redacted]@db": 1,
        "n": 1.5,
    }


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("No such file or directory: '/srv/some where/x.csv'", "No such file or directory: '[path]'"),
        ("in /home/bob/x.py:3", "in [path]:3"),
        ("path=/srv/x/y, z", "path=[path], z"),
        ("see ~/.ssh/id and file:///srv/x", "see [path] and [path]"),
        (r"C:\Users\bob\x.txt is locked", "[path] is locked"),
        ("'C:/Program Files/x'", "'[path]'"),
    ],
)
def test_paths_are_replaced(text, shown):
    """Absolute paths and file URLs are replaced, and the text around them is not changed."""
    assert hide_paths(text) == shown


@pytest.mark.parametrize(
    "text", ["GET https://h/a/b failed", "and/or", "application/json", "1/2/2026", "a / b", "</b>"]
)
def test_urls_and_slashes_are_not_paths(text):
    """Texts with URLs or slashes but without a path are not changed."""
    assert hide_paths(text) == text


NAMES = st.sampled_from(["password", "DB_PASSWD", "client-secret", "accessToken", "X-Api-Key", "session_id", "auth"])
QUOTES = st.sampled_from([("", ""), ("'", "'"), ('"', '"'), ('\\"', '\\"'), ("b'", "'")])
SEPARATORS = st.sampled_from(["=", ": ", " = ", " => ", ":"])


@given(st.text(), NAMES, SEPARATORS, QUOTES, st.text())
def test_a_named_credential_is_replaced_in_any_context(before, name, separator, quotes, after):
    """Any text may precede and follow a named credential, unless it changes the name."""
    if before and re.fullmatch(r"[\w-]", before[-1]):
        before += " "

    assert CANARY not in redact(f"{before}{name}{separator}{quotes[0]}{CANARY}{quotes[1]} {after}")


PIECES = st.sampled_from(
    [
        *"=:'\" \\\n[](){}@/.-,",
        "password",
        "token",
        "://",
        "Bearer ",
        "eyJ",
        "AKIA",
        "sk-",
        HEX,
        KEY,
        REDACTED,
        "/srv/x",
    ]
)


@given(st.lists(PIECES | st.text(max_size=5)).map("".join))
def test_redaction_is_idempotent(text):
    """Redacting a redacted text does not change it."""
    once = redact(text)

    assert redact(once) == once


PATTERNS = sorted(
    {
        pattern
        for found in vars(redaction).values()
        for pattern in (found if isinstance(found, tuple) else [found])
        for pattern in (pattern if isinstance(pattern, tuple) else [pattern])
        if isinstance(pattern, re.Pattern)
    },
    key=lambda pattern: pattern.pattern,
)
#: texts that begin many matches, all of which fail
ADVERSARIES = [
    *("a", " ", "-", "/", "'", '"', "\\", "=", "(", "://", "x://a", "://@", "eyJ-", "eyJ.", "AKIA", "sk-", "bearer "),
    *("-----BEGIN ", "-----BEGIN PRIVATE KEY-----", "a=1,", "a:", "password=1,", 'password="', "password='\\", "/a"),
    *("token: bearer ", "token=(", "~/", "C:\\", "'/", "a" * 31 + " ", "a" * 1_000 + "g", "file://", "http://@"),
]


@pytest.mark.parametrize("adversary", ADVERSARIES)
def test_time_grows_with_the_text(adversary):
    """Each pattern takes less than 0.25 s for 100,000 characters of an adversarial text."""
    text = (adversary * 100_000)[:100_000]
    assert len(PATTERNS) >= 10

    for pattern in PATTERNS:
        start = time.process_time()
        pattern.sub("", text)
        assert time.process_time() - start < 0.25, pattern.pattern

    start = time.process_time()
    redact(text)
    hide_paths(text)
    assert time.process_time() - start < 1.0


def test_hiding_paths_is_idempotent():
    """The placeholder of a path is not a path."""
    assert hide_paths(hide_paths(f"'/srv/x' {PATH}")) == f"'{PATH}' {PATH}"
