"""A message from RabbitMQ in a consumer's hands."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Protocol

import aiormq.abc

from broker import logs
from broker.errors import TransportError
from broker.transport.contract import Message
from broker.transport.link import CONNECTION_ERRORS, being_cancelled, describe
from broker.transport.settling import MAX_DELIVERIES

log = logs.get(part="transport")

_ANSWER_SECONDS = 5.0


class Returns(Protocol):
    """Where messages go that are not simply done; the transport is this."""

    def rung(self, delay: float) -> int:
        """The rung for a delay, in seconds; 0 is the first. Raises ValueError beyond the last."""
        ...

    async def put_off(self, queue: str, message: Message, rung: int, failures: int) -> None:
        """Publish to a rung of the ladder of `queue`. Raises TransportError."""
        ...

    async def put_aside(self, queue: str, message: Message, reason: str) -> None:
        """Publish to parking. Raises TransportError."""
        ...


class Owner(Protocol):
    """The consumer that hands deliveries out."""

    @property
    def queue(self) -> str:
        """The queue that it consumes."""
        ...

    def settled(self, delivery: RabbitDelivery) -> None:
        """Called once the delivery is out of hand."""
        ...


class RabbitDelivery:
    """A message in a consumer's hands.

    After its channel has died, settling it does nothing, for the server gives it again.
    """

    def __init__(
        self,
        owner: Owner,
        returns: Returns,
        channel: aiormq.abc.AbstractChannel,
        tag: int,
        message: Message,
        failures: int,
    ) -> None:
        self._owner = owner
        self._returns = returns
        self._channel = channel
        self._tag = tag
        self._message = message
        self._failures = failures
        self._settled = False

    @property
    def message(self) -> Message:
        """The message."""
        return self._message

    @property
    def queue(self) -> str:
        """The queue that it came from."""
        return self._owner.queue

    @property
    def settled(self) -> bool:
        """Whether it was acknowledged, put off or parked."""
        return self._settled

    @property
    def stale(self) -> bool:
        """Whether the channel that brought it is gone."""
        return self._channel.is_closed

    async def ack(self) -> None:
        """Done: the queue may forget it. Never raises for a lost connection (it will come again)."""
        self._settle()
        self._owner.settled(self)
        await self._answer(accept=True)

    async def retry_later(self, delay: float) -> None:
        """Give it again after at least `delay` seconds (rounded up to a rung).

        If the rung cannot take it, it goes back to its queue at once. Raises ValueError beyond the last rung.
        """
        await self._put_off(self._returns.rung(delay), self._failures)

    async def park(self, reason: str) -> None:
        """Nobody can handle it: to the parking queue. If that cannot take it, back to its own queue."""
        self._settle()
        await self._hand_on(lambda: self._returns.put_aside(self.queue, self._message, reason))

    async def failed(self, error: Exception) -> None:
        """The handler raised: again later, and to the parking queue when that does not help."""
        failures = self._failures + 1
        if failures >= MAX_DELIVERIES:
            await self.park(f"handler failed {failures} times: {type(error).__name__}: {error}")
        else:
            await self._put_off(self._returns.rung(0), failures)

    async def _put_off(self, rung: int, failures: int) -> None:
        self._settle()
        await self._hand_on(lambda: self._returns.put_off(self.queue, self._message, rung, failures))

    async def _hand_on(self, publish: Callable[[], Awaitable[None]]) -> None:
        # First confirmed elsewhere, then acknowledged here: a crash between the two doubles it, never loses it.
        accepted = False
        try:
            if not self.stale:
                await publish()
                accepted = True
        except TransportError as error:
            log.warning("hand_on_failed", queue=self.queue, id=self._message.id, reason=str(error))
        finally:
            self._owner.settled(self)
        await self._answer(accept=accepted)

    def _settle(self) -> None:
        if self._settled:
            raise RuntimeError(f"message {self._message.id} of {self.queue} was settled twice")
        self._settled = True

    async def _answer(self, *, accept: bool) -> None:
        if self.stale:
            return
        try:
            async with asyncio.timeout(_ANSWER_SECONDS):
                if accept:
                    await self._channel.basic_ack(self._tag, wait=False)
                else:
                    await self._channel.basic_nack(self._tag, requeue=True, wait=False)
        except asyncio.CancelledError:
            if being_cancelled():
                raise
        except CONNECTION_ERRORS as error:
            log.debug("ack_lost", queue=self.queue, id=self._message.id, reason=describe(error))
