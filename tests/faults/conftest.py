"""Fixtures of the fault suite, and its report: a table of the measurements of all scenarios."""

import contextlib
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from support.servers import running_redis, server_process
from task_status_service.dev.redis_server import find_redis_server

from faults import report
from faults.checker import Totals
from faults.client import Client
from faults.history import Recorder
from faults.nemesis import Nemesis
from faults.report import Count, Counter
from faults.site import PATIENCE_SECONDS, Site
from faults.size import SIZE

HERE = Path(__file__).parent
_TIMEOUT_SECONDS = 1_500


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark every scenario, and set a timeout that suffices for the long form."""
    for item in items:
        if item.path.is_relative_to(HERE):
            item.add_marker(pytest.mark.faults)
            item.add_marker(pytest.mark.timeout(_TIMEOUT_SECONDS))


@pytest.fixture
def site(
    tmp_path: Path, request: pytest.FixtureRequest, record_property: Callable[[str, object], None]
) -> Iterator[Site]:
    """A Redis and a service for one scenario; an indirect parameter sets the service's settings."""
    settings = getattr(request, "param", {})
    with running_redis(tmp_path, durable=True) as redis:
        environ = {"TASK_STATUS_REDIS_URL": redis.url, "TASK_STATUS_RESEND_SECONDS": "10", **settings}
        with server_process(environ, folder=tmp_path, patience_seconds=PATIENCE_SECONDS) as server:
            recorder = Recorder(tmp_path / "history.jsonl")
            try:
                yield Site(tmp_path, redis, server, recorder, lambda found: record_property("checked", tuple(found)))
            finally:
                recorder.close()


@pytest.fixture
def client(site: Site) -> Iterator[Client]:
    """A client of the service."""
    with contextlib.closing(site.connect()) as client:
        yield client


@pytest.fixture
def nemesis(site: Site) -> Nemesis:
    """A nemesis, which causes the faults of the scenario."""
    return Nemesis(site.recorder)


@pytest.fixture
def count(record_property: Callable[[str, object], None]) -> Counter:
    """A function that adds one row to the table."""

    def put(what: str, found: object, wanted: object = "") -> None:
        record_property("count", (what, str(found), str(wanted)))

    return put


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    """Print the table; after a complete run of the long form, write it to the page."""
    stats = terminalreporter.stats
    reports = [found for name in ("passed", "failed") for found in stats.get(name, []) if found.when == "call"]
    reports.sort(key=lambda found: found.start)
    properties = [item for found in reports for item in found.user_properties]
    counts = [Count(*value) for name, value in properties if name == "count"]
    if not counts:
        return
    counts += report.sum_of([Totals(*value) for name, value in properties if name == "checked"])
    terminalreporter.write_sep("=", f"measurements of the {SIZE.name} form")
    terminalreporter.write_line(report.table(counts))
    ran = {config.rootpath / found.location[0] for found in reports}
    is_whole = (
        ran >= set(HERE.glob("test_*.py")) - {HERE / "test_chaos.py"}
        and not stats.get("deselected")
        and not stats.get("error")
    )
    if SIZE.name == "long" and is_whole:
        report.write(report.PAGE, counts, redis_version=_redis_version())
        terminalreporter.write_line(f"written into {report.PAGE.relative_to(config.rootpath)}")


def _redis_version() -> str:
    output = subprocess.run([find_redis_server(), "--version"], capture_output=True, text=True, check=True).stdout
    return output.split("v=")[1].split()[0]
