"""The names of Redis keys are written in one module."""

import re
from pathlib import Path

import task_status_service
import task_status_worker
from task_status_worker.record.keys import Keys

SPELLED = re.compile(r"""task-status:(?!feed)|celery-task-meta-|['"](state|name|label|owner):""")


def test_only_keys_py_spells_the_names_of_keys() -> None:
    """No other module and no script joins the name of a key itself."""
    folders = [Path(package.__file__ or "").parent for package in (task_status_service, task_status_worker)]
    sources = [path for folder in folders for kind in ("*.py", "*.lua") for path in folder.rglob(kind)]
    spelling = {path.name for path in sources if SPELLED.search(_code(path.read_text(encoding="utf-8")))}
    assert spelling == {"keys.py"}


def _code(source: str) -> str:
    """Return a source without docstrings and comments."""
    return re.sub(r"#.*|--.*", "", re.sub(r'""".*?"""', "", source, flags=re.DOTALL))


def test_a_script_joins_the_same_names() -> None:
    """The parts that a script gets make the same keys as the methods."""
    keys = Keys("app:")
    names = keys.names
    assert names.records + "x" == keys.record("x")
    assert names.index + names.state + "queued" == keys.index_by_state("queued")
    assert names.owner + "web" + names.owner_end + names.state + "queued" == keys.index_by_state("queued", "web")
    assert names.owner + "web" + names.owner_end + names.name + "demo.add" == keys.index_by_name("demo.add", "web")
    assert names.index + names.name + "demo.add" == keys.index_by_name("demo.add")
    assert keys.index_by_label("a", "b", "web").startswith(names.owner + "web" + names.owner_end + names.label)
