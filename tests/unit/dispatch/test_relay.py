"""The relay: what is in the outbox reaches the queues, is marked only when confirmed, and never lost."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any, cast

import numpy as np
import pytest

from broker.clock import now_ms
from broker.dispatch.relay import Relay
from broker.errors import StoreError, TransportError
from broker.metrics import Metrics
from broker.store.contract import Store
from broker.store.records import Work
from broker.store.sql import open_store
from broker.transport.contract import LADDER_SECONDS, Message, Transport
from broker.transport.embedded import EmbeddedTransport
from broker.transport.wire import decode_batch
from broker.types import ChannelName, Lane
from tests.support.storing import planned
from tests.support.through import Through, Told
from tests.support.waiting import eventually, soon


@pytest.fixture
async def store() -> AsyncIterator[Store]:
    store = open_store("sqlite:///:memory:")
    await store.start()
    yield store
    await store.close()


class Queues(EmbeddedTransport):
    """The embedded transport, remembering what was published; it can be told to fail, to be blocked, to last."""

    def __init__(self) -> None:
        super().__init__(drain=0.05)
        self.published: list[tuple[str, Message, float]] = []
        self.refuses: set[int] = set()
        self.paused = False

    async def publish(self, queue: str, message: Message, *, delay: float = 0.0) -> None:
        if message.headers["batch"] in self.refuses:
            raise TransportError("no confirm")
        await super().publish(queue, message, delay=delay)
        self.published.append((queue, message, delay))

    @property
    def blocked(self) -> bool:
        return self.paused

    @property
    def batches(self) -> list[int]:
        return [int(message.headers["batch"]) for _, message, _ in self.published]


@pytest.fixture
async def queues() -> AsyncIterator[Queues]:
    queues = Queues()
    await queues.start()
    yield queues
    await queues.close()


def a_relay(store: Store, queues: EmbeddedTransport, told: Told | None = None, **how: Any) -> Relay:
    async def nothing(_point: str, _args: Any, _kwargs: Any) -> None:
        """Nobody looks on."""

    looking = cast("Store", Through(store, told or nothing, "mark_published", "unpublished", "forget_published"))
    return Relay(looking, cast("Transport", queues), Metrics(), **how)


async def test_what_is_not_marked_is_published_to_its_queue_then_marked(store: Store, queues: Queues) -> None:
    order: list[str] = []

    async def told(point: str, _args: Any, _kwargs: Any) -> None:
        if point == "mark_published:before":
            order.append(f"marking after {len(queues.published)} confirms")

    plan = await planned(store, (3, 2), channels=(ChannelName.SMS, ChannelName.APP), lane=Lane.ROUTINE)
    relay = a_relay(store, queues, told)
    assert await relay.once() == 2
    assert order == ["marking after 2 confirms"]
    assert await store.unpublished(10) == []
    assert await relay.once() == 0
    by_queue = {queue: decode_batch(message) for queue, message, _ in queues.published}
    assert sorted(by_queue) == ["app.routine", "sms.routine"]
    for batch, queue in zip(plan.batches, ("sms.routine", "app.routine"), strict=True):
        found = by_queue[queue]
        assert found.batch.id == batch.id
        assert found.batch.recipients.tolist() == batch.recipients.tolist()
        assert found.batch.addresses == batch.addresses
        assert (found.attempt, found.ordinals, found.not_before) == (1, None, plan.at)


async def test_urgent_batches_are_published_before_routine_ones(
    store: Store, queues: Queues, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("broker.dispatch.relay._GROUP", 2)
    routine = await planned(store, (1, 1), lane=Lane.ROUTINE)
    urgent = await planned(store, (1, 1), lane=Lane.URGENT)
    relay = a_relay(store, queues)
    assert await relay.once() == 2
    assert sorted(queues.batches) == [batch.id for batch in urgent.batches]
    assert await relay.once() == 2
    assert sorted(queues.batches[2:]) == [batch.id for batch in routine.batches]


async def test_what_is_not_confirmed_stays_and_the_rest_is_marked(store: Store, queues: Queues) -> None:
    plan = await planned(store, (1, 1, 1))
    bad = plan.batches[1].id
    queues.refuses = {bad}
    relay = a_relay(store, queues)
    with pytest.raises(TransportError, match="no confirm"):
        await relay.once()
    assert [work.batch for work in await store.unpublished(10)] == [bad]
    queues.refuses = set()
    assert await relay.once() == 1
    assert sorted(queues.batches) == [batch.id for batch in plan.batches]


async def test_a_crash_between_confirm_and_mark_publishes_twice_not_never(store: Store, queues: Queues) -> None:
    async def told(point: str, _args: Any, _kwargs: Any) -> None:
        if point == "mark_published:before":
            raise StoreError("killed")

    (batch,) = (await planned(store, (1,))).batches
    with pytest.raises(StoreError):
        await a_relay(store, queues, told).once()
    assert await a_relay(store, queues).once() == 1
    assert queues.batches == [batch.id, batch.id]
    assert queues.published[0][1].id == queues.published[1][1].id, "so that the second can be told as such"


async def running(relay: Relay) -> asyncio.Task[None]:
    return asyncio.create_task(relay.run())


async def ended(task: asyncio.Task[None]) -> None:
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)


async def test_queues_that_keep_nothing_get_everything_anew_at_start(store: Store, queues: Queues) -> None:
    open_, closed = (await planned(store, (1, 1))).batches
    assert await a_relay(store, queues).once() == 2
    claim = await store.claim(closed.id, 1, "w", 60_000)
    assert claim is not None
    await store.close_work(claim)
    task = await running(a_relay(store, queues))
    await eventually(lambda: len(queues.published) == 3)
    await ended(task)
    assert queues.batches[2:] == [open_.id]


async def test_queues_that_last_get_nothing_a_second_time(store: Store, queues: Queues) -> None:
    queues.durable = True
    first = (await planned(store, (1,))).batches[0]
    assert await a_relay(store, queues).once() == 1
    relay = a_relay(store, queues)
    task = await running(relay)
    second = (await planned(store, (1,))).batches[0]
    relay.wake()
    await eventually(lambda: len(queues.published) == 2)
    await ended(task)
    assert queues.batches == [first.id, second.id]


async def test_while_the_server_asks_for_a_pause_nothing_is_published(store: Store, queues: Queues) -> None:
    await planned(store, (1,))
    queues.paused = True
    relay = a_relay(store, queues, interval=0.001)
    assert await relay.once() == 0
    task = await running(relay)
    assert queues.published == []
    assert len(await store.unpublished(10)) == 1
    queues.paused = False
    await eventually(lambda: len(queues.published) == 1)
    await ended(task)


async def test_a_transport_or_store_that_fails_for_a_while_only_delays(
    store: Store, queues: Queues, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("broker.dispatch.relay._PAUSE_S", 0.001)
    (batch,) = (await planned(store, (1,))).batches
    queues.refuses = {batch.id}
    failures = 0

    async def told(point: str, _args: Any, _kwargs: Any) -> None:
        nonlocal failures
        if point == "unpublished:before":
            failures += 1
            if failures == 2:
                raise StoreError("the database is away")
            if failures == 3:
                queues.refuses = set()

    task = await running(a_relay(store, queues, told, interval=0.001))
    await eventually(lambda: queues.batches == [batch.id])
    await ended(task)
    assert failures >= 3


async def test_being_woken_is_enough_to_publish_at_once(store: Store, queues: Queues) -> None:
    looked = asyncio.Event()

    async def told(point: str, _args: Any, _kwargs: Any) -> None:
        if point == "unpublished:after":
            looked.set()

    relay = a_relay(store, queues, told, interval=3600.0)
    task = await running(relay)
    await soon(looked.wait())
    await planned(store, (1,))
    relay.wake()
    await eventually(lambda: len(queues.published) == 1)
    await ended(task)


async def retried(store: Store, batch: int, not_before: int) -> None:
    claim = await store.claim(batch, 1, "w", 60_000)
    assert claim is not None
    retry = Work(batch, 2, ChannelName.SMS, Lane.URGENT, not_before, np.array([0, 2], np.uint16))
    await store.close_work(claim, retry=retry)


@pytest.mark.parametrize(
    ("due_in", "delay"),
    [(20.0, 20.0), (-20.0, 0.0), (LADDER_SECONDS[-1] + 60.0, LADDER_SECONDS[-1])],
    ids=["later", "overdue", "by a clock that is ahead"],
)
async def test_a_retry_is_published_with_the_delay_that_is_left(
    store: Store, queues: Queues, due_in: float, delay: float
) -> None:
    (batch,) = (await planned(store, (3,))).batches
    relay = a_relay(store, queues)
    await relay.once()
    before = now_ms()
    await retried(store, batch.id, before + int(1000 * due_in))
    assert await relay.once() == 1
    passed = (now_ms() - before) / 1000
    _, message, given = queues.published[1]
    assert delay - passed - 0.001 <= given <= delay
    found = decode_batch(message)
    assert found.attempt == 2
    assert found.ordinals is not None
    assert found.ordinals.tolist() == [0, 2]
    assert found.batch.recipients.tolist() == batch.recipients.tolist()
