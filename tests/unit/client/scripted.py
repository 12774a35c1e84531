"""A server that answers what it is told to, one answer after the other."""

import contextlib
import json
import threading
from collections.abc import Iterator, Mapping
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import MappingProxyType
from typing import Any, NamedTuple


class Answer(NamedTuple):
    """One answer, and then the connection ends."""

    status: int = 200
    body: bytes = b"{}"
    type: str = "application/json"
    headers: Mapping[str, str] = MappingProxyType({})


def task(state: str = "running", **fields: Any) -> dict[str, Any]:
    """Give the parts of a status that a client looks at."""
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
    """Answer a status."""
    headers = {"ETag": version, "Retry-After": str(retry_after)}
    return Answer(body=json.dumps(task(state, **fields)).encode(), headers=headers)


def problem(code: int, slug: str, **fields: Any) -> Answer:
    """Answer a problem."""
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
    """Answer an event stream that ends after these."""
    events = [
        f"event: status\nid: {number}\ndata: {json.dumps(task(state))}\n\n" for number, state in enumerate(states)
    ]
    return Answer(body="".join(["retry: 2000\n\n", ": still here\n\n", *events]).encode(), type="text/event-stream")


class Server:
    """Answer by a script; what has been asked is kept."""

    def __init__(self, *answers: Answer) -> None:
        self.answers = list(answers)
        #: method, path, headers and body of each request
        self.asked: list[tuple[str, str, dict[str, str], bytes]] = []
        self.url = ""

    @property
    def paths(self) -> list[str]:
        return [path for _, path, _, _ in self.asked]

    def answer(self, handler: BaseHTTPRequestHandler) -> None:
        body = handler.rfile.read(int(handler.headers.get("Content-Length") or 0))
        self.asked.append((handler.command, handler.path, dict(handler.headers), body))
        answer = self.answers.pop(0)
        handler.send_response(answer.status)
        handler.send_header("Content-Type", answer.type)
        for name, text in answer.headers.items():
            handler.send_header(name, text)
        handler.end_headers()
        handler.wfile.write(answer.body)


@contextlib.contextmanager
def serving(*answers: Answer) -> Iterator[Server]:
    """Run a server for the length of a block; all answers must have been asked for at its end."""
    server = Server(*answers)

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:  # as http.server calls it
            server.answer(self)

        do_POST = do_GET  # noqa: N815  # as above

        def log_message(self, *_: Any) -> None:
            """Say nothing."""

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
