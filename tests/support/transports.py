"""Fixtures for tests over transports: import those you need into a conftest."""

from __future__ import annotations

import contextlib
import functools
import gc
import logging
import secrets
from collections.abc import AsyncIterator, Callable, Iterator
from typing import Any

import aio_pika
import pytest

from broker.transport.contract import Transport
from broker.transport.embedded import EmbeddedTransport
from broker.transport.rabbitmq import RabbitTransport
from broker.transport.topology import FLOOR, exchange_name, topology
from tests.support.rabbitmq import shared_server

SHARDS = 2
LADDER = (1, 2, 5)
"""Seconds: rungs short enough to wait for."""

RabbitFactory = Callable[..., RabbitTransport]


@pytest.fixture(scope="session")
def amqp_server(tmp_path_factory: pytest.TempPathFactory, worker_id: str) -> Iterator[Callable[[], str]]:
    """Gives the address of a RabbitMQ server, starting one for this test run when first asked."""
    base = tmp_path_factory.getbasetemp()
    root = base if worker_id == "master" else base.parent
    with contextlib.ExitStack() as stack:
        yield functools.cache(lambda: stack.enter_context(shared_server(root / "rabbitmq")))


async def remove_topology(url: str, prefix: str) -> None:
    """Delete the queues and the exchange that begin with `prefix`."""
    async with await aio_pika.connect(url) as connection, connection.channel() as channel:
        for spec in topology(SHARDS, FLOOR, prefix=prefix, ladder=LADDER):
            await channel.queue_delete(spec.name)
        await channel.exchange_delete(exchange_name(prefix))


@pytest.fixture(autouse=True)
def nothing_is_left_behind(caplog: pytest.LogCaptureFixture) -> Iterator[None]:
    """Fails a test after which the event loop complains of tasks nobody asked for or futures nobody read."""
    yield
    gc.collect()
    complaints = [
        record.getMessage()
        for when in ("setup", "call", "teardown")
        for record in caplog.get_records(when)
        if record.name == "asyncio" and record.levelno >= logging.ERROR
    ]
    assert complaints == []


@pytest.fixture
async def rabbit(amqp_server: Callable[[], str]) -> AsyncIterator[RabbitFactory]:
    """Makes RabbitMQ transports that share queues of this test's own; closes them and deletes the queues."""
    prefix = f"test{secrets.token_hex(6)}."
    made: list[RabbitTransport] = []
    prefixes: set[str] = set()

    def make(**options: Any) -> RabbitTransport:
        settings = {"shards": SHARDS, "prefix": prefix, "ladder": LADDER, "drain": 3.0, **options}
        prefixes.add(settings["prefix"])
        made.append(RabbitTransport(settings.pop("url", None) or amqp_server(), **settings))
        return made[-1]

    yield make
    for transport in made:
        await transport.close()
    for used in prefixes:
        await remove_topology(amqp_server(), used)


@pytest.fixture(params=["embedded", "rabbitmq"])
async def transport(request: pytest.FixtureRequest, rabbit: RabbitFactory) -> AsyncIterator[Transport]:
    """A started transport of either kind."""
    embedded = request.param == "embedded"
    made: Transport = EmbeddedTransport(shards=SHARDS, ladder=LADDER, drain=3.0) if embedded else rabbit()
    await made.start()
    yield made
    await made.close()
