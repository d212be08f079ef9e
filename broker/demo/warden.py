"""Ends what a killed demo leaves behind: servers that, unlike our own processes, know of no parent."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import sys
import time
from pathlib import Path

_POLL_S = 0.5
_PATIENCE_S = 10.0


async def end_leftover(pidfile: Path, mark: str) -> None:
    """End the process that an earlier demo noted in `pidfile`, if its command line still holds `mark`."""
    with contextlib.suppress(OSError, ValueError):
        pid = int(pidfile.read_text())
        if not _runs(pid, mark):
            return
        os.kill(pid, signal.SIGTERM)
        for _ in range(100):
            await asyncio.sleep(0.1)
            os.kill(pid, 0)


async def start(pid: int, mark: str) -> asyncio.subprocess.Process:
    """Let a small process watch this one, and end `pid` when this one has ended in whatever way.

    `mark` stands on the command line of `pid`, so that nobody else's process is ended by mistake.
    """
    return await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "broker.demo.warden", str(os.getpid()), str(pid), mark),
        cwd=Path(__file__).resolve().parent.parent.parent,
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.DEVNULL,
        stderr=asyncio.subprocess.DEVNULL,
        start_new_session=True,
    )


def watch(parent: int, pid: int, mark: str) -> None:
    """Until `parent`, which must have started us, has ended; then end `pid`. Returns early if `pid` ends first."""
    while os.getppid() == parent:
        if not _runs(pid, mark):
            return
        time.sleep(_POLL_S)
    deadline = time.monotonic() + _PATIENCE_S
    number = signal.SIGTERM
    while _runs(pid, mark):
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, number)
        if time.monotonic() > deadline:
            number = signal.SIGKILL
        time.sleep(_POLL_S)


def _runs(pid: int, mark: str) -> bool:
    try:
        return mark.encode() in Path(f"/proc/{pid}/cmdline").read_bytes()
    except OSError:
        return False


if __name__ == "__main__":
    watch(int(sys.argv[1]), int(sys.argv[2]), sys.argv[3])
