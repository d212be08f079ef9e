"""Web addresses as people and the network may see them: without their secrets, and whether they are public."""

from __future__ import annotations

from ipaddress import IPv4Address, IPv6Address, ip_address, ip_network
from typing import Final

from yarl import URL

_NAT64: Final = ip_network("64:ff9b::/96")


def shown(url: str) -> str:
    """The address without user, password, query and fragment, which may hold secrets; for logs and lists."""
    try:
        parsed = URL(url)
        return str(parsed.with_user(None).with_query(None).with_fragment(None))
    except ValueError:
        return "(no address)"


def is_public(host: str) -> bool:
    """Whether an IP address is one of the open Internet; what carries another address inside is judged by that."""
    try:
        address: IPv4Address | IPv6Address = ip_address(host.partition("%")[0])
    except ValueError:
        return False
    if isinstance(address, IPv6Address):
        inside = address.ipv4_mapped or address.sixtofour or (address.teredo or (None, None))[1]
        if inside is None and address in _NAT64:
            inside = IPv4Address(int(address) & 0xFFFFFFFF)
        if inside is not None:
            return is_public(str(inside))
    return address.is_global and not address.is_multicast and not address.is_reserved


def is_address(host: str) -> bool:
    """Whether a host is written as an IP address."""
    try:
        ip_address(host.partition("%")[0])
    except ValueError:
        return False
    return True


def is_loopback(host: str) -> bool:
    """Whether a host is this machine by its name or address."""
    return host == "localhost" or (is_address(host) and ip_address(host.partition("%")[0]).is_loopback)
