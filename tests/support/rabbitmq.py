"""A private RabbitMQ node for tests: own ports, own directories, own epmd; stopped by its own process ids.

Which server the tests use: `$FENGHUO_TEST_AMQP_URL` if set; else one that answers on localhost:5672 as guest;
else a private node, started once per test run and shared by all workers of the run.
"""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import json
import os
import secrets
import shutil
import signal
import socket
import subprocess
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from urllib.parse import urlsplit

import aiormq
import psutil

from broker.ports import free_ports

_LAUNCHERS = ("/usr/lib/rabbitmq/bin/rabbitmq-server", "rabbitmq-server")
_START_SECONDS = 90.0
_STOP_SECONDS = 20.0


class NoServer(RuntimeError):
    """No RabbitMQ is installed or it did not start."""


def launcher() -> str:
    """The start script of the installed server, preferring the one that needs no particular user."""
    for candidate in _LAUNCHERS:
        found = shutil.which(candidate)
        if found:
            return found
    raise NoServer("rabbitmq-server is not installed")


async def _answers(url: str) -> bool:
    try:
        async with asyncio.timeout(3):
            async with aiormq.connect(url):
                return True
    except (OSError, TimeoutError, aiormq.exceptions.AMQPError):
        return False


def answers(url: str) -> bool:
    """Whether a server accepts an AMQP connection at `url` within three seconds."""
    parts = urlsplit(url)
    try:
        socket.create_connection((parts.hostname or "localhost", parts.port or 5672), timeout=3).close()
    except OSError:
        return False
    # In a thread, since a test that asks for the server may have a loop running in this one.
    with ThreadPoolExecutor(1) as pool:
        return pool.submit(lambda: asyncio.run(_answers(url))).result()


class Node:
    """One RabbitMQ server in the foreground, with its own epmd, below `root`."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.port, self._distribution, self._epmd_port = free_ports(3)
        self._name = f"fenghuo{secrets.token_hex(4)}@localhost"
        self._cookie = secrets.token_hex(12)
        self._epmd: subprocess.Popen[bytes] | None = None
        self._server: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        """Where it listens."""
        return f"amqp://guest:guest@127.0.0.1:{self.port}/"

    def _environment(self) -> dict[str, str]:
        kept = {name: value for name, value in os.environ.items() if not name.startswith(("RABBITMQ_", "ERL_"))}
        return {
            **kept,
            "HOME": str(self.root),
            "ERL_EPMD_PORT": str(self._epmd_port),
            "ERL_EPMD_ADDRESS": "127.0.0.1",
            "RABBITMQ_NODENAME": self._name,
            "RABBITMQ_DIST_PORT": str(self._distribution),
            "RABBITMQ_CONFIG_FILE": str(self.root / "rabbitmq.conf"),
            "RABBITMQ_CONF_ENV_FILE": str(self.root / "env.conf"),
            "RABBITMQ_ENABLED_PLUGINS_FILE": str(self.root / "enabled_plugins"),
            "RABBITMQ_MNESIA_BASE": str(self.root / "data"),
            "RABBITMQ_LOG_BASE": str(self.root / "log"),
            "RABBITMQ_PID_FILE": str(self.root / "pid"),
            "RABBITMQ_SERVER_ADDITIONAL_ERL_ARGS": f"-setcookie {self._cookie}",
            # The script then becomes the server itself, so that the process id is the server's.
            "RUNNING_UNDER_SYSTEMD": "true",
        }

    def _write_files(self) -> None:
        for name in ("data", "log"):
            (self.root / name).mkdir(parents=True, exist_ok=True)
        (self.root / "env.conf").write_text("")
        (self.root / "enabled_plugins").write_text("[].\n")
        (self.root / "rabbitmq.conf").write_text(
            f"listeners.tcp.1 = 127.0.0.1:{self.port}\n"
            "vm_memory_high_watermark.relative = 0.5\n"
            "disk_free_limit.absolute = 50MB\n"
            "raft.wal_max_size_bytes = 67108864\n"
        )

    def start(self) -> None:
        """Start (again) and wait until it takes AMQP connections. Raises NoServer with the log's end."""
        self._write_files()
        environment = self._environment()
        if self._epmd is None:
            self._epmd = subprocess.Popen(
                ["epmd", "-port", str(self._epmd_port), "-address", "127.0.0.1"],
                env=environment,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
            )
        with (self.root / "console.log").open("ab") as console:
            self._server = subprocess.Popen(
                [launcher()],
                env=environment,
                cwd=self.root,
                stdin=subprocess.DEVNULL,
                stdout=console,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        deadline = time.monotonic() + _START_SECONDS
        while not answers(self.url):
            if self._server.poll() is not None or time.monotonic() > deadline:
                end = (self.root / "console.log").read_text(errors="replace")[-2000:]
                self.stop()
                raise NoServer(f"rabbitmq-server did not start:\n{end}")
            time.sleep(0.25)

    def control(self, *arguments: str) -> str:
        """Run `rabbitmqctl` against this node."""
        program = Path(launcher()).with_name("rabbitmqctl")
        command = [
            str(program) if program.exists() else "rabbitmqctl",
            "--node",
            self._name,
            "--erlang-cookie",
            self._cookie,
            *arguments,
        ]
        return subprocess.run(
            command, env=self._environment(), check=True, capture_output=True, text=True, timeout=60
        ).stdout

    def kill(self) -> None:
        """End the server at once, as a power cut would (SIGKILL)."""
        if self._server is not None:
            end_processes([self._server.pid], now=True)
            self._server.wait()
            self._server = None

    def stop(self) -> None:
        """End the server, whatever it started, and its epmd."""
        end_processes([process.pid for process in (self._server, self._epmd) if process is not None])
        for process in (self._server, self._epmd):
            if process is not None:
                process.wait()
        self._server = self._epmd = None


def end_processes(pids: list[int], *, now: bool = False) -> None:
    """End these processes and their children; those that do not end in time are killed."""
    family: list[psutil.Process] = []
    for pid in pids:
        with contextlib.suppress(psutil.NoSuchProcess):
            parent = psutil.Process(pid)
            family += [parent, *parent.children(recursive=True)]
    for process in family:
        with contextlib.suppress(psutil.NoSuchProcess):
            process.send_signal(signal.SIGKILL if now else signal.SIGTERM)
    _, alive = psutil.wait_procs(family, timeout=_STOP_SECONDS)
    for process in alive:
        with contextlib.suppress(psutil.NoSuchProcess):
            process.kill()
    psutil.wait_procs(alive, timeout=5)


@contextlib.contextmanager
def shared_server(root: Path) -> Iterator[str]:
    """The address of a server for this test run.

    `root` is a directory that all workers of one run share. The first to come starts a private node (if none
    is given) and stops it when all have left.
    """
    given = os.environ.get("FENGHUO_TEST_AMQP_URL")
    local = "amqp://guest:guest@localhost:5672/"
    if given or answers(local):
        yield given or local
        return
    state = root / "node.json"
    node: Node | None = None
    with _locked(root):
        if state.exists():
            record = json.loads(state.read_text())
        else:
            node = Node(root / "node")
            node.root.mkdir(parents=True, exist_ok=True)
            node.start()
            record = {"url": node.url, "users": 0}
        record["users"] += 1
        state.write_text(json.dumps(record))
    try:
        yield record["url"]
    finally:
        _leave(root, state)
        if node is not None:
            _wait_until_unused(root, state)
            node.stop()


def _leave(root: Path, state: Path) -> None:
    with _locked(root):
        record = json.loads(state.read_text())
        record["users"] -= 1
        state.write_text(json.dumps(record))


def _wait_until_unused(root: Path, state: Path) -> None:
    # Whoever started it stops it, so that no process is left without a parent.
    while True:
        with _locked(root):
            if not json.loads(state.read_text())["users"]:
                state.unlink()
                return
        time.sleep(0.2)


@contextlib.contextmanager
def _locked(root: Path) -> Iterator[None]:
    root.mkdir(parents=True, exist_ok=True)
    with (root / "lock").open("w") as handle:
        fcntl.flock(handle, fcntl.LOCK_EX)
        yield
