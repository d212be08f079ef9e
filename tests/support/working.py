"""A broker's middle in one process, for tests of the worker: a store in memory, queues in memory, a tracker."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any, cast

import numpy as np
import sqlalchemy as sa

from broker.clock import now_ms
from broker.ledger.arrays import LedgerRow, Receipts
from broker.ledger.state import Rank, Reason, attempt_of, rank_of, reason_of
from broker.metrics import Metrics
from broker.release.states import allowed_from
from broker.sealing import Keyring, batch_context, pack
from broker.store import schema
from broker.store.contract import Store
from broker.store.records import BatchRecord, Work
from broker.tracking.tracker import Tracker
from broker.transport.contract import Transport, batch_queue
from broker.transport.embedded import EmbeddedTransport
from broker.transport.wire import decode_receipts, encode_batch
from broker.types import AlertState, ChannelName, Lane
from channels.worker import Worker, WorkerSettings
from tests.support.scripted_channel import ScriptedChannel
from tests.support.storing import a_plan, add, an_alert, an_event, commit
from tests.support.through import Through, Told
from tests.support.waiting import eventually

KEYRING = Keyring({"test": b"k" * 32})
LEASE_MS = 60_000
"""Longer than any test: leases end only where a test ends them."""


def number_of(batch: int, ordinal: int) -> bytes:
    """The address of a recipient: eleven digits that say whose they are."""
    return f"138{batch % 10_000:04d}{ordinal:04d}".encode()


@dataclass(frozen=True)
class WorkState:
    """What the store says of one attempt at one batch."""

    low: int
    high: int
    retry: list[int]
    ordinals: list[int] | None
    not_before: int
    closed: bool
    leased: bool


async def work_state(store: Store, batch: int, attempt: int = 1) -> WorkState | None:
    """The work row as it is durably now; None if there is none."""
    table = schema.work
    query = sa.select(table).where(table.c.batch == batch, table.c.attempt == attempt)
    async with cast("Any", store)._db.read() as conn:
        row = (await conn.execute(query)).mappings().first()
    if row is None:
        return None
    ordinals = None if row["ordinals"] is None else np.frombuffer(row["ordinals"], "<u2").tolist()
    return WorkState(
        row["low"],
        row["high"],
        np.frombuffer(row["retry"] or b"", "<u2").tolist(),
        ordinals,
        row["not_before"],
        row["closed_at"] is not None,
        row["lease_until"] is not None and row["lease_until"] > now_ms(),
    )


def states_of(row: LedgerRow) -> list[tuple[int, Rank, Reason]]:
    """(attempt, rank, reason) of each recipient."""
    return [(attempt_of(word), rank_of(word), reason_of(word)) for word in row.states.tolist()]


@dataclass
class Bench:
    """Everything but the workers, and what the workers said."""

    store: Store
    transport: EmbeddedTransport
    metrics: Metrics = field(default_factory=Metrics)
    said: list[Receipts] = field(default_factory=list)
    """Receipts in the order in which workers began to publish them."""
    workers: list[Worker] = field(default_factory=list)

    async def plan(
        self,
        n: int,
        *,
        lane: Lane = Lane.URGENT,
        channel: ChannelName = ChannelName.SMS,
        lives_ms: int = 3_600_000,
        keyring: Keyring = KEYRING,
        addresses: bytes | None = None,
    ) -> BatchRecord:
        """A planned batch of `n` recipients with sealed addresses."""
        # Received now, for what is over is looked for only until it expires.
        alert = await add(self.store, an_alert(state=AlertState.RELEASED, received=now_ms()))
        expires = now_ms() + lives_ms
        plan = await a_plan(
            self.store, (n,), alert=alert.id, channels=(channel,), lane=lane, at=now_ms(), expires=expires
        )
        bare = plan.batches[0]
        numbers = pack(number_of(bare.id, ordinal).decode() for ordinal in range(n))
        sealed = keyring.seal(numbers, batch_context(bare.id)) if addresses is None else addresses
        values = {name: getattr(bare, name) for name in type(bare).__dataclass_fields__}
        batch = BatchRecord(**{**values, "addresses": sealed})
        await commit(self.store, type(plan)(plan.alert, plan.at, plan.renditions, (batch,)))
        return batch

    async def end(self, alert: str, state: AlertState = AlertState.CANCELLED) -> None:
        """Cancel or supersede an alert."""
        assert await self.store.move_alert(alert, allowed_from(state), an_event(alert, state, at=now_ms()))

    async def deliver(self, batch: BatchRecord, attempt: int = 1, ordinals: Sequence[int] | None = None) -> None:
        """Put an attempt into its queue, as the relay does."""
        some = None if ordinals is None else np.array(ordinals, np.uint16)
        work = Work(batch.id, attempt, batch.channel, batch.lane, now_ms(), some)
        await self.transport.publish(batch_queue(batch.channel, batch.lane), encode_batch(batch, work))

    def worker(
        self,
        channel: ScriptedChannel,
        owner: str = "w1",
        *,
        store: Any = None,
        told: Told | None = None,
        asked: Told | None = None,
        keyring: Keyring = KEYRING,
        **settings: Any,
    ) -> Worker:
        """A worker; `told` hears of its marks, its closing of work and its publishing, `asked` of its asking
        what is over, which comes by the clock."""

        async def hear(point: str, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
            listener = asked if point.startswith("over:") else told
            if listener is not None:
                await listener(point, args, kwargs)
            if point == "publish:before":
                self.said.append(decode_receipts(args[1]))

        worker = Worker(
            channel,
            cast("Store", Through(store or self.store, hear, "mark", "close_work", "over")),
            cast("Transport", Through(self.transport, hear, "publish")),
            keyring,
            self.metrics,
            owner=owner,
            settings=WorkerSettings(**{"lease_ms": LEASE_MS, "stop_poll_seconds": 0.02, **settings}),
        )
        self.workers.append(worker)
        return worker

    async def started(self, channel: ScriptedChannel, owner: str = "w1", **how: Any) -> Worker:
        """A worker that takes batches."""
        worker = self.worker(channel, owner, **how)
        await worker.start()
        return worker

    async def closed(self, batch: BatchRecord, attempt: int = 1) -> None:
        """Wait until an attempt is closed."""

        async def is_closed() -> bool:
            state = await work_state(self.store, batch.id, attempt)
            return state is not None and state.closed

        await eventually(is_closed, f"attempt {attempt} at batch {batch.id} closed")

    async def states(self, batch: BatchRecord) -> list[tuple[int, Rank, Reason]]:
        """What the ledger says of each recipient."""
        return states_of(await self.store.ledger_row(batch.id))

    def reported(self, batch: BatchRecord, rank: Rank) -> list[int]:
        """The ordinals that workers reported with a rank, in order."""
        return [
            ordinal
            for receipts in self.said
            if receipts.batch == batch.id
            for ordinal, state in zip(receipts.ordinals.tolist(), receipts.states.tolist(), strict=True)
            if rank_of(state) is rank
        ]


async def kill(worker: Worker) -> None:
    """End a worker as kill -9 does: nothing is tidied up, its claims and what it holds stay as they are."""
    for subscription in worker._subscriptions:
        await subscription.cancel()
    tasks = [task for task in (*worker._attempts, worker._listener) if task is not None]
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
    # It only asks; broken off in a question it would take the store's database in memory along.
    await worker._stops.close()


@asynccontextmanager
async def a_bench(store: Store, **transport: Any) -> AsyncIterator[Bench]:
    """A bench on `store`; every worker made on it is closed at the end."""
    bench = Bench(store, EmbeddedTransport(**{"drain": 0.001, **transport}))
    await bench.transport.start()
    tracker = Tracker(store, bench.transport, bench.metrics, shards=[0])
    await tracker.start()
    try:
        yield bench
    finally:
        for worker in bench.workers:
            await worker.close(grace=0.05)
        await tracker.close(grace=1)
        await bench.transport.close()
