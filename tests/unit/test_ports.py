"""Ports for servers that start now and are dialled by others."""

from __future__ import annotations

import socket
from pathlib import Path

import pytest

from broker import ports


def test_ports_are_different_and_can_be_listened_on() -> None:
    found = ports.free_ports(20)
    assert len(set(found)) == 20
    for port in found:
        with socket.socket() as server:
            server.bind(("127.0.0.1", port))
            server.listen()


def test_no_port_is_one_that_the_kernel_gives_to_outgoing_connections() -> None:
    first = int(Path("/proc/sys/net/ipv4/ip_local_port_range").read_text().split()[0])
    assert max(ports.free_ports(200)) < first


def test_a_port_in_use_is_never_given(monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.socket() as server:
        server.bind(("127.0.0.1", ports.free_port()))
        taken = server.getsockname()[1]
        monkeypatch.setattr(ports.random, "randrange", lambda *_: taken)
        with pytest.raises(OSError, match="no 1 free ports"):
            ports.free_port()
