"""Processes of a scenario: started, waited for, measured and ended by their own ids."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import sys
from asyncio.subprocess import PIPE, Process
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

from loadtest.scenario import LoadTestError

_READY_SECONDS: Final = 120
_STOP_SECONDS: Final = 30
_ROOT: Final = Path(__file__).resolve().parent.parent


class Child:
    """A Python module as a process that prints one JSON line when it is ready."""

    def __init__(self, name: str, process: Process, ready: dict[str, Any]) -> None:
        self.name = name
        self.ready = ready
        self._process = process

    @classmethod
    async def start(
        cls,
        name: str,
        module: str,
        *arguments: str,
        environment: Mapping[str, str] | None = None,
        errors: Path | None = None,
    ) -> Child:
        """Start it and wait for its line; what it says on standard error goes to the file `errors` if given.

        Raises LoadTestError.
        """
        with contextlib.ExitStack() as stack:
            process = await asyncio.create_subprocess_exec(
                *(sys.executable, "-m", module, *arguments),
                stdin=PIPE,
                stdout=PIPE,
                stderr=None if errors is None else stack.enter_context(errors.open("ab")),
                cwd=_ROOT,
                env={**os.environ, **(environment or {})},
            )
        assert process.stdout is not None
        line = b""
        with contextlib.suppress(TimeoutError):
            line = await asyncio.wait_for(process.stdout.readline(), _READY_SECONDS)
        child = cls(name, process, json.loads(line or b"{}"))
        if not child.ready.get("ready"):
            await child.stop()
            raise LoadTestError(f"the process {name} did not start")
        return child

    @property
    def alive(self) -> bool:
        """Whether it runs."""
        return self._process.returncode is None

    def tell(self, line: str) -> None:
        """Write a line to its standard input."""
        assert self._process.stdin is not None
        self._process.stdin.write(line.encode() + b"\n")

    def peak_memory(self) -> float:
        """The most resident memory that it has had, in MB (proc(5), VmHWM)."""
        return peak_memory(self._process.pid)

    def cpu_seconds(self) -> float:
        """The processor time that it has used, of its threads together (proc(5), utime and stime)."""
        try:
            status = Path(f"/proc/{self._process.pid}/stat").read_text()
        except OSError:
            return 0.0
        user, system = status.rpartition(")")[2].split()[11:13]
        return (int(user) + int(system)) / os.sysconf("SC_CLK_TCK")

    async def kill(self) -> None:
        """SIGKILL: it gets to do nothing more."""
        with contextlib.suppress(ProcessLookupError):
            self._process.kill()
        await self._process.communicate()

    async def stop(self) -> None:
        """SIGTERM, and SIGKILL to what does not go."""
        if self._process.returncode is None:
            with contextlib.suppress(ProcessLookupError):
                self._process.terminate()
        try:
            await asyncio.wait_for(self._process.communicate(), _STOP_SECONDS)
        except TimeoutError:
            self._process.kill()
            await self._process.communicate()


def peak_memory(pid: int) -> float:
    """The most resident memory of a process, in MB; 0 where the system does not tell."""
    try:
        status = Path(f"/proc/{pid}/status").read_text()
    except OSError:
        return 0.0
    for line in status.splitlines():
        if line.startswith("VmHWM:"):
            return round(int(line.split()[1]) / 1024, 1)
    return 0.0
