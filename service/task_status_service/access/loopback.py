"""Loopback hosts, for the bind address in the settings and for the Host header."""

import ipaddress


def is_loopback(host: str) -> bool:
    """Return whether a host is `localhost` or a loopback address, such as 127.0.0.1 or ::1.

    Any other name is rejected without a look-up: its address is controlled by a name server.
    """
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host.lower() == "localhost"
