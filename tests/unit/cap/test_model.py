"""Values of the model: times, references, lists, shapes, levels."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta, timezone
from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from broker.cap import Level, values
from broker.cap.compose import circle_area, polygon_area
from broker.cap.model import CapTime, Circle, Height, Polygon, Reference, Severity, Size
from broker.cap.rings import ring_problems


def test_a_time_keeps_its_text_and_compares_by_instant() -> None:
    beijing, utc = CapTime.parse("2026-06-18T09:30:00+08:00"), CapTime.parse("2026-06-18T01:30:00-00:00")
    assert beijing.instant == utc.instant
    assert beijing != utc
    assert utc.text.endswith("-00:00")


@given(st.datetimes(timezones=st.sampled_from([UTC, timezone(timedelta(hours=8)), timezone(-timedelta(hours=3))])))
def test_a_written_time_is_read_back_to_the_second(moment: datetime) -> None:
    try:
        moment.astimezone(UTC)
    except OverflowError:
        return
    assert CapTime.of(moment).instant == moment.replace(microsecond=0)


def test_utc_is_written_with_a_minus() -> None:
    assert CapTime.of(datetime(2026, 6, 18, 1, tzinfo=UTC)).text == "2026-06-18T01:00:00-00:00"


def test_a_time_without_offset_cannot_be_written() -> None:
    with pytest.raises(ValueError, match="offset"):
        CapTime.of(datetime(2026, 6, 18, tzinfo=UTC).replace(tzinfo=None))


@pytest.mark.parametrize(
    "text", ["a,b", "a,b,c", ",b,2026-06-18T09:30:00+08:00", "a,b,2026-06-18T09:30:00+08:00,d"]
)
def test_a_reference_needs_three_good_parts(text: str) -> None:
    assert Reference.parse(text) is None


def test_a_reference_is_written_as_it_was_read() -> None:
    text = "a@b,c,2026-06-18T09:30:00-00:00"
    reference = Reference.parse(text)
    assert reference is not None
    assert reference.text == text
    assert reference.identity == ("a@b", "c", datetime(2026, 6, 18, 9, 30, tzinfo=UTC))


@pytest.mark.parametrize(
    ("text", "items"),
    [
        ("", ()),
        ("a b\n c", ("a", "b", "c")),
        ('"a b" c', ("a b", "c")),
        ('c "a b"', ("c", "a b")),
        ('""', ("",)),
        ('"a', None),
        ('a"b', None),
        ('"a"b', None),
    ],
)
def test_lists_are_separated_by_space_and_quoted(text: str, items: tuple[str, ...] | None) -> None:
    assert values.parse_list(text) == items


def test_shapes_that_cannot_be_read_have_no_values() -> None:
    assert Polygon.parse("1,2 3").points == ()
    assert Polygon.parse("1,2 3,4").points == ((1.0, 2.0), (3.0, 4.0))
    assert Circle.parse("1,2 3").radius_km == 3.0
    assert Circle.parse("1,2").center is None
    assert Circle.parse("1,2 inf").center is None
    assert Circle.parse("1,2 " + "9" * 400).center is None
    assert Height.parse(" 1.50 ").feet == Decimal("1.50")
    assert Height.parse("high").feet is None
    assert Size.parse("7").octets == 7
    assert Size.parse("7.5").octets is None


@pytest.mark.parametrize(
    ("points", "kinds"),
    [
        ([(0, 0), (0, 1), (1, 1), (0, 0)], []),
        ([(0, 0), (0, 1), (0, 0)], ["points"]),
        ([(0, 0)], ["points"]),
        ([(0, 0), (0, 1), (1, 1), (1, 0)], ["closed"]),
        ([(0, 0), (0, 0), (0, 0), (0, 0)], ["flat"]),
        ([(0, 0), (0, 1), (0, 2), (0, 0)], ["flat"]),
        ([(0, 0), (1, 1), (1, 0), (0, 1), (0, 0)], ["crossing"]),
        ([(0, 0), (0, 2), (1, 1), (2, 2), (2, 0), (1, 1), (0, 0)], ["crossing"]),
        ([(0, 179), (0, -179), (1, -179), (1, 179), (0, 179)], ["span"]),
    ],
)
def test_the_problems_of_a_ring(points: list[tuple[float, float]], kinds: list[str]) -> None:
    assert [kind for kind, _ in ring_problems(points)] == kinds


@given(st.lists(st.tuples(st.floats(-90, 90), st.floats(-180, 180)), min_size=1, max_size=9))
def test_any_ring_on_the_globe_can_be_judged(points: list[tuple[float, float]]) -> None:
    assert all(sentence for _, sentence in ring_problems([*points, points[0]]))


def test_levels_and_severities_are_each_other() -> None:
    assert [Level.of(level.severity) for level in Level] == list(Level)
    assert Level.of(Severity.UNKNOWN) is None
    assert [level.rank for level in Level] == [4, 3, 2, 1]
    assert Level.RED.chinese == "红色"


def test_coordinates_are_written_without_exponent_and_the_ring_is_closed() -> None:
    area = polygon_area("x", [(29.9, 106.10), (0.0000001, 1), (-0.0, 2)])
    assert area.polygons[0].text == "29.9,106.1 0,1 0,2 29.9,106.1"
    assert circle_area("x", 31, 109.9, 2.5).circles[0].text == "31,109.9 2.5"


@pytest.mark.parametrize("tag", ["zh", "zh-CN", "zh-Hans-CN", "zh-cmn-Hans", "de-CH-1996", "x-own", "i-klingon"])
def test_well_formed_language_tags(tag: str) -> None:
    assert values.is_language_tag(tag)


@pytest.mark.parametrize("tag", ["", "z", "zh_CN", "zh-", "zh-CN-", "english-speaking-1"])
def test_ill_formed_language_tags(tag: str) -> None:
    assert not values.is_language_tag(tag)
