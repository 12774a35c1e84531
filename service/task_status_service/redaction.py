"""Remove credentials and file paths from texts of exceptions.

A credential is recognized by its name (`password=…`, `"api_key": …`) or by its form (a token, a key, a URL with a
password). A secret with neither, such as a password in a sentence, is not found.

Every pattern takes linear time on any text: its repetitions are possessive (`*+`, `++`) or short, or a match cannot
start inside text that was already scanned.
"""

import re
from collections.abc import Callable, Iterator
from typing import Any, Final

#: placeholder for a credential
REDACTED: Final = "[redacted]"
#: placeholder for the path of a file
PATH: Final = "[path]"

#: names of credentials, also within a longer name: `DB_PASSWORD`, `accessToken`, `x-api-key`; not `max_tokens`
_SECRET_NAME: Final = re.compile(
    r"passw(?:or)?d|passphrase|passcode|(?:^|[_-])(?:pass|pwd|auth|sig)$|secret|credential|authorization|cookie"
    r"|token(?!s|iz)|(?:api|access|private|signing|encryption|account|shared|storage|master|auth|session)[_-]?key"
    r"|session[_-]?id",
    re.IGNORECASE,
)
#: values that are not a secret, in JSON and in Python
_NO_SECRETS: Final = frozenset({"", "None", "null", "True", "true", "False", "false"})

#: `name=`, `name: `, `"name": `, `'name' => `, also escaped inside another text
_NAME: Final = re.compile(r"""(?<![\w-])([\w-]++)\\{0,4}["']?[ \t]{0,4}(?::=?|={1,2}>?)[ \t]{0,4}""")
#: the value: a text in quotes, even escaped or unterminated; a list; or a text without spaces. The scheme of an
#: `Authorization` header is kept
_VALUE: Final = re.compile(
    r"""(?P<before> \\{1,4}["'] ) (?P<escaped> [^"'\\\n]*+ )
      | (?P<prefix> [bru]{0,2} ") (?P<double> (?: [^"\\\n] | \\. )*+ )
      | (?P<prefix_> [bru]{0,2} ') (?P<single> (?: [^'\\\n] | \\. )*+ )
      | [\[({] [^\])}\n]*+ [\])}]?
      | (?P<scheme> (?: (?:bearer|basic|digest|token) \s{1,4} )?+ ) (?P<bare> [^\s"'\\,;&<>()\[\]{}]++ )""",
    re.VERBOSE | re.IGNORECASE,
)
_LINE: Final = re.compile(r"""[bru]{0,2}["']?(?P<bare>[^\r\n"']++)""")

#: a word instead of a token, as in `Bearer authentication failed`
_WORD: Final = r"[A-Za-z][a-z]{0,15}+(?![\w+/=-])"

#: forms of credentials: pattern, replacement
_FORMS: Final = (
    # If the end of the block is cut off, the rest of the text.
    (
        re.compile(r"-----BEGIN [A-Z0-9 ]{0,40}PRIVATE KEY-----(?:.*?-----END [^-\n]{0,50}-----|.*)", re.DOTALL),
        REDACTED,
    ),
    # The end may be cut off (plain_json.cut). One slash remains if the URL was normalized as a path.
    (re.compile(r"(://?)[^\s/\"'<>]+(?:@|…\Z)"), rf"\1{REDACTED}@"),
    # A password that is not percent-encoded. Not in HTTP URLs, where `@` may be part of the path.
    (re.compile(r"://(?<!http://)(?<!https://)[^\s\"'<>]{1,128}@"), f"://{REDACTED}@"),
    # JSON Web Tokens, and values signed by itsdangerous. Starting with literal letters is the fastest search.
    (re.compile(r"eyJ(?<![\w-]eyJ)[\w-]++\.[\w-]++(?:\.[\w-]*+)?"), REDACTED),
    (re.compile(rf"(?<!\w)((?i:bearer|basic)\s{{1,4}})(?!{_WORD})[\w.~+/-]{{6,}}+=*+"), rf"\1{REDACTED}"),
    (re.compile(r"(?<![A-Za-z0-9])A(?:KIA|SIA)[A-Z0-9]{16}(?![A-Z0-9])"), REDACTED),
    # A key of this service; its id is kept.
    (re.compile(r"(?<![A-Za-z0-9])(tsk_[0-9a-f]{12}_)[\w-]{8,}+"), rf"\1{REDACTED}"),
    # GitHub, GitLab, Slack, Stripe and OpenAI, Google, npm, PyPI, Hugging Face, SendGrid; task tokens of this service.
    (
        re.compile(
            r"(?<![A-Za-z0-9])(?:gh[opsru]_|github_pat_|glpat-|xox[abeprs]-|[rs]k[_-]|AIza|npm_|pypi-|hf_|SG\.|tst_)"
            r"[\w.-]{16,}+"
        ),
        REDACTED,
    ),
)
_LONG_HEX: Final = re.compile(r"(?<![A-Za-z0-9])[0-9a-fA-F]{32,}+(?![A-Za-z0-9])")

_PATHS: Final = (
    # A path in quotes may contain spaces.
    re.compile(r"(?<=[\"'`])(?:/|~/|[A-Za-z]:[\\/])[^\"'`\n]++"),
    re.compile(r"\bfile://[^\s\"'<>]++"),
    re.compile(r"(?<![\w.:/<>&%?~-])~?/[\w.@+~-]++/[^\s\"'<>:,;()\[\]]*+"),
    re.compile(r"(?<!\w)[A-Za-z]:\\[^\s\"'<>:,;()\[\]]++"),
)


def is_secret_name(name: str) -> bool:
    """Return whether a value of this name is a credential."""
    return _SECRET_NAME.search(name) is not None


def redact(text: str) -> str:
    """Return the text with all recognized credentials replaced; idempotent."""
    text = _redact_named(text)
    for pattern, replacement in _FORMS:
        text = pattern.sub(replacement, text)
    return _LONG_HEX.sub(_redact_mixed_hex, text)


def redact_value(value: Any) -> Any:
    """Return plain JSON with all texts redacted; a value under the name of a credential is replaced completely."""
    return _mapped(value, redact, is_secret_name)


def hide_paths(text: str) -> str:
    """Return the text with absolute file paths replaced."""
    for pattern in _PATHS:
        text = pattern.sub(PATH, text)
    return text


def hide_paths_in(value: Any) -> Any:
    """Return plain JSON with the file paths in all texts replaced."""
    return _mapped(value, hide_paths, lambda _name: False)


def _mapped(value: Any, change: Callable[[str], str], is_secret: Callable[[str], bool]) -> Any:
    match value:
        case str():
            return change(value)
        case list():
            return [_mapped(item, change, is_secret) for item in value]
        case dict():
            return {
                change(key): REDACTED if is_secret(key) and _is_given(inner) else _mapped(inner, change, is_secret)
                for key, inner in value.items()
            }
        case _:
            return value


def _is_given(value: Any) -> bool:
    return value is not None and not isinstance(value, bool) and value != ""


def _redact_mixed_hex(found: re.Match[str]) -> str:
    """Redact a hexadecimal text, unless it has only digits or only letters: a random key practically has both."""
    return found[0] if found[0].isdecimal() or found[0].isalpha() else REDACTED


def _redact_named(text: str) -> str:
    return "".join(_parts(text))


def _parts(text: str) -> Iterator[str]:
    kept = position = 0
    while name := _NAME.search(text, position):
        position = name.end()
        if not is_secret_name(name[1]):
            continue
        # A cookie header may hold several cookies: redact up to the end of the line.
        value = (_LINE if "cookie" in name[1].lower() else _VALUE).match(text, position)
        if value is None or value[value.lastgroup or 0] in _NO_SECRETS:
            continue
        start, position = value.span(value.lastgroup or 0)
        yield text[kept:start]
        yield REDACTED
        kept = position
    yield text[kept:]
