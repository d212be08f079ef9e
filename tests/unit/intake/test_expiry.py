"""How long a message stands that names no end: the first line that covers it decides."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from broker.cap.level import Level
from broker.cap.model import MsgType
from broker.errors import ConfigError
from broker.geo.events import EventCatalogue
from broker.intake.expiry import MOST_HOURS, Expiry, unreachable
from tests.support.places import ROOT

GOOD = """warnings:
  - {events: ["11B03"], levels: [Red], hours: 6}
  - {events: ["11B*"], hours: 12.5}
otherwise: 24
messages: 48
"""
WARNINGS = (MsgType.ALERT, MsgType.UPDATE)


def load(folder: Path, text: str) -> Expiry:
    path = folder / "expiry.yaml"
    path.write_text(text, encoding="utf-8")
    return Expiry.load(path)


@pytest.mark.parametrize(
    ("event", "level", "msg_type", "hours"),
    [
        ("11B03", Level.RED, MsgType.ALERT, 6),
        ("11B03", Level.BLUE, MsgType.ALERT, 12.5),
        ("11B03", None, MsgType.UPDATE, 12.5),
        ("11A51", Level.RED, MsgType.UPDATE, 24),
        ("", None, MsgType.ALERT, 24),
        ("11B03", Level.RED, MsgType.CANCEL, 48),
        ("", None, MsgType.ACK, 48),
        ("", None, MsgType.ERROR, 48),
    ],
)
def test_the_first_line_that_covers_a_message_decides(
    tmp_path: Path, event: str, level: Level | None, msg_type: MsgType, hours: float
) -> None:
    assert load(tmp_path, GOOD).of(event, level, msg_type) == hours


def test_the_policy_that_comes_with_it_is_good_and_every_line_can_decide() -> None:
    expiry = Expiry.load(ROOT / "config/expiry.yaml")
    events = EventCatalogue.load(ROOT / "config/events.yaml")

    assert unreachable(expiry, "expiry.yaml") == []
    assert all(events.matching(pattern) for rule in expiry.warnings for pattern in rule.events or ())
    assert expiry.of("11B03", Level.RED, MsgType.ALERT) < expiry.of("11D01", Level.RED, MsgType.ALERT)


@given(st.sampled_from(["11B03", "11B01", "11A51", "", "x"]), st.none() | st.sampled_from(Level))
def test_every_message_gets_an_end_within_bounds(event: str, level: Level | None) -> None:
    expiry = Expiry.load(ROOT / "config/expiry.yaml")
    assert all(0 < expiry.of(event, level, each) <= MOST_HOURS for each in MsgType)


def test_without_a_file_a_day_is_given() -> None:
    assert {Expiry().of("11B03", Level.RED, each) for each in MsgType} == {24}


@pytest.mark.parametrize(
    ("old", "new", "line", "message"),
    [
        ("hours: 6", "hours: 0", 2, "greater than 0"),
        ("hours: 6", "hours: 745", 2, "less than or equal to 744"),
        ("hours: 6", "hours: soon", 2, "hours"),
        ("hours: 6", "hours: .nan", 2, "hours"),
        ("hours: 6", 'hours: "6"', 2, "hours"),
        (", hours: 6", "", 2, "the key 'hours' is missing"),
        ("[Red]", "[Rot]", 2, "'Rot' is not a value"),
        ("[Red]", "[]", 2, "must not be empty"),
        ('"11B*"', '"rain"', 3, "'rain' is neither an event code nor a pattern"),
        ("otherwise", "other", 4, "unknown key 'other', did you mean 'otherwise'?"),
        ("messages: 48", "messages: -1", 5, "greater than 0"),
    ],
)
def test_what_is_wrong_is_said_with_its_line(tmp_path: Path, old: str, new: str, line: int, message: str) -> None:
    assert old in GOOD
    with pytest.raises(ConfigError) as caught:
        load(tmp_path, GOOD.replace(old, new, 1))
    said = "\n".join(map(str, caught.value.problems))
    assert f"expiry.yaml:{line}: " in said
    assert message in said


def test_a_line_that_can_never_decide_is_told(tmp_path: Path) -> None:
    text = GOOD.replace("otherwise", '  - {events: ["11B05"], levels: [Blue], hours: 1}\notherwise')
    [problem] = unreachable(load(tmp_path, text), "expiry.yaml")
    assert problem.rule == "expiry.unreachable"
    assert "warnings[2]" in problem.message
    assert "warnings[1]" in problem.message
