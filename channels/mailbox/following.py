"""Simulated devices that each hold a stream open, for as long as the simulator lives."""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import random
import sys
from collections.abc import Callable, Sequence
from typing import Final

from broker.errors import ConfigError, Problem
from channels.mailbox.client import EventStream, Origin, SentEvent
from channels.mailbox.files import OpenFiles, raise_open_files

SPARE_FILES: Final = 64
"""Files that a simulator needs beside its connections."""
_CONNECTING_AT_ONCE: Final = 64
_LONGEST_PAUSE: Final = 5.0
_FIRST_TRY_SECONDS: Final = 10.0


class Followers:
    """Keeps one stream open for each of some devices and comes back, after a random while, when it ends."""

    def __init__(
        self,
        origin: Origin,
        indexes: Sequence[int],
        request: Callable[[int], bytes],
        on_event: Callable[[int, SentEvent], None],
        *,
        seed: int,
        on_open: Callable[[int], None] | None = None,
    ) -> None:
        self._origin = origin
        self._indexes = indexes
        self._request = request
        self._on_event = on_event
        self._on_open = on_open
        self._random = random.Random(seed)
        self._connecting = asyncio.Semaphore(_CONNECTING_AT_ONCE)
        self._tasks: list[asyncio.Task[None]] = []
        self._tried: set[int] = set()
        self._all_tried = asyncio.Event()
        self.open = 0
        """Streams open now."""

    async def start(self) -> None:
        """Open the streams; returns when each was tried once, or after a few seconds."""
        self._tasks = [asyncio.create_task(self._follow(index)) for index in self._indexes]
        with contextlib.suppress(TimeoutError):
            if self._tasks:
                await asyncio.wait_for(self._all_tried.wait(), _FIRST_TRY_SECONDS)

    async def close(self) -> None:
        """Close every stream."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _follow(self, index: int) -> None:
        pause = 0.25
        while True:
            stream = None
            try:
                async with self._connecting:
                    stream = await EventStream.open(
                        self._origin, self._request(index), lambda event: self._on_event(index, event)
                    )
            except (OSError, TimeoutError):
                pause = min(2 * pause, _LONGEST_PAUSE)
            self._note_tried(index)
            if stream is not None:
                pause = 0.25
                self.open += 1
                try:
                    if self._on_open is not None:
                        self._on_open(index)
                    await stream.ended
                finally:
                    self.open -= 1
                    stream.close()
            await asyncio.sleep(self._random.uniform(0.2, 1.0) * pause)

    def _note_tried(self, index: int) -> None:
        if len(self._tried) < len(self._indexes):
            self._tried.add(index)
            if len(self._tried) == len(self._indexes):
                self._all_tried.set()


def add_client_arguments(parser: argparse.ArgumentParser) -> None:
    """Options of simulators that connect to a channel."""
    parser.add_argument("--url", required=True, help="where the channel listens, e.g. http://127.0.0.1:8091")
    parser.add_argument(
        "--pool", type=int, default=16, help="connections on which devices that do not hold one take turns"
    )
    parser.add_argument(
        "--requests-per-connection",
        type=int,
        default=200,
        help="requests after which such a connection is closed and opened anew; 1 opens one for every request",
    )


def parse_origin(args: argparse.Namespace) -> Origin:
    """The channel's place. Raises ConfigError."""
    try:
        return Origin.parse(args.url)
    except ValueError as error:
        raise ConfigError([Problem("--url", "simulator.url", str(error))]) from error


def fit_held(wanted: int, pool: int, word: str) -> int:
    """How many connections can be held, and say on standard error which limit was found and used."""
    files = raise_open_files()
    held = files.room(wanted, pool + SPARE_FILES)
    say(_describe(files, held, word))
    if held < wanted:
        say(f"{wanted} {word} were asked for: too many for this limit of open files, so only {held} are held")
    return held


def say(text: str) -> None:
    """A line for people on standard error."""
    sys.stderr.write(text + "\n")
    sys.stderr.flush()


def _describe(files: OpenFiles, held: int, word: str) -> str:
    return f"open files: limit {files.found} found, {files.hard} allowed, {files.used} used; holding {held} {word}"
