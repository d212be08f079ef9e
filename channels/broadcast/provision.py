"""Accounts for terminals and broadcasters: random passwords, and exactly the topics that each needs."""

from __future__ import annotations

import csv
import os
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path

from broker.errors import ConfigError, Problem
from broker.mqtt.access import Login, new_password
from channels.broadcast.ids import (
    MESSAGE_FILTER,
    REPORT_FILTER,
    is_ebrid,
    message_topic,
    report_topic,
    village_of,
)

COLUMNS = ("ebrid", "password", "training")


@dataclass(frozen=True, slots=True)
class TerminalRow:
    """A terminal as its installer knows it."""

    ebrid: str
    password: str = field(repr=False)
    training: bool = False
    """Whether it exists for drills, and may therefore sound for them."""

    @property
    def login(self) -> Login:
        """May read its village's messages and write its own reports, nothing else."""
        return Login(
            self.ebrid, self.password, (message_topic(village_of(self.ebrid)),), (report_topic(self.ebrid),)
        )


def new_terminals(ebrids: Iterable[str], training: Iterable[str] = ()) -> list[TerminalRow]:
    """Terminals with fresh passwords. Raises ValueError for what is not an EBRID."""
    drilling = frozenset(training)
    rows = [TerminalRow(ebrid, new_password(), ebrid in drilling) for ebrid in ebrids]
    for row in rows:
        if not is_ebrid(row.ebrid):
            raise ValueError(f"{row.ebrid!r} is not an EBRID of 23 digits")
    return rows


def broadcaster_login(username: str, password: str | None = None) -> Login:
    """A broadcaster (a worker): may write all messages and read all reports."""
    return Login(username, password or new_password(), (REPORT_FILTER,), (MESSAGE_FILTER,))


def save_terminals(path: Path, rows: Iterable[TerminalRow]) -> None:
    """Write `ebrid,password,training` as CSV for the owner only."""
    with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(COLUMNS)
        writer.writerows((row.ebrid, row.password, int(row.training)) for row in rows)


def load_terminals(path: Path) -> list[TerminalRow]:
    """Read what `save_terminals` wrote. Raises ConfigError with every wrong line."""
    problems: list[Problem] = []
    rows: dict[str, TerminalRow] = {}
    try:
        with path.open(newline="") as file:
            table = list(csv.reader(file))
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise ConfigError([Problem(str(path), "broadcast.terminals.file", f"cannot be read: {error}")]) from error
    if not table or tuple(table[0]) != COLUMNS:
        raise ConfigError([Problem(f"{path}:1", "broadcast.terminals.header", f"expected {','.join(COLUMNS)}")])
    for number, cells in enumerate(table[1:], 2):
        place = f"{path}:{number}"
        if len(cells) != len(COLUMNS):
            problems.append(Problem(place, "broadcast.terminals.columns", f"expected {len(COLUMNS)} columns"))
            continue
        ebrid, password, training = cells
        if not is_ebrid(ebrid):
            problems.append(Problem(place, "broadcast.terminals.ebrid", "an EBRID has 23 digits", ebrid))
        elif ebrid in rows:
            problems.append(Problem(place, "broadcast.terminals.twice", "this terminal stands here twice", ebrid))
        elif len(password) < 32:
            problems.append(Problem(place, "broadcast.terminals.password", "a password has 32 characters or more"))
        elif training not in {"0", "1"}:
            problems.append(Problem(place, "broadcast.terminals.training", "expected 0 or 1", training))
        else:
            rows[ebrid] = TerminalRow(ebrid, password, training == "1")
    if problems:
        raise ConfigError(problems)
    return list(rows.values())
