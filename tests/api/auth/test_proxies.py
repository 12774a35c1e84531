"""Headers of proxies: only a trusted one names the client, and none changes the rule of a server without keys."""

import pytest
from support.clock import Clock
from support.keys import MemoryKeys
from support.problems import problem_of
from support.use_cases import create_api
from task_status_service.access.client_address import TrustedProxies
from task_status_service.api.auth.authentication import Access
from task_status_service.api.auth.rate_limits import FAILURES, Limits

#: a fast read, and a read through Flask
PATHS = ["/tasks/t-1", "/tasks/t-1?wait=0"]


@pytest.mark.parametrize("peer", ["127.0.0.1", "::ffff:127.0.0.1", ""])
def test_proxies_report_the_address(tracker, submitter, feed, peer):
    """Behind a trusted proxy, failed authentications are counted for the address that it reports."""
    proxies = TrustedProxies.parse("127.0.0.1,unix")
    access = Access(MemoryKeys(), limits=Limits(clock_ns=Clock(0)), proxies=proxies)
    client = create_api(tracker, submitter, feed, access=access).test_client()

    def status(path, client_address, peer=peer):
        headers = {"X-Forwarded-For": f"198.51.100.1, {client_address}"}
        return client.get(path, headers=headers, environ_overrides={"REMOTE_ADDR": peer}).status_code

    for number in range(FAILURES):
        assert status(PATHS[number % 2], "192.0.2.1") == 401
    assert {status(path, "192.0.2.1") for path in PATHS} == {429}
    assert {status(path, "192.0.2.2") for path in PATHS} == {401}
    # No trusted proxy: the header is ignored.
    codes = [status(PATHS[0], f"192.0.2.{number}", peer="203.0.113.1") for number in range(FAILURES + 1)]
    assert codes == [401] * FAILURES + [429]


@pytest.mark.parametrize("trusted", ["127.0.0.1", "unix"])
@pytest.mark.parametrize(
    "headers",
    [
        {"X-Forwarded-For": "127.0.0.1"},
        {"X-Forwarded-Host": "localhost"},
        {"X-Real-IP": "127.0.0.1"},
        {"Forwarded": "for=127.0.0.1;host=localhost"},
    ],
)
def test_no_header_of_a_proxy_allows_another_host(tracker, submitter, feed, trusted, headers):
    """On a server without keys, a host name that is not loopback is denied, whatever a proxy reports."""
    access = Access(None, proxies=TrustedProxies.parse(trusted))
    client = create_api(tracker, submitter, feed, access=access).test_client()

    for path in PATHS:
        problem_of(client.get(path, headers={"Host": "evil.example", **headers}), 403, "forbidden")
