"""Generated requests against the real service and a real Redis: no answer is a 5xx.

`FUZZ_REQUESTS` is their number; the seed is fixed, so that a run can be repeated. A quarter are generated from the
OpenAPI document (schemathesis), valid and invalid ones. The others have arbitrary paths, headers and bodies.
"""

import contextlib
import http.client
import json
import os
import socket
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import urlsplit

import pytest
import requests
import schemathesis
from hypothesis import HealthCheck, Phase, given, seed, settings
from hypothesis import strategies as st
from hypothesis.errors import Unsatisfiable
from schemathesis import GenerationMode
from schemathesis.checks import not_a_server_error
from support.keys import add_key
from support.servers import RedisServer, running_redis, running_service
from support.stored_values import ROWS, stored_bytes
from task_status_service.access.caller import Scope
from task_status_worker.record.keys import Keys

REQUESTS = int(os.environ.get("FUZZ_REQUESTS", "2000"))
#: requests that are not generated from the document
ANY = REQUESTS * 3 // 4
SEED = 20_260_102
STORED = 60
#: statuses that any request may get, besides the documented ones
ANSWERS = {200, 201, 202, 204, 304, *range(400, 500)}
#: no answer: the server closes the connection after invalid HTTP, and its answer may be lost
CLOSED = 0

fuzzing = settings(
    database=None,
    deadline=None,
    phases=[Phase.generate, Phase.shrink],
    suppress_health_check=list(HealthCheck),
    print_blob=False,
)


@pytest.fixture(scope="module")
def module_redis(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RedisServer]:
    """A Redis with stored results of every kind."""
    with running_redis(tmp_path_factory.mktemp("redis")) as server:
        with server.client() as client:
            for number, row in enumerate(ROWS[:: len(ROWS) // STORED]):
                client.set(f"celery-task-meta-t-{number}", stored_bytes(row) or b"")
            # A heartbeat in the future: the service sees a live worker during the whole run.
            client.zadd(Keys().workers, {"worker@host/00000000": time.time() + 3_600})
        yield server


@pytest.fixture(scope="module")
def key(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    """A keys file, and its key with every scope."""
    path = tmp_path_factory.mktemp("keys") / "keys.json"
    return path, add_key(path, "fuzz", Scope)


@pytest.fixture(scope="module")
def url(module_redis: RedisServer, key: tuple[Path, str], tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The URL of a service without waits and rate limits."""
    folder = tmp_path_factory.mktemp("logs")
    environ = {
        "TASK_STATUS_REDIS_URL": module_redis.url,
        "TASK_STATUS_API_KEYS_FILE": str(key[0]),
        "TASK_STATUS_TASKS": "demo.*,example.*",
        "TASK_STATUS_WATCHES": "0",
        "TASK_STATUS_REQUESTS_PER_SECOND": "0",
        "TASK_STATUS_BODY_SECONDS": "1",
    }
    with running_service(environ, folder=folder) as url:
        yield url
        assert requests.get(f"{url}/livez", timeout=5).ok
    log = (folder / "service.log").read_text(encoding="utf-8", errors="replace")
    assert "Traceback" not in log, log[-5_000:]


@pytest.fixture(scope="module")
def schema(url: str) -> Any:
    """The OpenAPI document of the service."""
    return schemathesis.openapi.from_url(f"{url}/openapi.json")


task_ids = st.integers(0, STORED).map("t-{}".format)


@pytest.mark.timeout(900)
@pytest.mark.parametrize("mode", GenerationMode)
def test_requests_of_the_document(schema: Any, key: tuple[Path, str], mode: GenerationMode) -> None:
    """Valid and invalid requests of the document cause no server error."""
    operations = [found.ok() for found in schema.get_all_operations()]
    session = requests.Session()
    codes: Counter[int] = Counter()
    each = max(1, REQUESTS // 4 // len(operations))
    for operation in operations:

        @seed(SEED)
        @settings(fuzzing, max_examples=each)
        @given(operation.as_strategy(generation_mode=mode), st.none() | task_ids, st.integers(0, 9))
        def ask(case: Any, task_id: str | None, chance: int) -> None:
            if task_id and case.path_parameters:
                case.path_parameters["task_id"] = task_id
            if chance:
                case.headers = {**(case.headers or {}), "Authorization": f"Bearer {key[1]}"}
            response = case.call(session=session, timeout=20)
            codes[response.status_code] += 1
            case.validate_response(response, checks=[not_a_server_error])

        # An operation without parameters and body has no invalid requests.
        with contextlib.suppress(Unsatisfiable):
            ask()
    print(mode, sorted(codes.items()))  # noqa: T201  # what pytest -s shows
    assert codes.keys() <= ANSWERS
    assert codes.total() >= (REQUESTS - ANY) // 2
    session.close()


text = st.text(st.characters(min_codepoint=0x20, max_codepoint=0xFF, exclude_characters="\x7f"), max_size=40)
odd = st.sampled_from(
    ["", "*", "..", "%00", "%0d%0aX: y", "..%2f", "%ff", "t-1%0a", "[a]", "?", "😀", "a" * 8_000, "-1", "1e9"]
)
piece = odd | text | task_ids
segments = st.sampled_from(["tasks", "events", "cancel", "retry", "result", "tokens", "livez", "readyz"]) | piece
paths = (
    st.just("/tasks")
    | task_ids.map("/tasks/{}".format)
    | st.lists(segments, max_size=5).map(lambda pieces: "/" + "/".join(pieces))
)
names = st.sampled_from(
    ["id", "state", "name", "label", "limit", "cursor", "wait", "submitted_after", "access_token", "x"]
)
queries = st.just("") | st.lists(st.tuples(names, piece).map("=".join), max_size=4).map("&".join)
header_names = st.sampled_from(
    [
        "Accept",
        "Authorization",
        "Content-Encoding",
        "Content-Type",
        "Cookie",
        "Expect",
        "Host",
        "Idempotency-Key",
        "If-None-Match",
        "Last-Event-ID",
        "Origin",
        "Prefer",
        "Range",
        "X-Forwarded-For",
        "X-HTTP-Method-Override",
    ]
)
headers = st.just({}) | st.dictionaries(header_names, text.map(str.strip) | odd.filter(str.isascii), max_size=4)
json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=4),
    max_leaves=20,
)
fields = st.sampled_from(
    [
        "args",
        "kwargs",
        "labels",
        "countdown",
        "eta",
        "expires",
        "queue",
        "priority",
        "scopes",
        "ttl_seconds",
        "terminate",
    ]
)
submissions = st.builds(
    lambda rest, name: {**rest, "name": name},
    st.dictionaries(fields, json_values, max_size=3),
    st.sampled_from(["demo.add", "celery.backend_cleanup", "demo.add\n", ""]) | st.text(max_size=20),
)
bodies = st.binary(max_size=200) | (json_values | submissions).map(json.dumps).map(str.encode)


class Sent(NamedTuple):
    """A request, before it is written to a connection."""

    method: str
    path: str
    query: str
    headers: dict[str, str]
    body: bytes | None

    def written(self, key: str) -> bytes:
        """Return the bytes; of a repeated header the last one is used."""
        target = f"{self.path}?{self.query}".replace(" ", "%20")
        lines = {"Host": "localhost", "Authorization": f"Bearer {key}", "Connection": "close", **self.headers}
        if self.body is not None:
            lines["Content-Length"] = str(len(self.body))
        head = "".join(f"{name}: {value}\r\n" for name, value in lines.items())
        return f"{self.method} {target} HTTP/1.1\r\n{head}\r\n".encode() + (self.body or b"")


methods = st.sampled_from(["GET", "POST", "DELETE"]) | st.sampled_from(
    ["HEAD", "PUT", "OPTIONS", "PATCH", "TRACE", "FOO"]
)
kinds = st.sampled_from([{"Content-Type": "application/json"}] * 2 + [{"Content-Type": "text/plain"}, {}])
valid = st.fixed_dictionaries(
    {"name": st.just("demo.add"), "args": st.lists(json_values, max_size=3)},
    optional={"kwargs": st.dictionaries(st.text(max_size=8), json_values, max_size=3)},
)
anything = st.builds(
    lambda submission: Sent(
        "POST", "/tasks", "", {"Content-Type": "application/json"}, json.dumps(submission).encode()
    ),
    valid,
) | st.builds(
    lambda method, path, query, kind, given_headers, body: Sent(method, path, query, {**kind, **given_headers}, body),
    methods,
    paths,
    queries,
    kinds,
    headers,
    st.none() | bodies | submissions.map(json.dumps).map(str.encode),
)


@pytest.mark.timeout(900)
def test_any_requests(url: str, key: tuple[Path, str]) -> None:
    """Arbitrary requests cause no server error."""
    port = urlsplit(url).port
    codes: Counter[int] = Counter()

    @seed(SEED)
    @settings(fuzzing, max_examples=ANY)
    @given(anything)
    def ask(sent: Sent) -> None:
        code = answer_to(port, sent, key[1])
        codes[code] += 1
        assert code in {*ANSWERS, CLOSED}

    ask()
    print(sorted(codes.items()))  # noqa: T201  # what pytest -s shows
    assert {200, 202, 404, 405, 422} <= codes.keys()
    assert codes[CLOSED] < codes.total() / 10
    assert codes.total() >= ANY


def answer_to(port: int | None, sent: Sent, key: str) -> int:
    """Send a request over a new connection; return the status of the answer."""
    with socket.create_connection(("127.0.0.1", port or 0), timeout=20) as connection:
        try:
            connection.sendall(sent.written(key))
            response = http.client.HTTPResponse(connection, method=sent.method)
            response.begin()
            response.read()
        except (ConnectionError, http.client.BadStatusLine):
            return CLOSED
        return response.status
