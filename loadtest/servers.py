"""Private PostgreSQL and RabbitMQ servers for one run, on free ports and in a folder of their own.

Both run with their own defaults, so that the figures are those of an ordinary installation.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import os
import pwd
import secrets
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import aio_pika
import asyncpg

from broker.ports import free_ports
from loadtest.scenario import LoadTestError, say

_START_SECONDS: Final = 90.0
_STOP_SECONDS: Final = 30.0


@dataclass(frozen=True, slots=True)
class Servers:
    """The servers of the production form."""

    amqp: str
    database: str
    versions: dict[str, str]


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Options that name servers which run already."""
    parser.add_argument("--amqp", metavar="URL", help="a RabbitMQ to use; default: a private one is started")
    parser.add_argument("--database", metavar="URL", help="a PostgreSQL to use; default: a private one is started")


async def lend(amqp: str | None, database: str | None, stack: AsyncExitStack) -> Servers:
    """Those that are named, and private ones for the rest, which end with `stack`. Raises LoadTestError."""
    if database is None:
        say("starting a private PostgreSQL …")
        database = await stack.enter_async_context(postgres())
    if amqp is None:
        say("starting a private RabbitMQ …")
        amqp = await stack.enter_async_context(rabbitmq())
    connection = await asyncpg.connect(database)
    try:
        version = connection.get_server_version()
    finally:
        await connection.close()
    rabbit = await rabbit_version(amqp)
    return Servers(amqp, database, {"postgresql": f"{version.major}.{version.micro}", "rabbitmq": rabbit})


async def rabbit_version(url: str) -> str:
    """What the server says it is."""
    connection = await aio_pika.connect(url)
    try:
        assert connection.transport is not None
        properties = connection.transport.connection.server_properties
        version = properties.get("version", "unknown")
        return version.decode() if isinstance(version, bytes) else str(version)
    finally:
        await connection.close()


@asynccontextmanager
async def postgres() -> AsyncIterator[str]:
    """The address of a PostgreSQL that runs until the block ends. Raises LoadTestError."""
    programs = sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"), key=lambda path: float(path.parts[-3]))
    found = programs[-1] if programs else shutil.which("initdb")
    if found is None:
        raise LoadTestError("PostgreSQL is not installed; give --database URL")
    bin_ = Path(found).resolve().parent
    folder = Path(tempfile.mkdtemp(prefix="fenghuo-load-postgres-"))
    who = _somebody(folder)
    (port,) = free_ports(1)
    initdb = [bin_ / "initdb", "-D", folder / "data", "-U", "fenghuo", "-A", "trust", "-E", "UTF8", "--locale=C"]
    if await asyncio.to_thread(_start(initdb, folder / "log", cwd=folder, **who).wait):
        raise LoadTestError(f"initdb failed:\n{_end_of(folder / 'log')}")
    options = (f"port={port}", "listen_addresses=127.0.0.1", f"unix_socket_directories={folder}")
    command = [bin_ / "postgres", "-D", folder / "data", *(part for own in options for part in ("-c", own))]
    server = _start(command, folder / "log", cwd=folder, **who)
    url = f"postgresql://fenghuo@127.0.0.1:{port}/postgres"

    async def answers() -> None:
        await (await asyncpg.connect(url, timeout=3)).close()

    try:
        await _until(answers, server, folder / "log")
        yield url
    finally:
        await _end(server, signal.SIGINT)
        shutil.rmtree(folder, ignore_errors=True)


@asynccontextmanager
async def rabbitmq() -> AsyncIterator[str]:
    """The address of a RabbitMQ that runs until the block ends. Raises LoadTestError."""
    launcher = shutil.which("/usr/lib/rabbitmq/bin/rabbitmq-server") or shutil.which("rabbitmq-server")
    if launcher is None:
        raise LoadTestError("RabbitMQ is not installed; give --amqp URL")
    folder = Path(tempfile.mkdtemp(prefix="fenghuo-load-rabbitmq-"))
    port, distribution, epmd_port = free_ports(3)
    for name, text in (
        ("env.conf", ""),
        ("enabled_plugins", "[].\n"),
        ("rabbitmq.conf", f"listeners.tcp.1 = 127.0.0.1:{port}\ndisk_free_limit.absolute = 50MB\n"),
    ):
        (folder / name).write_text(text)
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("RABBITMQ_", "ERL_"))}
    environment = {
        **kept,
        "HOME": str(folder),
        "ERL_EPMD_PORT": str(epmd_port),
        "ERL_EPMD_ADDRESS": "127.0.0.1",
        "RABBITMQ_NODENAME": f"loadtest{secrets.token_hex(4)}@localhost",
        "RABBITMQ_DIST_PORT": str(distribution),
        "RABBITMQ_CONFIG_FILE": str(folder / "rabbitmq.conf"),
        "RABBITMQ_CONF_ENV_FILE": str(folder / "env.conf"),
        "RABBITMQ_ENABLED_PLUGINS_FILE": str(folder / "enabled_plugins"),
        "RABBITMQ_MNESIA_BASE": str(folder / "data"),
        "RABBITMQ_LOG_BASE": str(folder / "log"),
        "RABBITMQ_SERVER_ADDITIONAL_ERL_ARGS": f"-setcookie {secrets.token_hex(12)}",
        # The script then becomes the server itself, so that the process id is the server's.
        "RUNNING_UNDER_SYSTEMD": "true",
    }
    console = folder / "console.log"
    mapper = _start(["epmd", "-port", str(epmd_port), "-address", "127.0.0.1"], console, env=environment)
    server = _start([launcher], console, cwd=folder, env=environment)
    url = f"amqp://guest:guest@127.0.0.1:{port}/"

    async def answers() -> None:
        # A bare connection first: the client writes to the log for each one that is refused.
        (await asyncio.open_connection("127.0.0.1", port))[1].close()
        await (await aio_pika.connect(url, timeout=3)).close()

    try:
        await _until(answers, server, console)
        yield url
    finally:
        await _end(server, signal.SIGTERM)
        await _end(mapper, signal.SIGTERM)
        shutil.rmtree(folder, ignore_errors=True)


def _start(command: list[Any], log: Path, **how: Any) -> subprocess.Popen[bytes]:
    # Not by the event loop: uvloop starts nothing under another user.
    with log.open("ab") as output:
        return subprocess.Popen(
            command, stdin=subprocess.DEVNULL, stdout=output, stderr=output, start_new_session=True, **how
        )


async def _until(answers: Callable[[], Awaitable[None]], server: subprocess.Popen[bytes], log: Path) -> None:
    deadline = time.monotonic() + _START_SECONDS
    while server.poll() is None and time.monotonic() < deadline:
        try:
            await answers()
        except (OSError, TimeoutError, asyncpg.PostgresError, aio_pika.exceptions.AMQPError):
            await asyncio.sleep(0.2)
        else:
            return
    raise LoadTestError(f"a server did not start:\n{_end_of(log)}")


async def _end(server: subprocess.Popen[bytes], number: signal.Signals) -> None:
    """Ask the server to go, then end whatever is left of its session."""
    with contextlib.suppress(ProcessLookupError):
        server.send_signal(number)
    with contextlib.suppress(subprocess.TimeoutExpired):
        await asyncio.to_thread(server.wait, _STOP_SECONDS)
    with contextlib.suppress(ProcessLookupError):
        os.killpg(server.pid, signal.SIGKILL)
    await asyncio.to_thread(server.wait)


def _end_of(log: Path) -> str:
    return log.read_text(errors="replace")[-2000:]


def _somebody(folder: Path) -> Mapping[str, Any]:
    """PostgreSQL refuses to run as root: whom it runs as then."""
    if os.geteuid() != 0:
        return {}
    for name in ("postgres", "nobody"):
        with contextlib.suppress(KeyError):
            user = pwd.getpwnam(name)
            shutil.chown(folder, user.pw_uid, user.pw_gid)
            return {"user": user.pw_uid, "group": user.pw_gid, "extra_groups": []}
    raise LoadTestError("PostgreSQL does not run as root, and there is no user to run it as")
