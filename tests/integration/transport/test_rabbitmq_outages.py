"""What holds when the server dies or the way to it fails."""

from __future__ import annotations

import asyncio
import time

import pytest

from broker.errors import TransportError
from broker.transport.contract import Delivery, Message
from broker.transport.rabbitmq import RabbitTransport
from tests.support.faultproxy import FaultProxy
from tests.support.rabbitmq import Node
from tests.support.transports import LADDER, RabbitFactory

QUEUE = "sms.urgent"


def message(number: int, size: int = 100) -> Message:
    return Message(headers={"n": number}, body=number.to_bytes(4, "big") * (size // 4), id=f"m{number}")


async def drain(transport: RabbitTransport, queue: str, quiet: float = 1.5) -> list[Message]:
    """Everything in `queue`, acknowledged; ends when nothing came for `quiet` seconds."""
    got: list[Message] = []
    last = time.monotonic()

    async def take(delivery: Delivery) -> None:
        nonlocal last
        got.append(delivery.message)
        last = time.monotonic()
        await delivery.ack()

    subscription = await transport.consume(queue, take, prefetch=200)
    while time.monotonic() - last < quiet:
        await asyncio.sleep(0.1)
    await subscription.cancel()
    return got


async def eventually(condition: object, seconds: float = 20.0) -> None:
    assert callable(condition)
    async with asyncio.timeout(seconds):
        while not condition():
            await asyncio.sleep(0.02)


async def test_no_confirmed_message_is_lost_when_the_server_is_killed_while_publishing(node: Node) -> None:
    transport = RabbitTransport(node.url, timeout=40.0, ladder=LADDER)
    await transport.start()
    confirmed: set[str] = set()
    numbers = iter(range(1_000_000))
    running = True

    async def publish_on() -> None:
        while running:
            sent = message(next(numbers), size=2000)
            await transport.publish(QUEUE, sent)
            confirmed.add(sent.id)

    publishers = [asyncio.create_task(publish_on()) for _ in range(50)]
    await eventually(lambda: len(confirmed) > 500)
    await asyncio.to_thread(node.kill)
    before = len(confirmed)
    await eventually(lambda: not transport.connected)
    await asyncio.to_thread(node.start)
    await eventually(lambda: len(confirmed) > before + 500, seconds=40)
    running = False
    await asyncio.gather(*publishers)
    got = await drain(transport, QUEUE)
    assert confirmed - {one.id for one in got} == set()
    assert all(one == message(int(one.headers["n"]), size=2000) for one in got)
    assert transport.reconnections >= 2
    await transport.close()


async def test_an_alarm_of_the_server_is_seen_and_publishing_resumes_after_it(node: Node) -> None:
    transport = RabbitTransport(node.url, timeout=2.0, ladder=LADDER)
    await transport.start()
    await transport.publish(QUEUE, message(0))
    await asyncio.to_thread(node.control, "set_vm_memory_high_watermark", "absolute", "1MB")
    # The server tells a connection only once it publishes under the alarm.
    alarmed = asyncio.create_task(transport.publish(QUEUE, message(1)))
    await eventually(lambda: transport.blocked)
    with pytest.raises(TransportError):
        await alarmed
    with pytest.raises(TransportError, match="pause"):
        await transport.publish(QUEUE, message(2))
    assert await transport.consume("app.urgent", lambda delivery: delivery.ack(), prefetch=1)
    await asyncio.to_thread(node.control, "set_vm_memory_high_watermark", "0.5")
    await eventually(lambda: not transport.blocked)
    await transport.publish(QUEUE, message(3))
    await transport.close()


async def test_handlers_are_not_cancelled_when_the_connection_is_cut(
    rabbit: RabbitFactory, proxy: FaultProxy, proxy_url: str
) -> None:
    transport = rabbit(url=proxy_url)
    await transport.start()
    begun: list[str] = []
    finished: list[str] = []
    cancelled: list[str] = []

    async def slow(delivery: Delivery) -> None:
        begun.append(delivery.message.id)
        try:
            await asyncio.sleep(1.0)
        except asyncio.CancelledError:
            cancelled.append(delivery.message.id)
            raise
        await delivery.ack()
        finished.append(delivery.message.id)

    await transport.consume(QUEUE, slow, prefetch=10)
    for number in range(10):
        await transport.publish(QUEUE, message(number))
    await eventually(lambda: len(begun) == 10)
    proxy.cut()
    await eventually(lambda: len(begun) == 20)
    await eventually(lambda: len(finished) == 20)
    assert cancelled == []
    assert sorted(set(begun)) == sorted({f"m{number}" for number in range(10)})
    await asyncio.sleep(0.2)
    assert await transport.depth(QUEUE) == 0
    assert transport.healthy


async def test_a_stalled_connection_fails_publishing_in_bounded_time(
    rabbit: RabbitFactory, proxy: FaultProxy, proxy_url: str
) -> None:
    transport = rabbit(url=proxy_url, timeout=1.0)
    await transport.start()
    await transport.publish(QUEUE, message(0))
    proxy.stall()
    begun = time.monotonic()
    results = await asyncio.gather(
        *(transport.publish(QUEUE, message(number, size=100_000)) for number in range(1, 600)),
        return_exceptions=True,
    )
    assert time.monotonic() - begun < 15
    assert all(isinstance(result, TransportError) for result in results)
    proxy.resume()
    await eventually(lambda: transport.in_flight == 0)
    async with asyncio.timeout(20):
        while True:
            try:
                await transport.publish(QUEUE, message(1000))
                break
            except TransportError:
                continue
    assert "m1000" in {one.id for one in await drain(transport, QUEUE)}


async def test_closing_over_a_stalled_connection_ends_in_bounded_time(
    rabbit: RabbitFactory, proxy: FaultProxy, proxy_url: str
) -> None:
    transport = rabbit(url=proxy_url, timeout=1.0, drain=0.5)
    await transport.start()

    async def keep(_: Delivery) -> None:
        return

    await transport.consume(QUEUE, keep, prefetch=2)
    await transport.publish(QUEUE, message(1))
    proxy.stall()
    waiting = asyncio.create_task(transport.publish(QUEUE, message(2)))
    await asyncio.sleep(0.1)
    async with asyncio.timeout(30):
        await transport.close()
    with pytest.raises(TransportError):
        await waiting


async def test_a_dead_route_is_noticed_by_its_silence(
    rabbit: RabbitFactory, proxy: FaultProxy, proxy_url: str
) -> None:
    transport = rabbit(url=proxy_url, timeout=1.0, heartbeat=1)
    await transport.start()
    proxy.stall()
    await eventually(lambda: not transport.connected, seconds=30)
    proxy.cut()
    proxy.resume()
    await eventually(lambda: transport.connected and transport.healthy, seconds=30)
    await transport.publish(QUEUE, message(1))


@pytest.mark.parametrize("passed", [1, 50, 333, 1000, 4000, 20_000, 60_000])
async def test_whatever_byte_the_connection_breaks_at_what_was_confirmed_arrives(
    rabbit: RabbitFactory, proxy: FaultProxy, proxy_url: str, passed: int
) -> None:
    transport = rabbit(url=proxy_url, timeout=15.0)
    await transport.start()
    proxy.cut_after(passed)
    await asyncio.gather(*(transport.publish(QUEUE, message(number, size=1200)) for number in range(60)))
    assert transport.reconnections >= 1
    got = await drain(transport, QUEUE)
    assert {one.id for one in got} == {f"m{number}" for number in range(60)}
    assert all(one == message(int(one.headers["n"]), size=1200) for one in got)


async def test_publishing_waits_out_a_short_outage(
    rabbit: RabbitFactory, proxy: FaultProxy, proxy_url: str
) -> None:
    transport = rabbit(url=proxy_url)
    await transport.start()
    proxy.refuse()
    await eventually(lambda: not transport.connected)
    publish = asyncio.create_task(transport.publish(QUEUE, message(1)))
    await asyncio.sleep(0.5)
    assert not publish.done()
    proxy.resume()
    await publish
    assert await transport.depth(QUEUE) == 1


async def test_a_long_outage_ends_publishing_with_an_error(
    rabbit: RabbitFactory, proxy: FaultProxy, proxy_url: str
) -> None:
    transport = rabbit(url=proxy_url, timeout=0.5)
    await transport.start()
    proxy.refuse()
    await eventually(lambda: not transport.connected)
    with pytest.raises(TransportError, match="no confirm"):
        await transport.publish(QUEUE, message(1))
    with pytest.raises(TransportError):
        await transport.depth(QUEUE)
    proxy.resume()
    await eventually(lambda: transport.connected)


async def test_what_was_in_hand_on_a_dead_connection_comes_again_and_old_settling_is_harmless(
    rabbit: RabbitFactory, proxy: FaultProxy, proxy_url: str
) -> None:
    transport = rabbit(url=proxy_url)
    await transport.start()
    deliveries: list[Delivery] = []

    async def keep(delivery: Delivery) -> None:
        deliveries.append(delivery)

    await transport.consume(QUEUE, keep, prefetch=3)
    for number in range(3):
        await transport.publish(QUEUE, message(number))
    await eventually(lambda: len(deliveries) == 3)
    proxy.cut()
    await eventually(lambda: len(deliveries) == 6)
    old, new = deliveries[:3], deliveries[3:]
    await old[0].ack()
    await old[1].retry_later(1)
    await old[2].park("too late")
    assert sorted(one.message.id for one in new) == ["m0", "m1", "m2"]
    for delivery in new:
        await delivery.ack()
    await asyncio.sleep(1.5)
    assert len(deliveries) == 6
    assert await transport.depth("parking") == 0


async def test_a_server_that_cannot_be_reached_fails_the_start_at_once(
    rabbit: RabbitFactory, proxy: FaultProxy, proxy_url: str
) -> None:
    proxy.refuse()
    transport = rabbit(url=proxy_url)
    with pytest.raises(TransportError, match=r"no connection to RabbitMQ at 127\.0\.0\.1"):
        await transport.start()
    assert not transport.connected
