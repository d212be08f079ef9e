"""Simulators of the channels that devices come to, run as processes against a server that can be killed."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import sys
from asyncio.subprocess import PIPE, Process
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

from broker.clock import now_ms
from channels.mailbox.tokens import device_token
from channels.simulating import EventLog
from tests.support.mailbox import SECRET, a_content

ROOT = Path(__file__).parents[2]


class Stage:
    """One server and one simulator of `channel`, their files and their processes."""

    def __init__(self, channel: str, devices: list[str], path: Path) -> None:
        self.channel = channel
        self.devices = devices
        self.log = path / "far-end.log"
        self._path = path
        self._evidence = path / "evidence"
        self._processes: list[Process] = []
        self._server: Process | None = None
        self._port = 0
        (path / "secret").write_bytes(SECRET)
        rows = [f"{device},{device_token(SECRET, channel, device)}\n" for device in devices]
        (path / "devices.csv").write_text("id,token\n" + "".join(rows))

    def plan(self, *batches: list[str], expires_in: int = 3_600_000) -> None:
        """What the store holds: batches from 1 upward, each for some devices."""
        content = a_content(expires=now_ms() + expires_in)
        shared = {"alert": content["alert"], "expires": content["expires"], "content": content}
        world = [{**shared, "batch": number, "addresses": batch} for number, batch in enumerate(batches, 1)]
        (self._path / "world.json").write_text(json.dumps(world))

    async def serve(self, *options: str) -> None:
        """Start the server, on the same port if it ran before."""
        files = ["--secret", "secret", "--world", "world.json", "--evidence", "evidence"]
        self._server, ready = await self._start(
            "tests.support.mailbox_server", "--channel", self.channel, "--port", str(self._port), *files, *options
        )
        self._port = ready["port"]

    async def kill_server(self) -> None:
        """kill -9."""
        assert self._server is not None
        self._server.send_signal(signal.SIGKILL)
        await self._server.wait()

    async def simulate(self, *options: str) -> Process:
        """Start the simulator."""
        devices = "--devices" if self.channel == "app" else "--screens"
        url = f"http://127.0.0.1:{self._port}"
        process, _ = await self._start(
            f"channels.{self.channel}.simulator",
            devices,
            "devices.csv",
            "--url",
            url,
            "--log",
            str(self.log),
            *options,
        )
        return process

    async def close(self) -> None:
        """Kill what still runs."""
        for process in self._processes:
            if process.returncode is None:
                process.kill()
            await process.communicate()

    def arrivals(self) -> dict[tuple[int, int], int]:
        """Highest arrival by (batch, ordinal) in the evidence that any server gave."""
        found: dict[tuple[int, int], int] = {}
        if self._evidence.exists():
            for line in self._evidence.read_text().splitlines():
                batch, ordinal, arrival = map(int, line.split())
                found[batch, ordinal] = max(arrival, found.get((batch, ordinal), 0))
        return found

    def logged(self, event: str) -> Counter[tuple[str, str]]:
        """How often (address, message) stands in the far end's log with `event`."""
        return Counter(
            (str(line["address"]), str(line["message"]))
            for line in EventLog.read(self.log)
            if line["event"] == event
        )

    async def until(self, what: Callable[[], bool]) -> None:
        """Wait for something to come true."""
        async with asyncio.timeout(40):
            while not what():
                await asyncio.sleep(0.05)

    async def _start(self, module: str, *options: str) -> tuple[Process, Any]:
        environment = {**os.environ, "PYTHONPATH": str(ROOT)}
        process = await asyncio.create_subprocess_exec(
            sys.executable, "-m", module, *options, cwd=self._path, env=environment, stdout=PIPE, stderr=PIPE
        )
        self._processes.append(process)
        assert process.stdout is not None
        async with asyncio.timeout(30):
            line = await process.stdout.readline()
        if not line:
            _, errors = await process.communicate()
            raise AssertionError(errors.decode())
        ready = json.loads(line)
        assert ready["ready"] is True
        return process, ready
