"""What attackers put into tasks, opened in a real Chromium as a user might: nothing of it runs or is loaded."""

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

#: each would ask for /ran if it were taken for more than text
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
    """Log nothing."""

    def log_message(self, *_: Any) -> None:
        pass


def app_of(asked: list[str]) -> Any:
    """Make the service with one hostile task, and keep what is asked for."""
    store, broker = MemoryStore(), MemoryBroker()
    store.note(Note(task_id="a", fact=Fact.SUBMITTED, name=TEXT[:300], labels={TEXT[:60]: TEXT[:200]}))
    result = {"exc_type": PAYLOADS[0], "exc_message": [TEXT], "exc_module": PAYLOADS[1], TEXT: [TEXT]}
    store.metas["a"] = json.dumps({"status": "FAILURE", "result": result, "traceback": TEXT}).encode()
    store.metas["b"] = json.dumps({"status": PAYLOADS[2], "result": {TEXT: TEXT, "message": TEXT}}).encode()
    store.metas["c"] = json.dumps({"status": "SUCCESS", "result": TEXT}).encode()
    tracker = create_tracker(store, broker, final_states={})
    submitter = Submitter(tracker, store, broker, Catalog(store.announcements), default_queue="celery")
    app = create_api(tracker, submitter, MemoryFeed())

    def ask(environ: Any, start_response: Any) -> Any:
        asked.append(environ["PATH_INFO"])
        if environ["PATH_INFO"] == "/taken-for-html":
            start_response("200 OK", [("Content-Type", "text/html")])
            return ["".join(PAYLOADS[:3]).encode()]
        return app(environ, start_response)

    return ask


@pytest.fixture
def served() -> Iterator[tuple[str, list[str]]]:
    """Serve it; give the URL, and what is asked for as it grows."""
    asked: list[str] = []
    with make_server("127.0.0.1", 0, app_of(asked), handler_class=Quiet) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}", asked
        server.shutdown()
        thread.join()


def opened(url: str, folder: Path) -> set[str]:
    """Open a page, let its scripts run for a while, and give the names of its elements."""
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
    """The page that Chromium makes of it is one text."""
    url, asked = served

    page = opened(url + path, tmp_path)

    # What Chromium shows JSON with.
    assert "pre" in page
    assert page <= {"html", "head", "body", "pre", "meta", "div"}
    assert set(asked[1:]) <= {"/favicon.ico"}


def test_it_would_run(served: tuple[str, list[str]], tmp_path: Path) -> None:
    """If an answer were taken for a page, all this would be seen."""
    url, asked = served

    assert {"script", "img", "svg"} <= opened(f"{url}/taken-for-html", tmp_path)
    assert "/ran" in asked
