"""The tracker acknowledges what is committed, and parks only what fits no batch."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any, cast

import numpy as np
import pytest

from broker.errors import StoreError, TransportError
from broker.ledger.arrays import Receipts
from broker.ledger.state import DELIVERED, Rank, word
from broker.metrics import Metrics
from broker.store.contract import Store
from broker.store.sql import open_store
from broker.tracking.parker import Parker
from broker.tracking.tracker import Tracker
from broker.transport.contract import Message, receipts_queue
from broker.transport.embedded import EmbeddedTransport
from broker.transport.wire import encode_receipts
from broker.types import ChannelName, Lane
from tests.support.storing import T0, planned
from tests.support.through import Through
from tests.support.waiting import eventually, soon


@pytest.fixture
async def store() -> AsyncIterator[Store]:
    store = open_store("sqlite:///:memory:")
    await store.start()
    yield store
    await store.close()


@pytest.fixture
async def transport() -> AsyncIterator[EmbeddedTransport]:
    transport = EmbeddedTransport(2, drain=0.05)
    await transport.start()
    yield transport
    await transport.close()


def delivered(batch: int, *ordinals: int) -> Receipts:
    return Receipts.uniform(batch, np.array(ordinals, np.uint16), DELIVERED, T0 + 1000)


_unique = iter(range(10**6))


def message(receipts: Receipts) -> Message:
    return encode_receipts(receipts, unique=str(next(_unique)))


async def test_receipts_are_acknowledged_only_after_the_commit(store: Store, transport: EmbeddedTransport) -> None:
    merging, commit = asyncio.Event(), asyncio.Event()

    async def told(point: str, _args: Any, _kwargs: Any) -> None:
        if point == "merge:before":
            merging.set()
            await commit.wait()

    tracker = Tracker(cast("Store", Through(store, told, "merge")), transport, Metrics(), shards=[0])
    await tracker.start()
    (batch,) = (await planned(store, (3,))).batches
    # The embedded transport's publish returns when the consumer has acknowledged.
    publishing = asyncio.create_task(transport.publish(receipts_queue(0), message(delivered(batch.id, 1))))
    await soon(merging.wait())
    assert not publishing.done()
    assert not (await store.ledger_row(batch.id)).states.any()
    commit.set()
    await soon(publishing)
    assert (await store.ledger_row(batch.id)).states.tolist() == [0, DELIVERED, 0]
    await tracker.close()


async def test_a_store_that_fails_delays_the_merge_and_loses_nothing(
    store: Store, transport: EmbeddedTransport, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("broker.tracking.tracker._PAUSE_S", 0.001)
    failures = 0
    publishing: list[asyncio.Task[None]] = []

    async def told(point: str, _args: Any, _kwargs: Any) -> None:
        nonlocal failures
        if point == "merge:before" and failures < 3:
            failures += 1
            assert not any(task.done() for task in publishing)
            raise StoreError("the database is away")

    tracker = Tracker(cast("Store", Through(store, told, "merge")), transport, Metrics(), shards=[0])
    await tracker.start()
    (batch,) = (await planned(store, (4,))).batches
    publishing += [
        asyncio.create_task(transport.publish(receipts_queue(0), message(delivered(batch.id, ordinal))))
        for ordinal in range(4)
    ]
    await soon(asyncio.gather(*publishing))
    assert failures == 3
    assert (await store.ledger_row(batch.id)).states.tolist() == [DELIVERED] * 4
    await tracker.close()


async def test_what_fits_no_batch_is_parked_alone_while_the_rest_of_its_group_is_merged(
    store: Store, transport: EmbeddedTransport
) -> None:
    first, go_on, groups = asyncio.Event(), asyncio.Event(), []

    async def told(point: str, args: Any, _kwargs: Any) -> None:
        if point == "merge:before":
            groups.append(len(args[0]))
            first.set()
            await go_on.wait()

    metrics = Metrics()
    tracker = Tracker(cast("Store", Through(store, told, "merge")), transport, metrics, shards=[0])
    parker = Parker(store, transport, metrics)
    await tracker.start()
    await parker.start()
    one, other = (await planned(store, (3, 3))).batches
    sent = [
        delivered(one.id, 0),
        delivered(999_999, 0),  # no such batch
        delivered(other.id, 3),  # no such recipient
        delivered(one.id, 2),
        delivered(other.id, 1),
    ]
    publishing = []
    for receipts in sent:
        publishing.append(asyncio.create_task(transport.publish(receipts_queue(0), message(receipts))))
        if len(publishing) == 1:
            await soon(first.wait())  # the others gather behind the first one
    await eventually(lambda: tracker._waiting.qsize() == 4)
    go_on.set()
    await soon(asyncio.gather(*publishing))
    assert groups[:2] == [1, 4]
    assert (await store.ledger_row(one.id)).states.tolist() == [DELIVERED, 0, DELIVERED]
    assert (await store.ledger_row(other.id)).states.tolist() == [0, DELIVERED, 0]

    async def two_parked() -> bool:
        return len(await store.parked()) == 2

    await eventually(two_parked)
    entries = await store.parked()
    assert [(entry.queue, entry.headers["batch"]) for entry in entries] == [
        ("receipts.0", 999_999),
        ("receipts.0", other.id),
    ]
    assert "no batch 999999" in entries[0].reason
    assert "has 3 recipients" in entries[1].reason
    assert metrics.registry.get_sample_value("fenghuo_parked_total") == 2
    assert metrics.registry.get_sample_value("fenghuo_receipts_merged_total") == 3
    await tracker.close()
    await parker.close()


async def test_an_unreadable_message_is_parked_and_the_next_one_merged(
    store: Store, transport: EmbeddedTransport
) -> None:
    metrics = Metrics()
    tracker, parker = Tracker(store, transport, metrics, shards=[0]), Parker(store, transport, metrics)
    await tracker.start()
    await parker.start()
    (batch,) = (await planned(store, (1,))).batches
    odd = Message({"kind": "receipts.9", "n": 1, "odd": b"\x00\xff"}, b"\x01body", "odd-1")
    await soon(transport.publish(receipts_queue(0), odd))
    await soon(transport.publish(receipts_queue(0), message(delivered(batch.id, 0))))

    async def one_parked() -> bool:
        return len(await store.parked()) == 1

    await eventually(one_parked)
    (entry,) = await store.parked()
    assert (entry.queue, entry.body) == ("receipts.0", b"\x01body")
    assert entry.headers == odd.headers
    assert "unreadable" in entry.reason
    assert (await store.ledger_row(batch.id)).states.tolist() == [DELIVERED]
    await tracker.close()
    await parker.close()


async def test_what_is_parked_can_be_taken_out_and_is_then_handled(
    store: Store, transport: EmbeddedTransport
) -> None:
    metrics = Metrics()
    tracker, parker = Tracker(store, transport, metrics, shards=[0]), Parker(store, transport, metrics)
    await tracker.start()
    await parker.start()
    plan = await planned(store, (1,))
    batch = plan.batches[0].id + 1  # the next one, not yet planned
    sent = message(delivered(batch, 0))
    await soon(transport.publish(receipts_queue(0), sent))

    async def one_parked() -> bool:
        return len(await store.parked()) == 1

    await eventually(one_parked)
    (late,) = (await planned(store, (1,))).batches
    assert late.id == batch
    (entry,) = await store.parked()
    taken = await store.unpark(entry.id)
    headers = {name: value for name, value in taken.headers.items() if isinstance(value, str | int | bytes)}
    await soon(transport.publish(taken.queue, Message(headers, taken.body, "again")))
    assert (await store.ledger_row(batch)).states.tolist() == [DELIVERED]
    assert await store.parked() == []
    await tracker.close()
    await parker.close()


async def test_a_store_that_fails_keeps_the_message_in_the_parking_queue(
    store: Store, transport: EmbeddedTransport, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("broker.tracking.parker.LADDER_SECONDS", (0.001,))
    failed = False

    async def told(point: str, _args: Any, _kwargs: Any) -> None:
        nonlocal failed
        if point == "park:before" and not failed:
            failed = True
            raise StoreError("the database is away")

    parker = Parker(cast("Store", Through(store, told, "park")), transport, Metrics())
    await parker.start()
    transport.put_parked(Message({"reason": "why", "queue": "sms.urgent", "batch": 7}, b"body", "m1"))

    async def one_parked() -> bool:
        return len(await store.parked()) == 1

    await eventually(one_parked)
    (entry,) = await store.parked()
    assert failed
    assert (entry.queue, entry.reason, entry.headers) == ("sms.urgent", "why", {"batch": 7})
    await parker.close()


async def test_closing_merges_what_is_in_hand(store: Store, transport: EmbeddedTransport) -> None:
    merging, go_on = asyncio.Event(), asyncio.Event()

    async def told(point: str, _args: Any, _kwargs: Any) -> None:
        if point == "merge:before":
            merging.set()
            await go_on.wait()

    tracker = Tracker(cast("Store", Through(store, told, "merge")), transport, Metrics(), shards=[0])
    await tracker.start()
    running = asyncio.create_task(tracker.run())
    (batch,) = (await planned(store, (2,))).batches
    publishing = [asyncio.create_task(transport.publish(receipts_queue(0), message(delivered(batch.id, 0))))]
    await soon(merging.wait())
    publishing.append(asyncio.create_task(transport.publish(receipts_queue(0), message(delivered(batch.id, 1)))))
    await eventually(lambda: tracker._waiting.qsize() == 1)
    closing = asyncio.create_task(tracker.close())
    go_on.set()
    await soon(closing)
    await soon(running)
    await soon(asyncio.gather(*publishing))
    assert (await store.ledger_row(batch.id)).states.tolist() == [DELIVERED] * 2


async def test_a_tracker_takes_the_shards_that_are_its_own(store: Store, transport: EmbeddedTransport) -> None:
    tracker = Tracker(store, transport, Metrics(), shards=[1])
    await tracker.start()
    (batch,) = (await planned(store, (1,))).batches
    waiting = asyncio.create_task(transport.publish(receipts_queue(0), message(delivered(batch.id, 0))))
    await soon(transport.publish(receipts_queue(1), message(delivered(batch.id, 0))))
    assert not waiting.done()
    assert await transport.depth(receipts_queue(0)) == 1
    await tracker.close()
    await transport.close()
    with pytest.raises(TransportError):
        await soon(waiting)


async def test_what_kills_the_merging_comes_out_of_run(store: Store, transport: EmbeddedTransport) -> None:
    async def told(point: str, _args: Any, _kwargs: Any) -> None:
        raise RuntimeError("a fault of ours")

    tracker = Tracker(cast("Store", Through(store, told, "merge")), transport, Metrics(), shards=[0])
    await tracker.start()
    running = asyncio.create_task(tracker.run())
    (batch,) = (await planned(store, (1,), channels=(ChannelName.APP,), lane=Lane.ROUTINE)).batches
    sent = Receipts.uniform(batch.id, np.zeros(1, np.uint16), word(Rank.SENT, attempt=1), T0)
    publishing = asyncio.create_task(transport.publish(receipts_queue(0), message(sent)))
    with pytest.raises(RuntimeError, match="a fault of ours"):
        await soon(running)
    publishing.cancel()
    await tracker.close(grace=0.01)
