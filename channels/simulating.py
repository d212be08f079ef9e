"""What every simulated far end shares: common options, the log of what reached it, and how it is stopped.

A simulator prints one JSON line when it is ready and then runs until SIGTERM, SIGINT, or until the process
that it was started for has been gone for a while. Its log outlives the broker, so that a killed broker does
not take the evidence along; a restarted simulator reads it back.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import signal
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Final

from broker.clock import now_ms

EVENTS: Final = frozenset(
    {"received", "delivered", "presented", "acknowledged", "failed", "refused", "duplicate", "withdrawn"}
)
"""What a log line may tell; `delivered` and `presented` stand once for each address and message.

`withdrawn`: it was taken back or replaced, and is hidden, silenced or never presented from here on.
"""
FLUSH_SECONDS: Final = 0.05
"""How long a line may stay in memory."""
_PARENT_POLL_SECONDS: Final = 0.25


def add_common_arguments(parser: argparse.ArgumentParser) -> None:
    """Options that every simulator understands."""
    parser.add_argument("--port", type=int, default=0, help="TCP port to listen on; 0 takes a free one")
    parser.add_argument("--log", type=Path, help="append what arrives to FILE as JSON lines", metavar="FILE")
    parser.add_argument("--seed", type=int, default=0, help="seed of everything that looks random")
    parser.add_argument("--parent", type=int, help="end some time after the process PID has ended", metavar="PID")
    parser.add_argument(
        "--linger", type=float, default=5.0, help="how long to outlive the parent, in seconds", metavar="SECONDS"
    )


class EventLog:
    """Append-only JSON lines of what happened to messages, at most FLUSH_SECONDS behind.

    With `path` None nothing is kept. Opening cuts off a last line that a killed process left unfinished: it
    was never wholly written, so nobody was told of it. Raises ValueError for a file that holds something else.
    """

    def __init__(self, path: Path | None) -> None:
        self._lines: list[str] = []
        self._timer: asyncio.TimerHandle | None = None
        self._encoded: dict[str, str] = {}
        self._file: int | None = None
        if path is not None:
            path.parent.mkdir(parents=True, exist_ok=True)
            self._file = os.open(path, os.O_RDWR | os.O_CREAT | os.O_APPEND, 0o600)
            if os.pread(self._file, 1, 0) not in (b"", b"{"):
                os.close(self._file)
                raise ValueError(f"{path} holds something else than an event log")
            _cut_unfinished_line(self._file)

    def write(
        self,
        address: str,
        message: str,
        event: str,
        reason: str | None = None,
        at: int | None = None,
        *,
        ids: str | None = None,
    ) -> None:
        """Note one event at `at` (UTC milliseconds, default now).

        `ids` is for a simulator's own use at restart. Raises ValueError for an event that is not in EVENTS.
        """
        self.write_many((address,), message, event, reason, at, ids=None if ids is None else (ids,))

    def write_many(
        self,
        addresses: Iterable[str],
        message: str,
        event: str,
        reason: str | None = None,
        at: int | None = None,
        *,
        ids: Iterable[str] | None = None,
    ) -> None:
        """Note the same event of the same message for many addresses; `ids` runs in parallel to them."""
        if event not in EVENTS:
            raise ValueError(f"{event!r} is not an event of the log")
        if self._file is None:
            return
        head = f'{{"at":{now_ms() if at is None else at},"event":"{event}","address":"'
        tail = f'","message":{self._encode(message)}'
        if reason is not None:
            tail += f',"reason":{json.dumps(reason, ensure_ascii=False)}'
        if ids is None:
            tail += "}\n"
            self._lines.extend([f"{head}{_plain(address)}{tail}" for address in addresses])
        else:
            tail += ',"ids":"'
            pairs = zip(addresses, ids, strict=True)
            self._lines.extend([f'{head}{_plain(address)}{tail}{_plain(own)}"}}\n' for address, own in pairs])
        self._schedule()

    def flush(self) -> None:
        """Hand everything to the operating system now: from here on a kill of this process loses nothing."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if self._file is None or not self._lines:
            return
        data = memoryview("".join(self._lines).encode())
        self._lines.clear()
        while data:
            data = data[os.write(self._file, data) :]

    def close(self) -> None:
        """Write what is left and close the file."""
        self.flush()
        if self._file is not None:
            os.close(self._file)
            self._file = None

    @staticmethod
    def read(path: Path) -> Iterator[dict[str, object]]:
        """Every event in the order of writing; nothing if there is no such file.

        An unfinished last line is left out. Raises ValueError, naming the line, for anything that is not a log.
        """
        if not path.exists():
            return
        with path.open("rb") as lines:
            for number, line in enumerate(lines, 1):
                if not line.endswith(b"\n"):
                    return
                try:
                    event = json.loads(line)
                except ValueError as error:
                    raise ValueError(f"{path}:{number}: not a line of an event log") from error
                if not isinstance(event, dict):
                    raise ValueError(f"{path}:{number}: not a line of an event log")
                yield event

    def _encode(self, message: str) -> str:
        encoded = self._encoded.get(message)
        if encoded is None:
            if len(self._encoded) >= 256:
                self._encoded.clear()
            encoded = self._encoded[message] = json.dumps(message, ensure_ascii=False)
        return encoded

    def _schedule(self) -> None:
        if self._timer is not None:
            return
        try:
            loop = asyncio.get_running_loop()
        except RuntimeError:
            self.flush()
        else:
            self._timer = loop.call_later(FLUSH_SECONDS, self.flush)


async def run_until_stopped(args: argparse.Namespace, ready: dict[str, object]) -> None:
    """Print the ready line, then wait for SIGTERM, SIGINT, or the parent's end and `--linger` seconds more."""
    loop = asyncio.get_running_loop()
    stopped = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stopped.set)
    sys.stdout.write(json.dumps({"ready": True, **ready}) + "\n")
    sys.stdout.flush()
    watch = None
    if args.parent is not None:
        watch = loop.create_task(_set_after_end_of(args.parent, args.linger, stopped))
    try:
        await stopped.wait()
    finally:
        if watch is not None:
            watch.cancel()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.remove_signal_handler(number)


async def _set_after_end_of(pid: int, linger: float, stopped: asyncio.Event) -> None:
    born = _birth(pid)
    while born is not None and _birth(pid) == born:
        await asyncio.sleep(_PARENT_POLL_SECONDS)
    await asyncio.sleep(linger)
    stopped.set()


def _birth(pid: int) -> str | None:
    """Something that changes when `pid` is given to another process; None if it has ended (or is a zombie)."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_text()
    except OSError:
        if Path("/proc/self/stat").exists():
            return None
        try:  # no /proc on this system: a process of that number is the best there is to know
            os.kill(pid, 0)
        except ProcessLookupError:
            return None
        except PermissionError:
            pass
        return "running"
    # The name stands in parentheses and may hold anything, so fields are counted from its end (proc(5)).
    fields = stat.rpartition(")")[2].split()
    return None if fields[0] in "ZX" else fields[19]


def _cut_unfinished_line(file: int) -> None:
    size = os.fstat(file).st_size
    end = size
    while end > 0:
        start = max(0, end - 65_536)
        newline = os.pread(file, end - start, start).rfind(b"\n")
        if newline >= 0:
            end = start + newline + 1
            break
        end = start
    if end != size:
        os.ftruncate(file, end)


def _plain(text: str) -> str:
    """Text for the inside of a JSON string; what digits and letters make up goes through as it is."""
    return text if text.isalnum() and text.isascii() else json.dumps(text, ensure_ascii=False)[1:-1]
