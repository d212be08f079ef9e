"""The product's own commands as processes: started, watched, killed, and counted when they should be gone."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import signal
import sys
import time
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import aiohttp
import psutil
import yaml

from broker.ports import free_ports

ROOT = Path(__file__).parents[2]
PATIENCE = 110.0
"""Seconds that anything may take here: other tests share the machine, and nothing is asserted about speed."""


@dataclass
class Command:
    """A running `fenghuo` command."""

    process: asyncio.subprocess.Process
    folder: Path
    """Named on its command line, so that all that it starts can be told from others' processes."""
    out: Path
    errors: Path
    _reaped: asyncio.Task[int] | None = field(default=None, repr=False)

    @property
    def said(self) -> str:
        """Standard output and error so far."""
        return self.out.read_text(errors="replace") + "\n" + self.errors.read_text(errors="replace")[-4000:]

    async def wait(self, timeout: float = PATIENCE) -> int:
        """Its exit code."""
        async with asyncio.timeout(timeout):
            return await self.process.wait()

    async def kill(self) -> None:
        """kill -9 of this process only, and wait until it is gone."""
        with contextlib.suppress(ProcessLookupError):
            self.process.kill()
        await self.process.wait()

    def stop(self) -> None:
        """Ask it to end."""
        with contextlib.suppress(ProcessLookupError):
            self.process.send_signal(signal.SIGTERM)


async def start(folder: Path, *arguments: str, name: str = "command") -> Command:
    """Start `fenghuo ARGUMENTS…` with its output in files below `folder`."""
    folder.mkdir(parents=True, exist_ok=True)
    out, errors = folder / f"{name}.out", folder / f"{name}.err"
    with out.open("wb") as stdout, errors.open("wb") as stderr:
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "broker.cli", *arguments),
            cwd=ROOT,
            stdin=asyncio.subprocess.DEVNULL,
            stdout=stdout,
            stderr=stderr,
        )
    return Command(process, folder, out, errors)


async def run(folder: Path, *arguments: str, name: str = "command") -> str:
    """Run a command that must succeed; its standard output."""
    command = await start(folder, *arguments, name=name)
    assert await command.wait() == 0, command.said
    return command.out.read_text()


def relatives(folder: Path) -> list[psutil.Process]:
    """Every process that names `folder` on its command line: roles, far ends, MQTT server, however orphaned."""
    found = []
    for process in psutil.process_iter():
        with contextlib.suppress(psutil.Error):
            if process.pid != os.getpid() and any(str(folder) in part for part in process.cmdline()):
                found.append(process)
    return found


async def until(what: Callable[[], bool], timeout: float = PATIENCE, interval: float = 0.02) -> None:
    """Wait for something to come true. Raises TimeoutError."""
    deadline = time.monotonic() + timeout
    while not what():
        if time.monotonic() > deadline:
            raise TimeoutError
        await asyncio.sleep(interval)


async def until_gone(folder: Path, timeout: float = PATIENCE) -> None:
    """Wait until no process of `folder` is left, and tell which are if they stay."""
    try:
        await until(lambda: not relatives(folder), timeout, 0.5)
    except TimeoutError:
        left = [" ".join(process.cmdline())[:200] for process in relatives(folder)]
        raise AssertionError(f"still running: {left}") from None


def end_all(folder: Path) -> None:
    """Kill whatever of `folder` still runs, at the end of a test."""
    left = relatives(folder)
    for process in left:
        with contextlib.suppress(psutil.Error):
            process.kill()
    psutil.wait_procs(left, timeout=10)


# -- fenghuo serve -------------------------------------------------------------------------------------------


def a_configuration(folder: Path, **changes: Any) -> Path:
    """config/fenghuo.yaml with free ports and its data below `folder`."""
    config = yaml.safe_load((ROOT / "config/fenghuo.yaml").read_text())
    listen, dashboard, mqtt, smpp, app, signage = free_ports(6)
    data = folder / "data"
    config |= {
        "data": str(data),
        "store": f"sqlite:///{data}/fenghuo.db",
        "address_keys": str(data / "address.keys"),
    }
    config["listen"]["port"], config["dashboard"]["port"] = listen, dashboard
    config["files"] = {name: str((ROOT / "config" / path).resolve()) for name, path in config["files"].items()}
    config["signing"] = {"certificate": str(data / "publisher.pem"), "key": str(data / "publisher.key")}
    config["embedded_mqtt"] = {"port": mqtt, "credentials": str(data / "mqtt.jsonl"), "journal": str(data / "mqtt")}
    channels = config["channels"]
    channels["sms"] |= {"port": smpp, "password_file": str(data / "smpp.password")}
    channels["broadcast"] |= {
        "url": f"mqtt://127.0.0.1:{mqtt}",
        "password_file": str(data / "mqtt.password"),
        "signing_key": str(data / "broadcast.pem"),
    }
    channels["app"] |= {"port": app, "secret_file": str(data / "app.secret")}
    channels["signage"] |= {"port": signage, "secret_file": str(data / "signage.secret")}
    config["files"] |= changes.pop("files", {})
    config |= changes
    path = folder / "fenghuo.yaml"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(yaml.safe_dump(config, allow_unicode=True))
    return path


@dataclass
class Broker:
    """`fenghuo serve` in a process of its own, with `fenghuo keys init` done."""

    folder: Path
    config: Path
    url: str
    command: Command | None = None
    _starts: int = 0

    async def start(self) -> None:
        """Start it and wait until it is ready."""
        self._starts += 1
        self.command = await start(self.folder, "serve", "--config", str(self.config), name=f"serve-{self._starts}")
        await self.until_ready()

    async def until_ready(self) -> None:
        """Wait for `/-/ready`."""
        assert self.command is not None
        async with aiohttp.ClientSession() as session, asyncio.timeout(PATIENCE):
            while True:
                assert self.command.process.returncode is None, self.command.said
                with contextlib.suppress(aiohttp.ClientError):
                    async with session.get(f"{self.url}/-/ready") as answer:
                        if answer.status == 200:
                            return
                await asyncio.sleep(0.1)

    async def token(self, department: str, *options: str) -> str:
        """What `fenghuo department token` prints."""
        given = await run(
            self.folder, "department", "token", department, *options, "--config", str(self.config), name="token"
        )
        return given.strip()

    async def kill(self) -> None:
        """kill -9."""
        assert self.command is not None
        await self.command.kill()


@asynccontextmanager
async def serving(folder: Path, **changes: Any) -> AsyncIterator[Broker]:
    """A broker that is up, ended at the end."""
    config = a_configuration(folder, **changes)
    await run(folder, "keys", "init", "--config", str(config), name="keys")
    broker = Broker(folder, config, f"http://127.0.0.1:{yaml.safe_load(config.read_text())['listen']['port']}")
    try:
        await broker.start()
        yield broker
    finally:
        if broker.command is not None:
            broker.command.stop()
            try:
                await broker.command.wait(40)
            finally:
                await broker.command.kill()


# -- fenghuo demo --------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Size:
    """How many recipients the demo's world has."""

    phones: int
    loudspeakers: int
    installations: int
    screens: int

    @property
    def arguments(self) -> tuple[str, ...]:
        """As options."""
        names = ("phones", "loudspeakers", "installations", "screens")
        return tuple(part for name in names for part in (f"--{name}", str(getattr(self, name))))


SMALL = Size(phones=5_000, loudspeakers=200, installations=800, screens=400)


async def start_demo(data: Path, size: Size, *more: str, name: str = "demo") -> Command:
    """Start `fenghuo demo --once --json` on `data`; its output goes beside it."""
    command = await start(
        data.parent,
        *("demo", "--once", "--json", "--data", str(data), "--port", "0", *size.arguments, *more),
        name=name,
    )
    command.folder = data
    return command


def result_of(command: Command) -> dict[str, Any]:
    """The JSON object on the last line of standard output."""
    lines = command.out.read_text().splitlines()
    assert lines, command.said
    result: dict[str, Any] = json.loads(lines[-1])
    return result


def far_end_lines(data: Path, channel: str) -> Iterator[dict[str, Any]]:
    """What a far end of a demo has logged so far."""
    path = data / "far-ends" / f"{channel}.jsonl"
    if path.exists():
        for line in path.read_bytes().splitlines(keepends=True):
            if line.endswith(b"\n"):
                yield json.loads(line)


def counted(data: Path, channel: str, event: str) -> int:
    """How many events of a kind a far end has logged so far."""
    mark = f'"event":"{event}"'.encode()
    path = data / "far-ends" / f"{channel}.jsonl"
    return path.read_bytes().count(mark) if path.exists() else 0


def planned_of(result: dict[str, Any]) -> dict[tuple[str, str], int]:
    """Planned counts by level (identifiers hold the time) and channel."""
    return {
        (alert["level"], channel): numbers["planned"]
        for alert in result["alerts"]
        for channel, numbers in alert["channels"].items()
    }


def processes_named(processes: Sequence[psutil.Process]) -> list[str]:
    """For messages."""
    return [" ".join(process.cmdline()) for process in processes]
