"""A simulated SMSC as a process, and the channel with what the broker would give it."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import subprocess
import sys
from collections import Counter
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pytest

from broker.clock import now_ms
from broker.ledger.arrays import Receipts
from broker.store.records import RenditionRecord
from broker.types import ChannelName, Lane
from channels.channel import BatchContent, ChannelContext, Outcomes, Window
from channels.simulating import EventLog
from channels.sms.channel import SmsChannel
from channels.sms.settings import SmsSettings

PASSWORD = "geheim12"
SHORT = "合川区暴雨红色预警：请立即转移避险。"
LONG = "武隆区山洪灾害橙色预警，沿河群众请立即向高处转移，不要返回。😀" * 6


@dataclass
class SmscProcess:
    """A running simulator."""

    process: asyncio.subprocess.Process
    port: int
    log: Path

    def kill(self) -> None:
        self.process.send_signal(signal.SIGKILL)

    async def stop(self) -> int:
        with suppress(ProcessLookupError):
            self.process.terminate()
        return await self.process.wait()

    def events(self, event: str) -> Counter[tuple[str, str]]:
        """How often `event` stands in the log, by address and message."""
        return Counter(
            (str(line["address"]), str(line["message"]))
            for line in EventLog.read(self.log)
            if line["event"] == event
        )


@pytest.fixture
async def smsc(tmp_path: Path) -> AsyncIterator[Callable]:
    """Starts simulators: `await smsc("--rate", "5", port=0)`."""
    started: list[SmscProcess] = []

    async def start(*options: str, port: int = 0) -> SmscProcess:
        log = tmp_path / "smsc.jsonl"
        command = [sys.executable, "-m", "channels.sms.simulator", "--port", str(port), "--log", str(log), *options]
        environment = {**os.environ, "FENGHUO_SMSC_PASSWORD": PASSWORD}
        process = await asyncio.create_subprocess_exec(*command, stdout=subprocess.PIPE, env=environment)
        assert process.stdout is not None
        ready = json.loads(await process.stdout.readline())
        running = SmscProcess(process, ready["port"], log)
        started.append(running)
        return running

    yield start
    for running in started:
        if running.process.returncode is None:
            await running.stop()


@dataclass
class Broker:
    """What the worker would do around the channel: keep ids, take evidence, ask for windows."""

    settings: SmsSettings
    kept: list[tuple[int, np.ndarray, np.ndarray]] = field(default_factory=list)
    """Far ids, as the store would hold them."""
    evidence: dict[tuple[int, int], list[int]] = field(default_factory=dict)
    """State words by (batch, ordinal), in the order they came."""
    came: asyncio.Event = field(default_factory=asyncio.Event)

    @asynccontextmanager
    async def channel(self, *, listening: bool = True) -> AsyncIterator[SmsChannel]:
        """A started channel."""
        channel = SmsChannel(self.settings)
        await channel.start(ChannelContext(_no_batch, self._open, self._ids, _no_batch))
        listener = asyncio.create_task(self._listen(channel)) if listening else None
        try:
            yield channel
        finally:
            await channel.close()
            if listener is not None:
                await listener

    async def send(
        self,
        channel: SmsChannel,
        addresses: list[str],
        text: str = SHORT,
        *,
        batch: int = 1,
        attempt: int = 1,
        **more,
    ) -> Outcomes:
        """Send one window and keep the ids."""
        n = len(addresses)
        window = Window(
            alert="alert",
            batch=batch,
            attempt=attempt,
            lane=more.get("lane", Lane.URGENT),
            district=500117,
            expires=now_ms() + 3_600_000,
            ordinals=np.arange(n, dtype=np.uint16),
            recipients=np.arange(n, dtype=np.uint32),
            addresses=np.array([own.encode() for own in addresses]),
        )
        rendition = RenditionRecord(1, "alert", 0, ChannelName.SMS, "zh-CN", "t", {"text": text})
        outcomes = await channel.send(window, rendition, more.get("stop", lambda: False))
        assert len(outcomes.states) == len(outcomes.at) == n
        if outcomes.far_ids is not None and outcomes.far_ordinals is not None:
            self.kept.append((batch, outcomes.far_ordinals, outcomes.far_ids))
        return outcomes

    async def until(self, satisfied: Callable[[], bool], within: float = 20.0) -> None:
        """Wait for evidence."""
        async with asyncio.timeout(within):
            while not satisfied():
                self.came.clear()
                with suppress(TimeoutError):
                    async with asyncio.timeout(0.1):
                        await self.came.wait()

    def with_state(self, state: int, batch: int = 1) -> set[int]:
        """Ordinals of which `state` was reported."""
        return {ordinal for (own, ordinal), states in self.evidence.items() if own == batch and state in states}

    async def _listen(self, channel: SmsChannel) -> None:
        async for receipts in channel.listen():
            self._take(receipts)

    def _take(self, receipts: Receipts) -> None:
        for ordinal, state in zip(receipts.ordinals.tolist(), receipts.states.tolist(), strict=True):
            self.evidence.setdefault((receipts.batch, ordinal), []).append(state)
        self.came.set()

    async def _open(self) -> list[int]:
        return sorted({batch for batch, _, _ in self.kept})

    async def _ids(self, batches: list[int]) -> list[tuple[int, np.ndarray, np.ndarray]]:
        return [own for own in self.kept if own[0] in batches]


async def _no_batch(batch: int) -> BatchContent:
    raise AssertionError(f"the channel needs no content of batch {batch}")


@pytest.fixture
def broker() -> Callable[..., Broker]:
    """Makes a broker for the SMSC on a port."""

    def make(port: int, **settings: object) -> Broker:
        chosen = {"port": port, "password": PASSWORD, "reconnect_min_s": 0.05, "reconnect_max_s": 0.2, **settings}
        return Broker(SmsSettings.model_validate(chosen))

    return make


@pytest.fixture
def phones() -> Callable[[int], list[str]]:
    """Numbers that no operator assigns."""
    return lambda count: [f"861000{n:07d}" for n in range(count)]


@pytest.fixture
def texts() -> tuple[str, str]:
    """One text of one part and one of several."""
    return SHORT, LONG
