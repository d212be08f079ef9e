"""The runner of any channel: takes batches from both lanes, claims them, sends them window by window, reports.

What a crash can do to a batch is decided here. Before a window leaves, the claim's high-water mark is moved
durably; after it, its outcomes are published and confirmed before the next window may leave. So whoever takes
over finds at most one window in doubt: it is reported `unknown` and sent again; nothing is missed.
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools
from collections import OrderedDict
from dataclasses import dataclass, field
from enum import Enum, auto
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field

from broker import logs
from broker.clock import now_ms
from broker.errors import ClaimLost, FenghuoError, NotFound, StoreError, TransportError
from broker.ledger.arrays import Ordinals, Receipts
from broker.ledger.state import (
    ARRIVAL_SHIFT,
    FIRST_PERMANENT,
    FIRST_TRANSIENT,
    MAX_ATTEMPT,
    RANK_MASK,
    RANK_SHIFT,
    REASON_MASK,
    Rank,
    Reason,
    word,
)
from broker.metrics import Metrics
from broker.sealing import Addresses, Keyring, SealError, batch_context
from broker.store.contract import Store
from broker.store.records import BatchRecord, FarIds, RenditionRecord, Work
from broker.transport.contract import (
    LADDER_SECONDS,
    Delivery,
    Subscription,
    Transport,
    batch_queue,
    receipts_queue,
)
from broker.transport.wire import BatchMessage, WireError, decode_batch, encode_receipts
from broker.types import Lane
from channels.channel import BatchContent, Channel, ChannelContext, Window
from channels.holding import Hold
from channels.pacing import Pacer
from channels.stops import Stops

_CACHED_BATCHES = 64
_CACHED_RENDITIONS = 256
_PAUSE_S = 0.5


class WorkerSettings(BaseModel):
    """How a worker runs its channel."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    concurrency_urgent: int = Field(default=4, ge=1)
    """Batches of the urgent lane in hand at once."""
    concurrency_routine: int = Field(default=2, ge=1)
    lease_ms: int = Field(default=30_000, ge=1_000)
    """How long a claim outlives a silent worker."""
    max_attempts: int = Field(default=4, ge=1, le=MAX_ATTEMPT)
    """Attempts per recipient before a transient failure is final."""
    per_second: float | None = Field(default=None, gt=0)
    """Recipients per second that the provider allows; None is no limit."""
    stop_poll_seconds: float = Field(default=0.3, gt=0, le=0.5)
    """How often the store is asked which alerts were cancelled or superseded."""


class Worker:
    """Runs one channel."""

    def __init__(
        self,
        channel: Channel,
        store: Store,
        transport: Transport,
        keyring: Keyring,
        metrics: Metrics,
        *,
        owner: str,
        settings: WorkerSettings,
        shards: int = 1,
    ) -> None:
        self.channel = channel
        self._store = store
        self._transport = transport
        self._keyring = keyring
        self._metrics = metrics
        self._owner = owner
        self._settings = settings
        self._shards = shards
        self._pacer = Pacer(settings.per_second)
        self._log = logs.get(role="worker", channel=str(channel.name))
        self._stops = Stops(store, channel.withdraw, self._log, interval=settings.stop_poll_seconds)
        self._slots = {
            Lane.URGENT: asyncio.Semaphore(settings.concurrency_urgent),
            Lane.ROUTINE: asyncio.Semaphore(settings.concurrency_routine),
        }
        self._subscriptions: list[Subscription] = []
        self._attempts: set[asyncio.Task[None]] = set()
        self._stopping = asyncio.Event()
        self._listener: asyncio.Task[None] | None = None
        self._contents: OrderedDict[int, BatchContent] = OrderedDict()
        self._renditions: OrderedDict[int, RenditionRecord] = OrderedDict()
        self._unique = itertools.count(now_ms())

    async def start(self) -> None:
        """Start the channel and take batches. Raises ChannelError if the channel cannot work."""
        await self.channel.start(
            ChannelContext(
                batch=self._content,
                open_batches=self._open_batches,
                far_ids=self._far_ids,
                arrivals=self._arrivals,
                over_batches=self._over_batches,
            )
        )
        self._listener = asyncio.create_task(self._listen(), name=f"listen:{self.channel.name}")
        try:
            await self._stops.start()
            for lane, slots in (
                (Lane.URGENT, self._settings.concurrency_urgent),
                (Lane.ROUTINE, self._settings.concurrency_routine),
            ):
                queue = batch_queue(self.channel.name, lane)
                taken = await self._transport.consume(queue, self._on_delivery, prefetch=2 * slots)
                self._subscriptions.append(taken)
        except BaseException:
            await self.close()
            raise

    async def run(self) -> None:
        """Watch over the side tasks until closed; raises what killed one: a half-dead worker must not stay."""
        assert self._listener is not None
        stop = asyncio.create_task(self._stopping.wait())
        done, _ = await asyncio.wait({self._listener, stop}, return_when=asyncio.FIRST_COMPLETED)
        if self._listener in done and not self._stopping.is_set():
            stop.cancel()
            self._listener.result()
            raise FenghuoError(f"the {self.channel.name} channel stopped listening")

    async def close(self, grace: float = 10.0) -> None:
        """Take no more, let windows in flight end and be recorded, then close the channel."""
        self._stopping.set()
        for subscription in self._subscriptions:
            await subscription.cancel()
        if self._attempts:
            _, late = await asyncio.wait(self._attempts, timeout=grace)
            for task in late:
                self._log.warning("attempt_cut_at_shutdown", task=task.get_name())
                task.cancel()
            await asyncio.gather(*late, return_exceptions=True)
        await self._stops.close()
        await self.channel.close()
        if self._listener is not None:
            with contextlib.suppress(asyncio.CancelledError):
                done, _ = await asyncio.wait({self._listener}, timeout=grace)
                if not done:
                    self._listener.cancel()
                await asyncio.gather(self._listener, return_exceptions=True)

    # -- taking batches ------------------------------------------------------------------------------------

    async def _on_delivery(self, delivery: Delivery) -> None:
        # The transport may cancel this handler when its channel dies; the work must go on, so it gets a task.
        task = asyncio.create_task(self._handle(delivery), name=delivery.message.id)
        self._attempts.add(task)
        task.add_done_callback(self._attempts.discard)

    async def _handle(self, delivery: Delivery) -> None:
        try:
            message = decode_batch(delivery.message)
        except WireError as error:
            await delivery.park(f"unreadable: {error}")
            return
        log = self._log.bind(alert=message.batch.alert, batch=message.batch.id, attempt=message.attempt)
        try:
            async with self._slots[message.batch.lane]:
                end = _End.LEFT if self._stopping.is_set() else await self._attempt(message, log)
            if end is _End.DONE:
                await delivery.ack()
            else:
                # What is left at a shutdown is given back too: the transport waits for what is in hand.
                await delivery.retry_later(LADDER_SECONDS[0] if end is _End.HELD else 0)
        except ClaimLost:
            log.warning("claim_lost")
            await delivery.ack()
        except (SealError, NotFound) as error:
            log.error("batch_parked", reason=str(error))
            await delivery.park(str(error))
        except (StoreError, TransportError) as error:
            log.warning("batch_postponed", reason=str(error))
            with contextlib.suppress(TransportError):
                await delivery.retry_later(LADDER_SECONDS[0])
        except Exception:
            # A fault of ours in one batch must not take the worker along; the batch comes again or is parked.
            log.exception("batch_failed")
            with contextlib.suppress(TransportError):
                await delivery.retry_later(LADDER_SECONDS[0])

    # -- one attempt at one batch --------------------------------------------------------------------------

    async def _attempt(self, message: BatchMessage, log: Any) -> _End:
        """Send what is left of the attempt, unless somebody else holds it or has closed it."""
        batch, lease_ms = message.batch, self._settings.lease_ms
        claim = await self._store.claim(batch.id, message.attempt, self._owner, lease_ms)
        if claim is None:
            return _End.HELD if await self._store.work_open(batch.id, message.attempt) else _End.DONE
        self._metrics.dwell_seconds.labels(self.channel.name, batch.lane).observe(
            max(0, now_ms() - message.not_before) / 1000
        )
        rendition = await self._rendition(batch.rendition)
        addresses = self._keyring.open(batch.addresses, batch_context(batch.id))
        if len(addresses) != len(batch):
            raise SealError(f"{len(addresses)} addresses for {len(batch)} recipients")
        ordinals = (
            np.arange(len(batch), dtype=np.uint16)
            if message.ordinals is None
            else message.ordinals.astype(np.uint16)
        )
        async with Hold(self._store, claim, lease_ms, log) as hold:
            if claim.low < claim.high:
                log.warning("window_in_doubt", low=claim.low, high=claim.high)
                self._metrics.resumed.labels(self.channel.name).inc()
                doubtful = word(Rank.UNKNOWN, attempt=message.attempt)
                await self._report(batch.id, ordinals[claim.low : claim.high], doubtful)
            sending = _Sending(hold, message, ordinals, addresses, rendition, claim.retry.astype(np.uint16))
            return await self._send_from(claim.low, sending, log)

    async def _send_from(self, position: int, sending: _Sending, log: Any) -> _End:
        """Send window after window to the end, to expiry, to the end of the alert or to a shutdown."""
        message, batch, ordinals = sending.message, sending.message.batch, sending.ordinals
        while position < len(ordinals):
            end = min(position + self.channel.window, len(ordinals))
            await self._pace(batch, end - position)
            if batch.alert in self._stops:
                # Also when shutting down: a Cancel waits for this attempt to be closed.
                log.info("stopped_before_window", left=len(ordinals) - position)
                self._metrics.deliveries.labels(self.channel.name, "withheld").inc(len(ordinals) - position)
                await self._report(batch.id, ordinals[position:], _withheld(message.attempt))
                break
            if self._stopping.is_set():
                await sending.hold.free(position, sending.far_ids, sending.retry)
                return _End.LEFT
            if batch.expires <= now_ms():
                log.info("expired_before_window", left=len(ordinals) - position)
                self._metrics.deliveries.labels(self.channel.name, "expired").inc(len(ordinals) - position)
                await self._report(batch.id, ordinals[position:], _expired(message.attempt))
                break
            await self._window(sending, position, end)
            position = end
        await self._close(sending, log)
        return _End.DONE

    async def _pace(self, batch: BatchRecord, n: int) -> None:
        """Wait until `n` more may be sent; not when there is nothing to send any more."""
        if not self._pacer.paced or batch.expires <= now_ms() or batch.alert in self._stops:
            return
        waiting = {
            asyncio.create_task(self._pacer.take(batch.lane, n)),
            asyncio.create_task(self._stopping.wait()),
            asyncio.create_task(self._stops.wait(batch.alert)),
        }
        try:
            await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for task in waiting:
                task.cancel()
            await asyncio.gather(*waiting, return_exceptions=True)

    async def _window(self, sending: _Sending, low: int, high: int) -> None:
        """Mark, send and report one window; its far-end ids are kept with the next mark."""
        hold, message, batch = sending.hold, sending.message, sending.message.batch
        await hold.mark(low, high, sending.far_ids, sending.retry)
        ordinals = sending.ordinals[low:high]
        window = Window(
            alert=batch.alert,
            batch=batch.id,
            attempt=message.attempt,
            lane=batch.lane,
            district=batch.district,
            expires=batch.expires,
            ordinals=ordinals,
            recipients=batch.recipients[ordinals],
            addresses=sending.addresses[ordinals],
        )
        with self._metrics.send_seconds.labels(self.channel.name).time():
            outcomes = await self.channel.send(
                window,
                sending.rendition,
                lambda: batch.alert in self._stops or batch.expires <= now_ms() or hold.lost,
            )
        lost, states = hold.lost, outcomes.states
        withheld = states >> RANK_SHIFT & RANK_MASK == Rank.WITHHELD
        if lost:
            # What was withheld because the claim went to another worker is that worker's to send and to report.
            await self._publish(Receipts(batch.id, ordinals[~withheld], states[~withheld], outcomes.at[~withheld]))
            hold.check()
        if batch.expires <= now_ms() and batch.alert not in self._stops:
            # The channel only knows that it had to stop; why is known here.
            states = np.where(withheld, np.uint16(_expired(message.attempt)), states)
        await self._publish(Receipts(batch.id, ordinals, states, outcomes.at))
        self._count(states)
        sending.retry = _join(sending.retry, ordinals[_transient(states)])
        sending.far_ids = (
            None
            if outcomes.far_ids is None or outcomes.far_ordinals is None
            else FarIds(self.channel.name, batch.id, message.attempt, outcomes.far_ordinals, outcomes.far_ids)
        )

    async def _close(self, sending: _Sending, log: Any) -> None:
        batch, attempt = sending.message.batch, sending.message.attempt
        retry = None
        going = batch.alert not in self._stops and batch.expires > now_ms()
        if len(sending.retry) and attempt < self._settings.max_attempts and going:
            delay = LADDER_SECONDS[min(attempt, len(LADDER_SECONDS)) - 1]
            retry = Work(batch.id, attempt + 1, batch.channel, batch.lane, now_ms() + 1000 * delay, sending.retry)
            self._metrics.retries.labels(self.channel.name).inc(len(sending.retry))
            log.info("retry_scheduled", recipients=len(sending.retry), seconds=delay)
        await sending.hold.close(sending.far_ids, retry)

    # -- reporting -----------------------------------------------------------------------------------------

    async def _listen(self) -> None:
        async for receipts in self.channel.listen():
            self._metrics.evidence.labels(self.channel.name).inc(len(receipts))
            # One after the other: asking for the next piece tells the channel that this one is durable.
            await self._publish(receipts)

    async def _report(self, batch: int, ordinals: Ordinals, state: int) -> None:
        if len(ordinals):
            await self._publish(Receipts.uniform(batch, ordinals, state, now_ms()))

    async def _publish(self, receipts: Receipts) -> None:
        """Publish receipts and wait for the confirm; goes on trying, for without them the ledger would lie."""
        if not len(receipts):
            return
        message = encode_receipts(receipts, unique=f"{self._owner}-{next(self._unique)}")
        queue = receipts_queue(receipts.batch % self._shards)
        while True:
            try:
                await self._transport.publish(queue, message)
            except TransportError as error:
                if self._stopping.is_set():
                    raise
                self._log.warning("receipts_postponed", batch=receipts.batch, reason=str(error))
                await asyncio.sleep(_PAUSE_S)
            else:
                return

    def _count(self, states: NDArray[np.uint16]) -> None:
        ranks = np.bincount(states >> RANK_SHIFT & RANK_MASK, minlength=RANK_MASK + 1)
        for rank, name in (
            (Rank.SENT, "sent"),
            (Rank.UNKNOWN, "unknown"),
            (Rank.FAILED, "failed"),
            (Rank.WITHHELD, "withheld"),
            (Rank.EXPIRED, "expired"),
        ):
            if ranks[rank]:
                self._metrics.deliveries.labels(self.channel.name, name).inc(int(ranks[rank]))

    # -- what the channel may ask --------------------------------------------------------------------------

    async def _content(self, batch: int) -> BatchContent:
        cached = self._contents.get(batch)
        if cached is not None:
            self._contents.move_to_end(batch)
            return cached
        record = await self._store.batch(batch)
        if not record.addresses:
            raise NotFound(f"the addresses of batch {batch} are erased")
        content = BatchContent(
            alert=record.alert,
            batch=record.id,
            lane=record.lane,
            expires=record.expires,
            recipients=record.recipients,
            addresses=self._keyring.open(record.addresses, batch_context(record.id)),
            rendition=await self._rendition(record.rendition),
        )
        self._contents[batch] = content
        if len(self._contents) > _CACHED_BATCHES:
            self._contents.popitem(last=False)
        return content

    async def _open_batches(self) -> list[int]:
        return await self._store.batch_ids(channel=self.channel.name, expires_after=now_ms())

    async def _over_batches(self) -> list[int]:
        found = [
            await self._store.batch_ids(alert=alert, channel=self.channel.name)
            for alert in await self._store.over(now_ms())
        ]
        return sorted(itertools.chain.from_iterable(found))

    async def _far_ids(self, batches: list[int]) -> list[tuple[int, Ordinals, NDArray[np.bytes_]]]:
        kept = await self._store.far_ids(self.channel.name, batches)
        return [(window.batch, window.ordinals, window.ids) for window in kept]

    async def _arrivals(self, batch: int) -> NDArray[np.uint8]:
        row = await self._store.ledger_row(batch)
        return (row.states >> ARRIVAL_SHIFT).astype(np.uint8)

    async def _rendition(self, rendition: int) -> RenditionRecord:
        cached = self._renditions.get(rendition)
        if cached is None:
            cached = self._renditions[rendition] = await self._store.rendition(rendition)
            if len(self._renditions) > _CACHED_RENDITIONS:
                self._renditions.popitem(last=False)
        return cached


class _End(Enum):
    """How the work on one delivery ended."""

    DONE = auto()
    """Closed: by this worker now, or by somebody before."""
    HELD = auto()
    """Somebody else holds it: it must be looked at again."""
    LEFT = auto()
    """Left between two windows because this worker is shutting down."""


@dataclass(slots=True)
class _Sending:
    """What one attempt carries along."""

    hold: Hold
    message: BatchMessage
    ordinals: Ordinals
    addresses: Addresses = field(repr=False)
    rendition: RenditionRecord
    retry: Ordinals
    """Ordinals that failed in passing so far."""
    far_ids: FarIds | None = None
    """The far end's ids of the window before, not yet kept."""


def _expired(attempt: int) -> int:
    return word(Rank.EXPIRED, attempt=attempt, reason=Reason.EXPIRED)


def _withheld(attempt: int) -> int:
    return word(Rank.WITHHELD, attempt=attempt, reason=Reason.STOPPED)


def _transient(states: NDArray[np.uint16]) -> NDArray[np.bool_]:
    reasons = states & REASON_MASK
    failed = (states >> RANK_SHIFT & RANK_MASK) == Rank.FAILED
    mask: NDArray[np.bool_] = failed & (reasons >= FIRST_TRANSIENT) & (reasons < FIRST_PERMANENT)
    return mask


def _join(kept: Ordinals, more: Ordinals) -> Ordinals:
    return kept if not len(more) else np.union1d(kept, more).astype(np.uint16)
