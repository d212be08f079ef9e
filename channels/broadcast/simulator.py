"""A simulated village, or a thousand of them: terminals over real MQTT connections, one each.

    python -m channels.broadcast.simulator --terminals terminals.csv --mqtt 127.0.0.1:1883 --keys trusted.keys

Every terminal verifies every message by itself. The log is its memory: a simulator started again on the same
log plays nothing twice, plays on what was cut off, and reports again what it had last reported.
"""

from __future__ import annotations

import argparse
import asyncio
import random
import sys
import time
from collections import deque
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Final

from broker.clock import now_ms
from broker.errors import ConfigError
from broker.mqtt.client import Connection, ConnectionRefused, Server, connect
from broker.mqtt.wire import Connect, Publish
from channels.broadcast.ids import message_topic, report_topic, village_of
from channels.broadcast.keys import TrustedKeys
from channels.broadcast.provision import TerminalRow, load_terminals
from channels.broadcast.report import Report, TerminalState
from channels.broadcast.terminal import Held, Terminal
from channels.simulating import EventLog, add_common_arguments, run_until_stopped

KEEPALIVE_SECONDS: Final = 60
CONNECTING_AT_ONCE: Final = 100
_LONGEST_PAUSE: Final = 10.0
_TEND_SECONDS: Final = 5.0
CATCH_UP_SECONDS: Final = 0.5
"""A terminal that is back takes in what waited for it before it plays any of it: a warning may have been taken back
meanwhile, and must then not be heard at all."""


class _Line:
    """A terminal's line to the server: comes back by itself, and keeps reports until the server has them."""

    __slots__ = ("_since", "_task", "connection", "online", "outbox", "row", "subscribed", "terminal", "village")

    def __init__(self, village: Village, row: TerminalRow, terminal: Terminal) -> None:
        self.village = village
        self.row = row
        self.terminal = terminal
        self.connection: Connection | None = None
        self.online = True
        """Whether it wants to be connected."""
        self.subscribed = False
        self.outbox: dict[int, bytes] = {}
        self._since = 0.0
        """Since when there is a connection, by the monotonic clock."""
        self._task: asyncio.Task[None] | None = None

    def begin(self, delay: float) -> None:
        """Connect after `delay` seconds, unless that is under way."""
        if self.online and (self._task is None or self._task.done()):
            self._task = asyncio.get_running_loop().create_task(self._connect(delay))

    def received(self, connection: Connection, message: Publish) -> None:
        """A message came (Taker)."""
        if self.connection is not connection or time.monotonic() < self._since + CATCH_UP_SECONDS:
            self.terminal.pause(CATCH_UP_SECONDS)
        self.terminal.hear(message.payload)
        self.village.once_logged(lambda: connection.acknowledge(message.packet_id))

    def lost(self, connection: Connection, why: str) -> None:  # noqa: ARG002
        """The connection has ended (Taker)."""
        if self.connection is connection:
            self.connection = None
            self.begin(random.uniform(0.05, 0.5))

    def send(self, number: int) -> None:
        """Send one report of the outbox, if there is a connection."""
        if self.connection is not None:
            self.connection.publish(report_topic(self.row.ebrid), self.outbox[number], self._forgetter(number))

    def _forgetter(self, number: int) -> Callable[[bool], None]:
        def done(good: bool) -> None:
            if good:
                self.outbox.pop(number, None)

        return done

    async def end(self, *, politely: bool) -> None:
        """Go offline."""
        self.online = False
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)
            self._task = None
        connection, self.connection = self.connection, None
        if connection is not None:
            if politely:
                connection.close()
            else:
                connection.abort()

    async def _connect(self, delay: float) -> None:
        pause = 0.2
        ebrid = self.row.ebrid
        wish = Connect(ebrid, ebrid, self.row.password.encode(), False, KEEPALIVE_SECONDS)
        while self.online:
            await asyncio.sleep(delay)
            connection: Connection | None = None
            try:
                async with self.village.gate:
                    connection = await connect(self.village.server, wish, self)
                    # A session that the server kept still has its subscription; asking again does no harm,
                    # and makes good what a server without its disk has forgotten.
                    await connection.subscribe(message_topic(village_of(ebrid)))
            except (OSError, ConnectionRefused) as error:
                self.village.failures += 1
                if isinstance(error, ConnectionRefused):
                    self.village.refused.add(ebrid)
                if connection is not None:
                    connection.abort()
                delay = pause * random.uniform(0.5, 1.5)
                pause = min(pause * 2, _LONGEST_PAUSE)
                continue
            self.village.refused.discard(ebrid)
            if not connection.alive:
                delay = pause
                continue
            self.connection, self._since = connection, time.monotonic()
            if not self.subscribed:
                self.subscribed = True
                self.village.subscribed += 1
            for number in list(self.outbox):
                self.send(number)
            return


class Village:
    """Any number of terminals in one process."""

    def __init__(
        self,
        rows: Iterable[TerminalRow],
        server: Server,
        trusted: TrustedKeys,
        *,
        play_seconds: float = 1.0,
        log: Path | None = None,
    ) -> None:
        self.server = server
        self.gate = asyncio.Semaphore(CONNECTING_AT_ONCE)
        self.subscribed = 0
        """Terminals that have been connected and subscribed at least once."""
        self.failures = 0
        """Attempts to connect that failed."""
        self.refused: set[str] = set()
        """Terminals that the server does not let in."""
        self._log_path = log
        self._log = EventLog(log)
        self._then: deque[Callable[[], None]] = deque()
        self._report_number = 0
        self._tending: asyncio.Task[None] | None = None
        self._lines = {
            row.ebrid: _Line(
                self,
                row,
                Terminal(row.ebrid, training=row.training, trusted=trusted, world=self, play_seconds=play_seconds),
            )
            for row in rows
        }

    def __len__(self) -> int:
        """How many terminals."""
        return len(self._lines)

    @property
    def connected(self) -> int:
        """How many terminals have a connection now."""
        return sum(line.connection is not None for line in self._lines.values())

    @property
    def unreported(self) -> int:
        """Reports that the server has not acknowledged yet."""
        return sum(len(line.outbox) for line in self._lines.values())

    def terminal(self, ebrid: str) -> Terminal:
        """One of them."""
        return self._lines[ebrid].terminal

    async def start(self) -> None:
        """Remember what the log tells, and begin to connect."""
        self._recall()
        spread = min(3.0, len(self._lines) / 2000)
        for line in self._lines.values():
            line.begin(random.uniform(0, spread))
        self._tending = asyncio.create_task(self._tend())

    async def wait_subscribed(self, timeout: float) -> bool:
        """Wait until every terminal has once been connected and subscribed."""
        deadline = time.monotonic() + timeout
        while self.subscribed < len(self._lines):
            if time.monotonic() > deadline:
                return False
            await asyncio.sleep(0.02)
        return True

    async def stop(self, *, politely: bool = True) -> None:
        """Switch everything off; sessions stay with the server."""
        if self._tending is not None:
            self._tending.cancel()
            await asyncio.gather(self._tending, return_exceptions=True)
        for line in self._lines.values():
            await line.end(politely=politely)
            line.terminal.silence()
        self._after_log()
        await asyncio.sleep(0)
        self._log.close()

    async def go_offline(self, ebrid: str) -> None:
        """Cut a terminal's line; it goes on playing."""
        await self._lines[ebrid].end(politely=False)

    def go_online(self, ebrid: str) -> None:
        """Give a terminal its line back."""
        self._lines[ebrid].online = True
        self._lines[ebrid].begin(0)

    def now(self) -> int:
        """UTC milliseconds (World)."""
        return now_ms()

    def later(self, seconds: float, action: Callable[[], None]) -> asyncio.TimerHandle:
        """Do something after a while (World)."""
        return asyncio.get_running_loop().call_later(seconds, action)

    def note(self, ebrid: str, key: str, event: str, reason: str | None = None, ids: str | None = None) -> None:
        """Write to the log (World)."""
        self._log.write(ebrid, key, event, reason, ids=ids)

    def report(self, ebrid: str, report: Report) -> None:
        """Send a report, once the log is written (World)."""
        line = self._lines[ebrid]
        self._report_number += 1
        number = self._report_number
        line.outbox[number] = report.encode()
        self.once_logged(lambda: line.send(number))

    def once_logged(self, action: Callable[[], None]) -> None:
        """Do something as soon as the log holds what was noted before: evidence first, then word of it."""
        if not self._then:
            asyncio.get_running_loop().call_soon(self._after_log)
        self._then.append(action)

    def _after_log(self) -> None:
        self._log.flush()
        while self._then:
            self._then.popleft()()

    def _recall(self) -> None:
        if self._log_path is None:
            return
        found: dict[str, dict[str, Held]] = {}
        for event in EventLog.read(self._log_path):
            address, key, ids = event.get("address"), event.get("message"), event.get("ids")
            if address not in self._lines or not isinstance(key, str) or not isinstance(ids, str):
                continue
            held, known = Held.decode(key, ids), found.setdefault(str(address), {})
            if event["event"] == "presented" or (key in known and known[key].state is TerminalState.PLAYED):
                held.state = TerminalState.PLAYED
            known[key] = held
        for ebrid, messages in found.items():
            for held in messages.values():
                self._lines[ebrid].terminal.remember(held)

    async def _tend(self) -> None:
        while True:
            await asyncio.sleep(_TEND_SECONDS)
            now = time.monotonic()
            for line in self._lines.values():
                if line.connection is not None:
                    line.connection.tend(now)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Options of the simulated village."""
    add_common_arguments(parser)
    parser.add_argument(
        "--terminals", type=Path, required=True, metavar="FILE", help="CSV: ebrid,password,training"
    )
    parser.add_argument("--mqtt", required=True, metavar="HOST:PORT", help="the MQTT server")
    parser.add_argument(
        "--keys", type=Path, required=True, metavar="FILE", help="trusted public keys: id = hexadecimal digits"
    )
    parser.add_argument(
        "--play-ms", type=int, default=2000, metavar="MS", help="how long a message sounds, milliseconds"
    )
    parser.add_argument(
        "--ready-after",
        type=float,
        default=30.0,
        metavar="SECONDS",
        help="be ready when all terminals are connected, or after this time",
    )


async def run(args: argparse.Namespace) -> int:
    """Run until stopped; 2 if a file is wrong."""
    try:
        rows = load_terminals(args.terminals)
        server = Server.parse(args.mqtt, "--mqtt")
        trusted = TrustedKeys.parse(args.keys.read_text(), str(args.keys))
    except (ConfigError, OSError) as error:
        sys.stderr.write(f"{error}\n")
        return 2
    random.seed(args.seed)
    village = Village(rows, server, trusted, play_seconds=args.play_ms / 1000, log=args.log)
    await village.start()
    try:
        await village.wait_subscribed(args.ready_after)
        await run_until_stopped(args, {"port": 0, "terminals": len(village), "connected": village.connected})
    finally:
        await village.stop()
    return 0


def main() -> int:
    """`python -m channels.broadcast.simulator`."""
    import uvloop

    parser = argparse.ArgumentParser(prog="python -m channels.broadcast.simulator", description=__doc__)
    add_arguments(parser)
    return uvloop.run(run(parser.parse_args()))


if __name__ == "__main__":
    raise SystemExit(main())
