"""A plan before it has ids: what would be sent, to whom, and why; frozen into batches with sealed addresses."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Final

import numpy as np

from broker.audience.index import AudienceIndex, Columns, Positions
from broker.audience.pages import PAGE_IDS
from broker.audience.policies import Decision
from broker.cap.level import Level
from broker.errors import Conflict, Problem
from broker.rendition.templates import Words
from broker.sealing import Addresses, Keyring, batch_context, page_context
from broker.store.records import BatchRecord, Plan, RecipientPage, RenditionRecord
from broker.types import CHANNELS, ChannelName, Lane, Phase

FIRST_ROUND: Final = 1

PageSource = Callable[[ChannelName, int], Awaitable[RecipientPage | None]]
"""Gives a page of the registry, such as `Store.page`."""


class Verdict(StrEnum):
    """What planning says of a segment."""

    PLANNED = "planned"
    NOBODY = "nobody to reach"
    NOT_A_WARNING = "not a warning"
    NOT_ADMITTED = "status reaches nobody"
    EXPIRED = "expired"
    NO_RULE = "no rule"
    AREA_UNRESOLVED = "area unresolved"
    NO_WORDS = "no words"

    @property
    def stops(self) -> bool:
        """Whether the whole alert stops until a person has looked, since part of it cannot be sent rightly."""
        return self in (Verdict.NO_RULE, Verdict.AREA_UNRESOLVED, Verdict.NO_WORDS)


@dataclass(slots=True)
class Outcome:
    """What became of one segment."""

    segment: int
    event: str
    level: Level | None
    verdict: Verdict = Verdict.PLANNED
    decision: Decision = field(default_factory=lambda: Decision(()))
    planned: dict[ChannelName, int] = field(default_factory=dict)
    """Recipients by channel."""
    unspoken: dict[ChannelName, int] = field(default_factory=dict)
    """Recipients in the area, by channel, for whom there are no words in any language that the policy allows."""
    problems: list[Problem] = field(default_factory=list)
    """Why it is not planned."""
    notes: list[Problem] = field(default_factory=list)
    """What is odd although it is planned."""

    def refuse(self, verdict: Verdict, sentence: str) -> None:
        """Set the verdict and say why."""
        self.verdict = verdict
        rule = f"plan.{verdict.name.lower()}"
        self.problems.append(Problem(f"segment {self.segment}", rule, sentence))


@dataclass(frozen=True, slots=True)
class RenditionDraft:
    """A rendition without its id; `rank` is the level's, 4 for red."""

    segment: int
    rank: int
    channel: ChannelName
    language: str
    words: Words
    expires: int
    phase: Phase = Phase.WARNING

    def record(self, number: int, alert: str) -> RenditionRecord:
        """With its id, as the rendition of an alert."""
        return RenditionRecord(
            id=number,
            alert=alert,
            segment=self.segment,
            channel=self.channel,
            language=self.language,
            template=self.words.template,
            content=self.words.content,
        )


@dataclass(frozen=True, slots=True)
class Cut:
    """A batch without its id: positions in the index, ascending, and the number of its rendition draft."""

    channel: ChannelName
    lane: Lane
    rendition: int
    district: int
    positions: Positions


@dataclass(frozen=True, slots=True)
class Draft:
    """What an alert becomes, except for ids and addresses."""

    alert: str
    at: int
    index: AudienceIndex
    outcomes: tuple[Outcome, ...]
    renditions: tuple[RenditionDraft, ...]
    cuts: tuple[Cut, ...]
    """In the order in which they should go out."""

    @property
    def batch_count(self) -> int:
        """How many batch ids `freeze` needs."""
        return len(self.cuts)

    @property
    def rendition_count(self) -> int:
        """How many rendition ids `freeze` needs."""
        return len(self.renditions)

    @property
    def stopped(self) -> bool:
        """Whether the alert must stop until a person has looked; then there are no batches."""
        return any(outcome.verdict.stops for outcome in self.outcomes)

    @property
    def reason(self) -> str | None:
        """Why the alert is stopped or reaches nobody, in sentences for people; None if something is sent."""
        if self.cuts:
            return None
        telling = [o for o in self.outcomes if o.verdict.stops] if self.stopped else self.outcomes
        return "; ".join(
            f"segment {outcome.segment} ({outcome.verdict}): {problem.message}"
            for outcome in telling
            for problem in outcome.problems
        )

    @property
    def notes(self) -> tuple[Problem, ...]:
        """What is odd although something is sent: languages not served, budgets exceeded, unknown groups."""
        said = [note for outcome in self.outcomes for note in outcome.notes]
        said += [finding for rendition in self.renditions for finding in rendition.words.findings]
        return tuple(dict.fromkeys(said))

    def counts(self) -> dict[ChannelName, int]:
        """Recipients by channel, channels without any included."""
        found = dict.fromkeys(CHANNELS, 0)
        for cut in self.cuts:
            found[cut.channel] += len(cut.positions)
        return found

    def holders(self) -> int:
        """How many people, households and places are reached, each counted once over all channels."""
        parts = [self.index.channels[cut.channel].holders[cut.positions] for cut in self.cuts]
        if not parts:
            return 0
        # Sorting and counting the steps: np.unique takes many times as long for the same answer.
        everybody = np.sort(np.concatenate(parts))
        return 1 + int(np.count_nonzero(everybody[1:] != everybody[:-1])) if len(everybody) else 0

    async def freeze(self, first_batch: int, first_rendition: int, pages: PageSource, keyring: Keyring) -> Plan:
        """The plan with ids and sealed addresses, every registry page opened once.

        Raises Conflict when the registry has changed under the draft (plan anew then), SealError when a page
        does not open.
        """
        renditions = tuple(
            draft.record(first_rendition + number, self.alert) for number, draft in enumerate(self.renditions)
        )
        sealed: dict[int, bytes] = {}
        for channel in CHANNELS:
            mine = [(number, cut) for number, cut in enumerate(self.cuts) if cut.channel is channel]
            if not mine:
                continue
            wanted = np.sort(np.concatenate([cut.positions for _, cut in mine]))
            addresses = await addresses_at(channel, self.index.channels[channel], wanted, pages, keyring)
            for number, cut in mine:
                page = addresses[np.searchsorted(wanted, cut.positions)]
                sealed[number] = keyring.seal(page, batch_context(first_batch + number))
        batches = tuple(
            self._batch(first_batch + number, cut, first_rendition, sealed[number])
            for number, cut in enumerate(self.cuts)
        )
        return Plan(self.alert, self.at, renditions, batches)

    def _batch(self, number: int, cut: Cut, first_rendition: int, addresses: bytes) -> BatchRecord:
        draft = self.renditions[cut.rendition]
        return BatchRecord(
            id=number,
            alert=self.alert,
            segment=draft.segment,
            channel=cut.channel,
            lane=cut.lane,
            rendition=first_rendition + cut.rendition,
            district=cut.district,
            round=FIRST_ROUND,
            expires=draft.expires,
            recipients=self.index.channels[cut.channel].ids[cut.positions],
            addresses=addresses,
        )


async def addresses_at(
    channel: ChannelName, columns: Columns, wanted: Positions, pages: PageSource, keyring: Keyring
) -> Addresses:
    """The addresses of recipients at ascending positions, in that order."""
    ids = columns.ids[wanted]
    numbers = ids // PAGE_IDS
    edges = np.flatnonzero(np.diff(numbers)) + 1
    found: list[Addresses] = []
    for part in np.split(np.arange(len(ids)), edges):
        number = int(numbers[part[0]])
        page = await pages(channel, number)
        where = np.searchsorted(page.ids, ids[part]) if page is not None else part
        if (
            page is None
            or int(where.max()) >= len(page)
            or not np.array_equal(page.ids[where], ids[part])
            or not np.array_equal(page.kinds[where], columns.kinds[wanted[part]])
        ):
            raise Conflict(f"page {number} of {channel} has changed since the audience was chosen")
        found.append(keyring.open(page.addresses, page_context(channel, number))[where])
    return np.concatenate(found)
