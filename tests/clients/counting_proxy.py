"""A proxy that writes down what a client asks and what it is told, so that a test can tell whether it was polite."""

import contextlib
import http.client
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, NamedTuple
from urllib.parse import urlsplit


class Exchange(NamedTuple):
    """One request and its answer; times of a monotonic clock, in seconds."""

    method: str
    path: str
    if_none_match: str | None
    asked_at: float
    status: int
    etag: str | None
    retry_after: int
    answered_at: float


class CountingProxy(ThreadingHTTPServer):
    """Pass requests on to a server, in HTTP/1.1, and keep every exchange."""

    daemon_threads = True

    def __init__(self, target: str) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.target = urlsplit(target).netloc
        self.exchanges: list[Exchange] = []

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}"


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: CountingProxy

    def do_GET(self) -> None:
        asked_at = time.monotonic()
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        upstream = http.client.HTTPConnection(self.server.target, timeout=60)
        with contextlib.closing(upstream):
            upstream.request(self.command, self.path, body or None, dict(self.headers))
            response = upstream.getresponse()
            answer = response.read()
        self.server.exchanges.append(
            Exchange(
                method=self.command,
                path=self.path,
                if_none_match=self.headers.get("If-None-Match"),
                asked_at=asked_at,
                status=response.status,
                etag=response.headers.get("ETag"),
                retry_after=int(response.headers.get("Retry-After", 0)),
                answered_at=time.monotonic(),
            )
        )
        self.send_response_only(response.status)
        for name, value in response.getheaders():
            if name not in {"Connection", "Transfer-Encoding", "Content-Length"}:
                self.send_header(name, value)
        self.send_header("Content-Length", str(len(answer)))
        self.end_headers()
        self.wfile.write(answer)

    do_POST = do_GET  # noqa: N815 - http.server's name

    def log_message(self, *_: Any) -> None:
        pass


@contextlib.contextmanager
def counting_proxy(target: str) -> Iterator[CountingProxy]:
    """Run a proxy in front of a server for the length of a `with` block."""
    with CountingProxy(target) as proxy:
        thread = threading.Thread(target=proxy.serve_forever)
        thread.start()
        try:
            yield proxy
        finally:
            proxy.shutdown()
            thread.join()
