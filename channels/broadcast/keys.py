"""Signing keys of the broadcaster and the public keys that terminals trust, by id (Ed25519, RFC 8032)."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

from broker.errors import ConfigError, Problem

_KEY_ID: Final = re.compile(r"[A-Za-z0-9._-]{1,32}")
SIGNATURE_BYTES: Final = 64


@dataclass(frozen=True, slots=True)
class SigningKey:
    """The broadcaster's key: what has it can make loudspeakers speak."""

    id: str
    private: Ed25519PrivateKey = field(repr=False)

    @classmethod
    def generate(cls, key_id: str) -> SigningKey:
        """A new random key. Raises ValueError for an id that is not 1 to 32 letters, digits, dots, dashes."""
        if not _KEY_ID.fullmatch(key_id):
            raise ValueError("a key id has 1 to 32 letters, digits, dots or dashes")
        return cls(key_id, Ed25519PrivateKey.generate())

    @classmethod
    def load(cls, path: Path, key_id: str) -> SigningKey:
        """From an unencrypted PKCS #8 PEM file. Raises ConfigError."""
        if not _KEY_ID.fullmatch(key_id):
            rule, message = "broadcast.key.id", "a key id has 1 to 32 letters, digits, dots or dashes"
            raise ConfigError([Problem(str(path), rule, message, key_id)])
        try:
            private = serialization.load_pem_private_key(path.read_bytes(), password=None)
        except OSError as error:
            raise ConfigError(
                [Problem(str(path), "broadcast.key.file", f"cannot be read: {error.strerror}")]
            ) from error
        except (ValueError, TypeError) as error:
            raise ConfigError([Problem(str(path), "broadcast.key.form", "not an unencrypted PEM key")]) from error
        if not isinstance(private, Ed25519PrivateKey):
            raise ConfigError([Problem(str(path), "broadcast.key.kind", "not an Ed25519 key")])
        return cls(key_id, private)

    def save(self, path: Path) -> None:
        """Write as PKCS #8 PEM for the owner only; an existing file is never replaced (FileExistsError)."""
        pem = self.private.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        )
        with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
            file.write(pem)

    def sign(self, data: bytes) -> bytes:
        """The signature, 64 bytes."""
        return self.private.sign(data)

    def public_line(self) -> str:
        """The public half as a line for terminals: `id = 64 hexadecimal digits`."""
        return f"{self.id} = {self.private.public_key().public_bytes_raw().hex()}"


class TrustedKeys:
    """The public keys that a terminal carries; nothing else is believed."""

    def __init__(self, keys: Mapping[str, Ed25519PublicKey]) -> None:
        self._keys = dict(keys)

    @classmethod
    def parse(cls, text: str, place: str) -> TrustedKeys:
        """From lines `id = 64 hexadecimal digits`; empty lines and # comments are passed. Raises ConfigError."""
        keys: dict[str, Ed25519PublicKey] = {}
        problems: list[Problem] = []
        for number, line in enumerate(text.splitlines(), 1):
            content = line.partition("#")[0].strip()
            if not content:
                continue
            key_id, _, digits = (part.strip() for part in content.partition("="))
            try:
                key = Ed25519PublicKey.from_public_bytes(bytes.fromhex(digits))
            except ValueError:
                key = None
            if key is None or not _KEY_ID.fullmatch(key_id):
                message = "expected `id = 64 hexadecimal digits`"
                problems.append(Problem(f"{place}:{number}", "broadcast.trusted.form", message))
            elif key_id in keys:
                problems.append(
                    Problem(f"{place}:{number}", "broadcast.trusted.twice", "this id stands here twice")
                )
            else:
                keys[key_id] = key
        if not keys and not problems:
            problems.append(
                Problem(place, "broadcast.trusted.none", "no public key: every message would be refused")
            )
        if problems:
            raise ConfigError(problems)
        return cls(keys)

    def knows(self, key_id: str) -> bool:
        """Whether this key is trusted."""
        return key_id in self._keys

    def verify(self, key_id: str, signature: bytes, data: bytes) -> bool:
        """Whether the signature over `data` was made with this trusted key."""
        key = self._keys.get(key_id)
        if key is None:
            return False
        try:
            key.verify(signature, data)
        except InvalidSignature:
            return False
        return True
