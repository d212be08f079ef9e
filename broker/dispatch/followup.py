"""What is said to those who were told before: that a warning is taken back, or no longer concerns them.

It goes batch by batch to exactly those whom the chain reached, at the addresses at which they were reached, so it
needs no registry and no area. A batch that a worker still holds is left for a later round: the message never
overtakes the warning that it speaks of.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Final

import numpy as np

from broker.audience.index import LiveIndex
from broker.cap.document import read
from broker.cap.model import Alert, Info
from broker.cap.segments import Segment, segments
from broker.clock import from_ms
from broker.dispatch.chain import WARNS, age
from broker.dispatch.draft import RenditionDraft, addresses_at
from broker.dispatch.planner import Planner, info_in
from broker.dispatch.reached import reached, union, without
from broker.errors import Problem
from broker.intake.accept import form_of
from broker.ledger.arrays import Ordinals, Recipients
from broker.rendition.context import context_of
from broker.rendition.templates import RenditionError
from broker.sealing import Addresses, Keyring, batch_context
from broker.store.contract import Store
from broker.store.records import AlertRecord, BatchRecord, RenditionRecord
from broker.types import ChannelName, Lane, Phase

_FAMILY: Final = {Phase.CANCEL: "cancel", Phase.CLEAR: "clear"}


@dataclass(frozen=True, slots=True)
class FollowCut:
    """Some of a batch of an earlier message, and the number of the rendition draft that they get."""

    source: BatchRecord
    ordinals: Ordinals
    rendition: int

    @property
    def recipients(self) -> Recipients:
        """Their ids, ascending."""
        return self.source.recipients[self.ordinals]


@dataclass(frozen=True, slots=True)
class FollowUp:
    """What a Cancel or an Update says to those who were told before and need not heed it any more."""

    renditions: tuple[RenditionDraft, ...] = ()
    cuts: tuple[FollowCut, ...] = ()
    problems: tuple[Problem, ...] = ()
    """Why there are no words for some; nothing may be sent then."""

    def __len__(self) -> int:
        """How many recipients, on all channels."""
        return sum(len(cut.ordinals) for cut in self.cuts)

    def counts(self) -> dict[ChannelName, int]:
        """Recipients by channel; channels without any left out."""
        found: dict[ChannelName, int] = {}
        for cut in self.cuts:
            channel = cut.source.channel
            found[channel] = found.get(channel, 0) + len(cut.ordinals)
        return found


class FollowUps:
    """Finds out who is to be told that it is over, and writes the words."""

    def __init__(self, store: Store, planner: Planner, keyring: Keyring, index: LiveIndex) -> None:
        self._store = store
        self._planner = planner
        self._keyring = keyring
        self._index = index

    async def propose(
        self,
        record: AlertRecord,
        alert: Alert,
        phase: Phase,
        warnings: Sequence[AlertRecord],
        *,
        cancels: Sequence[AlertRecord] = (),
        done: Mapping[ChannelName, Recipients],
        held: Collection[int] = (),
    ) -> FollowUp:
        """A message of `phase` to everybody whom `warnings` may have reached, except those in `done`.

        Who was reached by several gets one message, about the newest; whose last word was that it is over, by an
        Update or by one of the earlier `cancels`, gets none. Batches in `held` are left out.
        """
        newest_first = sorted((*warnings, *cancels), key=age, reverse=True)
        replaced = tuple(each.id for each in newest_first if each.msg_type in WARNS)
        voices = _Voices(self._store, self._planner, record, alert, phase, replaced)
        over = (Phase.CANCEL,) if phase is Phase.CANCEL else (Phase.CANCEL, Phase.CLEAR)
        taken = dict(done)
        cuts: list[FollowCut] = []
        for warning in newest_first:
            mine: dict[ChannelName, list[Recipients]] = {}
            async for each in reached(self._store, [warning], underway=warning.msg_type not in WARNS):
                channel = each.batch.channel
                left = without(each.ids, [taken[channel]] if channel in taken else [])
                ordinals = each.ordinals[left]
                if not len(ordinals):
                    continue
                mine.setdefault(channel, []).append(each.batch.recipients[ordinals])
                if await voices.phase_of(each.batch) in over:
                    continue  # the last that they heard is that it does not concern them: it need not be said again
                if each.batch.id in held:
                    continue  # not told of an older message either: the newer one may just be on its way to them
                voice = await voices.of(each.batch)
                if voice is not None:
                    cuts.append(FollowCut(each.batch, ordinals, voice))
            for channel, parts in mine.items():
                before = [taken[channel]] if channel in taken else []
                taken[channel] = union([*before, *parts])
        if voices.problems:
            return FollowUp(problems=tuple(dict.fromkeys(voices.problems)))
        return FollowUp(tuple(voices.renditions), tuple(cuts))

    async def freeze(
        self, follow: FollowUp, record: AlertRecord, *, round_: int, first_batch: int, first_rendition: int
    ) -> tuple[list[RenditionRecord], list[BatchRecord]]:
        """With ids and sealed addresses. Raises SealError, and Conflict when the registry changes meanwhile."""
        renditions = [draft.record(first_rendition + n, record.id) for n, draft in enumerate(follow.renditions)]
        batches: list[BatchRecord] = []
        for cut in follow.cuts:
            number = first_batch + len(batches)
            recipients, addresses = await self._addresses(cut)
            if not len(recipients):
                continue
            batches.append(
                BatchRecord(
                    id=number,
                    alert=record.id,
                    segment=follow.renditions[cut.rendition].segment,
                    channel=cut.source.channel,
                    lane=Lane.URGENT,
                    rendition=first_rendition + cut.rendition,
                    district=cut.source.district,
                    round=round_,
                    # Sessions hold it for terminals that are away for as long as they hold what it ends.
                    expires=max(follow.renditions[cut.rendition].expires, cut.source.expires),
                    recipients=recipients,
                    addresses=self._keyring.seal(addresses, batch_context(number)),
                )
            )
        return renditions, batches

    async def _addresses(self, cut: FollowCut) -> tuple[Recipients, Addresses]:
        """Where they were reached; once that is erased, where the registry has them now."""
        if cut.source.addresses:
            opened = self._keyring.open(cut.source.addresses, batch_context(cut.source.id))
            return cut.recipients, opened[cut.ordinals]
        channel = cut.source.channel
        columns = (await self._index.current()).channels[channel]
        positions = columns.positions_of(cut.recipients)
        if not len(positions):
            return cut.recipients[:0], np.zeros(0, "S1")
        page = self._store.page
        return columns.ids[positions], await addresses_at(channel, columns, positions, page, self._keyring)


class _Voices:
    """The words of one follow-up, made once for each message, segment, channel and language that was used."""

    def __init__(
        self,
        store: Store,
        planner: Planner,
        record: AlertRecord,
        alert: Alert,
        phase: Phase,
        replaces: tuple[str, ...],
    ) -> None:
        self._store = store
        self._planner = planner
        self._record = record
        self._alert = alert
        self._phase = phase
        self._replaces = replaces
        self._alerts: dict[str, Alert | None] = {}
        self._by_key: dict[tuple[str, int, ChannelName, str], int | None] = {}
        self._said_before: dict[int, RenditionRecord] = {}
        self.renditions: list[RenditionDraft] = []
        self.problems: list[Problem] = []

    async def of(self, batch: BatchRecord) -> int | None:
        """The number of the rendition for the readers of a batch; None if it cannot be made."""
        language = (await self._before(batch)).language
        key = (batch.alert, batch.segment, batch.channel, language)
        if key not in self._by_key:
            self._by_key[key] = await self._make(*key)
        return self._by_key[key]

    async def phase_of(self, batch: BatchRecord) -> Phase:
        """What the readers of a batch were told by it."""
        return Phase(str((await self._before(batch)).content.get("phase", Phase.WARNING)))

    async def _before(self, batch: BatchRecord) -> RenditionRecord:
        if batch.rendition not in self._said_before:
            self._said_before[batch.rendition] = await self._store.rendition(batch.rendition)
        return self._said_before[batch.rendition]

    async def _make(self, origin: str, number: int, channel: ChannelName, language: str) -> int | None:
        alert = await self._original(origin)
        segment = next((s for s in segments(alert) if s.number == number), None) if alert else None
        info = info_in(segment, language) if segment else None
        if alert is None or segment is None or info is None:
            message = f"segment {number} of {origin} in {language} can no longer be read"
            self.problems.append(Problem("alert", "plan.original", message))
            return None
        context = context_of(
            replace(alert, note=self._alert.note),
            segment,
            self._own_words(info, language),
            language=language,
            regions=self._planner.regions,
            expires=from_ms(self._record.expires),
            phase=self._phase,
            replaces=self._replaces,
        )
        try:
            words = self._planner.templates.render(channel, _FAMILY[self._phase], context)
        except RenditionError as error:
            self.problems += error.problems
            return None
        rank = segment.level.rank if segment.level else 0
        self.renditions.append(
            RenditionDraft(number, rank, channel, language, words, context.expires_at, self._phase)
        )
        return len(self.renditions) - 1

    def _own_words(self, info: Info, language: str) -> Info:
        """The event and place as they were told; what to do is not what the old warning said."""
        said = self._said(language) if self._phase is Phase.CANCEL else None
        return replace(
            info,
            description=said.description if said else None,
            instruction=said.instruction if said else None,
            sender_name=(said.sender_name if said else None) or info.sender_name,
        )

    def _said(self, language: str) -> Info | None:
        own: list[Segment] = segments(self._alert)
        return next((found for part in own if (found := info_in(part, language)) is not None), None)

    async def _original(self, origin: str) -> Alert | None:
        if origin not in self._alerts:
            record = await self._store.alert(origin)
            self._alerts[origin] = read(
                record.body, form_of(record.content_type), now=from_ms(record.received)
            ).alert
        return self._alerts[origin]
