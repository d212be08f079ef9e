"""Whom a chain of alerts has reached or may have reached, batch by batch."""

from __future__ import annotations

from collections.abc import AsyncIterator, Collection, Iterable, Sequence
from dataclasses import dataclass

import numpy as np

from broker.ledger.arrays import NEVER, Milestone, Ordinals, Recipients, final_mask
from broker.store.contract import Store
from broker.store.records import AlertRecord, BatchRecord
from broker.types import CHANNELS, ChannelName

_AT_ONCE = 64
"""Batches in memory at a time: their sealed addresses are the larger part."""


@dataclass(frozen=True, slots=True)
class Reached:
    """A batch and those of its ordinals whose `sent` time is set: sent, or possibly sent."""

    batch: BatchRecord
    ordinals: Ordinals

    @property
    def ids(self) -> Recipients:
        """Their recipient ids, ascending."""
        return self.batch.recipients[self.ordinals]


async def reached(store: Store, alerts: Sequence[AlertRecord], *, underway: bool = False) -> AsyncIterator[Reached]:
    """What each batch of `alerts` reached, alert by alert in the order given; batches that reached nobody are
    left out. With `underway` those count too who will still be tried."""
    for alert in alerts:
        numbers = await store.batch_ids(alert=alert.id)
        for start in range(0, len(numbers), _AT_ONCE):
            some = numbers[start : start + _AT_ONCE]
            batches = await store.batches(some)
            for batch, row in zip(batches, await store.ledger_rows(some), strict=True):
                counted = row.times[Milestone.SENT] != NEVER
                if underway:
                    counted |= ~final_mask(row.states)
                ordinals = np.flatnonzero(counted).astype(np.uint16)
                if len(ordinals):
                    yield Reached(batch, ordinals)


async def told(store: Store, alerts: Sequence[AlertRecord]) -> dict[ChannelName, Recipients]:
    """The ids of everybody whom `alerts` may have reached, by channel, ascending, each once."""
    found: dict[ChannelName, list[Recipients]] = {channel: [] for channel in CHANNELS}
    async for each in reached(store, alerts):
        found[each.batch.channel].append(each.ids)
    return {channel: union(parts) for channel, parts in found.items()}


def union(parts: Collection[Recipients]) -> Recipients:
    """Ids of several ascending arrays, ascending, each once."""
    return np.unique(np.concatenate(list(parts))) if parts else np.zeros(0, np.uint32)


async def planned_for(store: Store, alert: str) -> dict[ChannelName, Recipients]:
    """The ids of everybody in the batches of an alert, by channel."""
    found: dict[ChannelName, list[Recipients]] = {channel: [] for channel in CHANNELS}
    numbers = await store.batch_ids(alert=alert)
    for start in range(0, len(numbers), _AT_ONCE):
        for batch in await store.batches(numbers[start : start + _AT_ONCE]):
            found[batch.channel].append(batch.recipients)
    return {channel: union(parts) for channel, parts in found.items()}


def without(ids: Recipients, others: Iterable[Recipients]) -> np.ndarray[tuple[int], np.dtype[np.bool_]]:
    """Which of `ids` are in none of `others`."""
    left = np.ones(len(ids), np.bool_)
    for other in others:
        left &= ~np.isin(ids, other, assume_unique=True)
    return left
