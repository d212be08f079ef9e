"""A mailbox channel on a made-up store, and a client that speaks to it like one device."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Sequence
from pathlib import Path
from typing import Any

import aiohttp

from broker.clock import now_ms
from broker.ledger.state import ARRIVAL_SHIFT
from broker.types import ChannelName
from channels.channel import BatchContent
from channels.mailbox.channel import MailboxChannel
from channels.mailbox.tokens import device_token
from tests.support.mailbox_server import World, build, content_of, window_of

SECRET = b"a secret of forty bytes, for tests only!"


def a_content(**changed: Any) -> dict[str, Any]:
    """The content of a rendition that both channels understand."""
    content: dict[str, Any] = {
        "alert": "urn:oid:2.49.0.0.156.1",
        "event": "11B03",
        "event_name": "暴雨",
        "level": "Red",
        "language": "zh-CN",
        "sender_name": "合川区气象台",
        "expires": now_ms() + 3_600_000,
        "exercise": False,
        "title": "暴雨红色预警",
        "body": "过去一小时降雨 80 毫米",
        "instruction": "立即转移",
        "link": None,
        "headline": "合川区气象台发布暴雨红色预警",
        "line": "立即停止户外活动",
        "crawl": "过去一小时降雨 80 毫米，请注意防范。",
    }
    return {**content, **changed}


def a_batch(batch: int, addresses: list[str], *, channel: ChannelName, **changed: Any) -> BatchContent:
    """A batch for `addresses`."""
    content = a_content(**changed)
    entry = {"batch": batch, "alert": content["alert"], "expires": content["expires"], "content": content}
    return content_of({**entry, "addresses": addresses}, channel)


class Rig:
    """A running channel with the evidence that it gave."""

    def __init__(self, channel: MailboxChannel, world: World) -> None:
        self.channel = channel
        self.world = world
        self.evidence: list[tuple[int, int, int]] = []
        """(batch, ordinal, arrival)."""
        self.flushes = 0
        self._heard = asyncio.Event()
        self.session = aiohttp.ClientSession(base_url=channel.url)

    async def send(self, content: BatchContent, **window: Any) -> Any:
        """Send a batch as the worker would."""
        self.world.batches[content.batch] = content
        return await self.channel.send(window_of(content, **window), content.rendition, lambda: False)

    def headers(self, device: str) -> dict[str, str]:
        """What a device sends with every request."""
        token = device_token(SECRET, self.channel.name, device)
        return {"Authorization": f"Bearer {token}", "Installation": device}

    async def listen(self) -> None:
        """Gather evidence until the channel ends."""
        async for receipts in self.channel.listen():
            arrivals = (receipts.states >> ARRIVAL_SHIFT).tolist()
            self.evidence += zip(
                [receipts.batch] * len(receipts), receipts.ordinals.tolist(), arrivals, strict=True
            )
            self.flushes += 1
            self._heard.set()

    async def until(self, count: int) -> None:
        """Wait for `count` pieces of evidence."""
        async with asyncio.timeout(20):
            while len(self.evidence) < count:
                self._heard.clear()
                await self._heard.wait()


@contextlib.asynccontextmanager
async def running(
    channel: ChannelName,
    tmp_path: Path,
    batches: list[BatchContent] | None = None,
    *,
    over: Sequence[int] = (),
    **settings: Any,
) -> AsyncIterator[Rig]:
    """A started channel; `batches` are in the store from the start, open or, if listed there, `over`."""
    secret = tmp_path / "secret"
    secret.write_bytes(SECRET)
    world = World(batches or [])
    world.open, world.over = [number for number in world.open if number not in over], list(over)
    built = build(channel, secret, **settings)
    await built.start(world.context())
    rig = Rig(built, world)
    listening = asyncio.create_task(rig.listen())
    try:
        yield rig
    finally:
        await rig.session.close()
        await built.close()
        await asyncio.wait_for(listening, 10)
