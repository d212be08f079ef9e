"""What both transports promise; the executable half of broker.transport.contract."""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from collections.abc import Awaitable, Callable

import pytest

from broker.errors import TransportError, Unroutable
from broker.transport.contract import Delivery, Header, Message, Transport
from broker.transport.settling import unparked

QUEUE = "sms.urgent"


def message(number: int, body: bytes = b"body", **headers: str | int | bytes) -> Message:
    return Message(headers=headers, body=body, id=f"m{number}")


class Collector:
    """Keeps deliveries in order of arrival; acknowledges them unless told otherwise."""

    def __init__(self, settle: Callable[[Delivery], Awaitable[None]] | None = None) -> None:
        self.deliveries: list[Delivery] = []
        self.times: list[float] = []
        self._settle = settle
        self._changed = asyncio.Event()

    async def __call__(self, delivery: Delivery) -> None:
        self.deliveries.append(delivery)
        self.times.append(time.monotonic())
        self._changed.set()
        if self._settle is None:
            await delivery.ack()
        else:
            await self._settle(delivery)

    @property
    def ids(self) -> list[str]:
        return [delivery.message.id for delivery in self.deliveries]

    async def wait(self, count: int, seconds: float = 30.0) -> None:
        async with asyncio.timeout(seconds):
            while len(self.deliveries) < count:
                self._changed.clear()
                await self._changed.wait()


async def leave(_: Delivery) -> None:
    """Keep it in hand."""


async def until(condition: Callable[[], Awaitable[bool]], seconds: float = 10.0) -> None:
    async with asyncio.timeout(seconds):
        while not await condition():
            await asyncio.sleep(0.02)


async def test_a_published_message_arrives_unchanged_and_is_gone_once_acknowledged(transport: Transport) -> None:
    headers: dict[str, Header] = {
        "alert": "预警-1",
        "batch": 2**62,
        "small": -1,
        "zero": 0,
        "key": b"\x00\xff",
        "text": b"ascii",
    }
    sent = Message(headers=headers, body=bytes(range(256)), id="batch-1-1")
    collector = Collector()
    await transport.publish(QUEUE, sent)
    await transport.consume(QUEUE, collector, prefetch=10)
    await collector.wait(1)
    [delivery] = collector.deliveries
    assert delivery.message == sent
    assert delivery.queue == QUEUE
    assert await transport.depth(QUEUE) == 0


async def test_every_queue_that_may_be_named_takes_and_gives(transport: Transport) -> None:
    queues = [
        f"{channel}.{lane}" for channel in ("sms", "broadcast", "app", "signage") for lane in ("urgent", "routine")
    ]
    for queue in (*queues, "receipts.0", "receipts.1", "parking"):
        collector = Collector()
        subscription = await transport.consume(queue, collector, prefetch=1)
        await transport.publish(queue, message(1, queue.encode()))
        await collector.wait(1)
        assert collector.deliveries[0].message.body == queue.encode()
        await subscription.cancel()


async def test_messages_of_one_publisher_come_in_order(transport: Transport) -> None:
    collector = Collector()
    for number in range(100):
        await transport.publish(QUEUE, message(number))
    await transport.consume(QUEUE, collector, prefetch=7)
    await collector.wait(100)
    assert collector.ids == [f"m{number}" for number in range(100)]


async def test_prefetch_bounds_what_is_unsettled(transport: Transport) -> None:
    collector = Collector(leave)
    subscription = await transport.consume(QUEUE, collector, prefetch=3)
    for number in range(8):
        await transport.publish(QUEUE, message(number))
    await collector.wait(3)
    await asyncio.sleep(0.3)
    assert len(collector.deliveries) == 3
    assert await transport.depth(QUEUE) == 5
    await collector.deliveries[1].ack()
    await collector.wait(4)
    await asyncio.sleep(0.2)
    assert collector.ids == ["m0", "m1", "m2", "m3"]
    await subscription.cancel()
    for delivery in (collector.deliveries[0], *collector.deliveries[2:]):
        await delivery.ack()


async def test_depth_counts_what_waits(transport: Transport) -> None:
    assert await transport.depth("app.routine") == 0
    for number in range(5):
        await transport.publish("app.routine", message(number))
    assert await transport.depth("app.routine") == 5


async def test_retry_later_brings_the_same_message_back_no_earlier_than_asked(transport: Transport) -> None:
    async def once(delivery: Delivery) -> None:
        if len(collector.deliveries) == 1:
            await delivery.retry_later(1)
        else:
            await delivery.ack()

    collector = Collector(once)
    await transport.consume(QUEUE, collector, prefetch=1)
    await transport.publish(QUEUE, message(1, b"x" * 1000, attempt=4))
    await collector.wait(2)
    first, second = (delivery.message for delivery in collector.deliveries)
    assert first == second
    assert collector.times[1] - collector.times[0] >= 1.0
    assert collector.deliveries[1].queue == QUEUE


async def test_a_message_put_off_does_not_hold_up_those_behind_it(transport: Transport) -> None:
    async def first_later(delivery: Delivery) -> None:
        if delivery.message.id == "m0" and len(collector.deliveries) == 1:
            await delivery.retry_later(1)
        else:
            await delivery.ack()

    collector = Collector(first_later)
    for number in range(3):
        await transport.publish(QUEUE, message(number))
    await transport.consume(QUEUE, collector, prefetch=1)
    await collector.wait(4)
    assert collector.ids == ["m0", "m1", "m2", "m0"]


async def test_a_delayed_message_cannot_be_taken_before_its_time(transport: Transport) -> None:
    collector = Collector()
    await transport.consume(QUEUE, collector, prefetch=1)
    published = time.monotonic()
    await transport.publish(QUEUE, message(1), delay=0.7)
    await transport.publish(QUEUE, message(2))
    await collector.wait(2)
    assert collector.ids == ["m2", "m1"]
    assert collector.times[1] - published >= 0.7


async def test_a_delay_beyond_the_last_rung_is_refused_rather_than_shortened(transport: Transport) -> None:
    with pytest.raises(ValueError, match="last rung"):
        await transport.publish(QUEUE, message(1), delay=6)
    assert await transport.depth(QUEUE) == 0
    collector = Collector(leave)
    await transport.consume(QUEUE, collector, prefetch=1)
    await transport.publish(QUEUE, message(2))
    await collector.wait(1)
    with pytest.raises(ValueError, match="last rung"):
        await collector.deliveries[0].retry_later(6)
    await collector.deliveries[0].ack()


async def test_a_parked_message_keeps_body_and_headers_and_says_where_from_and_why(transport: Transport) -> None:
    sent = message(1, b"\x01" * 5000, alert="a1", batch=9)
    taker = Collector(lambda delivery: delivery.park("不能处理: no such channel"))
    await transport.consume(QUEUE, taker, prefetch=1)
    await transport.publish(QUEUE, sent)
    await taker.wait(1)
    shelf = Collector()
    await transport.consume("parking", shelf, prefetch=1)
    await shelf.wait(1)
    kept = shelf.deliveries[0].message
    assert kept.headers["queue"] == QUEUE
    assert unparked(kept) == (sent, QUEUE, "不能处理: no such channel")
    assert await transport.depth(QUEUE) == 0


async def test_a_handler_that_fails_once_gets_the_message_again(transport: Transport) -> None:
    async def fail_once(delivery: Delivery) -> None:
        if len(collector.deliveries) == 1:
            raise ArithmeticError("out of luck")
        await delivery.ack()

    collector = Collector(fail_once)
    await transport.consume(QUEUE, collector, prefetch=1)
    await transport.publish(QUEUE, message(1, alert="a"))
    await collector.wait(2)
    assert collector.deliveries[0].message == collector.deliveries[1].message
    assert collector.times[1] - collector.times[0] >= 1.0


async def test_a_handler_that_always_fails_gets_a_message_parked_after_ten_deliveries(transport: Transport) -> None:
    async def fail(_: Delivery) -> None:
        raise ArithmeticError("out of luck")

    collector = Collector(fail)
    shelf = Collector()
    await transport.consume("parking", shelf, prefetch=1)
    await transport.consume(QUEUE, collector, prefetch=1)
    await transport.publish(QUEUE, message(1, alert="a"))
    await shelf.wait(1, seconds=60)
    assert len(collector.deliveries) == 10
    original, queue, reason = unparked(shelf.deliveries[0].message)
    assert original == message(1, alert="a")
    assert queue == QUEUE
    assert "ArithmeticError: out of luck" in reason


async def test_a_delivery_can_be_settled_only_once(transport: Transport) -> None:
    collector = Collector()
    await transport.consume(QUEUE, collector, prefetch=1)
    await transport.publish(QUEUE, message(1))
    await collector.wait(1)
    await asyncio.sleep(0.05)
    for again in (
        collector.deliveries[0].ack(),
        collector.deliveries[0].park("x"),
        collector.deliveries[0].retry_later(1),
    ):
        with pytest.raises(RuntimeError, match="settled twice"):
            await again
    await transport.publish(QUEUE, message(2))
    await collector.wait(2)


async def test_a_cancelled_consumer_takes_no_more_but_settles_what_it_holds(transport: Transport) -> None:
    collector = Collector(leave)
    subscription = await transport.consume(QUEUE, collector, prefetch=1)
    await transport.publish(QUEUE, message(1))
    await transport.publish(QUEUE, message(2))
    await collector.wait(1)
    await subscription.cancel()
    await collector.deliveries[0].ack()
    await asyncio.sleep(0.3)
    assert collector.ids == ["m1"]
    after = Collector()
    await transport.consume(QUEUE, after, prefetch=1)
    await after.wait(1)
    assert after.ids == ["m2"]


async def test_two_consumers_of_a_lane_share_its_messages(transport: Transport) -> None:
    one, two = Collector(leave), Collector(leave)
    await transport.consume(QUEUE, one, prefetch=2)
    await transport.consume(QUEUE, two, prefetch=2)
    for number in range(4):
        await transport.publish(QUEUE, message(number))
    await one.wait(2)
    await two.wait(2)
    assert sorted(one.ids + two.ids) == ["m0", "m1", "m2", "m3"]
    for delivery in one.deliveries + two.deliveries:
        await delivery.ack()


async def test_receipts_of_a_shard_go_to_one_tracker_until_it_leaves(transport: Transport) -> None:
    first, second = Collector(), Collector()
    subscription = await transport.consume("receipts.1", first, prefetch=5)
    await transport.consume("receipts.1", second, prefetch=5)
    for number in range(20):
        await transport.publish("receipts.1", message(number))
    await first.wait(20)
    assert second.ids == []
    await subscription.cancel()
    await transport.publish("receipts.1", message(20))
    await second.wait(1)
    assert second.ids == ["m20"]


async def test_routine_backlog_does_not_delay_urgent(transport: Transport) -> None:
    routine, urgent = Collector(leave), Collector()
    backlog = await transport.consume("sms.routine", routine, prefetch=2)
    await transport.consume("sms.urgent", urgent, prefetch=2)
    for number in range(50):
        await transport.publish("sms.routine", message(number))
    await routine.wait(2)
    await transport.publish("sms.urgent", message(999))
    await urgent.wait(1)
    assert len(routine.deliveries) == 2
    await backlog.cancel()
    for delivery in routine.deliveries:
        await delivery.ack()


@pytest.mark.parametrize("size", [0, 1, 131_064, 131_065, 200_000])
async def test_bodies_of_any_size_come_intact(transport: Transport, size: int) -> None:
    body = bytes(number % 251 for number in range(size))
    collector = Collector()
    await transport.consume(QUEUE, collector, prefetch=2)
    await transport.publish(QUEUE, message(1, body))
    await collector.wait(1)
    assert collector.deliveries[0].message.body == body


async def test_five_thousand_in_flight_arrive_each_exactly_once(transport: Transport) -> None:
    collector = Collector()
    await transport.consume(QUEUE, collector, prefetch=200)
    await asyncio.gather(*(transport.publish(QUEUE, message(number, n=number)) for number in range(5000)))
    await collector.wait(5000, seconds=60)
    await asyncio.sleep(0.2)
    assert Counter(collector.ids) == {f"m{number}": 1 for number in range(5000)}
    assert await transport.depth(QUEUE) == 0


@pytest.mark.parametrize("queue", ["sms.slow", "retry.1.sms.urgent", "receipts.2", "", "fenghuo.sms.urgent"])
async def test_what_is_no_queue_is_unroutable(transport: Transport, queue: str) -> None:
    with pytest.raises(Unroutable):
        await transport.publish(queue, message(1))
    with pytest.raises(Unroutable):
        await transport.consume(queue, Collector(), prefetch=1)
    with pytest.raises(Unroutable):
        await transport.depth(queue)


@pytest.mark.parametrize(
    "bad",
    [
        Message(headers={"f": 1.5}, body=b"", id="1"),  # type: ignore[dict-item]
        Message(headers={"b": True}, body=b"", id="1"),
        Message(headers={"n": 2**63}, body=b"", id="1"),
        Message(headers={"x-death": 1}, body=b"", id="1"),
        Message(headers={"": 1}, body=b"", id="1"),
        Message(headers={}, body=b"", id=""),
        Message(headers={}, body=b"", id="字" * 86),
    ],
)
async def test_what_the_wire_cannot_carry_is_refused(transport: Transport, bad: Message) -> None:
    with pytest.raises(ValueError):
        await transport.publish(QUEUE, bad)
    assert await transport.depth(QUEUE) == 0


async def test_a_prefetch_of_nothing_is_refused(transport: Transport) -> None:
    with pytest.raises(ValueError):
        await transport.consume(QUEUE, Collector(), prefetch=0)


async def test_closing_while_publishing_ends_every_publish_one_way_or_the_other(transport: Transport) -> None:
    publishes = [asyncio.create_task(transport.publish(QUEUE, message(number))) for number in range(2000)]
    await asyncio.sleep(0.02)
    await transport.close()
    async with asyncio.timeout(10):
        results = await asyncio.gather(*publishes, return_exceptions=True)
    assert all(result is None or isinstance(result, TransportError) for result in results)
    assert not transport.connected
    with pytest.raises(TransportError):
        await transport.publish(QUEUE, message(1))
    await transport.close()


async def test_closing_waits_for_what_is_in_hand(transport: Transport) -> None:
    finished: list[str] = []

    async def slow(delivery: Delivery) -> None:
        await asyncio.sleep(0.5)
        await delivery.ack()
        finished.append(delivery.message.id)

    collector = Collector(slow)
    await transport.consume(QUEUE, collector, prefetch=3)
    for number in range(3):
        await transport.publish(QUEUE, message(number))
    await collector.wait(3)
    await transport.close()
    assert sorted(finished) == ["m0", "m1", "m2"]


async def test_closing_does_not_wait_for_ever_for_a_handler_that_hangs(transport: Transport) -> None:
    cancelled = asyncio.Event()

    async def hang(_: Delivery) -> None:
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            cancelled.set()
            raise

    collector = Collector(hang)
    await transport.consume(QUEUE, collector, prefetch=1)
    await transport.publish(QUEUE, message(1))
    await collector.wait(1)
    async with asyncio.timeout(15):
        await transport.close()
    assert cancelled.is_set()


async def test_the_same_id_published_twice_at_once_arrives_twice(transport: Transport) -> None:
    collector = Collector()
    await transport.consume(QUEUE, collector, prefetch=5)
    await asyncio.gather(transport.publish(QUEUE, message(1)), transport.publish(QUEUE, message(1)))
    await collector.wait(2)
    assert collector.ids == ["m1", "m1"]


async def test_a_started_transport_is_connected_and_not_blocked(transport: Transport) -> None:
    assert transport.connected
    assert not transport.blocked


async def test_closing_survives_a_handler_that_is_deaf_to_cancellation(transport: Transport) -> None:
    release = asyncio.Event()

    async def deaf(_: Delivery) -> None:
        while not release.is_set():
            try:
                await release.wait()
            except asyncio.CancelledError:
                continue

    collector = Collector(deaf)
    await transport.consume(QUEUE, collector, prefetch=1)
    await transport.publish(QUEUE, message(1))
    await collector.wait(1)
    async with asyncio.timeout(20):
        await transport.close()
    release.set()
    await asyncio.sleep(0)
