"""The contract of the queues. `tests/contract/test_transport.py` is its executable half.

Queues: `<channel>.<lane>` for batches, `receipts.<shard>` for receipts, `parking` for what nobody could
handle. What a publish promises: when `publish` returns, the message is where a restart does not lose it, or
(embedded) its consumer has acknowledged it or the outbox still holds it.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from typing import Protocol

from broker.types import CHANNELS, ChannelName, Lane

Header = str | int | bytes
"""What headers may hold; integers up to 63 bits."""


@dataclass(frozen=True, slots=True)
class Message:
    """A message on its way in: small fields as headers, packed arrays as body."""

    headers: Mapping[str, Header]
    body: bytes = field(repr=False)
    id: str
    """Stable over re-publishing and unique in flight."""


class Delivery(Protocol):
    """A message on its way out. Exactly one of `ack`, `retry_later`, `park` settles it."""

    @property
    def message(self) -> Message:
        """The message."""
        ...

    @property
    def queue(self) -> str:
        """The queue that it came from."""
        ...

    async def ack(self) -> None:
        """Done: the queue may forget it. Never raises for a lost connection (it will come again)."""
        ...

    async def retry_later(self, delay: float) -> None:
        """Give it again after at least `delay` seconds (rounded up to a rung of the ladder)."""
        ...

    async def park(self, reason: str) -> None:
        """Nobody can handle it: to the parking queue."""
        ...


Handler = Callable[[Delivery], Awaitable[None]]
"""Must return soon: it hands the work to a task group of its own, because a dying channel cancels handlers."""


class Subscription(Protocol):
    """A running consumer."""

    async def cancel(self) -> None:
        """Take no more messages; those in hand may still be settled."""
        ...


class Transport(Protocol):
    """Queues with confirms."""

    durable: bool
    """Whether confirmed messages outlive the process; if not, the relay publishes open work anew at start."""

    async def start(self) -> None:
        """Connect and declare the topology."""
        ...

    async def close(self) -> None:
        """Stop consumers, wait for what is in hand, close in order."""
        ...

    async def publish(self, queue: str, message: Message, *, delay: float = 0.0) -> None:
        """Publish and wait for the confirm, within the transport's own timeout.

        Many may be in flight at once; the transport keeps its own window. `delay` seconds (rounded up to a
        rung of the ladder) pass before the message can be taken. Raises Unroutable or TransportError.
        """
        ...

    async def consume(self, queue: str, handler: Handler, *, prefetch: int) -> Subscription:
        """Call `handler` for each message, at most `prefetch` unsettled at a time."""
        ...

    async def depth(self, queue: str) -> int:
        """How many messages wait in `queue` (not those in hand)."""
        ...

    @property
    def connected(self) -> bool:
        """Whether publishing could work now."""
        ...

    @property
    def blocked(self) -> bool:
        """Whether the server asked publishers to pause (memory or disk alarm)."""
        ...


PARKING = "parking"
LADDER_SECONDS = (5, 30, 120, 600)
"""Rungs of the retry ladder."""


def batch_queue(channel: ChannelName, lane: Lane) -> str:
    """The queue for batches of a channel and lane."""
    return f"{channel}.{lane}"


def receipts_queue(shard: int) -> str:
    """The queue for receipts of a shard; shard = batch id modulo the number of shards."""
    return f"receipts.{shard}"


def all_queues(shards: int) -> tuple[str, ...]:
    """Every queue that producers and consumers may name."""
    work = tuple(batch_queue(channel, lane) for channel in CHANNELS for lane in Lane)
    return (*work, *(receipts_queue(shard) for shard in range(shards)), PARKING)
