"""What the feeds say of one published alert: which feeds it is in, and its words in each language."""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import Final
from uuid import NAMESPACE_URL, uuid5

from broker import logs
from broker.cap.document import read
from broker.cap.findings import Posture
from broker.cap.level import Level
from broker.cap.model import Alert, Info
from broker.clock import from_ms
from broker.store.contract import Store
from broker.store.records import AlertRecord

_KEPT: Final = 2_000
_DEEPEST: Final = 50
"""Links of a chain that are followed; a real one has a handful."""
_LONGEST_SUMMARY: Final = 600
_CANCEL: Final = {"zh": "解除", "en": "Cancelled"}
"""What stands before the headline of what is taken back, by primary language; English for the others."""

Membership = frozenset[tuple[str, str | None]]
"""(language in lower case, level) pairs: the feeds that an alert is in."""


@dataclass(frozen=True, slots=True)
class Words:
    """One alert in one language."""

    title: str
    summary: str
    author: str
    event: str


@dataclass(frozen=True, slots=True)
class Entry:
    """One published alert. It never changes: what happens to an alert later is another message's entry."""

    id: str
    urn: str
    """The entry's id: the same for the same CAP identity wherever it is published."""
    msg_type: str
    level: str | None
    event: str
    tags: dict[str, str]
    """Language in lower case → as the alert writes it."""
    words: dict[str, Words]
    """By language in lower case, for the languages that the alert itself is written in."""
    otherwise: Words
    """For the languages of the messages before it."""
    members: Membership

    def in_feed(self, language: str, level: str | None) -> bool:
        """Whether it is in the feed of a language (or language range: zh takes zh-CN, RFC 4647, 3.3.1)."""
        return any(
            fits(language, member) and (level is None or level == member_level)
            for member, member_level in self.members
        )

    def best(self, language: str) -> Words:
        """The words for a language, or the nearest."""
        language = language.casefold()
        found = next((words for tag, words in self.words.items() if fits(language, tag)), self.otherwise)
        if self.msg_type != "Cancel":
            return found
        word = _CANCEL.get(language.partition("-")[0], _CANCEL["en"])
        return replace(found, title=f"{word}: {found.title}")


def fits(language: str, tag: str) -> bool:
    """Whether a language tag is in a basic language range (RFC 4647, 3.3.1); both in lower case."""
    return tag == language or tag.startswith(language + "-")


class Entries:
    """Makes entries and keeps the newest ones, so that an alert is parsed once and not at every request."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._kept: OrderedDict[str, Entry | None] = OrderedDict()
        self._log = logs.get(role="feeds")

    async def of(self, record: AlertRecord) -> Entry | None:
        """The entry of a published alert; None for one that cannot be read, which is logged."""
        entry, _ = await self._of(record, frozenset())
        return entry

    async def _of(self, record: AlertRecord, above: frozenset[str]) -> tuple[Entry | None, bool]:
        """The entry, and whether all that it refers to was followed: only then may it be kept for others."""
        if record.id in self._kept:
            self._kept.move_to_end(record.id)
            return self._kept[record.id], True
        before, whole = await self._before(record, above | {record.id})
        full = await self._store.alert(record.id)
        entry = await asyncio.to_thread(_entry, full, before)
        if entry is None:
            self._log.error("published_alert_unreadable", alert=record.id)
        if whole or not above:
            self._kept[record.id] = entry
            while len(self._kept) > _KEPT:
                self._kept.popitem(last=False)
        return entry, whole

    async def _before(self, record: AlertRecord, above: frozenset[str]) -> tuple[Membership, bool]:
        """The feeds of what a message refers to.

        Whoever reads the red feed must learn that the red warning is yellow now, or over: a message is in those
        feeds as well.
        """
        members: set[tuple[str, str | None]] = set()
        whole = True
        for reference in await self._store.references(record.id):
            if reference.target is None:
                continue
            if reference.target in above or len(above) > _DEEPEST:
                whole = False
                continue
            for target in await self._store.published(alert=reference.target, limit=1):
                found, complete = await self._of(target, above)
                members |= found.members if found is not None else frozenset()
                whole = whole and complete
        return frozenset(members), whole


def _entry(record: AlertRecord, before: Membership) -> Entry | None:
    form = "json" if "json" in record.content_type else "xml"
    alert = read(record.body, "json" if form == "json" else "xml", posture=Posture.LENIENT).alert
    if alert is None:
        return None
    own = {(info.language_tag.casefold(), _level(info)) for info in alert.infos}
    tags = {info.language_tag.casefold(): info.language_tag for info in reversed(alert.infos)}
    members = frozenset(own) | before
    words = {tag: _words(record, alert, infos) for tag, infos in _by_language(alert.infos)}
    return Entry(
        id=record.id,
        urn=uuid5(NAMESPACE_URL, f"cap:{record.sender},{record.identifier},{from_ms(record.sent).isoformat()}").urn,
        msg_type=record.msg_type,
        level=record.level,
        event=record.event,
        tags=tags,
        words=words,
        otherwise=next(iter(words.values()), _words(record, alert, ())),
        members=members,
    )


def _by_language(infos: Iterable[Info]) -> Iterable[tuple[str, list[Info]]]:
    found: dict[str, list[Info]] = {}
    for info in infos:
        found.setdefault(info.language_tag.casefold(), []).append(info)
    return found.items()


def _level(info: Info) -> str | None:
    level = Level.of(info.severity)
    return None if level is None else str(level)


def _words(record: AlertRecord, alert: Alert, infos: Iterable[Info]) -> Words:
    highest = sorted(infos, key=lambda info: -(level.rank if (level := Level.of(info.severity)) else 0))
    headline = next((info.headline for info in highest if info.headline), "") or next(
        (info.event for info in highest), record.headline
    )
    summary = next((info.description for info in highest if info.description), "") or (alert.note or "")
    author = next((info.sender_name for info in highest if info.sender_name), "") or alert.sender
    event = next((info.event for info in highest), "")
    return Words(
        _tidy(headline or record.headline) or record.identifier,
        _tidy(summary)[:_LONGEST_SUMMARY],
        _tidy(author),
        event,
    )


def _tidy(text: str) -> str:
    """One line without control characters, which XML cannot carry."""
    return " ".join("".join(char if char.isprintable() else " " for char in text).split())
