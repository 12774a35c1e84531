"""A proxy that records the requests and responses of a client, so that a test can check its pauses and ETags."""

import contextlib
import http.client
import threading
import time
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, NamedTuple
from urllib.parse import urlsplit


class Exchange(NamedTuple):
    """One request and its response; times of a monotonic clock, in seconds."""

    method: str
    path: str
    if_none_match: str | None
    requested_at: float
    status: int
    etag: str | None
    retry_after: int
    responded_at: float


class CountingProxy(ThreadingHTTPServer):
    """Forward requests to a server, in HTTP/1.1, and record every exchange."""

    daemon_threads = True

    def __init__(self, target: str, before_first: Callable[[], None]) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.target = urlsplit(target).netloc
        self.before_first = before_first
        self.exchanges: list[Exchange] = []

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}"


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: CountingProxy

    def do_GET(self) -> None:
        requested_at = time.monotonic()
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        if not self.server.exchanges:
            self.server.before_first()
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
                requested_at=requested_at,
                status=response.status,
                etag=response.headers.get("ETag"),
                retry_after=int(response.headers.get("Retry-After", 0)),
                responded_at=time.monotonic(),
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
def counting_proxy(target: str, *, before_first: Callable[[], None] = lambda: None) -> Iterator[CountingProxy]:
    """Run a proxy for the length of a `with` block; `before_first` runs just before the first request is forwarded."""
    with CountingProxy(target, before_first) as proxy:
        thread = threading.Thread(target=proxy.serve_forever)
        thread.start()
        try:
            yield proxy
        finally:
            proxy.shutdown()
            thread.join()
