"""Bearer tokens of departments: 256 random bits, kept as SHA-256 only, compared in constant time."""

from __future__ import annotations

import hashlib
import hmac
import secrets
import time
from collections.abc import Iterable
from dataclasses import dataclass
from enum import StrEnum
from typing import Final
from weakref import WeakKeyDictionary

from broker.cap.model import Status
from broker.clock import now_ms
from broker.errors import NotAllowed
from broker.store.contract import Accounts
from broker.store.records import TokenRecord
from broker.types import Realm

_PREFIX: Final = "fh_"
"""Makes a leaked token easy to recognise for scanners."""
KEPT_SECONDS: Final = 1.0
"""How long a revoked token may go on working in a process that has just seen it."""
_MOST_KEPT: Final = 1_024
clock = time.monotonic
"""For intervals, in seconds."""


class Scope(StrEnum):
    """What a token may do."""

    POST = "alerts:post"
    READ = "alerts:read"
    RELEASE = "alerts:release"
    MACHINE = "alerts:machine"
    """Posts by itself, as a sensor does: held to the department's limits, and never releases."""


STATUSES: Final = {
    Realm.LIVE: (Status.ACTUAL, Status.SYSTEM, Status.DRAFT),
    Realm.DRILL: (Status.EXERCISE, Status.TEST, Status.DRAFT),
}
"""What a credential posts and releases (CAP 1.2, 3.2.1 `status`): live and drill are kept apart by it."""


class Unauthenticated(NotAllowed):
    """No valid token: send `Authorization: Bearer fh_…`."""


def digest(token: str) -> bytes:
    """What is kept of a token; one that came as bytes of no text is just a token that nobody has."""
    return hashlib.sha256(token.encode("utf-8", "surrogateescape")).digest()


def new(
    department: str,
    scopes: Iterable[Scope] = (Scope.POST, Scope.READ),
    *,
    days: int | None = None,
    realm: Realm = Realm.LIVE,
) -> tuple[str, TokenRecord]:
    """A fresh token, to be shown once, and the record to keep; valid for `days` or until revoked.

    It belongs to one realm for ever: live warnings or drills. Raises ValueError for a machine that may release.
    """
    scopes = tuple(scopes)
    if Scope.MACHINE in scopes and Scope.RELEASE in scopes:
        raise ValueError("a machine may not release: release is a person's act")
    token = _PREFIX + secrets.token_urlsafe(32)
    created = now_ms()
    record = TokenRecord(
        id=f"{department}-{secrets.token_hex(4)}",
        department=department,
        digest=digest(token),
        scopes=tuple(str(scope) for scope in scopes),
        created=created,
        expires=None if days is None else created + days * 86_400_000,
        revoked=None,
        realm=realm,
    )
    return token, record


async def authenticate(authorization: str | None, accounts: Accounts) -> TokenRecord:
    """The token behind an `Authorization` header. Raises Unauthenticated without saying why in detail.

    What the store said of a token counts for KEPT_SECONDS at most, so a revocation takes effect within that.
    """
    scheme, _, token = (authorization or "").partition(" ")
    if scheme.lower() != "bearer" or not token:
        raise Unauthenticated
    given = digest(token.strip())
    record = await _found(given, accounts)
    if record is None or not hmac.compare_digest(record.digest, given):
        raise Unauthenticated("this token is not known")
    if record.revoked is not None or (record.expires is not None and record.expires <= now_ms()):
        raise Unauthenticated("this token is revoked or has expired")
    return record


@dataclass(slots=True)
class _Kept:
    """A token as the store gave it, and when it was asked (by the clock for intervals)."""

    record: TokenRecord
    asked: float
    asking: bool = False


_kept: WeakKeyDictionary[Accounts, dict[bytes, _Kept]] = WeakKeyDictionary()


async def _found(given: bytes, accounts: Accounts) -> TokenRecord | None:
    """The token of a digest; only one that exists is remembered, and not for long."""
    kept = _kept.setdefault(accounts, {})
    known, now = kept.get(given), clock()
    if known is not None:
        age = now - known.asked
        if age < KEPT_SECONDS / 2 or (age < KEPT_SECONDS and known.asking):
            return known.record
        known.asking = True  # one asks anew while the others go on with what is known
    record = await accounts.token_by_digest(given)
    if record is None:
        kept.pop(given, None)
        return None
    if len(kept) >= _MOST_KEPT:
        kept.clear()
    kept[given] = _Kept(record, now)
    return record


def require(record: TokenRecord, scope: Scope) -> None:
    """Raises NotAllowed if the token lacks `scope`."""
    if scope not in record.scopes:
        raise NotAllowed(f"this token lacks the scope {scope}")
