"""Where requests may go. The name is resolved here, the address is checked, and the connection goes to that address.

Nothing between the check and the connection asks the resolver again, so a name that answers differently the second
time gains nothing. TLS goes on verifying the host name.
"""

from __future__ import annotations

import ipaddress
import socket
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any

from tasks.errors import UsageError

Resolver = Callable[[str, int], list[str]]
_NAT64 = ipaddress.IPv6Network("64:ff9b::/96")


def resolve(host: str, port: int) -> list[str]:
    """All addresses of a host, as the system resolves it (127.1 and 0x7f000001 become what they mean)."""
    return list(dict.fromkeys(str(info[4][0]) for info in socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)))


@dataclass(frozen=True)
class Network:
    """How names are resolved and which address is really dialled; tests bring a resolver of their own."""

    resolve: Resolver = resolve
    dial: Callable[[str, int], tuple[str, int]] = field(default=lambda address, port: (address, port))


def checked_addresses(host: str, port: int, resolver: Resolver, allow_private: bool) -> list[str]:
    """The addresses of a host, all of them allowed.

    Raises:
        UsageError: one of them is private, local or not a unicast address of the internet.
    """
    addresses = resolver(host.strip("[]"), port)
    for address in addresses:
        reason = forbidden(address, allow_private)
        if reason:
            raise UsageError(
                "the source leads to an address that may not be asked",
                where=host,
                why=f"{address} is {reason}",
                remedy="correct the address; private networks can be allowed with data.sources[].http.allow_private",
            )
    return addresses


def forbidden(address: str, allow_private: bool) -> str:
    """Why an address may not be asked; empty where it may."""
    for ip in _meanings(ipaddress.ip_address(address.partition("%")[0])):
        if ip.is_link_local:
            return "link-local"
        if ip.is_multicast:
            return "a multicast address"
        if ip.is_unspecified or int(ip) == 0xFFFFFFFF:
            return "no address of a host"
        if (not ip.is_global or getattr(ip, "is_site_local", False)) and not allow_private:
            return "loopback" if ip.is_loopback else "private or reserved"
    return ""


def _meanings(ip: ipaddress.IPv4Address | ipaddress.IPv6Address) -> Iterator[Any]:
    """The address, and the IPv4 one that is written inside it (mapped, compatible, 6to4, Teredo, NAT64)."""
    if not isinstance(ip, ipaddress.IPv6Address):
        yield ip
        return
    inner: Iterable[ipaddress.IPv4Address | None] = (ip.ipv4_mapped, ip.sixtofour, *(ip.teredo or ()))
    yield from (address for address in inner if address is not None)
    if ip in _NAT64 or 1 < int(ip) <= 0xFFFFFFFF:
        yield ipaddress.IPv4Address(int(ip) & 0xFFFFFFFF)
    if ip.ipv4_mapped is None:
        yield ip
