"""Clients that hold on to what they cost, and requests that two servers would read differently: raw sockets."""

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

#: what the service is told, in seconds
BODY_SECONDS, SEND_SECONDS = 2, 1
#: an honest read is answered within this, whatever others do
HONEST_SECONDS = 3.0
#: characters of a result that no socket buffers
LARGE = 7_000_000
#: bytes in a second of a client that reads slowly: all of it takes longer than any piece may take
PACE = LARGE / (SEND_SECONDS + 1)


@pytest.fixture(scope="module")
def redis_with_results(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RedisServer]:
    """Run a Redis with tasks of which Celery alone knows."""
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
    """Give the file that the service logs to."""
    return tmp_path_factory.mktemp("logs") / "service.log"


@pytest.fixture(scope="module")
def hardened(redis_with_results: RedisServer, log: Path) -> Iterator[Service]:
    """Run a service that is less patient than it is by default."""
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
    """Open a connection, maybe one that takes in little."""
    client = socket.socket()
    if receive_bytes:
        client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_bytes)
    client.settimeout(15)
    client.connect(("127.0.0.1", urlsplit(service.url).port))
    return client


def read_to_end(client: socket.socket) -> bytes:
    """Read until the server closes."""
    received = b""
    with contextlib.suppress(ConnectionResetError):
        while data := client.recv(1 << 20):
            received += data
    return received


def answers_in(received: bytes) -> list[tuple[int, HTTPMessage, bytes]]:
    """Take apart what was received: status, headers and body of each answer."""
    stream, answers = BytesIO(received), []
    while line := stream.readline():
        headers = parse_headers(stream)
        answers.append((int(line.split()[1]), headers, stream.read(int(headers["Content-Length"]))))
    return answers


def headers_of(text: str) -> bytes:
    """Write a request with the newlines of HTTP."""
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
    """What a proxy might read otherwise is refused, and nothing behind it is answered."""
    hidden = "GET /livez HTTP/1.1\nHost: localhost\n\n"
    head = f"POST /tasks HTTP/1.1\nHost: localhost\nContent-Type: application/json\n{AMBIGUOUS[case]}{hidden}"
    with connected(hardened) as client:
        client.sendall(headers_of(head))
        answer = read_to_end(client)

    assert answer.startswith((b"HTTP/1.1 400 ", b"HTTP/1.1 501 ")), answer
    assert answer.count(b"HTTP/1.1 ") == 1, answer


def test_bare_newlines_are_no_headers(hardened: Service) -> None:
    """A line ends in CR and LF; a header may not hide behind one of them."""
    for hidden in (b"X-A: b\nTransfer-Encoding: chunked\r\n\r\n", b"X-A: b\rTransfer-Encoding: chunked\r\n\r\n"):
        with connected(hardened) as client:
            client.sendall(b"POST /tasks HTTP/1.1\r\nHost: localhost\r\n" + hidden + b"0\r\n\r\n")
            assert read_to_end(client).startswith(b"HTTP/1.1 400 ")


HEAD = "GET /tasks/small HTTP/1.1\nHost: localhost\n"
#: what gunicorn refuses before the app sees it, and the status of the answer
MALFORMED = {
    "no version": ("GET /tasks/small\n\n", 400),
    "a version that there is not": ("GET /tasks/small HTTP/9.9\nHost: localhost\n\n", 400),
    "a method that is none": ("G@T /tasks/small HTTP/1.1\nHost: localhost\n\n", 400),
    "a NUL for a line": ("\x00\nHost: localhost\n\n", 400),
    "markup for a line": ("<script>alert(1)</script>\n\n", 400),
    "bytes that are no ASCII": ("GET /\xe9\xff HTTP/1.1\xff\n\n", 400),
    "a line that is too long": (f"GET /{'a' * 9_000} HTTP/1.1\nHost: localhost\n\n", 414),
    "a line that does not end": (f"GET /{'a' * 200_000}", 414),
    "a header without a name": (f"{HEAD}: nothing\n\n", 400),
    "a header without a colon": (f"{HEAD}nothing\n\n", 400),
    "a header that is too long": (f"{HEAD}X-Long: {'a' * 9_000}\n\n", 431),
    "too many headers": (f"{HEAD}{''.join(f'X-{number}: a' + chr(10) for number in range(200))}\n", 431),
    "an expectation": (f"{HEAD}Expect: the unexpected\n\n", 417),
    "no such encoding": (f"{HEAD}Transfer-Encoding: xchunked\n\n0\n\n", 400),
}


@pytest.mark.parametrize("case", MALFORMED)
def test_malformed_requests(hardened: Service, log: Path, case: str) -> None:
    """What is no HTTP is answered with a problem like everything else, and ends the connection."""
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


@pytest.mark.parametrize("path", ["/livez", "/nowhere"])
@pytest.mark.parametrize("method", ["GET", "POST"])
def test_malformed_body_that_nobody_reads(hardened: Service, method: str, path: str) -> None:
    """A request has one answer, also where its body turns out to be malformed after that."""
    head = f"{method} {path} HTTP/1.1\nHost: localhost\nTransfer-Encoding: chunked\n\nxyz\n\n{HEAD}\n"
    with connected(hardened) as client:
        client.sendall(headers_of(head))
        [(code, _, _)] = answers_in(read_to_end(client))

    assert code < 500


def test_body_that_nobody_reads(hardened: Service) -> None:
    """A connection goes on after a body that is not read, if it is well formed."""
    with requests.Session() as session:
        for method, path in (("GET", "/livez"), ("POST", "/nowhere"), ("GET", "/tasks/small")):
            response = session.request(method, f"{hardened.url}{path}", data=b"x" * 5_000, timeout=5)
            assert "close" not in response.headers.get("Connection", ""), path


def test_forged_environment(hardened: Service) -> None:
    """A header is not taken for what the server itself says about a request."""
    for name in ("SCRIPT_NAME", "Script-Name", "PATH_INFO", "REMOTE_ADDR", "X-Forwarded-Prefix"):
        response = requests.get(f"{hardened.url}/tasks/small", headers={name: "/elsewhere"}, timeout=5)

        assert (response.status_code, response.json()["id"]) == (200, "small"), name


def test_endless_chunks(hardened: Service) -> None:
    """A body without a length is cut off at the limit and not collected."""
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
    """Three hundred that trickle in, or never come to the point, keep nobody waiting, and are sent away in time."""
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
                # Each byte comes in time for whoever waits for one byte only.
                client.sendall(b"x" if number % 3 == 0 else b" ")
            time.sleep(0.05)
        assert slowest < HONEST_SECONDS
        with ThreadPoolExecutor(30) as pool:
            answers = list(pool.map(read_to_end, clients))
    # gunicorn closes on headers that do not end; its own bound is five seconds.
    assert time.monotonic() - started < 5 + HONEST_SECONDS
    assert set(answers[::3]) == {b""}
    bodies = [answer for number, answer in enumerate(answers) if number % 3]
    assert all(answer.startswith(b"HTTP/1.1 408 ") and b"\r\nConnection: close\r\n" in answer for answer in bodies)
    assert json.loads(bodies[0].partition(b"\r\n\r\n")[2])["type"] == "/problems/body-too-slow"


def test_answer_that_nobody_reads(hardened: Service) -> None:
    """A client that does not read its answer is sent away; one that reads slowly, but reads, is not."""
    request = headers_of("GET /tasks/large/result HTTP/1.1\nHost: localhost\n\n")
    with connected(hardened, receive_bytes=4_096) as idle, connected(hardened, receive_bytes=65_536) as slow:
        for client in (idle, slow):
            client.sendall(request)
        started, received = time.monotonic(), b""
        while len(received) < LARGE:
            data = slow.recv(1 << 16)
            assert data, "sent away"
            received += data
            # As slowly however little comes at a time.
            time.sleep(max(0.0, started + len(received) / PACE - time.monotonic()))
        # All of it took longer than any piece may take.
        assert time.monotonic() - started > SEND_SECONDS + 0.5
        assert len(read_to_end(idle)) < LARGE
    assert received.startswith(b"HTTP/1.1 200 ")


def test_stream_that_nobody_reads(hardened: Service) -> None:
    """The place of a stream that is not read is free again."""
    query = "&".join(f"id=running-{number}" for number in range(10))
    with connected(hardened, receive_bytes=4_096) as idle:
        idle.sendall(headers_of(f"GET /events?{query} HTTP/1.1\nHost: localhost\n\n"))
        wait_until(lambda: opens(hardened) == 429, what="the place to be taken")

        wait_until(lambda: opens(hardened) == 200, timeout=10, what="the place to be free")


def opens(service: Service) -> int:
    """Tell how a stream is answered."""
    with requests.get(f"{service.url}/tasks/running-0/events", stream=True, timeout=5) as response:
        return response.status_code
