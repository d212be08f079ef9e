"""Private PostgreSQL and RabbitMQ servers for one run, on free ports and in a folder of their own.

Both run with their own defaults, so that the figures are those of an ordinary installation.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import pwd
import secrets
import shutil
import signal
import socket
from asyncio.subprocess import DEVNULL, Process
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, Final

import aio_pika
import asyncpg

from loadtest.scenario import LoadTestError

_START_SECONDS: Final = 90.0
_STOP_SECONDS: Final = 30.0


def free_ports(count: int) -> list[int]:
    """Ports that were free a moment ago, all different."""
    held = [socket.socket() for _ in range(count)]
    try:
        for sock in held:
            sock.bind(("127.0.0.1", 0))
        return [int(sock.getsockname()[1]) for sock in held]
    finally:
        for sock in held:
            sock.close()


@asynccontextmanager
async def postgres(folder: Path) -> AsyncIterator[str]:
    """The address of a PostgreSQL that runs until the block ends. Raises LoadTestError."""
    programs = sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"), key=lambda path: float(path.parts[-3]))
    found = programs[-1] if programs else shutil.which("initdb")
    if found is None:
        raise LoadTestError("PostgreSQL is not installed; give --database URL")
    bin_ = Path(found).resolve().parent
    folder.mkdir(parents=True)
    who = _somebody(folder)
    (port,) = free_ports(1)
    initdb = await asyncio.create_subprocess_exec(
        *(bin_ / "initdb", "-D", folder / "data", "-U", "fenghuo", "-A", "trust", "-E", "UTF8", "--locale=C"),
        cwd=folder,
        stdout=DEVNULL,
        **who,
    )
    if await initdb.wait():
        raise LoadTestError("initdb failed")
    options = (f"port={port}", "listen_addresses=127.0.0.1", f"unix_socket_directories={folder}")
    command = [bin_ / "postgres", "-D", folder / "data", *(part for own in options for part in ("-c", own))]
    server = await _start(command, folder / "log", cwd=folder, **who)
    url = f"postgresql://fenghuo@127.0.0.1:{port}/postgres"

    async def answers() -> None:
        await (await asyncpg.connect(url, timeout=3)).close()

    try:
        await _until(answers, server, folder / "log")
        yield url
    finally:
        await _end(server, signal.SIGINT)


@asynccontextmanager
async def rabbitmq(folder: Path) -> AsyncIterator[str]:
    """The address of a RabbitMQ that runs until the block ends. Raises LoadTestError."""
    launcher = shutil.which("/usr/lib/rabbitmq/bin/rabbitmq-server") or shutil.which("rabbitmq-server")
    if launcher is None:
        raise LoadTestError("RabbitMQ is not installed; give --amqp URL")
    folder.mkdir(parents=True)
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
    mapper = await _start(["epmd", "-port", str(epmd_port), "-address", "127.0.0.1"], console, env=environment)
    server = await _start([launcher], console, cwd=folder, env=environment)
    url = f"amqp://guest:guest@127.0.0.1:{port}/"

    async def answers() -> None:
        await (await aio_pika.connect(url, timeout=3)).close()

    try:
        await _until(answers, server, console)
        yield url
    finally:
        await _end(server, signal.SIGTERM)
        await _end(mapper, signal.SIGTERM)


async def _start(command: list[Any], log: Path, **how: Any) -> Process:
    with log.open("ab") as output:
        return await asyncio.create_subprocess_exec(
            *command, stdin=DEVNULL, stdout=output, stderr=output, start_new_session=True, **how
        )


async def _until(answers: Callable[[], Awaitable[None]], server: Process, log: Path) -> None:
    try:
        async with asyncio.timeout(_START_SECONDS):
            while server.returncode is None:
                try:
                    await answers()
                except (OSError, asyncpg.PostgresError, aio_pika.exceptions.AMQPError):
                    await asyncio.sleep(0.2)
                else:
                    return
    except TimeoutError:
        pass
    raise LoadTestError(f"a server did not start:\n{log.read_text(errors='replace')[-2000:]}")


async def _end(server: Process, number: signal.Signals) -> None:
    """Ask the server to go, then end whatever is left of its session."""
    with contextlib.suppress(ProcessLookupError):
        server.send_signal(number)
    with contextlib.suppress(TimeoutError):
        await asyncio.wait_for(server.wait(), _STOP_SECONDS)
    with contextlib.suppress(ProcessLookupError):
        os.killpg(server.pid, signal.SIGKILL)
    await server.wait()


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
