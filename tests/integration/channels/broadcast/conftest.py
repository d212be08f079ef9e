"""A broadcaster, its key, a batch of terminals and a server of either kind."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import numpy as np
import pytest

from broker.clock import now_ms
from broker.errors import NotFound
from broker.ledger.arrays import LedgerRow, Receipts
from broker.mqtt.client import Server
from broker.sealing import pack
from broker.store.records import RenditionRecord
from broker.types import ChannelName, Lane
from channels.broadcast.channel import BroadcastChannel
from channels.broadcast.keys import SigningKey, TrustedKeys
from channels.broadcast.provision import TerminalRow, broadcaster_login, new_terminals
from channels.broadcast.settings import BroadcastSettings
from channels.broadcast.simulator import Village
from channels.channel import BatchContent, ChannelContext, Window
from channels.simulating import EventLog
from tests.support.mosquitto import EmbeddedProcess, MqttServer, PrivateMosquitto


def ebrid(village: int, number: int) -> str:
    return f"65001171{village:05d}03140104{number:02d}"


class World:
    """Everything a test needs, with the ledger that the evidence is merged into."""

    def __init__(self, folder: Path, kind: str, terminals: int) -> None:
        self.folder = folder
        self.key = SigningKey.generate("city-1")
        self.key.save(folder / "signing.pem")
        self.trusted = TrustedKeys.parse(self.key.public_line(), "test")
        self.ebrids = [ebrid(number // 8, number % 8) for number in range(terminals)]
        self.rows: list[TerminalRow] = new_terminals(self.ebrids, training=self.ebrids[-1:])
        broadcaster = broadcaster_login("fenghuo-broadcast")
        (folder / "password").write_text(broadcaster.password + "\n")
        logins = [broadcaster, *(row.login for row in self.rows)]
        servers = {"embedded": EmbeddedProcess, "mosquitto": PrivateMosquitto}
        self.server: MqttServer = servers[kind](folder / "mqtt", logins)
        self.batches: dict[int, BatchContent] = {}
        self.ledgers: dict[int, LedgerRow] = {}
        self.given: list[Receipts] = []
        self._villages: list[Village] = []
        self._channels: list[tuple[BroadcastChannel, asyncio.Task[None]]] = []

    def batch(
        self,
        number: int,
        *,
        level: str = "Red",
        expires_in: float = 600,
        exercise: bool = False,
        alert: str = "a1",
        **more: object,
    ) -> BatchContent:
        content: dict[str, object] = {
            "alert": "CQ-1",
            "event": "11B03",
            "event_name": "暴雨",
            "level": level,
            "language": "zh-CN",
            "sender_name": "重庆市气象台",
            "expires": now_ms() + int(expires_in * 1000),
            "exercise": exercise,
            "title": "暴雨红色预警",
            "text": "请立即转移到安全地带。",
            "speech": "请立即转移到安全地带。",
            "plays": 1,
            **more,
        }
        rendition = RenditionRecord(7, alert, 0, ChannelName.BROADCAST, "zh-CN", "default", content)
        self.batches[number] = BatchContent(
            alert=alert,
            batch=number,
            lane=Lane.URGENT,
            expires=now_ms() + int(expires_in * 1000),
            recipients=np.arange(len(self.ebrids), dtype=np.uint32),
            addresses=pack(self.ebrids),
            rendition=rendition,
        )
        self.ledgers[number] = LedgerRow.fresh(number, len(self.ebrids), now_ms())
        return self.batches[number]

    def window(self, content: BatchContent, ordinals: list[int] | None = None, *, attempt: int = 1) -> Window:
        chosen = np.array(range(len(self.ebrids)) if ordinals is None else ordinals, np.uint16)
        return Window(
            alert=content.alert,
            batch=content.batch,
            attempt=attempt,
            lane=content.lane,
            district=500117,
            expires=content.expires,
            ordinals=chosen,
            recipients=content.recipients[chosen],
            addresses=content.addresses[chosen],
        )

    async def channel(self, **settings: object) -> BroadcastChannel:
        channel = BroadcastChannel(
            BroadcastSettings.model_validate(
                {
                    "url": f"mqtt://127.0.0.1:{self.server.port}",
                    "password_file": self.folder / "password",
                    "signing_key": self.folder / "signing.pem",
                    "key_id": "city-1",
                    "hold_reports_seconds": 0,
                    "reconnect_seconds": 0.5,
                    **settings,
                }
            )
        )

        async def lookup(batch: int) -> BatchContent:
            if batch not in self.batches:
                raise NotFound
            return self.batches[batch]

        async def open_batches() -> list[int]:
            return sorted(self.batches)

        async def no_far_ids(batches: list[int]) -> list[tuple[int, np.ndarray, np.ndarray]]:
            return []

        await channel.start(ChannelContext(lookup, open_batches, no_far_ids, lookup))
        self._channels.append((channel, asyncio.create_task(self._listen(channel))))
        return channel

    async def _listen(self, channel: BroadcastChannel) -> None:
        async for receipts in channel.listen():
            self.given.append(receipts)
            self.ledgers[receipts.batch].merge(receipts)

    async def close_channel(self, channel: BroadcastChannel) -> None:
        for entry in list(self._channels):
            if entry[0] is channel:
                self._channels.remove(entry)
                await channel.close()
                await asyncio.wait_for(entry[1], 5)

    async def crash_channel(self, channel: BroadcastChannel) -> None:
        """End it without goodbye and without acknowledging anything more."""
        for entry in list(self._channels):
            if entry[0] is channel:
                self._channels.remove(entry)
                entry[1].cancel()
                await asyncio.gather(entry[1], return_exceptions=True)
                await channel.close()

    async def village(self, *, play: float = 0.05, wait: bool = True, log: str = "village.log") -> Village:
        village = Village(
            self.rows,
            Server("127.0.0.1", self.server.port),
            self.trusted,
            play_seconds=play,
            log=self.folder / log,
        )
        self._villages.append(village)
        await village.start()
        if wait:
            assert await village.wait_subscribed(30)
        return village

    def events(self, log: str = "village.log") -> list[dict[str, object]]:
        return list(EventLog.read(self.folder / log))

    def count(self, event: str, log: str = "village.log") -> int:
        return sum(line["event"] == event for line in self.events(log))

    def counts(self, batch: int) -> dict[str, int]:
        names = ["planned", "sent", "delivered", "presented", "acknowledged", "failed"]
        return dict(zip(names, self.ledgers[batch].counts().tolist(), strict=False))

    async def until(self, condition: Callable[[], bool], timeout: float = 20) -> None:
        async with asyncio.timeout(timeout):
            while not condition():
                await asyncio.sleep(0.02)

    async def end(self) -> None:
        for channel, task in self._channels:
            await channel.close()
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)
        for village in self._villages:
            await village.stop()
        with contextlib.suppress(ProcessLookupError):
            await self.server.stop()


@pytest.fixture(params=["embedded", "mosquitto"])
async def world(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[World]:
    made = World(tmp_path, request.param, 200)
    await made.server.start()
    yield made
    await made.end()


@pytest.fixture(params=["embedded", "mosquitto"])
async def hamlet(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[World]:
    """As `world`, with 16 terminals in two villages."""
    made = World(tmp_path, request.param, 16)
    await made.server.start()
    yield made
    await made.end()
