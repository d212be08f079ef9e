"""People who sign in: argon2id passwords, and the growing delay that guessing runs into."""

from __future__ import annotations

import asyncio
import math
import re
import secrets
from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum
from functools import cache
from time import monotonic
from typing import Final

from argon2 import PasswordHasher
from argon2.exceptions import Argon2Error, InvalidHashError

from broker.clock import now_ms
from broker.errors import Conflict, FenghuoError, InputRefused, Problem
from broker.store.contract import Accounts
from broker.store.records import PersonRecord

_ALPHABET: Final = "abcdefghijkmnpqrstuvwxyz23456789"
"""Without l, o, 0 and 1, which look alike on a terminal; 32 letters are five bits each."""
_GROUPS: Final = 4
_GROUP_LETTERS: Final = 5
_NAME: Final = re.compile(r"[\w][\w.@-]{0,63}")
_MAX_PASSWORD: Final = 1024
"""Longer ones are refused unread: hashing is work that a stranger could make us do."""
_AT_ONCE: Final = 2
"""Hashes at a time: each takes some 64 MB and a core."""


class Role(StrEnum):
    """What a person is here for. Every role may watch the live page."""

    FORECASTER = "forecaster"
    RELEASER = "releaser"
    OPERATOR = "operator"
    AUDITOR = "auditor"
    ADMINISTRATOR = "administrator"


class WrongPassword(FenghuoError):
    """The name or the password is wrong."""


class TooManyFailures(FenghuoError):
    """Too many failures: wait before the next try."""

    def __init__(self, seconds: int) -> None:
        self.seconds = seconds
        """How long to wait, whole seconds, at least 1."""
        super().__init__(f"too many failures, try again in {seconds} s")


@dataclass(slots=True)
class _Failures:
    count: int = 0
    until: float = 0.0
    last: float = 0.0


class Delay:
    """Makes whoever fails wait: after `free` failures 2 s, then twice as long each time, up to `longest`.

    A failure is counted before the password is checked, so that a burst of parallel tries gains nothing.
    `clock` counts seconds. A key that has been quiet for `forget` seconds starts anew.
    """

    def __init__(
        self,
        *,
        free: int,
        longest: float = 300.0,
        forget: float = 900.0,
        most: int = 10_000,
        clock: Callable[[], float] = monotonic,
    ) -> None:
        self._free = free
        self._longest = longest
        self._forget = forget
        self._most = most
        self._clock = clock
        self._keys: dict[str, _Failures] = {}

    def remaining(self, key: str) -> float:
        """Seconds that `key` has still to wait, 0 if it may try."""
        known = self._keys.get(key)
        return 0.0 if known is None else max(0.0, known.until - self._clock())

    def count(self, key: str) -> None:
        """Count a try that has not succeeded yet."""
        now = self._clock()
        known = self._keys.get(key)
        if known is None or now - known.last > self._forget:
            self._make_room(now)
            known = self._keys[key] = _Failures()
        known.count += 1
        known.last = now
        beyond = known.count - self._free
        if beyond >= 0:
            known.until = now + min(self._longest, 2.0 ** min(beyond + 1, 32))

    def clear(self, key: str) -> None:
        """Forget the failures of `key`: it has succeeded."""
        self._keys.pop(key, None)

    def forgive(self, key: str) -> None:
        """Take one counted try back, for a key that others may be failing under at the same time."""
        known = self._keys.get(key)
        if known is not None:
            known.count -= 1
            if known.count < self._free:
                known.until = 0.0

    def _make_room(self, now: float) -> None:
        if len(self._keys) < self._most:
            return
        for key in [key for key, known in self._keys.items() if now - known.last > self._forget]:
            del self._keys[key]
        while len(self._keys) >= self._most:  # the longest quiet goes first: dicts keep their order
            del self._keys[next(iter(self._keys))]


class Passwords:
    """Checks who signs in. Hashing runs off the event loop, a few at a time."""

    def __init__(self, accounts: Accounts, *, clock: Callable[[], float] = monotonic) -> None:
        self._accounts = accounts
        self._hasher = PasswordHasher()
        self._turns = asyncio.Semaphore(_AT_ONCE)
        self._by_name = Delay(free=3, clock=clock)
        # A whole control room may share one address, so it is given more tries than a name.
        self._by_address = Delay(free=12, clock=clock)

    async def check(self, name: str, password: str, address: str) -> PersonRecord:
        """The person with this name and password, trying from `address`.

        Raises TooManyFailures without looking at the password while name or address must wait, and
        WrongPassword without saying which of the two was wrong.
        """
        name = name.strip()
        wait = max(self._by_name.remaining(name), self._by_address.remaining(address))
        if wait > 0:
            raise TooManyFailures(math.ceil(wait))
        if not _NAME.fullmatch(name) or not 0 < len(password) <= _MAX_PASSWORD:
            self._by_address.count(address)
            raise WrongPassword
        self._by_name.count(name)
        self._by_address.count(address)
        person = await self._accounts.person(name)
        async with self._turns:
            right = await asyncio.to_thread(self._verify, person, password)
        if person is None or not right:
            raise WrongPassword
        self._by_name.clear(name)
        self._by_address.forgive(address)
        return person

    def _verify(self, person: PersonRecord | None, password: str) -> bool:
        # An unknown name costs a hash too, so that the time of an answer does not tell which names exist.
        kept = _dummy() if person is None else person.password
        try:
            return self._hasher.verify(kept, password)
        except (Argon2Error, InvalidHashError):
            return False


@cache
def _dummy() -> str:
    return PasswordHasher().hash(secrets.token_hex(16))


async def new_person(accounts: Accounts, name: str, role: str, *, replace: bool = False) -> str:
    """Make a person and return a password of 100 random bits, which is shown once and never kept.

    Raises InputRefused for a bad name or role, and Conflict if the name is taken and `replace` is not given.
    """
    problems = []
    if not _NAME.fullmatch(name):
        message = "1 to 64 letters, digits, dots, dashes, underscores or @, beginning with a letter or digit"
        problems.append(Problem("name", "person.name", message, name[:80]))
    if role not in list(Role):
        problems.append(Problem("role", "person.role", f"one of {', '.join(Role)} is expected", role[:80]))
    if problems:
        raise InputRefused(problems)
    if not replace and await accounts.person(name) is not None:
        raise Conflict(f"there is a person {name!r} already")
    letters = "".join(secrets.choice(_ALPHABET) for _ in range(_GROUPS * _GROUP_LETTERS))
    password = "-".join(letters[at : at + _GROUP_LETTERS] for at in range(0, len(letters), _GROUP_LETTERS))
    kept = await asyncio.to_thread(PasswordHasher().hash, password)
    await accounts.put_person(PersonRecord(name, kept, role, now_ms()))
    return password
