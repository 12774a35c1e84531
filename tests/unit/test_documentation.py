"""The pages of the documentation refer to files that exist."""

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PAGES = sorted(
    path
    for pattern in (
        "*.md",
        "docs/**/*.md",
        "examples/**/*.md",
        "openapi/*.md",
        "requirements/*.md",
        "tests/corpus/*.md",
    )
    for path in ROOT.glob(pattern)
    if "node_modules" not in path.parts
)
#: folders in which a page may name a module by a shorter path
FOLDERS = (
    ROOT,
    ROOT / "service" / "task_status_service",
    ROOT / "service" / "task_status_service" / "api",
    ROOT / "worker" / "task_status_worker",
)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_links_lead_to_files(page):
    """Each relative link of a page leads to a file or folder of the repository."""
    links = re.findall(r"\]\(([^)#\s]+)(?:#[^)\s]*)?\)", page.read_text(encoding="utf-8"))

    assert [link for link in links if "://" not in link and not (page.parent / link).exists()] == []


@pytest.mark.parametrize("page", ["docs/architecture.md", "docs/performance.md", "CONTRIBUTING.md"])
def test_named_modules_exist(page):
    """Each module or script that a page names by its path is in the repository."""
    names = re.findall(r"`([\w/]+/[\w/]+\.(?:py|lua))`", (ROOT / page).read_text(encoding="utf-8"))

    assert names
    assert [name for name in names if not any((folder / name).exists() for folder in FOLDERS)] == []


def test_decisions_are_numbered_without_gaps():
    """Decision pages are numbered from 1 without gaps, and the index has the title of each."""
    pages = sorted((ROOT / "docs" / "decisions").glob("0*.md"))
    index = (ROOT / "docs" / "decisions" / "README.md").read_text(encoding="utf-8")
    titles = [page.read_text(encoding="utf-8").splitlines()[0] for page in pages]

    assert [title.split(".")[0] for title in titles] == [f"# {number}" for number in range(1, len(pages) + 1)]
    for page, title in zip(pages, titles, strict=True):
        assert f"| [{page.name[:4]}]({page.name}) | {title.split('. ', 1)[1]} |" in index


def test_the_readme_is_short():
    """The README has at most 150 lines; details are in docs/."""
    assert len((ROOT / "README.md").read_text(encoding="utf-8").splitlines()) <= 150
