"""Sessions of people who signed in, and the tokens that tie a form to the browser it was shown in."""

from __future__ import annotations

import hashlib
import hmac
import secrets
from collections.abc import Callable
from dataclasses import dataclass
from time import monotonic
from typing import Final

_BYTES: Final = 32
"""256 random bits."""


@dataclass(slots=True)
class Session:
    """Someone who is signed in."""

    name: str
    role: str
    csrf: str
    """Every form of this session carries it."""
    begun: float
    used: float
    ended: bool = False
    """Signed out: streams that are still open end at their next beat."""


class Sessions:
    """Sessions in memory, by the SHA-256 of their id: a look at the memory gives no cookie away.

    A session ends after `idle` seconds without a request (an open live page counts as use) and in any case
    `absolute` seconds after it began. `clock` counts seconds.
    """

    def __init__(
        self,
        *,
        idle: float = 3_600.0,
        absolute: float = 43_200.0,
        most: int = 10_000,
        clock: Callable[[], float] = monotonic,
    ) -> None:
        self._idle = idle
        self._absolute = absolute
        self._most = most
        self._clock = clock
        self._sessions: dict[bytes, Session] = {}

    def begin(self, name: str, role: str, *, former: str | None = None) -> str:
        """Begin a session and return its id, always a new one; the session `former` of this browser ends."""
        if former is not None:
            self.end(former)
        self._sweep()
        session_id = secrets.token_urlsafe(_BYTES)
        now = self._clock()
        self._sessions[_digest(session_id)] = Session(name, role, secrets.token_urlsafe(_BYTES), now, now)
        return session_id

    def get(self, session_id: str | None) -> Session | None:
        """The session with this id, which counts as use, or None if there is none or it has run out."""
        session = self._sessions.get(_digest(session_id)) if session_id else None
        if session is None or not self.touch(session):
            return None
        return session

    def touch(self, session: Session) -> bool:
        """Count as use; False if the session has ended."""
        if session.ended or not self._lasts(session):
            session.ended = True
            return False
        session.used = self._clock()
        return True

    def end(self, session_id: str) -> None:
        """Sign out."""
        session = self._sessions.pop(_digest(session_id), None)
        if session is not None:
            session.ended = True

    def __len__(self) -> int:
        """How many are kept."""
        return len(self._sessions)

    def _lasts(self, session: Session) -> bool:
        now = self._clock()
        return now - session.used <= self._idle and now - session.begun <= self._absolute

    def _sweep(self) -> None:
        for digest in [digest for digest, session in self._sessions.items() if not self._lasts(session)]:
            self._sessions.pop(digest).ended = True
        while len(self._sessions) >= self._most:
            self._sessions.pop(next(iter(self._sessions))).ended = True


class FormTokens:
    """Ties the sign-in form, which has no session yet, to a random cookie of the browser that asked for it.

    The form holds an HMAC of the cookie under a key of this process: another site can neither read the
    cookie nor make the HMAC.
    """

    def __init__(self) -> None:
        self._key = secrets.token_bytes(_BYTES)

    def fresh_cookie(self) -> str:
        """A new value for the cookie."""
        return secrets.token_urlsafe(_BYTES)

    def token(self, cookie: str) -> str:
        """What the form must hold beside `cookie`."""
        return hmac.new(self._key, cookie.encode("utf-8", "replace"), hashlib.sha256).hexdigest()

    def fits(self, cookie: str | None, token: str) -> bool:
        """Whether form and cookie belong together."""
        return cookie is not None and same(self.token(cookie), token)


def same(expected: str, given: str) -> bool:
    """Compare secrets in constant time."""
    return hmac.compare_digest(expected.encode(), given.encode("utf-8", "replace"))


def _digest(session_id: str) -> bytes:
    return hashlib.sha256(session_id.encode("utf-8", "replace")).digest()
