from __future__ import annotations

import dataclasses
import heapq
import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from broker.types import Phase
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


# ── what is taken back or replaced ────────────────────────────────────────────────────────────────────


def cancel(*alerts: str, key: str = "c/9", **changes) -> bytes:
    return message(key, **{"msg_type": MsgType.CANCEL, "phase": Phase.CANCEL, "replaces": alerts, **changes})


@pytest.mark.parametrize("phase", [Phase.CANCEL, Phase.CLEAR])
def test_a_cancel_stops_what_plays_at_once_and_the_all_clear_is_spoken_once(world, phase) -> None:
    box = terminal(world)
    box.hear(message("a/1"))
    world.turn(4)
    box.hear(cancel("a", phase=phase))
    assert box.playing == "c/9"
    assert world.events("a/1") == ["received", "delivered", "withdrawn"]
    world.turn(3 * PLAY)
    assert box.playing is None
    assert world.events("a/1") == ["received", "delivered", "withdrawn"]
    assert world.events("c/9") == ["received", "delivered", "presented"]
    assert world.states("a/1") == [TerminalState.VERIFIED, TerminalState.PLAYING]
    assert world.states("c/9") == [TerminalState.VERIFIED, TerminalState.PLAYING, TerminalState.PLAYED]


def test_the_all_clear_is_spoken_where_the_warning_was_played_to_its_end(world) -> None:
    box = terminal(world)
    box.hear(message("a/1"))
    world.turn(2 * PLAY)
    box.hear(cancel("a"))
    world.turn(PLAY)
    assert world.events("a/1") == ["received", "delivered", "presented", "withdrawn"]
    assert world.events("c/9") == ["received", "delivered", "presented"]


def test_what_waits_is_not_played_after_a_cancel_and_where_nothing_was_heard_nothing_is_spoken(world) -> None:
    box = terminal(world)
    box.hear(message("x/1", severity=Severity.RED))
    box.hear(message("a/1"))
    box.hear(cancel("a"))
    assert box.playing == "x/1"
    world.turn(3 * PLAY)
    assert world.events("x/1") == ["received", "delivered", "presented"]
    assert world.events("a/1") == ["received", "delivered", "withdrawn"]
    assert world.events("c/9") == ["received", "delivered"]
    assert world.states("c/9") == [TerminalState.VERIFIED]


def test_a_terminal_that_was_away_plays_neither_what_was_taken_back_nor_the_all_clear(world) -> None:
    box = terminal(world)
    box.pause(0.5)
    box.hear(message("a/1"))
    box.hear(cancel("a"))
    world.turn(2 * PLAY)
    assert world.events("a/1") == ["received", "delivered", "withdrawn"]
    assert world.events("c/9") == ["received", "delivered"]
    assert world.states("a/1") == world.states("c/9") == [TerminalState.VERIFIED]


def test_a_pause_ends_and_lets_what_plays_go_on(world) -> None:
    box = terminal(world)
    box.hear(message("a/1"))
    world.turn(PLAY - 1)
    box.pause(2)
    box.hear(message("b/1"))
    assert box.playing == "a/1"
    world.turn(1.5)
    assert world.events("a/1")[-1] == "presented"
    assert box.playing is None
    world.turn(1)
    assert box.playing == "b/1"


def test_a_warning_that_comes_after_its_cancel_is_not_played(world) -> None:
    box = terminal(world)
    box.hear(cancel("a"))
    box.hear(message("a/1"))
    box.hear(message("a/2"))
    world.turn(2 * PLAY)
    assert world.events("a/1") == world.events("a/2") == ["received", "delivered", "withdrawn"]
    assert world.events("c/9") == ["received", "delivered"]
    assert world.states("a/1") == [TerminalState.VERIFIED]


def test_of_two_cancels_for_two_rounds_of_an_alert_one_is_spoken(world) -> None:
    box = terminal(world)
    for key in ("a/1", "a/2"):
        box.hear(message(key))
        world.turn(PLAY)
    box.hear(cancel("a", key="c/8"))
    box.hear(cancel("a", key="c/9"))
    world.turn(3 * PLAY)
    assert world.events("c/8") == ["received", "delivered", "presented"]
    assert world.events("c/9") == ["received", "delivered"]


def test_a_cancel_of_others_disturbs_nothing(world) -> None:
    box = terminal(world)
    box.hear(message("a/1"))
    box.hear(cancel("b", "aa", "a/1"))
    assert box.playing == "a/1"
    world.turn(2 * PLAY)
    assert world.events("a/1") == ["received", "delivered", "presented"]
    assert world.events("c/9") == ["received", "delivered"]


def test_an_update_stops_the_older_message_and_is_played_in_its_place(world) -> None:
    box = terminal(world)
    box.hear(message("a/1"))
    box.hear(message("a/2"))
    world.turn(4)
    box.hear(message("u/3", phase=Phase.UPDATE, replaces=("a",), severity=Severity.BLUE))
    assert box.playing == "u/3"
    world.turn(3 * PLAY)
    assert world.events("a/1") == world.events("a/2") == ["received", "delivered", "withdrawn"]
    assert world.events("u/3") == ["received", "delivered", "presented"]


def test_an_update_that_waits_carries_on_that_its_people_were_warned(world) -> None:
    box = terminal(world)
    box.hear(message("a/1"))
    world.turn(PLAY)
    box.hear(message("x/1", severity=Severity.RED))
    box.hear(message("u/2", phase=Phase.UPDATE, replaces=("a",)))
    box.hear(cancel("a", "u"))
    world.turn(3 * PLAY)
    assert world.events("u/2") == ["received", "delivered", "withdrawn"]
    assert world.events("c/9") == ["received", "delivered", "presented"]


def test_an_all_clear_stops_no_other_warning_and_a_red_warning_stops_an_all_clear(world) -> None:
    box = terminal(world)
    box.hear(message("a/1", severity=Severity.RED))
    world.turn(PLAY)
    box.hear(message("y/1", severity=Severity.YELLOW))
    box.hear(cancel("a", severity=Severity.RED))
    assert box.playing == "y/1"
    world.turn(PLAY)
    assert box.playing == "c/9"
    box.hear(message("r/1", severity=Severity.RED))
    assert box.playing == "r/1"
    world.turn(2 * PLAY)
    assert world.events("c/9") == ["received", "delivered", "presented"]


@pytest.mark.parametrize("live", [True, False])
def test_a_drill_ends_only_drills_and_the_real_only_the_real(world, live) -> None:
    drill = {"msg_type": MsgType.TERMINAL_DRILL}
    box = terminal(world, training=True)
    box.hear(message("a/1", **({} if live else drill)))
    box.hear(cancel("a", **(drill if live else {})))
    assert box.playing == "a/1"
    world.turn(2 * PLAY)
    assert world.events("a/1") == ["received", "delivered", "presented"]
    assert world.events("c/9") == ["received", "delivered"]
    box.hear(cancel("a", key="c/10", **({} if live else drill)))
    assert box.playing == "c/10"


def test_a_cancel_of_a_drill_is_refused_by_a_terminal_that_is_not_in_training(world) -> None:
    box = terminal(world)
    box.hear(message("a/1"))
    box.hear(cancel("a", msg_type=MsgType.TERMINAL_DRILL))
    assert box.playing == "a/1"
    assert world.notes[-1] == ("c/9", "refused", "drill")


@pytest.mark.parametrize(
    ("kind", "phase"),
    [
        (MsgType.ACTUAL, Phase.CANCEL),
        (MsgType.ACTUAL, Phase.CLEAR),
        (MsgType.CANCEL, Phase.WARNING),
        (MsgType.CANCEL, Phase.UPDATE),
    ],
)
def test_a_message_whose_type_and_phase_disagree_is_refused_and_stops_nothing(world, kind, phase) -> None:
    box = terminal(world)
    box.hear(message("a/1"))
    box.hear(message("c/9", msg_type=kind, phase=phase, replaces=("a",)))
    assert box.playing == "a/1"
    assert world.notes[-1] == ("c/9", "refused", "type")


def test_a_cancel_for_the_neighbours_or_of_a_forger_stops_nothing(world) -> None:
    box = terminal(world)
    box.hear(message("a/1"))
    box.hear(cancel("a", targets={OTHER: 0}))
    box.hear(cancel("a", area_code="500117100002"))
    box.hear(cancel("a")[:-1] + b" ")
    assert box.playing == "a/1"


def test_a_cancel_that_comes_when_it_is_over_still_stops_and_is_not_spoken(world) -> None:
    box = terminal(world)
    box.hear(message("a/1"))
    box.hear(cancel("a", end_time=START - 1000))
    assert box.playing is None
    world.turn(PLAY)
    assert world.events("a/1") == ["received", "delivered", "withdrawn"]
    assert world.events("c/9") == ["received", "delivered"]


def test_a_cancel_given_again_is_not_spoken_again(world) -> None:
    box = terminal(world)
    box.hear(message("a/1"))
    box.hear(cancel("a"))
    world.turn(PLAY)
    box.hear(cancel("a", attempt=2))
    world.turn(PLAY)
    assert world.events("c/9") == ["received", "delivered", "presented", "received", "duplicate"]
    assert world.states("c/9")[-1] is TerminalState.PLAYED


def test_what_was_taken_back_stays_so_after_a_power_cut_and_the_all_clear_is_spoken_to_its_end(world) -> None:
    first = terminal(world)
    first.hear(message("a/1"))
    first.hear(cancel("a"))
    first.silence()
    second = terminal(world)
    for key in ("a/1", "c/9"):
        second.remember(Held.decode(key, world.ids[key]))
    assert second.playing == "c/9"
    second.hear(message("a/2"))
    world.turn(2 * PLAY)
    assert world.events("c/9") == ["received", "delivered", "presented"]
    assert world.events("a/2") == ["received", "delivered", "withdrawn"]


def test_after_a_power_cut_in_the_middle_people_count_as_warned(world) -> None:
    first = terminal(world)
    first.hear(message("a/1"))
    first.silence()
    second = terminal(world)
    second.pause(0.5)
    second.remember(Held.decode("a/1", world.ids["a/1"]))
    second.hear(cancel("a"))
    world.turn(2 * PLAY)
    assert world.events("a/1") == ["received", "delivered", "withdrawn"]
    assert world.events("c/9") == ["received", "delivered", "presented"]


def test_a_log_of_the_time_before_cancels_is_read() -> None:
    held = Held.decode("a/1", "1:5:2:1:1800000000000")
    assert (held.reference.batch, held.reference.ordinal, held.reference.attempt) == (1, 5, 2)
    assert (held.severity, held.end_time) == (Severity.RED, 1_800_000_000_000)
    assert (held.drill, held.ends, held.mute, held.heard, held.replaces) == (False, False, False, False, ())
    assert Held.decode("a/1", held.encode()) == held


STEPS = st.lists(
    st.one_of(
        st.sampled_from(["a/1", "a/2", "b/3", "c/8", "c/9", "power cut"]),
        st.floats(0.1, 1.5 * PLAY),
    ),
    max_size=14,
)


@given(STEPS)
def test_whatever_comes_in_whatever_order_nothing_taken_back_sounds_and_one_all_clear_at_most(steps) -> None:
    """`a` is a warning in two rounds, `c` its Cancel in two batches, `b` another warning; power cuts between."""
    world = World()
    box = terminal(world)
    over = sounded = cut = False
    for step in [*steps, 9 * PLAY]:
        if step == "power cut":
            box.silence()
            cut = True
            former, box = box, terminal(world)
            for key in former.memory:
                held = Held.decode(key, world.ids[key])
                if "presented" in world.events(key):
                    held.state = TerminalState.PLAYED
                box.remember(held)
        elif isinstance(step, float):
            world.turn(step)
        elif step.startswith("c"):
            box.hear(cancel("a", key=step))
            over = True
        else:
            box.hear(message(step))
        playing = box.playing or ""
        sounded = sounded or playing.startswith("a/")
        assert not (over and playing.startswith("a/"))
    spoken = sum("presented" in world.events(key) for key in ("c/8", "c/9"))
    assert spoken <= 1
    if not cut:
        heard = any("presented" in world.events(key) for key in ("a/1", "a/2")) or sounded
        assert spoken == (over and heard)
    assert ("presented" in world.events("b/3")) is ("b/3" in steps)
    for key in ("a/1", "a/2", "b/3", "c/8", "c/9"):
        assert world.events(key).count("delivered") == (key in steps)
        assert world.events(key).count("presented") <= 1
        assert world.events(key).count("withdrawn") <= 1
