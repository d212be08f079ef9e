"""Tests that break the server or the way to it, each with a node or a proxy of its own."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from tests.support.faultproxy import FaultProxy
from tests.support.rabbitmq import Node
from tests.support.transports import amqp_server, nothing_is_left_behind, rabbit

__all__ = ["amqp_server", "nothing_is_left_behind", "rabbit"]


@pytest.fixture
async def node(tmp_path: Path) -> AsyncIterator[Node]:
    """A RabbitMQ node that the test may kill."""
    node = Node(tmp_path)
    await asyncio.to_thread(node.start)
    yield node
    await asyncio.to_thread(node.stop)


@pytest.fixture
async def proxy(amqp_server: Callable[[], str]) -> AsyncIterator[FaultProxy]:
    """A proxy before the shared server."""
    parts = urlsplit(await asyncio.to_thread(amqp_server))
    async with FaultProxy(parts.hostname or "127.0.0.1", parts.port or 5672) as proxy:
        yield proxy


@pytest.fixture
def proxy_url(proxy: FaultProxy, amqp_server: Callable[[], str]) -> str:
    """The address of the shared server by way of the proxy."""
    parts = urlsplit(amqp_server())
    return parts._replace(netloc=f"{parts.username}:{parts.password}@127.0.0.1:{proxy.port}").geturl()
