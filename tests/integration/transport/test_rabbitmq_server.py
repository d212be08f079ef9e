"""What we ask of the server itself: its queues, their limits, and what happens when they are tampered with."""

from __future__ import annotations

import asyncio
import random
import secrets
from collections.abc import AsyncIterator, Callable

import aio_pika
import pytest

from broker.errors import ConfigError, TransportError, Unroutable
from broker.transport.contract import Delivery, Message
from broker.transport.settling import unparked
from broker.transport.topology import Limits, exchange_name
from tests.support.transports import RabbitFactory

QUEUE = "sms.urgent"


def message(number: int) -> Message:
    return Message(headers={"n": number}, body=b"body", id=f"m{number}")


async def eventually(condition: Callable[[], bool], seconds: float = 15.0) -> None:
    async with asyncio.timeout(seconds):
        while not condition():
            await asyncio.sleep(0.02)


@pytest.fixture
def prefix() -> str:
    return f"test{secrets.token_hex(6)}."


@pytest.fixture
async def server(amqp_server: Callable[[], str]) -> AsyncIterator[aio_pika.abc.AbstractChannel]:
    """A channel to the server past our transport."""
    url = await asyncio.to_thread(amqp_server)
    async with await aio_pika.connect(url) as connection, connection.channel() as channel:
        yield channel


async def test_a_second_start_finds_the_topology_as_it_declared_it(rabbit: RabbitFactory) -> None:
    first, second = rabbit(), rabbit()
    await first.start()
    await second.start()
    assert await second.diff() == []


async def test_missing_and_differing_queues_are_named(
    rabbit: RabbitFactory, server: aio_pika.abc.AbstractChannel, prefix: str
) -> None:
    transport = rabbit(prefix=prefix)
    await transport.start()
    await server.queue_delete(f"{prefix}sms.urgent")
    await server.queue_delete(f"{prefix}app.urgent")
    await server.declare_queue(f"{prefix}app.urgent", durable=True, arguments={"x-queue-type": "quorum"})
    problems = {problem.place: problem.rule for problem in await transport.diff()}
    assert problems == {f"{prefix}sms.urgent": "rabbitmq.missing", f"{prefix}app.urgent": "rabbitmq.differs"}


async def test_queues_of_another_make_stop_the_start_with_their_name(
    rabbit: RabbitFactory, server: aio_pika.abc.AbstractChannel, prefix: str
) -> None:
    await server.declare_queue(f"{prefix}signage.urgent", durable=True)
    with pytest.raises(ConfigError, match=r"signage\.urgent"):
        await rabbit(prefix=prefix).start()


async def test_arguments_that_the_server_would_ignore_stop_the_start(rabbit: RabbitFactory) -> None:
    transport = rabbit(limits=Limits(extra={"x-delayed-retry-min": 1000, "x-max-priority": 5, "x-colour": "red"}))
    with pytest.raises(ConfigError) as refused:
        await transport.start()
    places = [problem.place for problem in refused.value.problems]
    ignored = ["limits.extra/x-delayed-retry-min"] if transport.version < (4, 3, 0) else []
    assert places == [*ignored, "limits.extra/x-max-priority", "limits.extra/x-colour"]


async def test_a_queue_deleted_under_us_makes_publishing_unroutable(
    rabbit: RabbitFactory, server: aio_pika.abc.AbstractChannel, prefix: str
) -> None:
    transport = rabbit(prefix=prefix)
    await transport.start()
    await server.queue_delete(f"{prefix}{QUEUE}")
    results = await asyncio.gather(
        *(transport.publish(QUEUE, message(number)) for number in range(20)),
        *(transport.publish("app.urgent", message(number)) for number in range(20)),
        return_exceptions=True,
    )
    assert all(isinstance(result, Unroutable) for result in results[:20])
    assert results[20:] == [None] * 20
    with pytest.raises(TransportError, match=QUEUE):
        await transport.depth(QUEUE)
    assert await transport.depth("app.urgent") == 20


async def test_a_consumer_whose_queue_vanished_is_unhealthy_until_the_queue_is_back(
    rabbit: RabbitFactory, server: aio_pika.abc.AbstractChannel, prefix: str
) -> None:
    transport, other = rabbit(prefix=prefix, watch=0.2), rabbit(prefix=prefix)
    await transport.start()
    got: list[str] = []

    async def take(delivery: Delivery) -> None:
        got.append(delivery.message.id)
        await delivery.ack()

    await transport.consume(QUEUE, take, prefetch=2)
    assert transport.healthy
    await server.queue_delete(f"{prefix}{QUEUE}")
    await eventually(lambda: not transport.healthy)
    assert transport.connected
    await other.start()
    await eventually(lambda: transport.healthy)
    await transport.publish(QUEUE, message(1))
    await eventually(lambda: got == ["m1"])


async def test_a_consumer_lost_without_notice_is_found_by_the_watch(rabbit: RabbitFactory) -> None:
    transport = rabbit(watch=0.2)
    await transport.start()
    got: list[str] = []

    async def take(delivery: Delivery) -> None:
        got.append(delivery.message.id)
        await delivery.ack()

    subscription = await transport.consume(QUEUE, take, prefetch=2)
    assert subscription._channel is not None
    subscription._channel.consumers.clear()
    await transport.publish(QUEUE, message(1))
    await eventually(lambda: got == ["m1"])


async def test_a_full_queue_holds_publishers_back_until_there_is_room(rabbit: RabbitFactory) -> None:
    transport = rabbit(limits=Limits(max_length=5), timeout=1.0)
    await transport.start()
    with pytest.raises(TransportError, match="full"):
        for number in range(50):
            await transport.publish(QUEUE, message(number))
    got: list[str] = []

    async def take(delivery: Delivery) -> None:
        got.append(delivery.message.id)
        await delivery.ack()

    waiting = asyncio.create_task(transport.publish(QUEUE, message(99)))
    await asyncio.sleep(0.1)
    await transport.consume(QUEUE, take, prefetch=10)
    await waiting
    await eventually(lambda: "m99" in got)


async def test_a_message_returned_too_often_is_parked_by_the_server_with_its_origin(rabbit: RabbitFactory) -> None:
    async def keep(_: Delivery) -> None:
        seen.append(1)

    seen: list[int] = []
    limits = Limits(delivery_limit=2)
    for crash in range(3):
        transport = rabbit(limits=limits, drain=0.1)
        await transport.start()
        if not crash:
            await transport.publish(QUEUE, message(7))
        await transport.consume(QUEUE, keep, prefetch=1)
        await eventually(lambda: len(seen) > crash)  # noqa: B023
        await transport.close()
    shelf: list[Delivery] = []

    async def take(delivery: Delivery) -> None:
        shelf.append(delivery)
        await delivery.ack()

    transport = rabbit(limits=limits)
    await transport.start()
    await transport.consume("parking", take, prefetch=1)
    await eventually(lambda: len(shelf) == 1)
    original, queue, reason = unparked(shelf[0].message)
    assert (original, queue) == (message(7), QUEUE)
    assert "delivery_limit" in reason


async def test_messages_are_persistent_and_carry_their_id(
    rabbit: RabbitFactory, server: aio_pika.abc.AbstractChannel, prefix: str
) -> None:
    transport = rabbit(prefix=prefix)
    await transport.start()
    await transport.publish(QUEUE, message(1))
    raw = await (await server.get_queue(f"{prefix}{QUEUE}")).get(no_ack=True)
    assert raw is not None
    assert raw.delivery_mode == aio_pika.DeliveryMode.PERSISTENT
    assert raw.message_id == "m1"
    assert raw.exchange == exchange_name(prefix)


async def test_putting_off_again_and_again_is_never_taken_for_a_loop(rabbit: RabbitFactory) -> None:
    transport = rabbit()
    await transport.start()
    seen: list[int] = []

    async def put_off(delivery: Delivery) -> None:
        seen.append(1)
        await (delivery.retry_later(1) if len(seen) < 5 else delivery.ack())

    await transport.consume(QUEUE, put_off, prefetch=1)
    await transport.publish(QUEUE, message(1))
    await eventually(lambda: len(seen) == 5)


async def test_closing_ends_at_whatever_moment_it_meets_the_watch(rabbit: RabbitFactory) -> None:
    for _ in range(15):
        transport = rabbit(watch=0.001)
        await transport.start()
        for queue in ("sms.urgent", "app.urgent", "parking"):
            await transport.consume(queue, lambda delivery: delivery.ack(), prefetch=1)
        await asyncio.sleep(random.uniform(0, 0.02))
        async with asyncio.timeout(10):
            await transport.close()
