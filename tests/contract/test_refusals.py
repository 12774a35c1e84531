"""Error answers that schemathesis cannot cause: every operation of a real server answers them as documented."""

import http.client
from collections.abc import Iterator
from typing import NamedTuple
from urllib.parse import urlsplit

import pytest
from support.documented import check
from support.servers import free_port, running_service
from werkzeug.datastructures import Headers

from contract.document import ANSWERS, OPERATIONS
from contract.site import Site

#: valid parts of requests, so that only the tested error applies
BODIES = {"submitTask": b'{"name": "demo.add", "args": [1, 2]}', "cancelTask": b"{}", "createTaskToken": b"{}"}
QUERIES = {"watchTasks": "?id=a"}


class Refusal(NamedTuple):
    """The cause of an error status: the service, the owner, and the changed parts of the request."""

    service: str = "site"
    owner: str | None = "one"
    host: str | None = None
    query: str | None = None
    body: bytes | None = None
    #: Content-Length, if it differs from the body's
    length: int | None = None
    #: the most requests until the error occurs
    times: int = 1


#: by operation and status, where the cause differs from that of the other operations
OTHERS = {("getReadiness", "403"): Refusal("keyless", owner=None, host="evil.example")}
REFUSALS = {
    "400": Refusal(body=b'{"name": '),
    "403": Refusal(owner="guest"),
    "408": Refusal("strict", body=b"{", length=10),
    "413": Refusal("strict", body=b" " * 2_000),
    "414": Refusal(query=f"?id={'a' * 9_000}"),
    "429": Refusal("strict", owner="greedy", times=1_000),
    "503": Refusal("alone"),
}


@pytest.fixture(scope="module")
def services(site: Site, tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, str]]:
    """Run three more services: one with low limits, one without a Redis, and one without keys."""
    strict = site.environ(REQUESTS_PER_SECOND="20", MAX_BODY_BYTES="1024", BODY_SECONDS="1")
    alone = site.environ(REDIS_URL=f"redis://127.0.0.1:{free_port()}/0")
    keyless = site.environ(API_KEYS_FILE="")
    with (
        running_service(strict, folder=tmp_path_factory.mktemp("strict")) as strict_url,
        running_service(alone, folder=tmp_path_factory.mktemp("alone")) as alone_url,
        running_service(keyless, folder=tmp_path_factory.mktemp("keyless")) as keyless_url,
    ):
        yield {"site": site.url, "strict": strict_url, "alone": alone_url, "keyless": keyless_url}


def ask(url: str, name: str, headers: dict[str, str], refusal: Refusal) -> tuple[int, Headers, bytes]:
    """Send a request; return status, headers and body of the answer."""
    operation = OPERATIONS[name]
    path = operation.path.replace("{task_id}", "a").replace("{name}", "demo.add")
    body = refusal.body or BODIES.get(name)
    connection = http.client.HTTPConnection(urlsplit(url).netloc, timeout=20)
    target = path + (refusal.query or QUERIES.get(name, ""))
    connection.putrequest(operation.method, target, skip_host=refusal.host is not None)
    if refusal.host:
        connection.putheader("Host", refusal.host)
    if body:
        headers = {**headers, "Content-Type": "application/json", "Content-Length": str(refusal.length or len(body))}
    for header, text in headers.items():
        connection.putheader(header, text)
    connection.endheaders(body)
    response = connection.getresponse()
    answer = response.status, Headers(response.getheaders()), response.read()
    connection.close()
    return answer


@pytest.mark.parametrize(("name", "status"), sorted(answer for answer in ANSWERS if answer[1] in REFUSALS))
def test_refusals(name, status, site, services):
    """The answer has the documented status, a listed problem, and the required headers."""
    refusal = OTHERS.get((name, status)) or REFUSALS[status]
    headers_of_owner = site.headers[refusal.owner] if refusal.owner else {}
    for _ in range(refusal.times):
        found, headers, body = ask(services[refusal.service], name, headers_of_owner, refusal)
        if str(found) == status:
            break
    assert str(found) == status, body
    check(OPERATIONS[name].described, found, headers, body)
