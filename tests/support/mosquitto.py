"""The two MQTT servers that the broadcast channel must work with, started, stopped and killed the same way."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from pathlib import Path
from typing import Protocol

from broker.mqtt.access import Account, Accounts, Login
from broker.mqtt.mosquitto import Mosquitto
from broker.ports import free_port


class MqttServer(Protocol):
    port: int

    async def start(self) -> None: ...
    async def stop(self) -> None: ...
    async def kill(self) -> None: ...


class EmbeddedProcess:
    """The embedded server in a process of its own, so that it can be killed like any other."""

    def __init__(self, folder: Path, logins: list[Login]) -> None:
        self.folder = folder
        self.port = free_port()
        self._process: asyncio.subprocess.Process | None = None
        folder.mkdir(parents=True, exist_ok=True)
        Accounts(map(Account.of, logins)).save(folder / "accounts")

    async def start(self) -> None:
        self._process = await asyncio.create_subprocess_exec(
            sys.executable,
            "-m",
            "tests.support.mosquitto",
            str(self.folder),
            str(self.port),
            stdout=asyncio.subprocess.PIPE,
            cwd=Path(__file__).parents[2],
        )
        assert self._process.stdout is not None
        assert await asyncio.wait_for(self._process.stdout.readline(), 20) == b"ready\n"

    async def stop(self) -> None:
        await self._end(signal.SIGTERM)

    async def kill(self) -> None:
        await self._end(signal.SIGKILL)

    async def _end(self, number: signal.Signals) -> None:
        process, self._process = self._process, None
        if process is not None:
            process.send_signal(number)
            await asyncio.wait_for(process.communicate(), 20)


class PrivateMosquitto:
    """Mosquitto with a configuration of ours."""

    def __init__(self, folder: Path, logins: list[Login]) -> None:
        self._server = Mosquitto(folder)
        self._server.configure(logins)
        self.port = self._server.port

    async def start(self) -> None:
        await self._server.start()

    async def stop(self) -> None:
        await self._server.stop()

    async def kill(self) -> None:
        # Mosquitto promises what it has saved; it counts in whole seconds, so an interval of one takes up to two.
        await asyncio.sleep(3)
        await self._server.kill()


async def _serve(folder: Path, port: int) -> None:
    from broker.mqtt.embedded import EmbeddedServer

    server = EmbeddedServer(Accounts.load(folder / "accounts"), folder / "journal", port=port)
    await server.start()
    os.write(1, b"ready\n")
    stopped = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stopped.set)
    await stopped.wait()
    await server.stop()


if __name__ == "__main__":
    asyncio.run(_serve(Path(sys.argv[1]), int(sys.argv[2])))
