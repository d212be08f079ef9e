"""A PostgreSQL server for tests, and scratch databases on it.

Which server: `$FENGHUO_TEST_DATABASE_URL` if set; else one on localhost:5432 that answers and lets us create a
database; else a private one in a temporary directory, one for each test process, stopped by its own process id.
"""

from __future__ import annotations

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
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import asyncpg
import sqlalchemy as sa

from broker.ports import free_port

_PROGRAMS = Path("/usr/lib/postgresql")
_START_SECONDS = 60.0
_STOP_SECONDS = 30.0
_USERS = ("postgres", "nobody")
"""Whom the server runs as when we are root, which it refuses."""


class NoServer(RuntimeError):
    """No PostgreSQL is installed or it did not start."""


def run_sql(url: str, *statements: str) -> None:
    """Run statements on a connection of their own, each by itself."""

    async def run() -> None:
        connection = await asyncpg.connect(url, timeout=5)
        try:
            for statement in statements:
                await connection.execute(statement)
        finally:
            await connection.close()

    # A loop of its own, in no thread that has one: fixtures may be called while a test's loop is about.
    with asyncio.Runner() as runner:
        runner.run(run())


def _usable(url: str) -> bool:
    name = f"fenghuo_{secrets.token_hex(6)}"
    try:
        run_sql(url, f"CREATE DATABASE {name}", f"DROP DATABASE {name}")
    except (OSError, TimeoutError, asyncpg.PostgresError, asyncpg.InterfaceError):
        return False
    return True


class PrivateServer:
    """One server below a temporary directory, on a free port of the loopback."""

    def __init__(self) -> None:
        self._programs = _newest()
        self._root = Path(tempfile.mkdtemp(prefix="fenghuo-postgres-"))
        self._data = self._root / "data"
        self._process: subprocess.Popen[bytes] | None = None
        self._user = _unprivileged()
        self.port = free_port()

    @property
    def url(self) -> str:
        """Its maintenance database."""
        return f"postgresql://fenghuo@127.0.0.1:{self.port}/postgres"

    @property
    def pid(self) -> int:
        """Process id of the running server."""
        assert self._process is not None
        return self._process.pid

    def start(self) -> None:
        """Make the cluster if there is none yet, start it and wait until it answers."""
        if self._user is not None:
            shutil.chown(self._root, self._user.pw_uid, self._user.pw_gid)
        if not self._data.exists():
            self._run("initdb", "-D", str(self._data), "-U", "fenghuo", "-A", "trust", "-E", "UTF8", "--locale=C")
        with (self._root / "log").open("ab") as log:
            options = (f"port={self.port}", "listen_addresses=127.0.0.1", f"unix_socket_directories={self._root}")
            self._process = subprocess.Popen(
                [
                    str(self._programs / "postgres"),
                    "-D",
                    str(self._data),
                    *(part for option in options for part in ("-c", option)),
                ],
                stdout=log,
                stderr=log,
                cwd=self._root,
                **self._identity(),
            )
        deadline = time.monotonic() + _START_SECONDS
        while not _usable(self.url):
            if self._process.poll() is not None or time.monotonic() > deadline:
                tail = (self._root / "log").read_text(errors="replace")[-2000:]
                self.stop()
                raise NoServer(f"PostgreSQL did not start: {tail}")
            time.sleep(0.1)

    def stop(self) -> None:
        """Fast shutdown; a server that does not go is killed."""
        if self._process is None:
            return
        if self._process.poll() is None:
            self._process.send_signal(signal.SIGINT)
            try:
                self._process.wait(_STOP_SECONDS)
            except subprocess.TimeoutExpired:
                self._process.kill()
                self._process.wait()
        self._process = None

    def kill(self) -> None:
        """Immediate shutdown, as after a crash: what was committed must be found again at the next start."""
        assert self._process is not None
        self._process.send_signal(signal.SIGQUIT)
        self._process.wait(_STOP_SECONDS)
        self._process = None

    def remove(self) -> None:
        """Stop it and delete its files."""
        self.stop()
        shutil.rmtree(self._root, ignore_errors=True)

    def _run(self, program: str, *arguments: str) -> None:
        done = subprocess.run(
            [str(self._programs / program), *arguments],
            capture_output=True,
            text=True,
            check=False,
            cwd=self._root,
            **self._identity(),
        )
        if done.returncode:
            raise NoServer(f"{program} failed: {done.stderr[-2000:]}")

    def _identity(self) -> dict[str, Any]:
        if self._user is None:
            return {}
        return {"user": self._user.pw_uid, "group": self._user.pw_gid, "extra_groups": []}


def _newest() -> Path:
    found = sorted(_PROGRAMS.glob("*/bin/initdb"), key=lambda path: float(path.parts[-3]))
    if found:
        return found[-1].parent
    on_path = shutil.which("initdb")
    if on_path is None:
        raise NoServer("PostgreSQL is not installed")
    return Path(on_path).resolve().parent


def _unprivileged() -> pwd.struct_passwd | None:
    if os.geteuid() != 0:
        return None
    for name in _USERS:
        with contextlib.suppress(KeyError):
            return pwd.getpwnam(name)
    raise NoServer("PostgreSQL does not run as root, and there is no user to run it as")


@contextlib.contextmanager
def server() -> Iterator[str]:
    """URL of a server's maintenance database, on which scratch databases may be made."""
    given = os.environ.get("FENGHUO_TEST_DATABASE_URL")
    if given:
        yield given
        return
    near = "postgresql://postgres:postgres@127.0.0.1:5432/postgres"
    if _usable(near):
        yield near
        return
    private = PrivateServer()
    try:
        private.start()
        yield private.url
    finally:
        private.remove()


@contextlib.contextmanager
def scratch_database(server_url: str) -> Iterator[str]:
    """A fresh database, dropped at the end."""
    name = f"fenghuo_{secrets.token_hex(6)}"
    run_sql(server_url, f"CREATE DATABASE {name}")
    try:
        yield sa.make_url(server_url).set(database=name).render_as_string(hide_password=False)
    finally:
        run_sql(server_url, f"DROP DATABASE {name} WITH (FORCE)")
