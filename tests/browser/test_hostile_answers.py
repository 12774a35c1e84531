"""Hostile texts in tasks, opened in a real Chromium: no script runs, and no resource is loaded."""

import json
import re
import shutil
import subprocess
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from wsgiref.simple_server import WSGIRequestHandler, make_server

import pytest
from support.fakes import MemoryBroker, MemoryFeed, MemoryStore
from support.use_cases import create_api, create_tracker
from task_status_service.task_types.catalog import Catalog
from task_status_service.use_cases.submitter import Submitter
from task_status_worker.record.model import Fact, Note

CHROMIUM = shutil.which("chromium") or shutil.which("google-chrome")
pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="needs Chromium")

#: each requests /ran if a browser interprets it as HTML
PAYLOADS = [
    "<script>fetch('/ran')</script>",
    "<img src=/ran onerror=fetch('/ran')>",
    "<svg/onload=fetch('/ran')>",
    "</pre><iframe src=/ran></iframe>",
    "<link rel=stylesheet href=/ran>",
    "<style>@import '/ran'</style>",
    "<meta http-equiv=refresh content='0;url=/ran'>",
    "<base href='http://evil.example/'>",
    "<form action=/ran><button autofocus onfocus=fetch('/ran')>",
    '"><script src=/ran></script>',
    "'-fetch('/ran')-'",
    "+ADw-script+AD4-fetch('/ran')+ADw-/script+AD4-",
]
TEXT = "\n".join(PAYLOADS)


class Quiet(WSGIRequestHandler):
    """A request handler without a log."""

    def log_message(self, *_: Any) -> None:
        pass


def app_of(paths: list[str]) -> Any:
    """Return the service with hostile tasks; it appends each requested path to the list."""
    store, broker = MemoryStore(), MemoryBroker()
    store.note(Note(task_id="a", fact=Fact.SUBMITTED, name=TEXT[:300], labels={TEXT[:60]: TEXT[:200]}))
    result = {"exc_type": PAYLOADS[0], "exc_message": [TEXT], "exc_module": PAYLOADS[1], TEXT: [TEXT]}
    store.metas["a"] = json.dumps({"status": "FAILURE", "result": result, "traceback": TEXT}).encode()
    store.metas["b"] = json.dumps({"status": PAYLOADS[2], "result": {TEXT: TEXT, "message": TEXT}}).encode()
    store.metas["c"] = json.dumps({"status": "SUCCESS", "result": TEXT}).encode()
    tracker = create_tracker(store, broker, final_states={})
    submitter = Submitter(tracker, store, broker, Catalog(store), default_queue="celery")
    app = create_api(tracker, submitter, MemoryFeed())

    def ask(environ: Any, start_response: Any) -> Any:
        paths.append(environ["PATH_INFO"])
        if environ["PATH_INFO"] == "/as-html":
            start_response("200 OK", [("Content-Type", "text/html")])
            return ["".join(PAYLOADS[:3]).encode()]
        return app(environ, start_response)

    return ask


@pytest.fixture
def served() -> Iterator[tuple[str, list[str]]]:
    """The URL of the running service, and the list of the paths requested so far."""
    paths: list[str] = []
    with make_server("127.0.0.1", 0, app_of(paths), handler_class=Quiet) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}", paths
        server.shutdown()
        thread.join()


def opened(url: str, folder: Path) -> set[str]:
    """Open a page, run its scripts for a second, and return the names of its elements."""
    command = [str(CHROMIUM), "--headless", "--no-sandbox", "--disable-gpu", f"--user-data-dir={folder}"]
    seen = subprocess.run(
        [*command, "--virtual-time-budget=1000", "--dump-dom", url], check=True, capture_output=True, text=True
    )
    return set(re.findall(r"<([a-z]+)", seen.stdout))


@pytest.mark.parametrize(
    "path",
    [
        *("/tasks/a", "/tasks/b", "/tasks/c", "/tasks/c/result", "/tasks", "/tasks?id=a&id=b"),
        # Problems, which quote the path.
        *("/tasks/<svg onload=fetch('/ran')>", "/<script>fetch('/ran')</script>", "/tasks?limit=<script>fetch('/ran')"),
    ],
)
def test_nothing_runs(served: tuple[str, list[str]], tmp_path: Path, path: str) -> None:
    """Chromium shows a response as plain text, and requests nothing else."""
    url, paths = served

    page = opened(url + path, tmp_path)

    # Chromium shows JSON in a `pre` element.
    assert "pre" in page
    assert page <= {"html", "head", "body", "pre", "meta", "div"}
    assert set(paths[1:]) <= {"/favicon.ico"}


def test_the_payloads_run_as_html(served: tuple[str, list[str]], tmp_path: Path) -> None:
    """The payloads do run in an HTML page, so that the test above can fail."""
    url, paths = served

    assert {"script", "img", "svg"} <= opened(f"{url}/as-html", tmp_path)
    assert "/ran" in paths
