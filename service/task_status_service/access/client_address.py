"""The address of a client, which trusted proxies report in `X-Forwarded-For`."""

import ipaddress
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network
from typing import Final, Self

import msgspec

_Address = IPv4Address | IPv6Address

#: in the setting: the peers of a Unix socket, which have no address
UNIX: Final = "unix"
#: hops that are read, from the right; a chain of proxies is shorter
MAX_HOPS: Final = 32
#: characters of a hop; longer than each address with a zone and a port
_MAX_HOP: Final = 100


class TrustedProxies(msgspec.Struct, frozen=True):
    """The proxies whose `X-Forwarded-For` is believed; by default none."""

    networks: tuple[IPv4Network | IPv6Network, ...] = ()
    #: whether the peers of a Unix socket are proxies
    unix: bool = False

    @classmethod
    def parse(cls, text: str) -> Self:
        """Read a comma-separated list of addresses, networks and `unix`.

        Raises:
            ValueError: An item is neither, or is a network of all addresses.
        """
        items = [item.strip() for item in text.split(",")]
        return cls(tuple(_network(item) for item in items if item != UNIX), UNIX in items)

    def client_of(self, peer: str, forwarded_for: str | None) -> str:
        """Return the address of the client in its canonical form; an empty text for the peer of a Unix socket.

        Read from right to left, `X-Forwarded-For` contains the hops that trusted proxies have seen, and then the
        client. Everything to the left of it was sent by the client, and is not read. A hop that is no address
        (`unknown`) ends the reading too: the result is the proxy that reported it.

        Args:
            peer: address of the connection; for a Unix socket a path that the peer may choose, or an empty text.
            forwarded_for: value of the header.
        """
        address = _address(peer)
        if not forwarded_for or not (self._trusts(address) if address else self.unix):
            return str(address or "")
        for hop in reversed(forwarded_for.rsplit(",", MAX_HOPS)[-MAX_HOPS:]):
            found = _address_of_hop(hop)
            if found is None:
                break
            address = found
            if not self._trusts(address):
                break
        return str(address or "")

    def _trusts(self, address: _Address) -> bool:
        # False for a network of the other version.
        return any(address in network for network in self.networks)


def _network(item: str) -> IPv4Network | IPv6Network:
    try:
        network = ipaddress.ip_network(item)
    except ValueError:
        raise ValueError(
            f"{item!r} is not a network: list addresses such as 10.0.0.7, networks such as 10.0.0.0/8 or fd00::/8 "
            f"without host bits, or {UNIX}, separated by commas"
        ) from None
    if not network.prefixlen:
        raise ValueError(f"{item!r} contains all addresses, so that each client could claim any: list your proxies")
    return network


def _address_of_hop(hop: str) -> _Address | None:
    """Return the address of a hop, which may have a port, and brackets around an IPv6 address."""
    hop = hop.strip()
    if len(hop) > _MAX_HOP:
        return None
    if hop.startswith("["):
        host, bracket, port = hop[1:].partition("]")
        if not bracket or not (port == "" or _is_port(port)):
            return None
        address = _address(host)
        return address if isinstance(address, IPv6Address) or ":" in host else None
    host, colon, port = hop.partition(":")
    if colon and ":" not in port:
        return _address(host) if _is_port(f":{port}") else None
    return _address(hop)


def _is_port(text: str) -> bool:
    return text[:1] == ":" and text[1:].isascii() and text[1:].isdecimal()


def _address(text: str) -> _Address | None:
    """Return an address without its zone; an IPv4-mapped IPv6 address becomes the IPv4 address."""
    try:
        address = ipaddress.ip_address(text.partition("%")[0])
    except ValueError:
        return None
    return (isinstance(address, IPv6Address) and address.ipv4_mapped) or address
