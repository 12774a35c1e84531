"""The address of a client behind trusted proxies."""

import ipaddress

import pytest
from hypothesis import given
from hypothesis import strategies as st
from task_status_service.access.client_address import MAX_HOPS, TrustedProxies

PROXIES = TrustedProxies.parse("10.0.0.0/8, 192.0.2.7,fd00::/8 ,::1")
PEER = "10.0.0.1"

HEADERS = {
    "one hop": ("203.0.113.9", "203.0.113.9"),
    "a claim of the client": ("198.51.100.1, 203.0.113.9", "203.0.113.9"),
    "a claim to be a proxy": ("10.9.9.9, 203.0.113.9", "203.0.113.9"),
    "a claim to be local": ("127.0.0.1, 203.0.113.9", "203.0.113.9"),
    "two proxies": ("203.0.113.9, 192.0.2.7", "203.0.113.9"),
    "three proxies of both versions": ("203.0.113.9,fd00::1 ,  10.1.1.1", "203.0.113.9"),
    "only proxies": ("10.0.0.3, 10.0.0.2", "10.0.0.3"),
    "a proxy in IPv4-mapped form": ("203.0.113.9, ::ffff:10.0.0.2", "203.0.113.9"),
    "IPv4-mapped": ("::ffff:203.0.113.9", "203.0.113.9"),
    "IPv4-mapped in brackets": ("[::FFFF:203.0.113.9]:80", "203.0.113.9"),
    "IPv6": ("2001:DB8::0:9", "2001:db8::9"),
    "IPv6 in brackets": ("[2001:db8::9]", "2001:db8::9"),
    "IPv6 with a port": ("[2001:db8::9]:443", "2001:db8::9"),
    "IPv6 with a zone": ("fe80::9%eth0", "fe80::9"),
    "IPv4 with a port": ("203.0.113.9:51234", "203.0.113.9"),
    "white space": ("\t 203.0.113.9 \t", "203.0.113.9"),
    "unknown": ("unknown", PEER),
    "unknown to the first proxy": ("203.0.113.9, unknown, 10.0.0.2", "10.0.0.2"),
    "an obfuscated identifier": ("_hidden", PEER),
    "a host name": ("client.example", PEER),
    "an element of Forwarded": ("for=203.0.113.9", PEER),
    "quotes": ('"203.0.113.9"', PEER),
    "empty": ("", PEER),
    "an empty hop": ("203.0.113.9,", PEER),
    "only commas": (",,,", PEER),
    "leading zeros": ("203.0.113.09", PEER),
    "five numbers": ("203.0.113.9.1", PEER),
    "an integer": ("3405803785", PEER),
    "no port": ("203.0.113.9:", PEER),
    "a port of letters": ("203.0.113.9:http", PEER),
    "a port of other digits": ("203.0.113.9:\u0663", PEER),
    "an open bracket": ("[2001:db8::9", PEER),
    "text after brackets": ("[2001:db8::9]x", PEER),
    "IPv4 in brackets": ("[203.0.113.9]", PEER),
    "a network": ("203.0.113.0/24", PEER),
    "a line break": ("203.0.113.9\n", "203.0.113.9"),
    "control characters": ("203.0.113.9\x00", PEER),
    "a long hop": ("203.0.113.9" + "0" * 10_000, PEER),
    "a long zone": ("fe80::9%" + "x" * 10_000, PEER),
}


@pytest.mark.parametrize("case", HEADERS)
def test_a_trusted_proxy_reports_the_client(case):
    """The client is the last hop that is no trusted proxy; a hop that is no address is never used."""
    header, client = HEADERS[case]

    assert PROXIES.client_of(PEER, header) == client


@pytest.mark.parametrize("case", HEADERS)
@pytest.mark.parametrize("peer", ["203.0.113.5", "2001:db8::5", "127.0.0.1", "11.0.0.1"])
def test_other_peers_report_nothing(case, peer):
    """The header of a peer that is no trusted proxy is ignored, and so is each header by default."""
    assert PROXIES.client_of(peer, HEADERS[case][0]) == peer
    assert TrustedProxies().client_of(peer, HEADERS[case][0]) == peer


@pytest.mark.parametrize(
    ("peer", "client"),
    [
        ("::ffff:10.0.0.1", "203.0.113.9"),
        ("fd00::2%eth0", "203.0.113.9"),
        ("::1", "203.0.113.9"),
        ("192.0.2.8", "192.0.2.8"),
        ("::ffff:192.0.2.8", "192.0.2.8"),
        ("2001:db8::5%eth0", "2001:db8::5"),
        # Peers of a Unix socket, which may choose a path.
        ("", ""),
        ("/run/10.0.0.1", ""),
        ("@a:b", ""),
    ],
)
def test_each_form_of_a_peer(peer, client):
    """The peer is compared as an address: a zone and the IPv4-mapped form do not matter."""
    assert PROXIES.client_of(peer, "203.0.113.9") == client
    assert PROXIES.client_of(peer, None) == (
        client if client != "203.0.113.9" else TrustedProxies().client_of(peer, "")
    )


def test_the_peers_of_a_unix_socket_are_trusted_as_unix():
    """`unix` trusts the peers of a Unix socket, which have no address; it trusts no other one."""
    proxies = TrustedProxies.parse("unix")

    assert proxies.client_of("", "198.51.100.1, 203.0.113.9") == "203.0.113.9"
    assert proxies.client_of("/run/nginx.sock", "203.0.113.9") == "203.0.113.9"
    assert proxies.client_of("", None) == proxies.client_of("", "unknown") == ""
    assert proxies.client_of("127.0.0.1", "203.0.113.9") == "127.0.0.1"
    assert TrustedProxies.parse("unix,10.0.0.0/8").client_of("", "203.0.113.9, 10.0.0.1") == "203.0.113.9"


def test_the_number_of_hops_is_limited():
    """At most 32 hops are read; a longer chain of proxies ends at the last one that was read."""
    assert PROXIES.client_of(PEER, "203.0.113.9" + ", 10.0.0.2" * (MAX_HOPS - 1)) == "203.0.113.9"
    assert PROXIES.client_of(PEER, "203.0.113.9, 10.0.0.3" + ", 10.0.0.2" * MAX_HOPS) == "10.0.0.2"
    assert PROXIES.client_of(PEER, "203.0.113.9" + "," * 8_000) == PEER


@given(st.text() | st.lists(st.sampled_from(["10.0.0.2", "203.0.113.9", "[::1]:1", "x", "", "%"])).map(",".join))
def test_any_header_returns_an_address(header):
    """No header raises, and the answer is always an address."""
    assert ipaddress.ip_address(PROXIES.client_of(PEER, header))


@pytest.mark.parametrize(
    "text", ["10.0.0.1/8", "proxy.example", "10.0.0.0/33", "*", "10.0.0.0/8,,", "", "UNIX", "10.0.0.1:80"]
)
def test_invalid_lists(text):
    """An item that is neither an address, nor a network, nor `unix` is rejected by its text."""
    with pytest.raises(ValueError, match="is not a network: list addresses such as"):
        TrustedProxies.parse(text)


@pytest.mark.parametrize("text", ["0.0.0.0/0", "::/0", "10.0.0.0/8,::/0"])
def test_all_addresses_cannot_be_trusted(text):
    """A network of all addresses is rejected, because each client could claim any address."""
    with pytest.raises(ValueError, match="contains all addresses"):
        TrustedProxies.parse(text)
