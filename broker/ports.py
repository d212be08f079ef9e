"""Free TCP ports for servers that are started now and dialled by others."""

from __future__ import annotations

import random
import socket
from pathlib import Path

_LOWEST = 10_000
_EPHEMERAL = Path("/proc/sys/net/ipv4/ip_local_port_range")
_EPHEMERAL_USUALLY = 32_768
_TRIES = 1_000


def free_ports(count: int, host: str = "127.0.0.1") -> list[int]:
    """Ports that nobody listens on at this moment, all different.

    They lie below those that the kernel gives to outgoing connections. A port from among those can be taken by a
    client before its server listens: by any connection, and even by the very client that dials it again and
    again, which TCP then connects to itself.

    Raises OSError if none is found.
    """
    ceiling = _first_ephemeral()
    chosen: list[int] = []
    for _ in range(_TRIES):
        if len(chosen) == count:
            return chosen
        port = random.randrange(_LOWEST, ceiling)
        if port not in chosen and _is_free(host, port):
            chosen.append(port)
    raise OSError(f"no {count} free ports on {host} from {_LOWEST} to {ceiling - 1}")


def free_port(host: str = "127.0.0.1") -> int:
    """One such port."""
    (port,) = free_ports(1, host)
    return port


def _first_ephemeral() -> int:
    try:
        first = int(_EPHEMERAL.read_text().split()[0])
    except (OSError, ValueError, IndexError):
        return _EPHEMERAL_USUALLY
    return first if first > 2 * _LOWEST else _EPHEMERAL_USUALLY


def _is_free(host: str, port: int) -> bool:
    with socket.socket() as probe:
        try:
            probe.bind((host, port))
        except OSError:
            return False
    return True
