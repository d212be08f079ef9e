"""What many simulated devices did with their messages, and their reports until the server has them.

A device knows a message by its id, takes a copy as one more copy only, and presents it once. A report that is
not answered with 2xx is kept and posted again. The log on disk is the devices' memory: a restarted simulator
reads it, goes on with what was not yet presented, and reports everything once more.
"""

from __future__ import annotations

import asyncio
import csv
import heapq
import json
import random
import zlib
from collections import deque
from collections.abc import Awaitable, Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from broker.clock import now_ms
from broker.errors import InputRefused, Problem
from channels.mailbox.client import Answer
from channels.simulating import EventLog

_EVENTS: Final = ("received", "delivered", "presented", "acknowledged")
"""Events of the log, by how far a message came."""
_TICK_SECONDS: Final = 0.02
_POSTED_AT_ONCE: Final = 500


@dataclass(frozen=True, slots=True)
class Device:
    """One simulated device."""

    id: str
    token: str


@dataclass(frozen=True, slots=True)
class Manners:
    """How the devices treat what they are given."""

    words: tuple[str, ...]
    """What they report when a message is delivered, presented and (if there is a third word) acknowledged."""
    present_after: float
    """Seconds from arrival to presenting."""
    acknowledge_after: float = 0.0
    """Seconds from presenting to acknowledging."""
    acknowledge_share: float = 0.0
    """Share of messages that are acknowledged, 0 to 1."""


@dataclass(slots=True)
class _Message:
    level: int
    expires: int
    alert: str = ""
    """The broker's id of its alert."""
    hidden: bool = False
    """It was taken back or replaced."""


def read_devices(path: Path, heading: str) -> list[Device]:
    """Devices of a CSV file with the columns `id,token`. Raises InputRefused listing every bad line."""
    problems, devices, seen = [], [], set()
    try:
        with path.open(newline="", encoding="utf-8") as lines:
            rows = list(csv.reader(lines))
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise InputRefused([Problem(str(path), f"{heading}.file", str(error))]) from error
    if not rows or rows[0] != ["id", "token"]:
        raise InputRefused([Problem(f"{path}:1", f"{heading}.header", "expected the columns id,token")])
    for number, row in enumerate(rows[1:], 2):
        if len(row) != 2 or not all(row) or not all(cell.isascii() for cell in row):
            problems.append(Problem(f"{path}:{number}", f"{heading}.row", "expected an id and a token, in ASCII"))
        elif row[0] in seen:
            problems.append(Problem(f"{path}:{number}", f"{heading}.twice", "this id stands on an earlier line"))
        else:
            seen.add(row[0])
            devices.append(Device(row[0], row[1]))
    if problems:
        raise InputRefused(problems)
    return devices


class Fleet:
    """The memory and the reports of all devices of a simulator, which go by their index."""

    def __init__(
        self,
        devices: Sequence[Device],
        manners: Manners,
        log: EventLog,
        post: Callable[[int, bytes], Awaitable[Answer]],
        seed: int,
    ) -> None:
        self.devices = devices
        self._manners = manners
        self._log = log
        self._post = post
        self._seed = seed
        self._random = random.Random(seed)
        self._known: list[dict[str, _Message]] = [{} for _ in devices]
        self._last = [0] * len(devices)
        self._agenda: list[tuple[float, int, str]] = []
        self._pending: dict[int, dict[str, int]] = {}
        self._queue: deque[int] = deque()
        self._wake = asyncio.Event()
        self._tasks: list[asyncio.Task[None]] = []
        self.accepted = 0
        """Reports that the server took."""
        self.refused = 0
        """Reports that the server refused for good."""

    def last_event(self, index: int) -> int:
        """The highest event id that the device saw."""
        return self._last[index]

    def knows(self, index: int, message: str) -> bool:
        """Whether the device has the message."""
        return message in self._known[index]

    @property
    def unreported(self) -> int:
        """Devices with reports that the server does not have yet."""
        return len(self._pending)

    def jitter(self, seconds: float) -> float:
        """A random while around `seconds`, so that devices do not come back all at once."""
        return self._random.uniform(0.2, 1.0) * seconds

    def restore(self, path: Path | None) -> int:
        """Read the log of a former run; gives how many messages it knew. Call before `start`."""
        if path is None:
            return 0
        indexes = {device.id: index for index, device in enumerate(self.devices)}
        for line in EventLog.read(path):
            index = indexes.get(str(line.get("address")))
            if index is None or line.get("event") not in (*_EVENTS, "withdrawn"):
                continue
            message = self._known[index].setdefault(str(line.get("message")), _Message(0, 0))
            if line["event"] == "withdrawn":
                message.hidden = True
                continue
            message.level = max(message.level, _EVENTS.index(str(line["event"])))
            expires, event, alert = (*str(line.get("ids", "")).split("/", 2), "", "")[:3]
            if expires and event:
                message.expires, message.alert = int(expires), alert
                self._last[index] = max(self._last[index], int(event))
        count = 0
        for index, messages in enumerate(self._known):
            for identifier, message in messages.items():
                count += 1
                if message.level == 0:
                    self._advance(index, identifier, 1)
                self._report(index, identifier, message.level)
                self._plan(index, identifier)
        return count

    def start(self, posters: int) -> None:
        """Begin to present and to post, `posters` at a time."""
        self._tasks = [asyncio.create_task(self._present(), name="presenting")]
        self._tasks += [asyncio.create_task(self._deliver_reports(), name="posting") for _ in range(posters)]

    async def close(self) -> None:
        """Stop at once; what is unreported stays in the log."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    def take(
        self,
        index: int,
        identifier: str,
        expires: int,
        event: int,
        *,
        alert: str = "",
        replaces: Iterable[str] = (),
    ) -> None:
        """The device was given a message that expires at `expires` (UTC milliseconds) in event number `event`.

        Messages of the alerts that it `replaces` are hidden.
        """
        self._last[index] = max(self._last[index], event)
        address = self.devices[index].id
        self._log.write(address, identifier, "received", ids=f"{expires}/{event}/{alert}")
        gone = set(replaces)
        if gone:
            for other, message in self._known[index].items():
                if message.alert in gone:
                    self.hide(index, other)
        if identifier in self._known[index]:
            self._log.write(address, identifier, "duplicate")
            self.report_again(index, identifier)
            return
        self._known[index][identifier] = _Message(0, expires, alert)
        self._advance(index, identifier, 1)
        self._plan(index, identifier)

    def report_again(self, index: int, identifier: str) -> None:
        """Tell once more how far the message came: the server may have forgotten."""
        self._report(index, identifier, self._known[index][identifier].level)

    def report_all(self, index: int) -> None:
        """Tell once more of everything that has not expired: the server may be a new one."""
        now = now_ms()
        for identifier, message in self._known[index].items():
            if message.expires > now:
                self._report(index, identifier, message.level)

    def displayed(self, index: int) -> list[str]:
        """What the device holds that is neither hidden nor expired."""
        now = now_ms()
        known = self._known[index].items()
        return [identifier for identifier, message in known if message.expires > now and not message.hidden]

    def hide(self, index: int, identifier: str) -> None:
        """A message is over: it is not displayed any more, or never; one that the device lacks means nothing."""
        message = self._known[index].get(identifier)
        if message is not None and not message.hidden:
            message.hidden = True
            self._log.write(self.devices[index].id, identifier, "withdrawn")

    def _advance(self, index: int, identifier: str, level: int) -> None:
        self._known[index][identifier].level = level
        self._log.write(self.devices[index].id, identifier, _EVENTS[level])
        self._report(index, identifier, level)

    def _plan(self, index: int, identifier: str) -> None:
        """Put the next step of a message on the agenda, if there is one."""
        message = self._known[index][identifier]
        if message.level == 1:
            delay = self._manners.present_after
        elif message.level == 2 and len(self._manners.words) > 2 and self._acknowledges(index, identifier):
            delay = self._manners.acknowledge_after
        else:
            return
        now = asyncio.get_running_loop().time()
        heapq.heappush(self._agenda, (now + delay * self._random.uniform(0.5, 1.5), index, identifier))

    def _acknowledges(self, index: int, identifier: str) -> bool:
        """Decided by the message, so that a restarted simulator decides the same."""
        draw = zlib.crc32(f"{self._seed}/{self.devices[index].id}/{identifier}".encode()) / 2**32
        return draw < self._manners.acknowledge_share

    async def _present(self) -> None:
        loop = asyncio.get_running_loop()
        while True:
            await asyncio.sleep(_TICK_SECONDS)
            now, wall = loop.time(), now_ms()
            while self._agenda and self._agenda[0][0] <= now:
                _, index, identifier = heapq.heappop(self._agenda)
                message = self._known[index][identifier]
                if message.hidden or (message.level == 1 and 0 < message.expires <= wall):
                    continue
                self._advance(index, identifier, message.level + 1)
                self._plan(index, identifier)

    def _report(self, index: int, identifier: str, level: int) -> None:
        pending = self._pending.get(index)
        if pending is None:
            pending = self._pending[index] = {}
            self._queue.append(index)
            self._wake.set()
        pending[identifier] = max(level, pending.get(identifier, 0))

    async def _deliver_reports(self) -> None:
        pause = 0.2
        while True:
            while not self._queue:
                self._wake.clear()
                await self._wake.wait()
            index = self._queue.popleft()
            try:
                settled = await self._post_reports(index)
            except (OSError, TimeoutError):
                settled = False
            if not self._pending[index]:
                del self._pending[index]
            else:
                self._queue.append(index)
            if settled:
                pause = 0.2
            else:
                await asyncio.sleep(self.jitter(pause))
                pause = min(2 * pause, 2.0)

    async def _post_reports(self, index: int) -> bool:
        """Post what a device has to report; gives whether the server dealt with it."""
        pending = self._pending[index]
        posted = dict(list(pending.items())[:_POSTED_AT_ONCE])
        words = self._manners.words
        body = [{"id": identifier, "state": words[level - 1]} for identifier, level in posted.items()]
        answer = await self._post(index, json.dumps(body).encode())
        if 200 <= answer.status < 300:
            gone = posted
            self.accepted += len(gone)
        elif answer.status in (400, 413, 422):
            gone = _listed(answer, posted)
            self.refused += len(gone)
            for identifier in gone:
                self._log.write(self.devices[index].id, identifier, "refused", f"HTTP {answer.status}")
        else:
            return False
        for identifier, level in gone.items():
            if pending.get(identifier) == level:
                del pending[identifier]
        return True


def _listed(answer: Answer, posted: dict[str, int]) -> dict[str, int]:
    """The reports that a refusal lists; all of them if it lists none."""
    identifiers = list(posted)
    named = {}
    try:
        for error in json.loads(answer.body)["errors"]:
            identifier = identifiers[int(str(error["place"]).split("/")[1])]
            named[identifier] = posted[identifier]
    except (ValueError, KeyError, IndexError, TypeError):
        return posted
    return named or posted
