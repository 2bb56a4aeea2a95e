"""Whose request it is, as far as an address tells: the peer's, or the one that a trusted proxy names.

Rule: `X-Forwarded-For` is read from the right, and each entry is believed only as long as the one who
wrote it is trusted (IRG_TRUSTED_PROXIES); so nobody can give himself another address. Limits per
address count `limited_by`: never a private address that is not listed, since a whole network may stand
behind it, and an IPv6 address by its /64, of which every host has as many as it wants.
Called by the guard and by the settings.
"""

from __future__ import annotations

import functools
import ipaddress
from collections.abc import Iterable, Sequence

Address = ipaddress.IPv4Address | ipaddress.IPv6Address
Network = ipaddress.IPv4Network | ipaddress.IPv6Network

FORWARDED_FOR = b"x-forwarded-for"

_IPV6_HOST_BITS = 64


def parse_network(text: str) -> Network:
    """An address or a CIDR. Raises: `ValueError`, also for bits set behind the prefix."""
    return ipaddress.ip_network(text)


@functools.lru_cache(maxsize=4096)
def parse_address(text: str) -> Address | None:
    """An address as sockets and proxies write it (`1.2.3.4:80`, `[::1]:80`, `::ffff:1.2.3.4`), or None."""
    text = text.strip()
    if text.startswith("["):
        text = text[1:].partition("]")[0]
    elif text.count(":") == 1:
        text = text.partition(":")[0]
    try:
        address = ipaddress.ip_address(text.partition("%")[0])
    except ValueError:
        return None
    mapped = address.ipv4_mapped if isinstance(address, ipaddress.IPv6Address) else None
    return mapped or address


def is_listed(address: Address, trusted: Sequence[Network]) -> bool:
    """True if the address belongs to one of the networks."""
    return any(address in network for network in trusted if network.version == address.version)


def client_address(peer: Address, headers: Iterable[tuple[bytes, bytes]], trusted: Sequence[Network]) -> Address:
    """The right-most address that no trusted proxy has; all are trusted: the left-most.

    `headers`: as received, names in lower case. What is no address ends the search.
    """
    address = peer
    if not is_listed(address, trusted):
        return address
    lines = [value.decode("latin-1") for name, value in headers if name == FORWARDED_FOR]
    for token in reversed(",".join(lines).split(",")):
        told = parse_address(token)
        if told is None:
            return address
        address = told
        if not is_listed(address, trusted):
            return address
    return address


def limited_by(address: Address, trusted: Sequence[Network]) -> str | None:
    """What limits per address count this one under; None = it is not limited."""
    if not address.is_global and not is_listed(address, trusted):
        return None
    if isinstance(address, ipaddress.IPv6Address):
        return str(ipaddress.ip_network((address, _IPV6_HOST_BITS), strict=False))
    return str(address)
