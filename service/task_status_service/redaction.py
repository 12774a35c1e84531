"""Take credentials, and where files are, out of texts that nobody chose to show: what exceptions say.

Two ways to know a credential: by the name that it goes by (`password=…`, `"api_key": …`), and by its looks (a token, a
key, a URL with a password). A secret that has neither, such as a password within a sentence, is not found.

Every pattern takes linear time on any text: what it repeats it gives nothing back of (`*+`, `++`), or is so short that
it does not matter, or cannot begin again inside what was looked at.
"""

import re
from collections.abc import Callable, Iterator
from typing import Any, Final

#: stands for a credential
REDACTED: Final = "[redacted]"
#: stands for the path of a file
PATH: Final = "[path]"

#: what is secret, also within a longer name: `DB_PASSWORD`, `accessToken`, `x-api-key`; `max_tokens` is not
_SECRET_NAME: Final = re.compile(
    r"passw(?:or)?d|passphrase|passcode|(?:^|[_-])(?:pass|pwd|auth|sig)$|secret|credential|authorization|cookie"
    r"|token(?!s|iz)|(?:api|access|private|signing|encryption|account|shared|storage|master|auth|session)[_-]?key"
    r"|session[_-]?id",
    re.IGNORECASE,
)
#: what says that there is no secret, in JSON and in Python
_NO_SECRETS: Final = frozenset({"", "None", "null", "True", "true", "False", "false"})

#: `name=`, `name: `, `"name": `, `'name' => `, also escaped inside another text
_NAME: Final = re.compile(r"""(?<![\w-])([\w-]++)\\{0,4}["']?[ \t]{0,4}(?::=?|={1,2}>?)[ \t]{0,4}""")
#: what may follow: a text in quotes, escaped or not and perhaps without its end, a list, or what has no space in it;
#: the scheme of an `Authorization` header stays
_VALUE: Final = re.compile(
    r"""(?P<before> \\{1,4}["'] ) (?P<escaped> [^"'\\\n]*+ )
      | (?P<prefix> [bru]{0,2} ") (?P<double> (?: [^"\\\n] | \\. )*+ )
      | (?P<prefix_> [bru]{0,2} ') (?P<single> (?: [^'\\\n] | \\. )*+ )
      | [\[({] [^\])}\n]*+ [\])}]?
      | (?P<scheme> (?: (?:bearer|basic|digest|token) \s{1,4} )?+ ) (?P<bare> [^\s"'\\,;&<>()\[\]{}]++ )""",
    re.VERBOSE | re.IGNORECASE,
)
_LINE: Final = re.compile(r"""[bru]{0,2}["']?(?P<bare>[^\r\n"']++)""")

#: a word and no token, as in `Bearer authentication failed`
_WORD: Final = r"[A-Za-z][a-z]{0,15}+(?![\w+/=-])"

#: pattern, and what stands for what it finds
_LOOKS: Final = (
    # All that follows, where the end of the block is cut off.
    (
        re.compile(r"-----BEGIN [A-Z0-9 ]{0,40}PRIVATE KEY-----(?:.*?-----END [^-\n]{0,50}-----|.*)", re.DOTALL),
        REDACTED,
    ),
    # The end of a text may be cut off (plain.cut); what takes a URL for a path leaves one slash.
    (re.compile(r"(://?)[^\s/\"'<>]+(?:@|…\Z)"), rf"\1{REDACTED}@"),
    # A password that is not percent-encoded as it should be. In a URL of the web that is a path.
    (re.compile(r"://(?<!http://)(?<!https://)[^\s\"'<>]{1,128}@"), f"://{REDACTED}@"),
    # JSON Web Tokens, and what itsdangerous signs. Looked for by its letters: nothing else is as quick.
    (re.compile(r"eyJ(?<![\w-]eyJ)[\w-]++\.[\w-]++(?:\.[\w-]*+)?"), REDACTED),
    (re.compile(rf"(?<!\w)((?i:bearer|basic)\s{{1,4}})(?!{_WORD})[\w.~+/-]{{6,}}+=*+"), rf"\1{REDACTED}"),
    (re.compile(r"(?<![A-Za-z0-9])A(?:KIA|SIA)[A-Z0-9]{16}(?![A-Z0-9])"), REDACTED),
    # A key of this service: all but what tells which.
    (re.compile(r"(?<![A-Za-z0-9])(tsk_[0-9a-f]{12}_)[\w-]{8,}+"), rf"\1{REDACTED}"),
    # GitHub, GitLab, Slack, Stripe and OpenAI, Google, npm, PyPI, Hugging Face, SendGrid; and our task tokens.
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
    # In quotes, where a path may have spaces.
    re.compile(r"(?<=[\"'`])(?:/|~/|[A-Za-z]:[\\/])[^\"'`\n]++"),
    re.compile(r"\bfile://[^\s\"'<>]++"),
    re.compile(r"(?<![\w.:/<>&%?~-])~?/[\w.@+~-]++/[^\s\"'<>:,;()\[\]]*+"),
    re.compile(r"(?<!\w)[A-Za-z]:\\[^\s\"'<>:,;()\[\]]++"),
)


def is_secret_name(name: str) -> bool:
    """Tell whether what goes by this name is a credential."""
    return _SECRET_NAME.search(name) is not None


def redact(text: str) -> str:
    """Replace all that is known for a credential; a second time changes nothing."""
    text = _redact_named(text)
    for pattern, replacement in _LOOKS:
        text = pattern.sub(replacement, text)
    return _LONG_HEX.sub(_unless_of_one_kind, text)


def redact_value(value: Any) -> Any:
    """Do the same in all texts of plain JSON; what goes by the name of a credential is replaced as a whole."""
    return _mapped(value, redact, is_secret_name)


def hide_paths(text: str) -> str:
    """Replace absolute paths of files."""
    for pattern in _PATHS:
        text = pattern.sub(PATH, text)
    return text


def hide_paths_in(value: Any) -> Any:
    """Do the same in all texts of plain JSON."""
    return _mapped(value, hide_paths, lambda _name: False)


def _mapped(value: Any, change: Callable[[str], str], is_secret: Callable[[str], bool]) -> Any:
    match value:
        case str():
            return change(value)
        case list():
            return [_mapped(item, change, is_secret) for item in value]
        case dict():
            return {
                change(key): REDACTED if is_secret(key) and _is_told(inner) else _mapped(inner, change, is_secret)
                for key, inner in value.items()
            }
        case _:
            return value


def _is_told(value: Any) -> bool:
    return value is not None and not isinstance(value, bool) and value != ""


def _unless_of_one_kind(found: re.Match[str]) -> str:
    """Leave long numbers, and what is all letters; a key of 128 bits that is either is not met in a lifetime."""
    return found[0] if found[0].isdecimal() or found[0].isalpha() else REDACTED


def _redact_named(text: str) -> str:
    return "".join(_parts(text))


def _parts(text: str) -> Iterator[str]:
    kept = position = 0
    while name := _NAME.search(text, position):
        position = name.end()
        if not is_secret_name(name[1]):
            continue
        # Cookies are many, up to the end of the line.
        value = (_LINE if "cookie" in name[1].lower() else _VALUE).match(text, position)
        if value is None or value[value.lastgroup or 0] in _NO_SECRETS:
            continue
        start, position = value.span(value.lastgroup or 0)
        yield text[kept:start]
        yield REDACTED
        kept = position
    yield text[kept:]
