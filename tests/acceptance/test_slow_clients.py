"""Slow clients, and malformed or ambiguous requests, over raw sockets."""

import contextlib
import json
import socket
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from http.client import HTTPMessage, parse_headers
from io import BytesIO
from pathlib import Path
from urllib.parse import urlsplit

import pytest
import requests
from support.servers import RedisServer, running_redis, running_service, wait_until

from acceptance.conftest import Service

#: settings of the service, in seconds
BODY_SECONDS, SEND_SECONDS = 2, 1
#: seconds within which a normal read is answered, whatever other clients do
READ_SECONDS = 3.0
#: characters of a result that exceeds all socket buffers
LARGE = 7_000_000
#: bytes per second of a slow reader: the whole answer takes longer than SEND_SECONDS, each piece less
PACE = LARGE / (SEND_SECONDS + 1)


@pytest.fixture(scope="module")
def redis_with_results(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RedisServer]:
    """A Redis with results of tasks that have no record."""
    with running_redis(tmp_path_factory.mktemp("redis")) as server:
        with server.client() as client:
            client.set("celery-task-meta-small", json.dumps({"status": "SUCCESS", "result": 5}))
            client.set("celery-task-meta-large", json.dumps({"status": "SUCCESS", "result": "x" * LARGE}))
            for number in range(10):
                meta = {"status": "PROGRESS", "result": {"text": "x" * 700_000}}
                client.set(f"celery-task-meta-running-{number}", json.dumps(meta))
        yield server


@pytest.fixture(scope="module")
def log(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The log file of the service."""
    return tmp_path_factory.mktemp("logs") / "service.log"


@pytest.fixture(scope="module")
def hardened(redis_with_results: RedisServer, log: Path) -> Iterator[Service]:
    """A service with deadlines below the defaults."""
    environ = {
        "TASK_STATUS_REDIS_URL": redis_with_results.url,
        "TASK_STATUS_TASKS": "demo.*",
        "TASK_STATUS_BODY_SECONDS": str(BODY_SECONDS),
        "TASK_STATUS_SEND_SECONDS": str(SEND_SECONDS),
        "TASK_STATUS_WATCHES_PER_CALLER": "1",
    }
    with running_service(environ, folder=log.parent) as url:
        service = Service(url)
        yield service
        service.session.close()


def connected(service: Service, *, receive_bytes: int | None = None) -> socket.socket:
    """Open a connection, optionally with a small receive buffer."""
    client = socket.socket()
    if receive_bytes:
        client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_bytes)
    client.settimeout(15)
    client.connect(("127.0.0.1", urlsplit(service.url).port))
    return client


def read_to_end(client: socket.socket) -> bytes:
    """Read until the server closes the connection."""
    received = b""
    with contextlib.suppress(ConnectionResetError):
        while data := client.recv(1 << 20):
            received += data
    return received


def answers_in(received: bytes) -> list[tuple[int, HTTPMessage, bytes]]:
    """Return status, headers and body of each received answer."""
    stream, answers = BytesIO(received), []
    while line := stream.readline():
        headers = parse_headers(stream)
        answers.append((int(line.split()[1]), headers, stream.read(int(headers["Content-Length"]))))
    return answers


def headers_of(text: str) -> bytes:
    """Return a request with the line ends of HTTP."""
    return text.replace("\n", "\r\n").encode("latin-1")


BODY = b'{"name": "demo.add"}'
AMBIGUOUS = {
    "length and chunks": "Content-Length: 4\nTransfer-Encoding: chunked\n\n0\n\n",
    "chunks and length": "Transfer-Encoding: chunked\nContent-Length: 4\n\n0\n\n",
    "two lengths": "Content-Length: 4\nContent-Length: 5\n\nabcde",
    "a list of lengths": "Content-Length: 4, 5\n\nabcde",
    "a length with a sign": "Content-Length: +4\n\nabcd",
    "a length in hex": "Content-Length: 0x4\n\nabcd",
    "a negative length": "Content-Length: -1\n\n",
    "a length with an underscore": "Content-Length: 1_0\n\nabcdefghij",
    "chunks twice": "Transfer-Encoding: chunked\nTransfer-Encoding: chunked\n\n0\n\n",
    "chunks of gzip": "Transfer-Encoding: gzip, chunked\n\n0\n\n",
    "chunks of gzip in two headers": "Transfer-Encoding: gzip\nTransfer-Encoding: chunked\n\n0\n\n",
    "chunks of deflate": "Transfer-Encoding: DEFLATE ,chunked\n\n0\n\n",
    "chunks of compress": "Transfer-Encoding: compress, chunked\n\n0\n\n",
    "chunks of nothing": "Transfer-Encoding: identity, chunked\n\n0\n\n",
    "chunks with a parameter": "Transfer-Encoding: chunked;a=b\n\n0\n\n",
    "an empty coding and chunks": "Transfer-Encoding: , chunked\n\n0\n\n",
    "chunks not last": "Transfer-Encoding: chunked, identity\n\n0\n\n",
    "no such encoding": "Transfer-Encoding: xchunked\n\n0\n\n",
    "an encoding behind a tab": "Transfer-Encoding:\x0bchunked\n\n0\n\n",
    "a space before the colon": "Transfer-Encoding : chunked\n\n0\n\n",
    "a folded header": "X-Folded: a\n Transfer-Encoding: chunked\n\n0\n\n",
    "a NUL in a header": "X-Nul: a\x00b\n\n",
    "a chunk of no size": "Transfer-Encoding: chunked\n\nxyz\n\n",
    "a chunk with a sign": "Transfer-Encoding: chunked\n\n+4\nabcd\n0\n\n",
    "a chunk longer than it says": "Transfer-Encoding: chunked\n\n2\nabcd\n0\n\n",
}


@pytest.mark.parametrize("case", AMBIGUOUS)
def test_no_smuggling(hardened: Service, case: str) -> None:
    """A request that a proxy may read differently is rejected, and no request after it is answered."""
    hidden = "GET /livez HTTP/1.1\nHost: localhost\n\n"
    head = f"POST /tasks HTTP/1.1\nHost: localhost\nContent-Type: application/json\n{AMBIGUOUS[case]}{hidden}"
    with connected(hardened) as client:
        client.sendall(headers_of(head))
        answer = read_to_end(client)

    assert answer.startswith((b"HTTP/1.1 400 ", b"HTTP/1.1 501 ")), answer
    assert answer.count(b"HTTP/1.1 ") == 1, answer


def test_bare_newlines_are_rejected(hardened: Service) -> None:
    """A line ends in CR and LF; a header after only one of them is rejected."""
    for hidden in (b"X-A: b\nTransfer-Encoding: chunked\r\n\r\n", b"X-A: b\rTransfer-Encoding: chunked\r\n\r\n"):
        with connected(hardened) as client:
            client.sendall(b"POST /tasks HTTP/1.1\r\nHost: localhost\r\n" + hidden + b"0\r\n\r\n")
            assert read_to_end(client).startswith(b"HTTP/1.1 400 ")


HEAD = "GET /tasks/small HTTP/1.1\nHost: localhost\n"
#: requests that gunicorn rejects before they reach the app, and the status of the answer
MALFORMED = {
    "no version": ("GET /tasks/small\n\n", 400),
    "an unknown version": ("GET /tasks/small HTTP/9.9\nHost: localhost\n\n", 400),
    "an invalid method": ("G@T /tasks/small HTTP/1.1\nHost: localhost\n\n", 400),
    "a NUL for a line": ("\x00\nHost: localhost\n\n", 400),
    "markup for a line": ("<script>alert(1)</script>\n\n", 400),
    "bytes beyond ASCII": ("GET /\xe9\xff HTTP/1.1\xff\n\n", 400),
    "a line too long": (f"GET /{'a' * 9_000} HTTP/1.1\nHost: localhost\n\n", 414),
    "an endless line": (f"GET /{'a' * 200_000}", 414),
    "a header without a name": (f"{HEAD}: nothing\n\n", 400),
    "a header without a colon": (f"{HEAD}nothing\n\n", 400),
    "a header too long": (f"{HEAD}X-Long: {'a' * 9_000}\n\n", 431),
    "too many headers": (f"{HEAD}{''.join(f'X-{number}: a' + chr(10) for number in range(200))}\n", 431),
    "an expectation": (f"{HEAD}Expect: the unexpected\n\n", 417),
    "no such encoding": (f"{HEAD}Transfer-Encoding: xchunked\n\n0\n\n", 501),
    "no host": ("GET /tasks/small HTTP/1.1\n\n", 400),
    "no host and other headers": ("GET /tasks/small HTTP/1.1\nAccept: */*\n\n", 400),
    "two hosts": (f"{HEAD}Host: localhost\n\n", 400),
    **{
        f"host {host!r}": (f"GET /tasks/small HTTP/{version}\nHost: {host}\n\n", 400)
        for version in ("1.1", "1.0")
        for host in (
            *("", "a b", "localhost, localhost", "user@localhost", "localhost/", "localhost:x", "localhost:123456"),
            *("localhost:80:80", "[::1", "[]", "::1", "a?b", "a#b", "a%zz", '"localhost"', "\xe9", "http://localhost"),
        )
    },
}


@pytest.mark.parametrize("case", MALFORMED)
def test_malformed_requests(hardened: Service, log: Path, case: str) -> None:
    """Invalid HTTP is answered with a problem, and the connection is closed."""
    request, status = MALFORMED[case]
    with connected(hardened) as client:
        client.sendall(headers_of(request))
        answers = answers_in(read_to_end(client))

    [(code, headers, body)] = answers
    problem = json.loads(body)
    slug = "uri-too-long" if status == 414 else "http-error"
    assert (code, problem["status"], problem["type"]) == (status, status, f"/problems/{slug}")
    assert problem.keys() == {"type", "title", "status", "detail", "instance", "errors", "request_id"}
    assert len(problem["detail"]) < 1_000
    assert headers["content-type"] == "application/problem+json"
    assert headers["content-security-policy"] == "default-src 'none'; frame-ancestors 'none'"
    assert (headers["x-content-type-options"], headers["cache-control"]) == ("nosniff", "no-store")
    assert (headers["connection"], headers["content-length"]) == ("close", str(len(body)))
    assert problem["request_id"] in log.read_text()
    assert "Traceback" not in log.read_text()


def test_old_clients_need_no_host(hardened: Service) -> None:
    """HTTP/1.0 has no Host header."""
    with connected(hardened) as client:
        client.sendall(headers_of("GET /tasks/small HTTP/1.0\n\n"))
        assert read_to_end(client).startswith(b"HTTP/1.0 200 OK\r\n")


@pytest.mark.parametrize("path", ["/livez", "/nowhere"])
@pytest.mark.parametrize("method", ["GET", "POST"])
def test_malformed_body_that_is_not_read(hardened: Service, method: str, path: str) -> None:
    """A request gets one answer, also if its unread body is malformed."""
    head = f"{method} {path} HTTP/1.1\nHost: localhost\nTransfer-Encoding: chunked\n\nxyz\n\n{HEAD}\n"
    with connected(hardened) as client:
        client.sendall(headers_of(head))
        [(code, _, _)] = answers_in(read_to_end(client))

    assert code < 500


def test_body_that_is_not_read(hardened: Service) -> None:
    """A connection stays open after an unread body, if the body is well formed."""
    with requests.Session() as session:
        for method, path in (("GET", "/livez"), ("POST", "/nowhere"), ("GET", "/tasks/small")):
            response = session.request(method, f"{hardened.url}{path}", data=b"x" * 5_000, timeout=5)
            assert "close" not in response.headers.get("Connection", ""), path


def test_forged_environment(hardened: Service) -> None:
    """A header cannot replace a variable that the server sets."""
    for name in ("SCRIPT_NAME", "Script-Name", "PATH_INFO", "REMOTE_ADDR", "X-Forwarded-Prefix"):
        response = requests.get(f"{hardened.url}/tasks/small", headers={name: "/elsewhere"}, timeout=5)

        assert (response.status_code, response.json()["id"]) == (200, "small"), name


def test_endless_chunks(hardened: Service) -> None:
    """A chunked body is rejected at the size limit, without reading all of it."""
    sent = 0

    def chunks() -> Iterator[bytes]:
        nonlocal sent
        for _ in range(160):
            sent += 65_536
            yield b" " * 65_536

    headers = {"Content-Type": "application/json"}
    with contextlib.suppress(requests.ConnectionError):
        response = requests.post(f"{hardened.url}/tasks", data=chunks(), headers=headers, timeout=10)
        assert response.status_code == 413
    assert hardened.read("small")["result"] == 5


def test_slow_clients(hardened: Service) -> None:
    """300 slow requests do not delay other clients, and are rejected or closed at their deadline."""
    head = "POST /tasks HTTP/1.1\nHost: localhost\nContent-Type: application/json\n"
    openings = [
        headers_of("GET /tasks/small HTTP/1.1\nX-Slow: "),
        headers_of(f"{head}Content-Length: 1000000\n\n") + BODY,
        headers_of(f"{head}Transfer-Encoding: chunked\n\nF0000\n") + BODY[:10],
    ]
    started = time.monotonic()
    with contextlib.ExitStack() as stack:
        clients = [stack.enter_context(connected(hardened)) for _ in range(300)]
        for number, client in enumerate(clients):
            client.sendall(openings[number % 3])
        slowest = 0.0
        while time.monotonic() - started < BODY_SECONDS - 0.5:
            asked = time.monotonic()
            assert requests.get(f"{hardened.url}/tasks/small", timeout=10).status_code == 200
            slowest = max(slowest, time.monotonic() - asked)
            for number, client in enumerate(clients):
                # Each byte would arrive in time for a deadline per byte.
                client.sendall(b"x" if number % 3 == 0 else b" ")
            time.sleep(0.05)
        assert slowest < READ_SECONDS
        with ThreadPoolExecutor(30) as pool:
            answers = list(pool.map(read_to_end, clients))
    # gunicorn closes connections with unfinished headers after five seconds.
    assert time.monotonic() - started < 5 + READ_SECONDS
    assert set(answers[::3]) == {b""}
    bodies = [answer for number, answer in enumerate(answers) if number % 3]
    assert all(answer.startswith(b"HTTP/1.1 408 ") and b"\r\nConnection: close\r\n" in answer for answer in bodies)
    assert json.loads(bodies[0].partition(b"\r\n\r\n")[2])["type"] == "/problems/body-too-slow"


def test_answer_that_is_not_read(hardened: Service) -> None:
    """The connection of a client that does not read its answer is closed; that of a slow reader is not."""
    request = headers_of("GET /tasks/large/result HTTP/1.1\nHost: localhost\n\n")
    with connected(hardened, receive_bytes=4_096) as idle, connected(hardened, receive_bytes=65_536) as slow:
        for client in (idle, slow):
            client.sendall(request)
        started, received = time.monotonic(), b""
        while len(received) < LARGE:
            data = slow.recv(1 << 16)
            assert data, "connection closed"
            received += data
            # The same pace for any size of the pieces.
            time.sleep(max(0.0, started + len(received) / PACE - time.monotonic()))
        # The whole answer took longer than the deadline of one piece.
        assert time.monotonic() - started > SEND_SECONDS + 0.5
        assert len(read_to_end(idle)) < LARGE
    assert received.startswith(b"HTTP/1.1 200 ")


def test_stream_that_is_not_read(hardened: Service) -> None:
    """A stream that is not read ends, so that another one can start."""
    query = "&".join(f"id=running-{number}" for number in range(10))
    with connected(hardened, receive_bytes=4_096) as idle:
        idle.sendall(headers_of(f"GET /events?{query} HTTP/1.1\nHost: localhost\n\n"))
        wait_until(lambda: stream_status(hardened) == 429, what="the limit to be reached")

        wait_until(lambda: stream_status(hardened) == 200, timeout=10, what="the stream to end")


def stream_status(service: Service) -> int:
    """Open a stream; return the status of the answer."""
    with requests.get(f"{service.url}/tasks/running-0/events", stream=True, timeout=5) as response:
        return response.status_code
