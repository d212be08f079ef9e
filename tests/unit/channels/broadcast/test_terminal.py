from __future__ import annotations

import dataclasses
import heapq
import itertools

import pytest

from channels.broadcast.keys import SigningKey, TrustedKeys
from channels.broadcast.message import BroadcastMessage, MsgType, Severity, seal
from channels.broadcast.report import Report, TerminalState
from channels.broadcast.terminal import ALARM_PAUSE_MS, CLOCK_TOLERANCE_MS, Held, Terminal

KEY = SigningKey.generate("city-1")
TRUSTED = TrustedKeys.parse(KEY.public_line(), "test")
EBRID = "65001171000010314010401"
OTHER = "65001171000010314010402"
START = 1_800_000_000_000
PLAY = 10.0


class Timer:
    def __init__(self) -> None:
        self.off = False

    def cancel(self) -> None:
        self.off = True


class World:
    """A clock that is turned by hand, and everything a terminal says."""

    def __init__(self) -> None:
        self.clock = START
        self.notes: list[tuple[str, str, str | None]] = []
        self.ids: dict[str, str] = {}
        self.reports: list[Report] = []
        self._timers: list[tuple[float, int, Timer, object]] = []
        self._count = itertools.count()

    def now(self) -> int:
        return self.clock

    def later(self, seconds, action):
        timer = Timer()
        heapq.heappush(self._timers, (self.clock + seconds * 1000, next(self._count), timer, action))
        return timer

    def note(self, ebrid, key, event, reason=None, ids=None) -> None:
        assert ebrid == EBRID
        self.notes.append((key, event, reason))
        if ids is not None:
            self.ids[key] = ids

    def report(self, ebrid, report) -> None:
        assert ebrid == EBRID
        self.reports.append(Report.decode(report.encode()))

    def turn(self, seconds: float) -> None:
        end = self.clock + int(seconds * 1000)
        while self._timers and self._timers[0][0] <= end:
            at, _, timer, action = heapq.heappop(self._timers)
            self.clock = int(at)
            if not timer.off:
                action()
        self.clock = end

    def events(self, key: str) -> list[str]:
        return [event for own, event, _ in self.notes if own == key]

    def states(self, key: str) -> list[TerminalState]:
        return [report.state for report in self.reports if report.reference and report.reference.key == key]


@pytest.fixture
def world() -> World:
    return World()


def terminal(world: World, *, training: bool = False) -> Terminal:
    return Terminal(EBRID, training=training, trusted=TRUSTED, world=world, play_seconds=PLAY)


def message(key: str = "a/1", **changes: object) -> bytes:
    base = BroadcastMessage(
        ebmid="2" * 23 + "20270115" + "0001",
        key=key,
        batch=1,
        attempt=1,
        msg_type=MsgType.ACTUAL,
        sender_name="台",
        sender_code="2" * 23,
        send_time=START,
        event_type="11B03",
        severity=Severity.ORANGE,
        start_time=START,
        end_time=START + 3_600_000,
        language="zho",
        title="",
        description="",
        speech="",
        plays=1,
        area_code="500117100001",
        targets={EBRID: 5},
    )
    return seal(dataclasses.replace(base, **changes), KEY)


def test_a_good_message_is_verified_played_to_its_end_and_reported(world) -> None:
    box = terminal(world)
    box.hear(message())
    assert box.playing == "a/1"
    assert world.states("a/1") == [TerminalState.VERIFIED, TerminalState.PLAYING]
    world.turn(PLAY - 0.1)
    assert world.events("a/1") == ["received", "delivered"]
    world.turn(0.2)
    assert world.events("a/1") == ["received", "delivered", "presented"]
    assert world.states("a/1")[-1] is TerminalState.PLAYED
    assert box.playing is None


def test_a_repeated_message_is_not_played_again_and_the_last_state_is_reported_anew(world) -> None:
    box = terminal(world)
    box.hear(message())
    world.turn(PLAY)
    world.reports.clear()
    box.hear(message(attempt=2))
    assert world.events("a/1")[3:] == ["received", "duplicate"]
    assert world.states("a/1") == [TerminalState.PLAYED]
    assert world.reports[0].reference is not None
    assert world.reports[0].reference.attempt == 2
    assert box.playing is None


def test_a_replay_after_the_end_is_not_played_either(world) -> None:
    box = terminal(world)
    box.hear(message())
    world.turn(7200)
    box.hear(message())
    assert world.events("a/1") == ["received", "delivered", "presented", "received", "duplicate"]


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"end_time": START - 1000}, "expired"),
        ({"end_time": START}, "expired"),
        ({"start_time": START + CLOCK_TOLERANCE_MS + 1000}, "early"),
        ({"area_code": "500117100002"}, "area"),
        ({"msg_type": MsgType.PLATFORM_DRILL}, "drill"),
        ({"msg_type": MsgType.FRONT_END_DRILL}, "drill"),
        ({"msg_type": MsgType.TERMINAL_DRILL}, "drill"),
        ({"msg_type": MsgType.CANCEL}, "type"),
    ],
)
def test_a_signed_message_that_is_not_for_now_or_here_is_refused_by_name(world, changes, reason) -> None:
    box = terminal(world)
    box.hear(message(**changes))
    assert box.playing is None
    assert world.notes[-1] == ("a/1", "refused", reason)
    assert [(report.state, report.reason) for report in world.reports] == [(TerminalState.REFUSED, reason)]
    assert world.reports[0].reference is not None
    assert world.reports[0].reference.ordinal == 5


def test_a_training_terminal_plays_a_drill(world) -> None:
    box = terminal(world, training=True)
    box.hear(message(msg_type=MsgType.TERMINAL_DRILL))
    assert box.playing == "a/1"


def test_a_message_for_the_neighbours_is_passed_over_without_a_word(world) -> None:
    box = terminal(world)
    box.hear(message(targets={OTHER: 0}))
    assert world.notes == [("a/1", "refused", "not_addressed")]
    assert world.reports == []


def test_a_message_of_another_village_is_an_alarm(world) -> None:
    box = terminal(world)
    box.hear(message(area_code="500117100002", targets={OTHER: 0}))
    assert box.playing is None
    assert [(report.reference, report.reason) for report in world.reports] == [(None, "area")]


def test_a_forgery_is_reported_without_naming_the_batch_it_claims(world) -> None:
    box = terminal(world)
    forged = bytearray(message())
    forged[-2] ^= 1
    box.hear(bytes(forged))
    assert [(report.state, report.reference, report.reason) for report in world.reports] == [
        (TerminalState.REFUSED, None, "signature")
    ]
    box.hear(message())
    assert box.playing == "a/1"


def test_a_flood_of_forgeries_becomes_one_report_in_ten_seconds(world) -> None:
    box = terminal(world)
    for _ in range(1000):
        box.hear(b"forged")
    assert len(world.reports) == 1
    world.turn(ALARM_PAUSE_MS / 1000)
    box.hear(b"forged")
    assert len(world.reports) == 2


def test_red_stops_what_is_playing_and_the_other_is_played_anew_afterwards(world) -> None:
    box = terminal(world)
    box.hear(message("a/1"))
    world.turn(4)
    box.hear(message("b/2", severity=Severity.RED))
    assert box.playing == "b/2"
    world.turn(PLAY)
    assert box.playing == "a/1"
    assert world.events("a/1") == ["received", "delivered"]
    world.turn(PLAY - 1)
    assert world.events("a/1") == ["received", "delivered"]
    world.turn(2)
    assert world.events("a/1") == ["received", "delivered", "presented"]
    assert world.events("b/2").count("presented") == 1


def test_red_does_not_stop_red_and_waiting_messages_go_by_level(world) -> None:
    box = terminal(world)
    box.hear(message("r/1", severity=Severity.RED))
    box.hear(message("b/1", severity=Severity.BLUE))
    box.hear(message("y/1", severity=Severity.YELLOW))
    box.hear(message("r/2", severity=Severity.RED))
    order = []
    for _ in range(4):
        order.append(box.playing)
        world.turn(PLAY)
    assert order == ["r/1", "r/2", "y/1", "b/1"]


def test_what_is_over_when_its_turn_comes_is_not_played(world) -> None:
    box = terminal(world)
    box.hear(message("a/1"))
    box.hear(message("b/1", end_time=START + 5000))
    world.turn(PLAY)
    assert box.playing is None
    assert world.events("b/1") == ["received", "delivered", "failed"]


def test_after_a_restart_what_was_cut_off_is_played_and_what_was_played_is_not(world) -> None:
    first = terminal(world)
    first.hear(message("a/1"))
    world.turn(PLAY)
    first.hear(message("b/1"))
    first.silence()
    memory = [(key, world.ids[key], world.events(key)) for key in ("a/1", "b/1")]
    world.reports.clear()
    second = terminal(world)
    for key, ids, events in memory:
        held = Held.decode(key, ids)
        if "presented" in events:
            held.state = TerminalState.PLAYED
        second.remember(held)
    assert second.playing == "b/1"
    assert world.states("a/1") == [TerminalState.PLAYED]
    world.turn(PLAY)
    second.hear(message("a/1"))
    second.hear(message("b/1"))
    assert second.playing is None
    assert world.events("a/1").count("presented") == world.events("b/1").count("presented") == 1


def test_what_is_over_is_not_played_on_return(world) -> None:
    first = terminal(world)
    first.hear(message("a/1", end_time=START + 5000))
    first.silence()
    world.turn(6)
    world.reports.clear()
    second = terminal(world)
    second.remember(Held.decode("a/1", world.ids["a/1"]))
    assert second.playing is None
    assert world.reports == []
