"""What only the embedded transport promises: confirms stand for commits, and nothing outlives it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import pytest

from broker.errors import TransportError
from broker.transport.contract import Delivery, Message
from broker.transport.embedded import EmbeddedTransport


def message(number: int) -> Message:
    return Message(headers={"n": number}, body=b"body", id=f"m{number}")


@pytest.fixture
async def embedded() -> AsyncIterator[EmbeddedTransport]:
    transport = EmbeddedTransport(shards=2, capacity=3, timeout=0.5, drain=1.0, ladder=(1, 2))
    await transport.start()
    yield transport
    await transport.close()


async def test_receipts_are_confirmed_when_their_consumer_has_acknowledged(embedded: EmbeddedTransport) -> None:
    committed = asyncio.Event()

    async def commit(delivery: Delivery) -> None:
        await committed.wait()
        await delivery.ack()

    await embedded.consume("receipts.0", commit, prefetch=1)
    publish = asyncio.create_task(embedded.publish("receipts.0", message(1)))
    await asyncio.sleep(0.1)
    assert not publish.done()
    committed.set()
    await publish


async def test_batches_are_confirmed_without_a_consumer(embedded: EmbeddedTransport) -> None:
    await embedded.publish("sms.urgent", message(1))
    assert await embedded.depth("sms.urgent") == 1


async def test_receipts_that_nobody_takes_are_refused_and_withdrawn(embedded: EmbeddedTransport) -> None:
    with pytest.raises(TransportError, match="within"):
        await embedded.publish("receipts.0", message(1))
    assert await embedded.depth("receipts.0") == 0
    seen: list[str] = []

    async def take(delivery: Delivery) -> None:
        seen.append(delivery.message.id)
        await delivery.ack()

    await embedded.consume("receipts.0", take, prefetch=1)
    await embedded.publish("receipts.0", message(2))
    assert seen == ["m2"]


async def test_a_cancelled_publisher_of_receipts_withdraws_them(embedded: EmbeddedTransport) -> None:
    publish = asyncio.create_task(embedded.publish("receipts.0", message(1)))
    await asyncio.sleep(0.05)
    publish.cancel()
    with pytest.raises(asyncio.CancelledError):
        await publish
    assert await embedded.depth("receipts.0") == 0


async def test_a_full_queue_makes_publishers_wait_and_then_fail(embedded: EmbeddedTransport) -> None:
    for number in range(3):
        await embedded.publish("sms.urgent", message(number))
    with pytest.raises(TransportError, match="within"):
        await embedded.publish("sms.urgent", message(3))
    await embedded.publish("sms.routine", message(3))
    waiting = asyncio.create_task(embedded.publish("sms.urgent", message(4)))
    await asyncio.sleep(0.05)
    assert not waiting.done()
    await embedded.consume("sms.urgent", lambda delivery: delivery.ack(), prefetch=1)
    await waiting


async def test_what_is_put_off_keeps_its_place_in_the_queue(embedded: EmbeddedTransport) -> None:
    async def later(delivery: Delivery) -> None:
        await delivery.retry_later(1)

    subscription = await embedded.consume("sms.urgent", later, prefetch=3)
    for number in range(3):
        await embedded.publish("sms.urgent", message(number))
    await asyncio.sleep(0.05)
    await subscription.cancel()
    with pytest.raises(TransportError):
        await embedded.publish("sms.urgent", message(3))


async def test_closing_tells_publishers_that_wait(embedded: EmbeddedTransport) -> None:
    for number in range(3):
        await embedded.publish("sms.urgent", message(number))
    waiting = [asyncio.create_task(embedded.publish("sms.urgent", message(number))) for number in range(10, 15)]
    unconfirmed = asyncio.create_task(embedded.publish("receipts.1", message(9)))
    await asyncio.sleep(0.05)
    await embedded.close()
    results = await asyncio.wait_for(asyncio.gather(*waiting, unconfirmed, return_exceptions=True), 0.3)
    assert all(isinstance(result, TransportError) and "close" in str(result) for result in results)


async def test_a_parked_receipt_releases_its_publisher(embedded: EmbeddedTransport) -> None:
    await embedded.consume("receipts.0", lambda delivery: delivery.park("garbled"), prefetch=1)
    await embedded.publish("receipts.0", message(1))
    assert await embedded.depth("parking") == 1


async def test_a_restart_begins_with_empty_queues(embedded: EmbeddedTransport) -> None:
    await embedded.publish("sms.urgent", message(1))
    await embedded.publish("sms.urgent", message(2), delay=1)
    await embedded.close()
    await embedded.start()
    assert await embedded.depth("sms.urgent") == 0
    for number in range(3):
        await embedded.publish("sms.urgent", message(number))


async def test_it_says_that_it_keeps_nothing(embedded: EmbeddedTransport) -> None:
    assert not embedded.durable
