"""An HTTP server that sends prepared answers, one per request, and records the requests."""

import contextlib
import json
import threading
from collections.abc import Iterator, Mapping
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import MappingProxyType
from typing import Any, NamedTuple


class Answer(NamedTuple):
    """One response; the connection closes after it."""

    status: int = 200
    body: bytes = b"{}"
    type: str = "application/json"
    headers: Mapping[str, str] = MappingProxyType({})


def task(state: str = "running", **fields: Any) -> dict[str, Any]:
    """Return the fields of a task status that the client reads."""
    done = state in ("succeeded", "failed", "canceled", "expired", "finished")
    successful = {"succeeded": True, "failed": False}.get(state)
    unset = dict.fromkeys(("progress", "failure", "result", "submitted_at"))
    return {
        "id": "t",
        "name": "demo",
        "state": state,
        "done": done,
        "successful": successful,
        "liveness": "unknown",
        "diagnostics": [],
        **unset,
        **fields,
    }


def status(state: str = "running", *, version: str = '"v"', retry_after: int = 1, **fields: Any) -> Answer:
    """Return the answer of a read: a task status."""
    headers = {"ETag": version, "Retry-After": str(retry_after)}
    return Answer(body=json.dumps(task(state, **fields)).encode(), headers=headers)


def problem(code: int, slug: str, **fields: Any) -> Answer:
    """Return a problem answer (RFC 9457)."""
    body = {
        "type": f"/problems/{slug}",
        "title": slug,
        "status": code,
        "detail": f"it is {slug}",
        "errors": [],
        **fields,
    }
    return Answer(code, json.dumps(body).encode(), "application/problem+json", {"Retry-After": "0"})


def stream(*states: str) -> Answer:
    """Return an event stream with one event per state, which then ends."""
    events = [
        f"event: status\nid: {number}\ndata: {json.dumps(task(state))}\n\n" for number, state in enumerate(states)
    ]
    return Answer(body="".join(["retry: 2000\n\n", ": still here\n\n", *events]).encode(), type="text/event-stream")


class Server:
    """The prepared answers, and the requests so far."""

    def __init__(self, *answers: Answer) -> None:
        self.answers = list(answers)
        #: method, path, headers and body of each request
        self.requests: list[tuple[str, str, dict[str, str], bytes]] = []
        self.url = ""

    @property
    def paths(self) -> list[str]:
        return [path for _, path, _, _ in self.requests]

    def answer(self, handler: BaseHTTPRequestHandler) -> None:
        body = handler.rfile.read(int(handler.headers.get("Content-Length") or 0))
        self.requests.append((handler.command, handler.path, dict(handler.headers), body))
        answer = self.answers.pop(0)
        handler.send_response(answer.status)
        handler.send_header("Content-Type", answer.type)
        for name, text in answer.headers.items():
            handler.send_header(name, text)
        handler.end_headers()
        handler.wfile.write(answer.body)


@contextlib.contextmanager
def serving(*answers: Answer) -> Iterator[Server]:
    """Run a server during a `with` block, and check that every answer was sent."""
    server = Server(*answers)

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:  # as http.server calls it
            server.answer(self)

        do_POST = do_GET  # noqa: N815  # as above

        def log_message(self, *_: Any) -> None:
            """Log nothing."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as listening:
        server.url = f"http://127.0.0.1:{listening.server_port}"
        thread = threading.Thread(target=listening.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        try:
            yield server
        finally:
            listening.shutdown()
            thread.join()
    assert server.answers == []
