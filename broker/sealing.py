"""Sealed pages of addresses: phone numbers and device ids are encrypted by the page, one AEAD operation each.

A sealed page is `version (1) | key id (8) | nonce (12) | AES-256-GCM ciphertext and tag`. The plain page is
`width (2, little endian)` followed by fixed-width ASCII addresses padded with NUL, so that a page of 4,096
becomes a numpy array without a loop. The context (which page, which batch) is authenticated, so that a page
cannot be moved to other recipients.
"""

from __future__ import annotations

import hashlib
import hmac
import os
import secrets
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Final

import numpy as np
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from numpy.typing import NDArray

from broker.errors import ConfigError, FenghuoError, Problem

Addresses = NDArray[np.bytes_]
"""Fixed-width ASCII addresses."""

KEYS_VARIABLE: Final = "FENGHUO_ADDRESS_KEYS"
_VERSION: Final = b"\x01"
_HEADER: Final = 1 + 8 + 12


class SealError(FenghuoError):
    """A sealed page could not be opened."""


class Keyring:
    """Address keys by id; the first one seals, all of them open, so that keys can be rotated."""

    def __init__(self, keys: Mapping[str, bytes]) -> None:
        if not keys:
            raise ValueError("at least one address key is needed")
        for name, key in keys.items():
            if len(key) != 32:
                raise ValueError(f"address key {name!r} must have 32 bytes")
        self._ciphers = {_key_id(name): AESGCM(key) for name, key in keys.items()}
        first, key = next(iter(keys.items()))
        self._sealing = _key_id(first)
        self._index_key = hmac.digest(key, b"fenghuo address index", "sha256")

    @classmethod
    def parse(cls, text: str, place: str) -> Keyring:
        """Keys as lines (or words) of `name=64 hexadecimal digits`; the first seals. Raises ConfigError."""
        keys: dict[str, bytes] = {}
        problems = []
        for number, line in enumerate(text.split(), 1):
            name, _, digits = line.partition("=")
            try:
                key = bytes.fromhex(digits)
            except ValueError:
                key = b""
            if not name or len(key) != 32:
                problems.append(Problem(f"{place}:{number}", "keys.form", "expected name=64 hexadecimal digits"))
            elif name in keys:
                problems.append(Problem(f"{place}:{number}", "keys.twice", f"there are two keys named {name!r}"))
            else:
                keys[name] = key
        if not keys and not problems:
            problems.append(Problem(place, "keys.none", "no address key; `fenghuo keys init` makes one"))
        if problems:
            raise ConfigError(problems)
        return cls(keys)

    @classmethod
    def load(cls, path: Path | None) -> Keyring:
        """From the environment variable FENGHUO_ADDRESS_KEYS, else from `path`. Raises ConfigError."""
        text = os.environ.get(KEYS_VARIABLE)
        if text:
            return cls.parse(text, f"${KEYS_VARIABLE}")
        if path is None or not path.exists():
            where = str(path or KEYS_VARIABLE)
            raise ConfigError([Problem(where, "keys.none", "no address keys here; `fenghuo keys init` makes one")])
        return cls.parse(path.read_text(), str(path))

    @staticmethod
    def new_line() -> str:
        """A fresh random key as a line for the key file."""
        return f"k{secrets.token_hex(3)}={secrets.token_hex(32)}"

    def seal(self, addresses: Addresses, context: str) -> bytes:
        """Encrypt a page. `context` must be given again to open it."""
        width = addresses.dtype.itemsize
        plain = width.to_bytes(2, "little") + np.ascontiguousarray(addresses).tobytes()
        nonce = os.urandom(12)
        cipher = self._ciphers[self._sealing]
        return _VERSION + self._sealing + nonce + cipher.encrypt(nonce, plain, context.encode())

    def open(self, sealed: bytes, context: str) -> Addresses:
        """Decrypt a page. Raises SealError if it was altered, moved, or its key is not at hand."""
        if len(sealed) < _HEADER or sealed[:1] != _VERSION:
            raise SealError("not a sealed page of version 1")
        cipher = self._ciphers.get(sealed[1:9])
        if cipher is None:
            raise SealError(f"no key with id {sealed[1:9].hex()}")
        try:
            plain = cipher.decrypt(sealed[9:_HEADER], sealed[_HEADER:], context.encode())
        except InvalidTag as error:
            raise SealError(f"the page does not open as {context}") from error
        width = int.from_bytes(plain[:2], "little")
        return np.frombuffer(plain, f"S{width}", offset=2)

    def index(self, address: str) -> bytes:
        """Keyed hash of an address, to find it without storing it."""
        return hmac.digest(self._index_key, address.encode(), "sha256")[:16]


def pack(addresses: Iterable[str]) -> Addresses:
    """Addresses as a fixed-width array. Raises UnicodeEncodeError for anything but ASCII."""
    return np.array([address.encode("ascii") for address in addresses], dtype=np.bytes_)


def page_context(channel: str, number: int) -> str:
    """The context of a registry page."""
    return f"page/{channel}/{number}"


def batch_context(batch: int) -> str:
    """The context of a batch."""
    return f"batch/{batch}"


def masked(address: str) -> str:
    """An address as people may see it: 138****1234; shorter ones show their last two characters,
    and the shortest nothing."""
    if len(address) >= 11:
        return f"{address[:-8]}****{address[-4:]}"
    return f"****{address[-2:]}" if len(address) > 4 else "****"


def _key_id(name: str) -> bytes:
    return hashlib.sha256(name.encode()).digest()[:8]
