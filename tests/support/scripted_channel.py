"""A channel whose far end does what a test tells it, and remembers what crossed to it."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass

import numpy as np

from broker.clock import now_ms
from broker.ledger.arrays import Receipts
from broker.ledger.state import Rank, Reason, word
from broker.store.records import RenditionRecord
from broker.types import ChannelName, Lane
from channels.channel import ChannelContext, Outcomes, Stopped, Window


@dataclass(frozen=True)
class Left:
    """One message that crossed to the far end."""

    batch: int
    attempt: int
    ordinal: int
    recipient: int
    address: bytes
    lane: Lane


class Wire:
    """What crossed, over all the workers that a test lets send."""

    def __init__(self) -> None:
        self.left: list[Left] = []

    def times(self, batch: int, attempt: int = 1) -> Counter[int]:
        """How often each ordinal of a batch crossed in an attempt."""
        return Counter(each.ordinal for each in self.left if (each.batch, each.attempt) == (batch, attempt))

    def ordinals(self, batch: int, attempt: int = 1) -> list[int]:
        """The ordinals of a batch in the order in which they crossed."""
        return [each.ordinal for each in self.left if (each.batch, each.attempt) == (batch, attempt)]


async def _nothing(_point: str, _window: Window) -> None:
    """A test that does not want to step in."""


class ScriptedChannel:
    """Sends windows recipient by recipient.

    `on` is awaited at `enter`, `half` (half of the window has crossed) and `exit` of every send; `fails` says
    who fails why, by (attempt, ordinal) or, for every attempt, by ordinal.
    """

    def __init__(
        self,
        wire: Wire | None = None,
        *,
        window: int = 3,
        name: ChannelName = ChannelName.SMS,
        on: Callable[[str, Window], Awaitable[None]] = _nothing,
        fails: dict[int | tuple[int, int], Reason] | None = None,
        gives_ids: bool = False,
    ) -> None:
        self.name = name
        self.window = window
        self.wire = wire or Wire()
        self.windows: list[Window] = []
        self.renditions: list[RenditionRecord] = []
        self.on = on
        self.fails = fails or {}
        self.gives_ids = gives_ids
        self.context: ChannelContext | None = None
        self.closed = False
        self.withdrawn: list[str] = []
        """The alerts that were withdrawn, each time that they were."""
        self._evidence: asyncio.Queue[Receipts | Exception | None] = asyncio.Queue()

    async def start(self, context: ChannelContext) -> None:
        self.context = context

    async def close(self) -> None:
        self.closed = True
        self._evidence.put_nowait(None)

    async def send(self, window: Window, rendition: RenditionRecord, stop: Stopped) -> Outcomes:
        self.windows.append(window)
        self.renditions.append(rendition)
        await self.on("enter", window)
        states = np.zeros(len(window), np.uint16)
        ids: list[tuple[int, bytes]] = []
        for index, ordinal in enumerate(window.ordinals.tolist()):
            if index == (len(window) + 1) // 2:
                await self.on("half", window)
            states[index], crossed = self._one(window, ordinal, stop)
            if crossed:
                recipient, address = int(window.recipients[index]), bytes(window.addresses[index])
                self.wire.left.append(Left(window.batch, window.attempt, ordinal, recipient, address, window.lane))
                ids.append((ordinal, far_id(window.batch, window.attempt, ordinal)))
        await self.on("exit", window)
        outcomes = Outcomes(states, np.full(len(window), now_ms(), np.int64))
        if not self.gives_ids or not ids:
            return outcomes
        far_ordinals = np.array([ordinal for ordinal, _ in ids], np.uint16)
        return Outcomes(outcomes.states, outcomes.at, far_ordinals, np.array([name for _, name in ids]))

    def _one(self, window: Window, ordinal: int, stop: Stopped) -> tuple[int, bool]:
        """The state word of one recipient, and whether its message crossed."""
        if stop() or window.alert in self.withdrawn:
            return word(Rank.WITHHELD, attempt=window.attempt, reason=Reason.STOPPED), False
        reason = self.fails.get((window.attempt, ordinal), self.fails.get(ordinal))
        if reason is None:
            return word(Rank.SENT, attempt=window.attempt), True
        return word(Rank.FAILED, attempt=window.attempt, reason=reason), True

    async def withdraw(self, alert: str) -> None:
        self.withdrawn.append(alert)

    def hears(self, receipts: Receipts) -> None:
        """Evidence has come from the far end."""
        self._evidence.put_nowait(receipts)

    def ends(self, error: Exception | None = None) -> None:
        """The far end is gone for good: listening ends, or fails with `error`."""
        self._evidence.put_nowait(error)

    async def listen(self) -> AsyncIterator[Receipts]:
        while True:
            heard = await self._evidence.get()
            if heard is None:
                return
            if isinstance(heard, Exception):
                raise heard
            yield heard

    @property
    def healthy(self) -> bool:
        return not self.closed


def far_id(batch: int, attempt: int, ordinal: int) -> bytes:
    """The id that the scripted far end gives to a message."""
    return f"{batch}-{attempt}-{ordinal}".encode()
