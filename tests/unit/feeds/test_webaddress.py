"""Which addresses are public, and what of an address people may see."""

from __future__ import annotations

import pytest

from broker.webaddress import is_loopback, is_public, shown


@pytest.mark.parametrize("address", ["8.8.8.8", "2001:4860:4860::8888", "::ffff:8.8.8.8", "64:ff9b::808:808"])
def test_addresses_of_the_internet_are_public(address: str) -> None:
    assert is_public(address)


@pytest.mark.parametrize(
    "address",
    [
        "127.0.0.1", "0.0.0.0", "10.1.2.3", "172.16.0.1", "192.168.1.1", "169.254.169.254", "100.64.0.1",
        "224.0.0.1", "255.255.255.255", "240.0.0.1", "::1", "::", "fe80::1", "fe80::1%eth0", "fc00::1", "ff02::1",
        "::ffff:127.0.0.1", "::ffff:10.0.0.1", "64:ff9b::7f00:1", "64:ff9b::a00:1", "2002:7f00:1::", "localhost",
        "", "8.8.8.8.example",
    ],
)  # fmt: skip
def test_addresses_of_our_own_networks_and_names_are_not(address: str) -> None:
    assert not is_public(address)


@pytest.mark.parametrize(
    ("url", "seen"),
    [
        ("https://a.example/feed?key=secret", "https://a.example/feed"),
        ("https://user:secret@a.example:8443/feed#secret", "https://a.example:8443/feed"),
        ("https://[bad/secret", "(no address)"),
    ],
)
def test_secrets_in_an_address_are_not_shown(url: str, seen: str) -> None:
    assert shown(url) == seen
    assert "secret" not in shown(url)


def test_this_machine_is_known_by_its_names_only() -> None:
    assert all(is_loopback(host) for host in ("localhost", "127.0.0.1", "127.8.9.1", "::1"))
    assert not any(is_loopback(host) for host in ("localhost.example", "10.0.0.1", "example", ""))
