"""Simulated app installations: some hold their stream open, the others look in, report and leave, in turn.

`python -m channels.app.simulator --devices FILE --url http://127.0.0.1:8091 --log FILE`
"""

from __future__ import annotations

import argparse
import asyncio
import json
import sys
from collections.abc import Sequence
from pathlib import Path

import uvloop

from broker.errors import ProblemsError
from channels.mailbox.client import Answer, Origin, Pool, SentEvent, parse_events
from channels.mailbox.fleet import Device, Fleet, Manners, read_devices
from channels.mailbox.following import Followers, add_client_arguments, fit_held, parse_origin, say
from channels.simulating import EventLog, add_common_arguments, run_until_stopped

_POSTERS = 12
_LATE_SECONDS = 0.5


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Options of `fenghuo simulate app`."""
    add_common_arguments(parser)
    add_client_arguments(parser)
    parser.add_argument(
        "--devices", type=Path, required=True, help="CSV of installations: id,token", metavar="FILE"
    )
    parser.add_argument("--held", type=int, default=2_000, help="installations that hold their stream open")
    parser.add_argument(
        "--cycle-rate", type=float, default=1_000.0, help="looks per second of the installations that do not"
    )
    parser.add_argument("--display-ms", type=float, default=300.0, help="mean time from arrival to display")
    parser.add_argument("--tap-ms", type=float, default=1_000.0, help="mean time from display to tap")
    parser.add_argument("--tap-share", type=float, default=0.3, help="share of messages that are tapped, 0 to 1")


class AppSimulator:
    """All installations of one simulator."""

    def __init__(self, args: argparse.Namespace, devices: Sequence[Device], origin: Origin, held: int) -> None:
        self._origin = origin
        self._devices = devices
        self._rate = args.cycle_rate
        self._lookers = max(1, args.pool)
        # Lookers and posters never have to wait for each other's connections.
        self._pool = Pool(origin, self._lookers + _POSTERS, args.requests_per_connection)
        self._log = EventLog(args.log)
        manners = Manners(
            ("delivered", "displayed", "tapped"), args.display_ms / 1000, args.tap_ms / 1000, args.tap_share
        )
        self.fleet = Fleet(devices, manners, self._log, self._post, args.seed)
        self._visiting = range(held, len(devices))
        self.followers = Followers(origin, range(held), self._stream_request, self._on_event, seed=args.seed)
        self._tasks: list[asyncio.Task[None]] = []
        self._next_look = 0.0
        self._turn = 0
        self.looks = 0
        """Times that a visiting installation was answered."""

    async def start(self, log: Path | None) -> None:
        """Take up the log, hold the streams, begin the rounds of the others."""
        known = self.fleet.restore(log)
        if known:
            say(f"{known} messages known from the log")
        self.fleet.start(_POSTERS)
        await self.followers.start()
        if self._visiting and self._rate > 0:
            self._next_look = asyncio.get_running_loop().time()
            self._tasks = [asyncio.create_task(self._look_in(), name="looking in") for _ in range(self._lookers)]

    async def close(self) -> None:
        """Leave the server and write the log to its end."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await self.followers.close()
        await self.fleet.close()
        self._pool.close()
        self._log.close()

    def _fields(self, index: int) -> tuple[str, str]:
        device = self._devices[index]
        return f"Installation: {device.id}", f"Authorization: Bearer {device.token}"

    def _stream_request(self, index: int, target: str = "/v1/stream") -> bytes:
        last = f"Last-Event-ID: {self.fleet.last_event(index)}"
        return self._origin.head("GET", target, *self._fields(index), last) + b"\r\n"

    async def _post(self, index: int, body: bytes) -> Answer:
        head = self._origin.head(
            "POST",
            "/v1/receipts",
            *self._fields(index),
            "Content-Type: application/json",
            f"Content-Length: {len(body)}",
        )
        return await self._pool.request(head + b"\r\n" + body)

    def _on_event(self, index: int, event: SentEvent) -> None:
        if event.name == "alert":
            message = json.loads(event.data)
            number = int(event.identifier) if event.identifier else 0
            self.fleet.take(
                index,
                message["id"],
                message["expires"],
                number,
                alert=message["alert_id"],
                replaces=message["replaces"],
            )
        elif event.name == "withdrawn":
            named = json.loads(event.data)
            for identifier in named["ids"]:
                self.fleet.hide(index, identifier)
            for identifier in named["unreported"]:
                if self.fleet.knows(index, identifier):
                    self.fleet.report_again(index, identifier)

    async def _look_in(self) -> None:
        """Visit for one installation after the other, each look at its own moment."""
        loop = asyncio.get_running_loop()
        pause = 0.25
        while True:
            # Falling behind is not made up for by a burst: that would not be a steady cycle.
            moment = max(self._next_look, loop.time() - _LATE_SECONDS)
            self._next_look = moment + 1 / self._rate
            await asyncio.sleep(max(0.0, moment - loop.time()))
            index = self._visiting[self._turn % len(self._visiting)]
            self._turn += 1
            try:
                answer = await self._pool.request(self._stream_request(index, "/v1/stream?once=1"))
            except (OSError, TimeoutError):
                await asyncio.sleep(self.fleet.jitter(pause))
                pause = min(2 * pause, 2.0)
                continue
            pause = 0.25
            if answer.status == 200:
                self.looks += 1
                for event in parse_events(answer.body)[0]:
                    self._on_event(index, event)


async def run(args: argparse.Namespace) -> int:
    """Simulate until stopped; 0, or 2 when the options are wrong."""
    try:
        origin = parse_origin(args)
        devices = read_devices(args.devices, "devices")
    except ProblemsError as error:
        say(str(error))
        return 2
    held = fit_held(min(args.held, len(devices)), args.pool + _POSTERS, "streams")
    say(f"{len(devices) - held} installations look in, {args.cycle_rate:g} a second")
    simulator = AppSimulator(args, devices, origin, held)
    try:
        await simulator.start(args.log)
        await run_until_stopped(args, {"port": args.port, "held": simulator.followers.open})
    finally:
        await simulator.close()
    return 0


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(prog="fenghuo simulate app", description=(__doc__ or "").splitlines()[0])
    add_arguments(parser)
    sys.exit(uvloop.run(run(parser.parse_args())))


if __name__ == "__main__":
    main()
