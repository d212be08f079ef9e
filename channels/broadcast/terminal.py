"""A loudspeaker terminal: what it believes, what it refuses, what it plays, and what it remembers.

No sockets here: `simulator` gives it a line to the server, a log and a clock.

A message can take back or replace what others said: it names their alerts, and by the alert in its key a terminal
knows each of them. They are silent from then on, also one that comes later. An update is played in their place;
an all-clear only where its people had heard of the danger, for to others it would mean nothing. Only drills end
drills, and only the real ends the real.
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
from channels.broadcast.message import BroadcastMessage, MsgType, Refused, Severity, alert_of, unseal
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
    drill: bool = False
    ends: bool = False
    """An all-clear: it stops nobody else's message to be heard sooner."""
    replaces: tuple[str, ...] = ()
    mute: bool = False
    """It is not to be played: taken back, replaced, or an all-clear where nobody had heard of the danger."""
    heard: bool = False
    """Its people know of the danger: it has sounded, if only in part, or what it replaces has."""

    @property
    def alert(self) -> str:
        """The broker's id of its alert."""
        return alert_of(self.reference.key)

    def encode(self) -> str:
        """As the log's `ids`."""
        place = self.reference
        numbers = (place.batch, place.ordinal, place.attempt, int(self.severity), self.end_time)
        flags = (int(flag) for flag in (self.drill, self.ends, self.mute, self.heard))
        return ":".join(map(str, (*numbers, *flags, ",".join(self.replaces))))

    @classmethod
    def decode(cls, key: str, text: str) -> Held:
        """From the log, of an earlier version too, which knew of no ends. Raises ValueError."""
        parts = (*text.split(":", 9), "0", "0", "0", "0", "") if text.count(":") == 4 else text.split(":", 9)
        batch, ordinal, attempt, severity, end, *flags = (int(part) for part in parts[:9])
        drill, ends, mute, heard = map(bool, flags)
        replaces = tuple(parts[9].split(",")) if parts[9] else ()
        return cls(
            Reference(batch, ordinal, attempt, key),
            Severity(severity),
            end,
            drill=drill,
            ends=ends,
            replaces=replaces,
            mute=mute,
            heard=heard,
        )


class Terminal:
    """One loudspeaker."""

    __slots__ = ("_alarmed", "_order", "_over", "_paused", "_playing", "_queue", "_timer", "_trusted", "_world",
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
        self._queue: list[tuple[int, bool, int, Held]] = []
        self._order = itertools.count()
        self._over: set[tuple[str, bool]] = set()
        """(alert, whether a drill) of what was taken back or replaced."""
        self._paused: asyncio.TimerHandle | None = None
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
        held = Held(
            reference,
            message.severity,
            message.end_time,
            drill=message.msg_type.drill,
            ends=message.ends,
            replaces=message.replaces,
        )
        gone = self._end(held)
        held.heard = any(other.heard for other in gone)
        held.mute = (
            (held.alert, held.drill) in self._over
            or held.end_time <= self._world.now()
            or (held.ends and not held.heard)
        )
        self.memory[message.key] = held
        self._world.note(self.ebrid, message.key, "delivered", ids=held.encode())
        if held.mute and not held.ends:
            self._world.note(self.ebrid, message.key, "withdrawn", ids=held.encode())
        self._report(held)
        self._schedule(held)

    def remember(self, held: Held) -> None:
        """Take up what an earlier life of this terminal had believed: report it anew, play what was cut off.

        Nobody knows how much of what was cut off had sounded, so its people count as warned.
        """
        self.memory[held.reference.key] = held
        self._over.update((alert, held.drill) for alert in held.replaces)
        held.heard = held.heard or not held.mute
        if held.end_time <= self._world.now():
            return
        self._report(held)
        if held.state is not TerminalState.PLAYED:
            self._schedule(held)

    def pause(self, seconds: float) -> None:
        """Begin nothing new for so long: more may come that was waiting for this terminal, and take back some."""
        if self._paused is not None:
            self._paused.cancel()
        self._paused = self._world.later(seconds, self._resume)

    def silence(self) -> None:
        """Stop playing, as when the power goes."""
        for timer in (self._timer, self._paused):
            if timer is not None:
                timer.cancel()
        self._timer, self._playing, self._paused = None, None, None
        self._queue.clear()

    def _resume(self) -> None:
        self._paused = None
        if self._playing is None:
            self._play_next()

    def _end(self, new: Held) -> list[Held]:
        """Silence for good what a message takes back or replaces; gives what was not silent before."""
        self._over.update((alert, new.drill) for alert in new.replaces)
        gone = [
            held
            for held in self.memory.values()
            if not held.mute and held.drill == new.drill and held.alert in new.replaces
        ]
        for held in gone:
            held.mute = True
            self._world.note(self.ebrid, held.reference.key, "withdrawn", ids=held.encode())
        if self._playing is not None and self._playing.mute:
            assert self._timer is not None
            self._timer.cancel()
            self._playing, self._timer = None, None
        return gone

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
        if message.ends is not (message.msg_type is MsgType.CANCEL) and not message.msg_type.drill:
            return "type"
        if message.msg_type.drill and not self.training:
            return "drill"
        if message.end_time <= now and not message.ends:
            # An end stays true however late it is heard of; only it is not spoken any more.
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
        if held.mute:
            if self._playing is None:
                self._play_next()
            return
        current = self._playing
        red = held.severity is Severity.RED and not held.ends
        if current is not None and red and (current.severity is not Severity.RED or current.ends):
            assert self._timer is not None
            self._timer.cancel()
            self._playing = None
            current.state = TerminalState.VERIFIED
            self._push(current)
        self._push(held)
        if self._playing is None:
            self._play_next()

    def _push(self, held: Held) -> None:
        heapq.heappush(self._queue, (-held.severity.urgency, held.ends, next(self._order), held))

    def _play_next(self) -> None:
        while self._queue and self._paused is None:
            held = heapq.heappop(self._queue)[3]
            if held.mute:
                continue
            if held.end_time <= self._world.now():
                # What is over is not played; that it was delivered stays true.
                self._world.note(self.ebrid, held.reference.key, "failed", "over")
                continue
            self._playing = held
            held.heard = True
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
