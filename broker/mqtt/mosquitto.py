"""Mosquitto's configuration, password and access files for a private server, and starting and stopping it.

Written for Mosquitto 2 (mosquitto.conf(5)). Nobody enters without an account, a client id is its user's name,
and sessions and their queues are kept on disk.
"""

from __future__ import annotations

import asyncio
import base64
import contextlib
import hashlib
import os
import secrets
import shutil
import signal
from collections.abc import Iterable
from pathlib import Path
from typing import Final

from broker.errors import ConfigError, Problem
from broker.mqtt.access import Login
from broker.mqtt.embedded import MqttError
from broker.ports import free_port

ITERATIONS: Final = 101
"""Rounds of PBKDF2, Mosquitto's own default; the passwords are 256 random bits and need no stretching."""


def password_line(login: Login) -> str:
    """A line of the password file: `user:$7$rounds$salt$hash` (PBKDF2-HMAC-SHA-512, mosquitto_passwd(1))."""
    salt = secrets.token_bytes(12)
    digest = hashlib.pbkdf2_hmac("sha512", login.password.encode(), salt, ITERATIONS, 64)
    encoded = "$".join(base64.b64encode(part).decode() for part in (salt, digest))
    return f"{login.username}:$7${ITERATIONS}${encoded}"


def access_lines(login: Login) -> list[str]:
    """The lines of the access file for one account."""
    lines = [f"user {login.username}"]
    lines += [f"topic read {name}" for name in login.read]
    lines += [f"topic write {name}" for name in login.write]
    return [*lines, ""]


def write_configuration(folder: Path, logins: Iterable[Login], *, port: int, host: str = "127.0.0.1") -> Path:
    """Write mosquitto.conf, passwords and access into `folder` and return the path of mosquitto.conf.

    Raises ConfigError for names that the files cannot hold.
    """
    folder.mkdir(parents=True, exist_ok=True)
    accounts = list(logins)
    problems = [
        Problem("mqtt logins", "mqtt.username", "a name is printable, without spaces or colons", login.username)
        for login in accounts
        if not login.username.isprintable() or not login.username or set(login.username) & set(" :#")
    ]
    if problems:
        raise ConfigError(problems)
    passwords, access, data = folder / "passwords", folder / "access", folder / "data"
    data.mkdir(exist_ok=True)
    _write_private(passwords, [password_line(login) for login in accounts])
    _write_private(access, [line for login in accounts for line in access_lines(login)])
    lines = [
        f"listener {port} {host}",
        "allow_anonymous false",
        # A client id is its user's name, so that no account can take over the session of another.
        "use_username_as_clientid true",
        f"password_file {passwords}",
        f"acl_file {access}",
        "persistence true",
        f"persistence_location {data}/",
        # Counted in whole seconds, so a crash may cost what was acknowledged in the last two.
        "autosave_interval 1",
        "autosave_on_changes false",
        # No upper limits: at the default of 1,000 queued messages reports would be dropped silently, and the
        # default of 20 in flight would hold up a reader that acknowledges late on purpose.
        "max_queued_messages 0",
        "max_inflight_messages 20000",
        "max_packet_size 1048576",
        "set_tcp_nodelay true",
        "sys_interval 0",
        "log_type error",
        "log_type warning",
        "log_dest stderr",
    ]
    if os.geteuid() == 0:
        # Mosquitto would change to its own user, who may not read the private files of this folder.
        lines.append("user root")
    path = folder / "mosquitto.conf"
    path.write_text("".join(f"{line}\n" for line in lines))
    return path


def program() -> str | None:
    """Where mosquitto is installed, if it is."""
    return shutil.which("mosquitto", path=os.environ.get("PATH", "") + ":/usr/sbin:/usr/local/sbin")


class Mosquitto:
    """A private Mosquitto: its folder holds configuration, accounts and data, so that it can be started again."""

    def __init__(self, folder: Path, *, port: int | None = None, host: str = "127.0.0.1") -> None:
        self.folder = folder
        self.host = host
        self.port = port if port is not None else free_port(host)
        self._process: asyncio.subprocess.Process | None = None

    def configure(self, logins: Iterable[Login]) -> None:
        """Write configuration and accounts; a running server reads accounts anew. Raises ConfigError."""
        write_configuration(self.folder, logins, port=self.port, host=self.host)
        if self._process is not None:
            self._process.send_signal(signal.SIGHUP)

    @property
    def pid(self) -> int | None:
        """The process, while it runs."""
        return self._process.pid if self._process is not None and self._process.returncode is None else None

    async def start(self, timeout: float = 10.0) -> None:
        """Start and wait until it accepts connections. Raises MqttError."""
        binary = program()
        if binary is None:
            raise MqttError("mosquitto is not installed")
        log = (self.folder / "mosquitto.log").open("ab")
        with log:
            self._process = await asyncio.create_subprocess_exec(
                binary, "-c", str(self.folder / "mosquitto.conf"), stdout=log, stderr=log, start_new_session=True
            )
        deadline = asyncio.get_running_loop().time() + timeout
        while asyncio.get_running_loop().time() < deadline and self.pid is not None:
            with contextlib.suppress(OSError):
                _, writer = await asyncio.open_connection(self.host, self.port)
                writer.close()
                with contextlib.suppress(OSError):
                    await writer.wait_closed()
                return
            await asyncio.sleep(0.02)
        await self.stop()
        said = (self.folder / "mosquitto.log").read_text(errors="replace").splitlines()[-3:]
        raise MqttError(f"mosquitto does not start on {self.host}:{self.port}: {'; '.join(said)}")

    async def stop(self) -> None:
        """End it in order: it writes its sessions and queues to disk."""
        await self._end(signal.SIGTERM)

    async def kill(self) -> None:
        """End it as a crash does."""
        await self._end(signal.SIGKILL)

    async def _end(self, number: signal.Signals) -> None:
        process, self._process = self._process, None
        if process is None:
            return
        with contextlib.suppress(ProcessLookupError):
            process.send_signal(number)
        try:
            await asyncio.wait_for(process.wait(), 10)
        except TimeoutError:
            process.kill()
            await process.wait()


def _write_private(path: Path, lines: list[str]) -> None:
    part = path.with_name(path.name + ".part")
    with os.fdopen(os.open(part, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w") as file:
        file.write("".join(f"{line}\n" for line in lines))
    part.replace(path)
