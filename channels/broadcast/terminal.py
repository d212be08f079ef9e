"""A loudspeaker terminal: what it believes, what it refuses, what it plays, and what it remembers.

No sockets here: `simulator` gives it a line to the server, a log and a clock.
"""

from __future__ import annotations

import asyncio
import heapq
import itertools
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final, Protocol

from channels.broadcast.ids import village_of
from channels.broadcast.keys import TrustedKeys
from channels.broadcast.message import BroadcastMessage, MsgType, Refused, Severity, unseal
from channels.broadcast.report import Reference, Report, TerminalState

CLOCK_TOLERANCE_MS: Final = 5 * 60_000
"""How much earlier than its StartTime a message may come: clocks in villages are not exact."""
ALARM_PAUSE_MS: Final = 10_000
"""At most one report of an unverified message in this time: a flood of forgeries must not become one of ours."""


class World(Protocol):
    """What surrounds a terminal."""

    def now(self) -> int:
        """UTC milliseconds."""
        ...

    def later(self, seconds: float, action: Callable[[], None]) -> asyncio.TimerHandle:
        """Do something after a while."""
        ...

    def note(self, ebrid: str, key: str, event: str, reason: str | None = None, ids: str | None = None) -> None:
        """Write to the log (channels.simulating)."""
        ...

    def report(self, ebrid: str, report: Report) -> None:
        """Send to the broadcaster, once the log holds what was noted before."""
        ...


@dataclass(slots=True)
class Held:
    """A message that was believed: what a terminal remembers of it over a restart."""

    reference: Reference
    severity: Severity
    end_time: int
    state: TerminalState = TerminalState.VERIFIED

    def encode(self) -> str:
        """As the log's `ids`."""
        place = self.reference
        return f"{place.batch}:{place.ordinal}:{place.attempt}:{int(self.severity)}:{self.end_time}"

    @classmethod
    def decode(cls, key: str, text: str) -> Held:
        """From the log. Raises ValueError."""
        batch, ordinal, attempt, severity, end = (int(part) for part in text.split(":"))
        return cls(Reference(batch, ordinal, attempt, key), Severity(severity), end)


class Terminal:
    """One loudspeaker."""

    __slots__ = ("_alarmed", "_order", "_playing", "_queue", "_timer", "_trusted", "_world",
                 "ebrid", "memory", "play_seconds", "training")  # fmt: skip

    def __init__(
        self, ebrid: str, *, training: bool, trusted: TrustedKeys, world: World, play_seconds: float
    ) -> None:
        self.ebrid = ebrid
        self.training = training
        self.play_seconds = play_seconds
        self.memory: dict[str, Held] = {}
        self._trusted = trusted
        self._world = world
        self._playing: Held | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._queue: list[tuple[int, int, Held]] = []
        self._order = itertools.count()
        self._alarmed = -ALARM_PAUSE_MS

    @property
    def playing(self) -> str | None:
        """The key of what sounds now."""
        return self._playing.reference.key if self._playing else None

    def hear(self, envelope: bytes) -> None:
        """Take what came over the line, whatever it is."""
        try:
            message = unseal(envelope, self._trusted)
        except Refused as refusal:
            self._world.note(self.ebrid, "", "refused", refusal.reason)
            self._alarm(refusal.reason)
            return
        ordinal = message.targets.get(self.ebrid)
        if ordinal is None:
            self._not_for_us(message)
            return
        reference = Reference(message.batch, ordinal, message.attempt, message.key)
        self._world.note(self.ebrid, message.key, "received")
        known = self.memory.get(message.key)
        if known is not None:
            self._world.note(self.ebrid, message.key, "duplicate")
            known.reference = reference
            self._report(known)
            return
        reason = self._objection(message)
        if reason is not None:
            self._world.note(self.ebrid, message.key, "refused", reason)
            self._world.report(self.ebrid, Report(TerminalState.REFUSED, self._world.now(), reference, reason))
            return
        held = Held(reference, message.severity, message.end_time)
        self.memory[message.key] = held
        self._world.note(self.ebrid, message.key, "delivered", ids=held.encode())
        self._report(held)
        self._schedule(held)

    def remember(self, held: Held) -> None:
        """Take up what an earlier life of this terminal had believed: report it anew, play what was cut off."""
        self.memory[held.reference.key] = held
        if held.end_time <= self._world.now():
            return
        self._report(held)
        if held.state is not TerminalState.PLAYED:
            self._schedule(held)

    def silence(self) -> None:
        """Stop playing, as when the power goes."""
        if self._timer is not None:
            self._timer.cancel()
        self._timer, self._playing = None, None
        self._queue.clear()

    def _not_for_us(self, message: BroadcastMessage) -> None:
        if message.area_code == village_of(self.ebrid):
            # The neighbours' part of a message to the village: nothing to tell anybody.
            self._world.note(self.ebrid, message.key, "refused", "not_addressed")
            return
        self._world.note(self.ebrid, message.key, "refused", "area")
        self._alarm("area")

    def _objection(self, message: BroadcastMessage) -> str | None:
        now = self._world.now()
        if message.area_code != village_of(self.ebrid):
            return "area"
        if message.msg_type is MsgType.CANCEL:
            return "type"
        if message.msg_type.drill and not self.training:
            return "drill"
        if message.end_time <= now:
            return "expired"
        if message.start_time > now + CLOCK_TOLERANCE_MS:
            return "early"
        return None

    def _alarm(self, reason: str) -> None:
        now = self._world.now()
        if now - self._alarmed >= ALARM_PAUSE_MS:
            self._alarmed = now
            self._world.report(self.ebrid, Report(TerminalState.REFUSED, now, None, reason))

    def _report(self, held: Held) -> None:
        self._world.report(self.ebrid, Report(held.state, self._world.now(), held.reference))

    def _schedule(self, held: Held) -> None:
        current = self._playing
        if current is not None and held.severity is Severity.RED and current.severity is not Severity.RED:
            assert self._timer is not None
            self._timer.cancel()
            self._playing = None
            current.state = TerminalState.VERIFIED
            self._push(current)
        self._push(held)
        if self._playing is None:
            self._play_next()

    def _push(self, held: Held) -> None:
        heapq.heappush(self._queue, (-held.severity.urgency, next(self._order), held))

    def _play_next(self) -> None:
        while self._queue:
            held = heapq.heappop(self._queue)[2]
            if held.end_time <= self._world.now():
                # What is over is not played; that it was delivered stays true.
                self._world.note(self.ebrid, held.reference.key, "failed", "over")
                continue
            self._playing = held
            held.state = TerminalState.PLAYING
            self._report(held)
            self._timer = self._world.later(self.play_seconds, self._played)
            return

    def _played(self) -> None:
        held, self._playing, self._timer = self._playing, None, None
        if held is not None:
            held.state = TerminalState.PLAYED
            self._world.note(self.ebrid, held.reference.key, "presented", ids=held.encode())
            self._report(held)
        self._play_next()
