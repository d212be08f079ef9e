"""The control arm: the usual design, with one message, one row and one receipt for each recipient.

It is written as well as that design allows: rows inserted in bulk, 200 messages in flight each way, confirms,
quorum queues, a pool of database connections, as many processes as ours.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import secrets
import sys
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from statistics import median
from typing import Any, Final

import aio_pika
import aiosqlite
import asyncpg
import uvloop
from aio_pika.abc import AbstractChannel, AbstractExchange, AbstractIncomingMessage

from broker.clock import now_ms
from loadtest.processes import Child
from loadtest.scenario import LoadTestError

_WINDOW: Final = 200
_INSERTED_AT_ONCE: Final = 1000
_CONNECTIONS: Final = 10
_SENDERS: Final = 2
_RECORDERS: Final = 2
_LONGEST_ROUND: Final = 900.0
_ENVIRONMENT: Final = ("LOADTEST_AMQP", "LOADTEST_DATABASE", "LOADTEST_NAME")
_COLUMNS: Final = "id bigint PRIMARY KEY, address text NOT NULL, state text NOT NULL, delivered bigint"
_INSERT: Final = "INSERT INTO {0} (id, address, state) VALUES ({1}, {2}, 'planned')"


async def embedded(path: Path, sample: int, rounds: int) -> dict[str, Any]:
    """One process: a row for each recipient in SQLite, an asyncio queue, a commit for each receipt."""
    figures = [await _embedded_round(path.with_suffix(f".{number}.db"), sample) for number in range(rounds)]
    return _summary("embedded", sample, 1, figures)


async def production(amqp: str, database: str, sample: int, rounds: int) -> dict[str, Any]:
    """A publisher, senders and recorders as processes on RabbitMQ and PostgreSQL. Raises LoadTestError."""
    figures = [await _production_round(amqp, database, sample) for _ in range(rounds)]
    return _summary("production", sample, 1 + _SENDERS + _RECORDERS, figures)


def _summary(form: str, sample: int, processes: int, seconds: list[float]) -> dict[str, Any]:
    return {
        "form": form,
        "recipients": sample,
        "recipients_per_s": round(sample / median(seconds), 1),
        "seconds": round(median(seconds), 3),
        "processes": processes,
        "rounds": [{"seconds": round(each, 3), "recipients_per_s": round(sample / each, 1)} for each in seconds],
    }


def _address(number: int) -> str:
    return f"861000{number:07d}"


# -- embedded ----------------------------------------------------------------------------------------------


async def _embedded_round(path: Path, sample: int) -> float:
    work: asyncio.Queue[int | None] = asyncio.Queue(_WINDOW)
    receipts: asyncio.Queue[tuple[int, int] | None] = asyncio.Queue(_WINDOW)
    async with aiosqlite.connect(path, isolation_level=None) as store:
        await store.execute("PRAGMA journal_mode = WAL")
        # The same promise as ours: what is acknowledged outlives a power cut.
        await store.execute("PRAGMA synchronous = FULL")
        await store.execute(f"CREATE TABLE deliveries ({_COLUMNS})")
        began = time.perf_counter()
        await store.execute("BEGIN")
        rows = ((number, _address(number)) for number in range(sample))
        await store.executemany(_INSERT.format("deliveries", "?", "?"), rows)
        await store.execute("COMMIT")
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(_give(work, sample))
            tasks.create_task(_take(work, receipts))
            tasks.create_task(_record(receipts, store))
        seconds = time.perf_counter() - began
        async with store.execute("SELECT count(*) FROM deliveries WHERE state = 'delivered'") as rows_:
            row = await rows_.fetchone()
    if row is None or row[0] != sample:
        raise LoadTestError("the control arm lost somebody")
    return seconds


async def _give(work: asyncio.Queue[int | None], sample: int) -> None:
    for number in range(sample):
        await work.put(number)
    await work.put(None)


async def _take(work: asyncio.Queue[int | None], receipts: asyncio.Queue[tuple[int, int] | None]) -> None:
    while (number := await work.get()) is not None:
        await receipts.put((number, now_ms()))
    await receipts.put(None)


async def _record(receipts: asyncio.Queue[tuple[int, int] | None], store: aiosqlite.Connection) -> None:
    while (receipt := await receipts.get()) is not None:
        number, at = receipt
        await store.execute("UPDATE deliveries SET state = 'delivered', delivered = ? WHERE id = ?", (at, number))


# -- production: the conductor -----------------------------------------------------------------------------


async def _production_round(amqp: str, database: str, sample: int) -> float:
    name = f"fenghuo_control_{secrets.token_hex(4)}"
    environment = dict(zip(_ENVIRONMENT, (amqp, database, name), strict=True))
    async with AsyncExitStack() as stack:
        store = await asyncpg.connect(database)
        stack.push_async_callback(store.close)
        await store.execute(f"CREATE TABLE {name} ({_COLUMNS})")
        stack.push_async_callback(store.execute, f"DROP TABLE {name}")
        connection = await aio_pika.connect(amqp)
        stack.push_async_callback(connection.close)
        channel = await connection.channel()
        for queue in (f"{name}.work", f"{name}.receipts"):
            await channel.declare_queue(queue, durable=True, arguments={"x-queue-type": "quorum"})
            stack.push_async_callback(channel.queue_delete, queue)
        children = []
        for role, count in (("recorder", _RECORDERS), ("sender", _SENDERS), ("publisher", 1)):
            for _ in range(count):
                child = await Child.start(role, "loadtest.control", role, str(sample), environment=environment)
                stack.push_async_callback(child.stop)
                children.append(child)
        began = time.perf_counter()
        children[-1].tell("go")
        query = f"SELECT count(*) FROM {name} WHERE state = 'delivered'"  # noqa: S608 - our own name
        while await store.fetchval(query) < sample:
            if time.perf_counter() - began > _LONGEST_ROUND or not all(child.alive for child in children):
                raise LoadTestError("the control arm did not come to its end")
            await asyncio.sleep(0.1)
        return time.perf_counter() - began


# -- production: its processes -----------------------------------------------------------------------------


@asynccontextmanager
async def _broker() -> AsyncIterator[tuple[AbstractChannel, AbstractExchange, str]]:
    connection = await aio_pika.connect(os.environ[_ENVIRONMENT[0]])
    async with connection:
        channel = await connection.channel(publisher_confirms=True)
        await channel.set_qos(prefetch_count=_WINDOW)
        yield channel, channel.default_exchange, os.environ[_ENVIRONMENT[2]]


async def _publisher(sample: int) -> None:
    """Inserts the rows, then publishes a message for each, 200 unconfirmed at a time."""
    store = await asyncpg.connect(os.environ[_ENVIRONMENT[1]])
    async with _broker() as (_, exchange, name):
        _say_ready()
        await asyncio.to_thread(sys.stdin.readline)
        insert = _INSERT.format(name, "$1", "$2")
        for low in range(0, sample, _INSERTED_AT_ONCE):
            high = min(low + _INSERTED_AT_ONCE, sample)
            await store.executemany(insert, [(number, _address(number)) for number in range(low, high)])
        room = asyncio.Semaphore(_WINDOW)

        async def publish(number: int) -> None:
            try:
                await _publish(exchange, f"{name}.work", {"id": number, "address": _address(number)})
            finally:
                room.release()

        async with asyncio.TaskGroup() as tasks:
            for number in range(sample):
                await room.acquire()
                tasks.create_task(publish(number))
        await asyncio.Event().wait()


async def _sender(_sample: int) -> None:
    """Takes a message, "sends" it, publishes its receipt and waits for the confirm before it acknowledges."""
    async with _broker() as (channel, exchange, name):

        async def handle(message: AbstractIncomingMessage) -> None:
            number = json.loads(message.body)["id"]
            await _publish(exchange, f"{name}.receipts", {"id": number, "state": "delivered", "at": now_ms()})
            await message.ack()

        await _consume(channel, f"{name}.work", handle)


async def _recorder(_sample: int) -> None:
    """Takes a receipt, updates its row in a transaction of its own, acknowledges."""
    database = os.environ[_ENVIRONMENT[1]]
    async with (
        asyncpg.create_pool(database, min_size=_CONNECTIONS, max_size=_CONNECTIONS) as pool,
        _broker() as (channel, _, name),
    ):
        update = f"UPDATE {name} SET state = $1, delivered = $2 WHERE id = $3"  # noqa: S608 - our own name

        async def handle(message: AbstractIncomingMessage) -> None:
            receipt = json.loads(message.body)
            await pool.execute(update, receipt["state"], receipt["at"], receipt["id"])
            await message.ack()

        await _consume(channel, f"{name}.receipts", handle)


async def _publish(exchange: AbstractExchange, queue: str, content: dict[str, Any]) -> None:
    body = json.dumps(content).encode()
    await exchange.publish(aio_pika.Message(body, delivery_mode=aio_pika.DeliveryMode.PERSISTENT), queue)


async def _consume(
    channel: AbstractChannel, name: str, handle: Callable[[AbstractIncomingMessage], Awaitable[None]]
) -> None:
    queue = await channel.get_queue(name)
    await queue.consume(handle)
    _say_ready()
    await asyncio.Event().wait()


def _say_ready() -> None:
    sys.stdout.write('{"ready": true}\n')
    sys.stdout.flush()


def main() -> None:
    """`python -m loadtest.control ROLE SAMPLE`, for the conductor only."""
    parser = argparse.ArgumentParser()
    parser.add_argument("role", choices=("publisher", "sender", "recorder"))
    parser.add_argument("sample", type=int)
    args = parser.parse_args()
    roles = {"publisher": _publisher, "sender": _sender, "recorder": _recorder}
    uvloop.run(roles[args.role](args.sample))


if __name__ == "__main__":
    main()
