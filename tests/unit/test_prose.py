"""tools/prose.py reports hard phrases in prose, and ignores code."""

import re
from pathlib import Path

import pytest

from tools.prose import SUBSTITUTIONS, Prose, check, find, main, prose_of


def phrases(text: str) -> list[str]:
    """Return the phrases that are found in a text."""
    return [finding.phrase for finding in find(Prose(1, text))]


@pytest.mark.parametrize(
    "text",
    [
        "Who fails to authenticate is held up by address.",
        "It reads the task. Who may not see it gets 404.",
        "What is stored is read.",
        "Of an instance that is lost the time is capped.",
        "It is Redis that decides.",
        "A reader of what is stored",
        "It is sent to who asks.",
        "whoever sends it again",
        "nobody sees it",
        "It deletes all that is kept.",
        "the client is told",
        "Nothing was heard of it.",
        "Give the id of a task.",
        "Tell whether it is done.",
        "Say how the store is.",
        "a key that does not count",
        "a worker that is at it",
        "it goes on where the other ended",
        "The worker serves a type.",
        "an id that there is none of",
        "seconds to wait; None: never",
        "As many tasks of this owner as may wait",
        "It waits for so long.",
        "an id that never was",
        "It ends for good.",
        "it would wait for ever",
        "a state of its own",
        "the pulse says more",
        "a refusal to start",
        "the message is a copy",
    ],
)
def test_reports_hard_phrases(text):
    """Each of these sentences contains a phrase of the list."""
    assert phrases(text)


@pytest.mark.parametrize(
    "text",
    [
        "Who may read a task?",
        "**What to do.** Send it again.",
        "A client who asks again gets 304.",
        "None disables it; 0 means unlimited.",
        "kombu's default socket timeout is None: a stalled Redis would hold a request forever (celery#4296).",
        "It counts the queued tasks of an owner.",
        "This applies for good reasons.",
        "Headers that go on every response.",
        "The server copies the value. It gives up after two seconds.",
        "The value is None if the key is missing.",
    ],
)
def test_accepts_plain_sentences(text):
    """Each of these sentences is plain, although it resembles a phrase of the list."""
    assert phrases(text) == []


def test_every_pattern_has_a_suggestion():
    """Every pattern compiles and has a suggestion that the list itself accepts."""
    for pattern, suggestion in SUBSTITUTIONS:
        assert re.compile(pattern)
        assert suggestion
        assert phrases(suggestion) == []


def test_reads_docstrings_comments_and_texts_of_python(tmp_path):
    """A phrase is found in docstrings, in comments across line breaks, and in texts; a short string is code."""
    path = tmp_path / "module.py"
    path.write_text(
        '"""Sent to whoever asks."""\n\nnobody = "nobody"\n# It ends for\n# good.\n'
        'raise ValueError("It is sent to nobody.")\n'
    )
    found = [(item.line, item.phrase) for prose in prose_of(path) for item in find(prose)]

    assert sorted(found) == [(1, "whoever"), (4, "for good"), (6, "nobody")]


def test_reads_markdown_without_code(tmp_path):
    """Code blocks and code within a line are skipped, and line numbers are correct."""
    path = tmp_path / "page.md"
    path.write_text("```sh\nnobody\n```\n\n`nobody` is a user.\n\nIt is sent to nobody.\n")

    assert [(item.line, item.phrase) for prose in prose_of(path) for item in find(prose)] == [(7, "nobody")]


@pytest.mark.parametrize(
    ("name", "text"), [("script.lua", "local a -- for good\n"), ("Makefile", "run: ## for good\n")]
)
def test_reads_comments_of_other_files(tmp_path, name, text):
    """Comments of Lua and help texts of a Makefile are prose."""
    path = tmp_path / name
    path.write_text(text)

    assert [item.phrase for prose in prose_of(path) for item in find(prose)] == ["for good"]


def test_prints_findings_and_exits_with_1(tmp_path, capsys):
    """The program prints file, line, phrase and suggestion, and exits with 1, or with 0 if nothing is found."""
    page = tmp_path / "page.md"
    page.write_text("It ends for good.\n")

    assert main([str(tmp_path)]) == 1
    assert f"{page}:1: 'for good' → permanently\n" in capsys.readouterr().out
    page.write_text("It ends permanently.\n")
    assert main([str(tmp_path)]) == 0


def test_skips_images(tmp_path: Path):
    """A file that is not text is skipped."""
    image = tmp_path / "image.md"
    image.write_bytes(b"\xff\xd8\xff")

    assert check([image]) == 0
