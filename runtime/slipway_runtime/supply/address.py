"""Addresses that no store may send us to: at them, clouds hand out the credentials of the machine.

Lives here: which addresses and names these are, however they are written, and what a name stands
for. `http.py` says when to ask. Private networks and loopback are no such addresses: stores in the
cluster redirect within it.

Source: RFC 3927, RFC 4291, RFC 6052; the clouds' pages on instance metadata.
"""

from __future__ import annotations

import ipaddress
import socket
from collections.abc import Iterable
from typing import Any, Final

Address = ipaddress.IPv4Address | ipaddress.IPv6Address

SERVICES: Final = tuple(
    map(
        ipaddress.ip_network,
        (
            "100.100.100.200/32",  # Alibaba Cloud
            "168.63.129.16/32",  # Azure's agent
            "192.0.0.192/32",  # Oracle Cloud
            "fd00:ec2::/32",  # what EC2 offers its machines
            "fd20:ce::/32",  # Google Cloud
        ),
    )
)
"""Metadata services that are not at an address of the link; the others are at 169.254.169.254."""
_NAMES: Final = frozenset(
    {"metadata.google.internal", "metadata.goog", "instance-data.ec2.internal"}
)
"""For where a proxy resolves names, and we cannot look."""
_NAT64: Final = ipaddress.IPv6Network("64:ff9b::/96")
_COMPATIBLE: Final = ipaddress.IPv6Network("::/96")


def is_refused(address: Address) -> bool:
    """Tell whether an address is one of the link, of a metadata service, or of nobody.

    >>> is_refused(ipaddress.ip_address("::ffff:169.254.169.254"))
    True
    >>> is_refused(ipaddress.ip_address("10.0.0.7")), is_refused(ipaddress.ip_address("::1"))
    (False, False)
    """
    inner = _embedded(address)
    if inner is not None and is_refused(inner):
        return True
    return (
        address.is_link_local
        or address.is_unspecified
        or address.is_multicast
        or any(address in network for network in SERVICES)
    )


def refused_of(host: str, port: int) -> str | None:
    """Resolve a host as it will be resolved to connect; the first refused address, if any.

    Raises:
        OSError: it cannot be resolved.
    """
    return _first_refused(socket.getaddrinfo(host, port, type=socket.SOCK_STREAM))


def refused_as_written(host: str) -> str | None:
    """Judge a host that somebody else will resolve: an address in any spelling, or a known name."""
    bare = host.lower().rstrip(".")
    if bare in _NAMES:
        return bare
    try:
        return _first_refused(socket.getaddrinfo(bare, None, flags=socket.AI_NUMERICHOST))
    except (OSError, UnicodeError):
        return None


def _first_refused(found: Iterable[tuple[Any, ...]]) -> str | None:
    for *_, place in found:
        text = str(place[0]).partition("%")[0]
        if is_refused(ipaddress.ip_address(text)):
            return text
    return None


def _embedded(address: Address) -> ipaddress.IPv4Address | None:
    """The IPv4 address that an IPv6 address leads to, by one of the ways there are."""
    if isinstance(address, ipaddress.IPv4Address):
        return None
    if address in _NAT64 or (address in _COMPATIBLE and int(address) > 1):
        return ipaddress.IPv4Address(int(address) & 0xFFFFFFFF)
    return address.ipv4_mapped or address.sixtofour
