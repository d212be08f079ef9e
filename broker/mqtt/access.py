"""Who may connect to the MQTT server, and which topics they may read and write.

Passwords are 256 random bits, so the embedded server keeps their SHA-256 and compares in constant time: a
slow hash protects guessable words only, and would hold up thousands of terminals that come back at once.
There are no default accounts. An account may use one client id, its own name, so that nobody can take over
the session of another.
"""

from __future__ import annotations

import hashlib
import hmac
import json
import os
import secrets
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path

from broker.errors import ConfigError, Problem
from broker.mqtt.wire import matches, valid_filter

_NOBODY = hashlib.sha256(b"").digest()


def new_password() -> str:
    """256 random bits as 43 characters of base64url."""
    return secrets.token_urlsafe(32)


@dataclass(frozen=True, slots=True)
class Login:
    """A new account with its password, as it exists only while accounts are handed out."""

    username: str
    password: str = field(repr=False)
    read: tuple[str, ...] = ()
    """Topic filters that may be subscribed to."""
    write: tuple[str, ...] = ()
    """Topic filters that may be published to."""


@dataclass(frozen=True, slots=True)
class Account:
    """What the server keeps of a login."""

    username: str
    digest: bytes = field(repr=False)
    read: tuple[str, ...]
    write: tuple[str, ...]

    @classmethod
    def of(cls, login: Login) -> Account:
        """Forget the password but its hash."""
        return cls(login.username, hashlib.sha256(login.password.encode()).digest(), login.read, login.write)

    def may_subscribe(self, name: str) -> bool:
        """Whether this topic filter lies within what may be read: literally, or as a topic without wildcards."""
        if name in self.read:
            return True
        return "+" not in name and "#" not in name and any(matches(name, own) for own in self.read)

    def may_publish(self, topic: str) -> bool:
        """Whether this topic may be written."""
        return any(matches(topic, own) for own in self.write)


class Accounts:
    """All accounts of the embedded server, by name."""

    def __init__(self, accounts: Iterable[Account]) -> None:
        self._by_name = {account.username: account for account in accounts}

    def __len__(self) -> int:
        """How many accounts."""
        return len(self._by_name)

    def add(self, account: Account) -> None:
        """Add or replace an account."""
        self._by_name[account.username] = account

    def find(self, username: str, password: bytes) -> Account | None:
        """The account, if the password is right."""
        account = self._by_name.get(username)
        given = hashlib.sha256(password).digest()
        same = hmac.compare_digest(given, account.digest if account else _NOBODY)
        return account if same and account and password else None

    def save(self, path: Path) -> None:
        """Write as JSON lines, readable by the owner only, in one step."""
        lines = [
            json.dumps({"username": a.username, "sha256": a.digest.hex(), "read": a.read, "write": a.write})
            for a in self._by_name.values()
        ]
        part = path.with_name(path.name + ".part")
        with os.fdopen(os.open(part, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w") as file:
            file.write("".join(f"{line}\n" for line in lines))
        part.replace(path)

    @classmethod
    def load(cls, path: Path) -> Accounts:
        """Read what `save` wrote. Raises ConfigError with every wrong line."""
        problems: list[Problem] = []
        accounts: dict[str, Account] = {}
        try:
            text = path.read_text()
        except OSError as error:
            raise ConfigError(
                [Problem(str(path), "mqtt.accounts.file", f"cannot be read: {error.strerror}")]
            ) from error
        for number, line in enumerate(text.splitlines(), 1):
            try:
                account = _parse(line)
            except (ValueError, KeyError, TypeError) as error:
                problems.append(Problem(f"{path}:{number}", "mqtt.accounts.form", f"not an account: {error}"))
                continue
            if account.username in accounts:
                problems.append(Problem(f"{path}:{number}", "mqtt.accounts.twice", "this name stands here twice"))
            accounts[account.username] = account
        if problems:
            raise ConfigError(problems)
        return cls(accounts.values())


def _parse(line: str) -> Account:
    fields = json.loads(line)
    if not isinstance(fields, dict) or set(fields) != {"username", "sha256", "read", "write"}:
        raise ValueError("expected username, sha256, read, write")
    digest = bytes.fromhex(fields["sha256"])
    topics = [*fields["read"], *fields["write"]]
    wrong = [name for name in topics if not isinstance(name, str) or not valid_filter(name)]
    if len(digest) != 32 or not fields["username"] or wrong:
        raise ValueError("sha256 has 64 hexadecimal digits, topics are valid filters, the name is not empty")
    return Account(str(fields["username"]), digest, tuple(fields["read"]), tuple(fields["write"]))
