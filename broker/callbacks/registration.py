"""Registering a callback: an address that may be called, and a secret that only the department and we know."""

from __future__ import annotations

import secrets
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Final

from yarl import URL

from broker.clock import now_ms
from broker.errors import InputRefused, Problem
from broker.sealing import Keyring, pack
from broker.store.outside_records import CallbackRecord
from broker.types import AlertState
from broker.webaddress import is_loopback, shown

_SECRET_PREFIX: Final = "fhs_"  # noqa: S105 - makes a leaked secret easy to recognise for scanners
_LONGEST_URL: Final = 2_000


@dataclass(frozen=True, slots=True)
class Target:
    """Where a callback goes and what signs it, unsealed."""

    url: str = field(repr=False)
    secret: str = field(repr=False)


def new(department: str, url: str, states: Iterable[str], keyring: Keyring) -> tuple[str, CallbackRecord]:
    """A fresh secret, to be shown once, and the record to keep.

    Raises InputRefused with every problem: an address that is not https (http is for this machine only), or that
    has a name and password in it (they would be sent, and logged by others), states that there are not.
    """
    problems = [*_address(url)]
    known = {str(state): state for state in AlertState}
    chosen = list(dict.fromkeys(states))
    problems += [
        Problem("states", "callback.state", f"no state {state!r}; there are {', '.join(known)}", state)
        for state in chosen
        if state not in known
    ]
    if problems:
        raise InputRefused(problems)
    callback = f"cb-{secrets.token_hex(6)}"
    secret = _SECRET_PREFIX + secrets.token_urlsafe(32)
    # As it was given wherever that can be sent: another spelling could be another key in a query.
    written = url if url.isascii() else str(URL(url))
    sealed = keyring.seal(pack([written, secret]), _context(callback))
    record = CallbackRecord(
        id=callback,
        department=department,
        shown=shown(url),
        sealed=sealed,
        states=tuple(known[state] for state in chosen),
        created=now_ms(),
    )
    return secret, record


def target(callback: CallbackRecord, keyring: Keyring) -> Target:
    """The address and secret of a callback. Raises SealError."""
    url, secret = keyring.open(callback.sealed, _context(callback.id)).tolist()
    return Target(url.decode(), secret.decode())


def _address(url: str) -> Iterable[Problem]:
    try:
        parsed = URL(url)
        scheme, host = parsed.scheme, parsed.host
    except ValueError:
        scheme, host = "", None
    if scheme not in ("http", "https") or not host or not url.isprintable() or " " in url:
        yield Problem("url", "callback.url", "an https address is expected")
        return
    if scheme == "http" and not is_loopback(host):
        yield Problem("url", "callback.https", "http is only for this machine; use https", shown(url))
    if parsed.user is not None or parsed.password is not None:
        message = "the address must hold no user and password; the signature proves who calls"
        yield Problem("url", "callback.user", message, shown(url))
    if len(str(parsed)) > _LONGEST_URL:
        yield Problem("url", "callback.url", f"the address is longer than {_LONGEST_URL} characters")


def _context(callback: str) -> str:
    return f"callback/{callback}"
