"""Device tokens: derived from one secret, so that no directory of devices is needed to check them.

token = base64url(HMAC-SHA256(secret, "<channel>:<device id>")), without padding; sent as
`Authorization: Bearer <token>` (RFC 6750 §2.1). A new secret ends every token at once.
"""

from __future__ import annotations

import base64
import hmac
import re
from pathlib import Path
from typing import Final

from broker.errors import ConfigError, Problem

MINIMUM_SECRET_BYTES: Final = 32
_DEVICE: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,23}")


def is_device_id(text: str) -> bool:
    """Whether `text` can name a device: 1 to 24 ASCII letters, digits, dots, dashes or underscores."""
    return _DEVICE.fullmatch(text) is not None


def load_secret(path: Path) -> bytes:
    """Read the secret, without white space at its ends. Raises ConfigError if it is missing or too short."""
    try:
        secret = path.read_bytes().strip()
    except OSError as error:
        problem = Problem(str(path), "device_secret.unreadable", f"cannot be read: {error.strerror}")
        raise ConfigError([problem]) from error
    if len(secret) < MINIMUM_SECRET_BYTES:
        message = f"a device secret needs at least {MINIMUM_SECRET_BYTES} bytes, this one has {len(secret)}"
        raise ConfigError([Problem(str(path), "device_secret.short", message)])
    return secret


def device_token(secret: bytes, channel: str, device: str) -> str:
    """The token of one device of one channel ("app" or "signage")."""
    digest = hmac.digest(secret, f"{channel}:{device}".encode(), "sha256")
    return base64.urlsafe_b64encode(digest).rstrip(b"=").decode()


class Gate:
    """Lets devices of one channel in by their tokens."""

    def __init__(self, secret: bytes, channel: str) -> None:
        self._secret = secret
        self._channel = channel

    def admits(self, device: str, authorization: str) -> bool:
        """Whether the value of an Authorization header proves `device`; compared in constant time."""
        scheme, _, token = authorization.partition(" ")
        if scheme.lower() != "bearer" or not is_device_id(device):
            return False
        expected = device_token(self._secret, self._channel, device)
        return hmac.compare_digest(expected.encode(), token.strip().encode("utf-8", "surrogateescape"))
