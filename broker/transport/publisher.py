"""Publishing with confirms: a window in flight, one deadline around all, retries with the same message id."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator

import aiormq
from aiormq.exceptions import DeliveryError, PublishError
from pamqp.commands import Basic

from broker.errors import TransportError, Unroutable
from broker.transport.link import Backoff, Link, being_cancelled, describe

_DRAIN_FROM = 16 * 1024
"""Bodies from this size wait until the socket took them, so that a window of large ones does not pile up."""


class _FastChannel:
    """A confirming channel of the client library's lower layer.

    The upper layer holds a channel's lock until the bytes of each message are on the socket, so messages go one
    by one; here they queue up for the socket.
    """

    def __init__(self, channel: aiormq.Channel, exchange: str) -> None:
        self._channel = channel
        self._exchange = exchange

    @classmethod
    async def open(cls, link: Link, exchange: str) -> _FastChannel:
        """A new channel on the link's connection, once there is one."""
        return cls(await link.channel(publisher_confirms=True), exchange)

    @property
    def usable(self) -> bool:
        return not self._channel.is_closed

    async def publish(self, key: str, properties: Basic.Properties, body: bytes) -> bool:
        """Whether the server confirmed. Raises PublishError if no queue takes it, DeliveryError if refused."""
        confirm = await self._channel.basic_publish(
            body,
            exchange=self._exchange,
            routing_key=key,
            properties=properties,
            mandatory=True,
            wait=len(body) >= _DRAIN_FROM,
        )
        return isinstance(confirm, Basic.Ack)

    async def close(self) -> None:
        await self._channel.close()


class Publisher:
    """Publishes over one channel.

    `window` messages are in flight at once, each for at most `timeout` seconds in all. Those that wait for a
    place in the window are waiting for the others' confirms; they give up when none came for `timeout` seconds.
    """

    def __init__(self, link: Link, exchange: str, *, window: int, timeout: float) -> None:
        self._link = link
        self._exchange = exchange
        self._timeout = timeout
        self._window = asyncio.Semaphore(window)
        self._channel: _FastChannel | None = None
        self._opening = asyncio.Lock()
        self._in_flight: dict[str, asyncio.Event] = {}
        self._confirmed_at = float("-inf")
        self._deadlines: set[asyncio.Timeout] = set()
        self._closed = False

    @property
    def in_flight(self) -> int:
        """How many messages are on their way."""
        return len(self._in_flight)

    async def publish(self, key: str, properties: Basic.Properties, body: bytes) -> None:
        """Publish and wait for the confirm.

        After a lost connection, a refusal (queue full) or a pause asked by the server it is tried again with
        the same id, so the message may arrive twice. Raises Unroutable if no queue takes it, TransportError if
        no confirm came in time: then it may have arrived all the same.
        """
        attempts = _Attempts()
        await self._enter(key)
        deadline = asyncio.timeout(self._timeout)
        self._deadlines.add(deadline)
        try:
            async with deadline, self._alone(str(properties.message_id)):
                await self._until_confirmed(attempts, key, properties, body)
            self._confirmed_at = asyncio.get_running_loop().time()
        except TimeoutError:
            raise self._no_confirm(key, attempts.last) from None
        finally:
            self._deadlines.discard(deadline)
            self._window.release()

    async def close(self) -> None:
        """Fail what is still in flight and close the channel."""
        self._closed = True
        now = asyncio.get_running_loop().time()
        for deadline in tuple(self._deadlines):
            with contextlib.suppress(RuntimeError):
                deadline.reschedule(now)
        channel, self._channel = self._channel, None
        if channel is not None and channel.usable:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(self._timeout):
                    await channel.close()

    async def _enter(self, key: str) -> None:
        if not self._window.locked():
            await self._window.acquire()
            return
        clock = asyncio.get_running_loop().time
        begun = clock()
        place = asyncio.ensure_future(self._window.acquire())
        try:
            while not place.done():
                left = max(begun, self._confirmed_at) + self._timeout - clock()
                if left <= 0:
                    raise self._no_confirm(key, "and none for those before it")
                await asyncio.wait({place}, timeout=left)
        except BaseException:
            if not place.cancel():
                self._window.release()
            raise

    def _no_confirm(self, key: str, why: str) -> TransportError:
        if self._closed:
            return TransportError(f"{key}: the transport was closed before the confirm came")
        if self._link.blocked:
            why = "the server asked to pause publishing"
        return TransportError(
            f"{key}: no confirm from RabbitMQ at {self._link.place} within {self._timeout:g} s ({why})"
        )

    async def _until_confirmed(
        self, attempts: _Attempts, key: str, properties: Basic.Properties, body: bytes
    ) -> None:
        backoff = Backoff(0.02, 1.0)
        while not await self._attempt(attempts, key, properties, body):
            await asyncio.sleep(backoff.next())

    async def _attempt(self, attempts: _Attempts, key: str, properties: Basic.Properties, body: bytes) -> bool:
        if self._closed:
            raise TransportError("the transport was closed")
        try:
            while self._link.blocked:
                attempts.last = "blocked"
                await asyncio.sleep(0.05)
            channel = await self._usable_channel()
            return await channel.publish(key, properties, body)
        except PublishError as error:
            raise Unroutable(f"no queue takes {key!r}: {describe(error)}") from None
        except DeliveryError:
            attempts.last = "the server refused it: the queue is full"
        except asyncio.CancelledError:
            if being_cancelled():
                raise
            attempts.last = "the connection was lost"
        except (TypeError, ValueError):
            raise
        # The client library fails what is in flight on a dying channel with whatever closed it.
        except Exception as error:  # noqa: BLE001
            attempts.last = describe(error)
        return False

    async def _usable_channel(self) -> _FastChannel:
        if self._channel is not None and self._channel.usable:
            return self._channel
        async with self._opening:
            if self._channel is None or not self._channel.usable:
                self._channel = await _FastChannel.open(self._link, self._exchange)
            return self._channel

    @contextlib.asynccontextmanager
    async def _alone(self, message_id: str) -> AsyncIterator[None]:
        # Returned messages are told apart by id alone, so one id must not be in flight twice.
        while (other := self._in_flight.get(message_id)) is not None:
            await other.wait()
        done = self._in_flight[message_id] = asyncio.Event()
        try:
            yield
        finally:
            del self._in_flight[message_id]
            done.set()


class _Attempts:
    """Why the last attempt at a message did not succeed."""

    def __init__(self) -> None:
        self.last = "no answer"
