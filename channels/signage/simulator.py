"""Simulated screens: each follows its playlist, holds what is new and shows it.

`python -m channels.signage.simulator --screens FILE --url http://127.0.0.1:8092 --log FILE`
"""

from __future__ import annotations

import argparse
import asyncio
import json
import sys
from collections import deque
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import uvloop

from broker.errors import ProblemsError
from channels.mailbox.client import Answer, Origin, Pool, SentEvent
from channels.mailbox.fleet import Device, Fleet, Manners, read_devices
from channels.mailbox.following import Followers, add_client_arguments, fit_held, parse_origin, say
from channels.simulating import EventLog, add_common_arguments, run_until_stopped

_POSTERS = 8


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Options of `fenghuo simulate signage`."""
    add_common_arguments(parser)
    add_client_arguments(parser)
    parser.add_argument("--screens", type=Path, required=True, help="CSV of screens: id,token", metavar="FILE")
    parser.add_argument("--show-ms", type=float, default=500.0, help="mean time from holding an item to showing it")


class SignageSimulator:
    """All screens of one simulator."""

    def __init__(self, args: argparse.Namespace, screens: Sequence[Device], origin: Origin, held: int) -> None:
        self._origin = origin
        self._screens = screens
        self._fetchers = max(1, args.pool)
        self._pool = Pool(origin, self._fetchers + _POSTERS, args.requests_per_connection)
        self._log = EventLog(args.log)
        manners = Manners(("held", "shown"), args.show_ms / 1000)
        self.fleet = Fleet(screens, manners, self._log, self._post, args.seed)
        self.followers = Followers(
            origin,
            range(held),
            lambda index: self._head("GET", index, "events") + b"\r\n",
            self._on_event,
            seed=args.seed,
            on_open=self._on_open,
        )
        self._tags: list[str | None] = [None] * len(screens)
        self._changed: deque[int] = deque()
        self._queued: set[int] = set()
        self._wake = asyncio.Event()
        self._tasks: list[asyncio.Task[None]] = []

    async def start(self, log: Path | None) -> None:
        """Take up the log and follow the playlists."""
        known = self.fleet.restore(log)
        if known:
            say(f"{known} items known from the log")
        self.fleet.start(_POSTERS)
        self._tasks = [asyncio.create_task(self._fetch(), name="fetching") for _ in range(self._fetchers)]
        await self.followers.start()

    async def close(self) -> None:
        """Leave the server and write the log to its end."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await self.followers.close()
        await self.fleet.close()
        self._pool.close()
        self._log.close()

    def _head(self, method: str, index: int, page: str, *fields: str) -> bytes:
        screen = self._screens[index]
        authorization = f"Authorization: Bearer {screen.token}"
        return self._origin.head(method, f"/v1/screens/{screen.id}/{page}", authorization, *fields)

    async def _post(self, index: int, body: bytes) -> Answer:
        length = f"Content-Length: {len(body)}"
        head = self._head("POST", index, "reports", "Content-Type: application/json", length)
        return await self._pool.request(head + b"\r\n" + body)

    def _on_open(self, index: int) -> None:
        """A new stream may mean a new server: fetch and report everything, whatever was fetched before."""
        self._tags[index] = None
        self.fleet.report_all(index)
        self._queue(index)

    def _on_event(self, index: int, event: SentEvent) -> None:
        if event.name == "changed":
            self._queue(index)

    def _queue(self, index: int) -> None:
        if index not in self._queued:
            self._queued.add(index)
            self._changed.append(index)
            self._wake.set()

    async def _fetch(self) -> None:
        while True:
            while not self._changed:
                self._wake.clear()
                await self._wake.wait()
            index = self._changed.popleft()
            # From here on a further change queues the screen again.
            self._queued.discard(index)
            tag = self._tags[index]
            fields = [f"If-None-Match: {tag}"] if tag else []
            try:
                answer = await self._pool.request(self._head("GET", index, "playlist", *fields) + b"\r\n")
            except (OSError, TimeoutError):
                await asyncio.sleep(self.fleet.jitter(0.5))
                self._queue(index)
                continue
            if answer.status == 200:
                self._tags[index] = answer.field("ETag")
                self._take(index, json.loads(answer.body)["items"])

    def _take(self, index: int, items: list[dict[str, Any]]) -> None:
        """Hold what is new, drop what the playlist has no more though it has not expired."""
        listed = {item["id"] for item in items}
        for identifier in self.fleet.displayed(index):
            if identifier not in listed:
                self.fleet.hide(index, identifier)
        for item in items:
            if not self.fleet.knows(index, item["id"]):
                self.fleet.take(index, item["id"], item["expires"], 0, alert=item["alert_id"])


async def run(args: argparse.Namespace) -> int:
    """Simulate until stopped; 0, or 2 when the options are wrong."""
    try:
        origin = parse_origin(args)
        screens = read_devices(args.screens, "screens")
    except ProblemsError as error:
        say(str(error))
        return 2
    held = fit_held(len(screens), args.pool + _POSTERS, "screens")
    simulator = SignageSimulator(args, screens, origin, held)
    try:
        await simulator.start(args.log)
        await run_until_stopped(args, {"port": args.port, "held": simulator.followers.open})
    finally:
        await simulator.close()
    return 0


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(prog="fenghuo simulate signage", description=(__doc__ or "").splitlines()[0])
    add_arguments(parser)
    sys.exit(uvloop.run(run(parser.parse_args())))


if __name__ == "__main__":
    main()
