"""Authority: what a department may say, where; what cannot be resolved is told apart from what is not granted."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from functools import lru_cache

import pytest
import shapely

from broker.cap.compose import circle_area, compose, geocode_area, polygon_area
from broker.cap.level import Level
from broker.cap.model import Alert, Area, Circle, MsgType, NamedValue, Polygon, Severity
from broker.geo.events import EventCatalogue
from broker.geo.shapes import distance_km
from broker.intake.authority import Authority
from broker.intake.departments import Department, Departments
from tests.support.places import ROOT, districts, regions

NOW = datetime(2026, 6, 18, 9, 30, tzinfo=UTC)
HECHUAN = "500117"
IN_HECHUAN = [(30.0, 106.2), (30.0, 106.4), (30.1, 106.4), (30.1, 106.2)]


@lru_cache
def authority() -> Authority:
    return Authority(regions(), districts(), EventCatalogue.load(ROOT / "config/events.yaml"))


@lru_cache
def departments() -> Departments:
    return Departments.load(ROOT / "config/departments.yaml")


def of(department: str, **changes: object) -> Department:
    return departments().get(department).model_copy(update=changes)


def an_alert(
    *areas: Area, event: str = "11B03", level: Level = Level.RED, sender: str = "hechuan-met@warning.example"
) -> Alert:
    return compose(
        "a-1",
        sender,
        NOW,
        event,
        "暴雨",
        level,
        "预警",
        "强降雨",
        "转移",
        areas=areas or [polygon_area("合川", IN_HECHUAN)],
        expires=NOW + timedelta(hours=6),
    )


def denied(alert: Alert, department: Department) -> set[str]:
    """Rules that say "not yours"; nothing may be unclear."""
    wrong, unclear = authority().problems(alert, department)
    assert unclear == []
    assert all(problem.place.startswith("/alert/") and problem.message for problem in wrong)
    return {problem.rule for problem in wrong}


def unclear(alert: Alert, department: Department | None = None) -> set[str]:
    """Rules that say "not understood"."""
    _, found = authority().problems(alert, department or of("met-hechuan"))
    assert all(problem.place.startswith("/alert/") and problem.message for problem in found)
    return {problem.rule for problem in found}


def test_a_station_may_warn_its_own_district_of_its_own_events() -> None:
    assert denied(an_alert(), of("met-hechuan")) == set()


def test_a_sender_must_be_one_of_the_departments_own() -> None:
    assert denied(an_alert(sender="cq-met@warning.example"), of("met-hechuan")) == {"authority.sender"}
    assert denied(an_alert(sender="Hechuan-met@warning.example"), of("met-hechuan")) == {"authority.sender"}


def test_an_event_must_be_granted_by_code_or_pattern() -> None:
    geology = of("geology")
    sender = geology.senders[0]
    assert denied(an_alert(event="11D01", sender=sender), geology) == set()
    assert denied(an_alert(event="11B37", sender=sender), geology) == set()
    assert denied(an_alert(event="11B03", sender=sender), geology) == {"authority.event"}


def test_a_level_must_be_granted() -> None:
    careful = of("met-hechuan", levels=("Yellow", "Blue"))
    assert denied(an_alert(level=Level.YELLOW), careful) == set()
    assert denied(an_alert(level=Level.RED), careful) == {"authority.level"}
    assert denied(an_alert(level=Level.ORANGE), careful) == {"authority.level"}


def test_everything_that_is_not_granted_is_told_at_once() -> None:
    alert = an_alert(geocode_area("武隆", ["500156"]), event="11A51", sender="x@example.org")

    assert denied(alert, of("met-hechuan", levels=("Blue",))) == {
        "authority.sender",
        "authority.event",
        "authority.level",
        "authority.region",
    }


# -- geocodes ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "code", ["500117", "500117000000", "500117001", "500117001000", "500117001005", "50011700000000"]
)
def test_a_geocode_within_the_district_is_granted(code: str) -> None:
    assert denied(an_alert(geocode_area("合川", [code])), of("met-hechuan")) == set()


@pytest.mark.parametrize("code", ["500156", "500156101000", "500000000000"])
def test_a_geocode_beyond_the_district_is_not(code: str) -> None:
    assert denied(an_alert(geocode_area("x", ["500117", code])), of("met-hechuan")) == {"authority.region"}


def test_a_merged_districts_station_may_name_it_by_its_new_and_its_former_codes() -> None:
    liangjiang = of("met-hechuan", regions=("500157000000",))
    assert denied(an_alert(geocode_area("两江新区", ["500157"])), liangjiang) == set()
    assert denied(an_alert(geocode_area("江北区", ["500105"])), liangjiang) == set()
    # Five towns of 渝北 went to 北碚, so its whole former ground is more than was granted.
    assert denied(an_alert(geocode_area("渝北区", ["500112"])), liangjiang) == {"authority.region"}


@pytest.mark.parametrize("code", ["500199", "110101000000", "50011700000", "合川区", "", "5001*"])
def test_a_geocode_of_no_division_is_unclear_and_never_widened(code: str) -> None:
    assert unclear(an_alert(geocode_area("x", ["500117", code]))) == {"intake.geocode.unknown"}


def test_only_codes_of_known_systems_are_understood() -> None:
    assert unclear(an_alert(geocode_area("x", ["500117"], value_name="SAME"))) == {"intake.geocode.name"}
    assert unclear(an_alert(geocode_area("x", ["500117"], value_name="gb/t 2260"))) == {"intake.geocode.name"}
    assert unclear(an_alert(geocode_area("x", ["500117"], value_name="CPEAS Geographic Code"))) == set()


# -- shapes --------------------------------------------------------------------------------------------------


def outline(scale: float) -> list[tuple[float, float]]:
    """Hechuan's own outline, grown or shrunk, as (latitude, longitude)."""
    district = districts().get(HECHUAN)
    assert district is not None
    shape = shapely.buffer(district.outline, scale)
    parts = shapely.get_parts(shape)
    largest = max(parts, key=lambda part: float(part.area))
    return [(float(y), float(x)) for x, y in shapely.get_coordinates(largest.exterior)]


def test_a_polygon_up_to_the_border_is_granted_and_one_kilometres_beyond_it_is_not() -> None:
    station = of("met-hechuan")
    assert denied(an_alert(polygon_area("合川", outline(-0.001))), station) == set()
    assert denied(an_alert(polygon_area("合川", outline(0.005))), station) == set()
    assert denied(an_alert(polygon_area("合川", outline(0.03))), station) == {"authority.region"}


def test_a_polygon_in_another_district_is_not_granted() -> None:
    wulong = [(29.3, 107.6), (29.3, 107.8), (29.4, 107.8), (29.4, 107.6)]
    assert denied(an_alert(polygon_area("武隆", wulong)), of("met-hechuan")) == {"authority.region"}
    assert (
        denied(an_alert(polygon_area("武隆", wulong), sender="wulong-met@warning.example"), of("met-wulong"))
        == set()
    )


def test_a_circle_within_the_district_is_granted_and_one_over_its_border_is_not() -> None:
    station = of("met-hechuan")
    assert denied(an_alert(circle_area("合川", 30.05, 106.3, 5)), station) == set()
    assert denied(an_alert(circle_area("合川", 30.05, 106.3, 80)), station) == {"authority.region"}


def reach_km(lat: float, lon: float) -> float:
    """How far it is from a place in Hechuan to the nearest place that the station may not warn, on the sphere."""
    district = districts().get(HECHUAN)
    assert district is not None
    border = shapely.get_coordinates(shapely.segmentize(shapely.buffer(district.outline, 0.01).exterior, 0.002))
    return float(distance_km(lat, lon, border[:, 0], border[:, 1]).min())


@pytest.mark.parametrize("lat", [29.95, 30.0, 30.05, 30.1, 30.2])
@pytest.mark.parametrize("lon", [106.1, 106.2, 106.3, 106.4, 106.5])
def test_a_circle_may_reach_as_far_as_the_border_is_in_any_direction(lat: float, lon: float) -> None:
    """Eastwards too, where a degree is shorter than northwards."""
    reach = reach_km(lat, lon)
    station = of("met-hechuan")

    assert denied(an_alert(circle_area("合川", lat, lon, reach * 0.97)), station) == set()
    assert denied(an_alert(circle_area("合川", lat, lon, reach * 1.03)), station) == {"authority.region"}


def test_one_area_of_several_beyond_the_border_is_enough_and_its_place_is_told() -> None:
    areas = [polygon_area("合川", IN_HECHUAN), circle_area("武隆", 29.35, 107.7, 5)]

    wrong, _ = authority().problems(an_alert(*areas), of("met-hechuan"))

    assert [(problem.rule, problem.place) for problem in wrong] == [
        ("authority.region", "/alert/info[1]/area[2]/circle[1]")
    ]


def test_the_whole_city_may_be_warned_across_its_border_but_not_outside_of_it() -> None:
    city = of("meteorology")
    sender = city.senders[0]
    crossing = an_alert(circle_area("渝北川东", 30.6, 107.0, 120), sender=sender)
    assert denied(crossing, city) == set()
    for area in (
        polygon_area("Paris", [(48.8, 2.3), (48.9, 2.3), (48.9, 2.4)]),
        circle_area("成都", 30.66, 104.06, 20),
    ):
        assert unclear(an_alert(area, sender=sender), city) == {"intake.area.outside"}


def test_a_station_of_townships_has_no_outline_and_may_name_codes_only() -> None:
    station = of("met-hechuan", regions=("500117001000",))
    assert denied(an_alert(geocode_area("x", ["500117001000"])), station) == set()
    assert denied(an_alert(circle_area("x", 30.05, 106.3, 1)), station) == {"authority.region"}


@pytest.mark.parametrize(
    "shape",
    [
        lambda: Polygon.parse("30.0,106.2 30.1,106.4 30.1,106.2 30.0,106.4 30.0,106.2"),
        lambda: Polygon.parse("30.0,106.2 30.1,106.2 30.2,106.2 30.0,106.2"),
        lambda: Polygon.parse("30.0,106.2 30.1,106.2 30.1,106.3"),
        lambda: Circle.parse("30.0,106.3 99999"),
        lambda: Circle.parse("95,106.3 5"),
    ],
)
def test_a_shape_that_is_none_is_unclear(shape: Callable[[], Polygon | Circle]) -> None:
    made = shape()
    area = Area("x", polygons=(made,)) if isinstance(made, Polygon) else Area("x", circles=(made,))

    assert unclear(an_alert(area)) == {"intake.shape"}


# -- what is not supported -----------------------------------------------------------------------------------


def with_info(alert: Alert, **changes: object) -> Alert:
    [info] = alert.infos
    return replace(alert, infos=(replace(info, **changes),))  # type: ignore[arg-type]


def test_an_area_without_a_place_is_unclear() -> None:
    assert unclear(an_alert(Area("合川"))) == {"intake.area.empty"}


def test_a_severity_that_is_no_level_is_unclear() -> None:
    assert unclear(with_info(an_alert(), severity=Severity.UNKNOWN)) == {"intake.level"}


def test_an_event_without_a_known_code_is_unclear() -> None:
    assert unclear(an_alert(event="11B98")) == {"intake.event.unknown"}
    assert unclear(with_info(an_alert(), event_codes=())) == {"intake.event.absent"}
    assert unclear(with_info(an_alert(), event_codes=(NamedValue("SAME", "TOR"),))) == {"intake.event.absent"}


@pytest.mark.parametrize("msg_type", [MsgType.CANCEL, MsgType.ACK, MsgType.ERROR])
def test_what_warns_of_nothing_is_not_asked_for_event_level_or_area(msg_type: MsgType) -> None:
    """A Cancel goes to those who had the alert: an area that it draws, even over the border, means nothing."""
    elsewhere = an_alert(geocode_area("武隆", ["500156"]), Area("nowhere"), event="11A51")
    message = with_info(replace(elsewhere, msg_type=msg_type), severity=Severity.UNKNOWN)

    assert authority().problems(message, of("met-hechuan")) == ([], [])
    assert authority().problems(replace(message, infos=()), of("met-hechuan")) == ([], [])


def test_an_update_must_be_as_right_as_the_alert_was() -> None:
    update = replace(an_alert(geocode_area("武隆", ["500156"])), msg_type=MsgType.UPDATE)

    assert denied(update, of("met-hechuan")) == {"authority.region"}


def test_an_identifier_longer_than_a_store_can_key_is_not_taken() -> None:
    assert unclear(replace(an_alert(), identifier="预" * 256)) == set()
    assert unclear(replace(an_alert(), identifier="预" * 257)) == {"intake.identifier.length"}


def test_every_info_is_judged_not_the_first_only() -> None:
    alert = an_alert()
    [info] = alert.infos
    other = replace(
        info, event_codes=(NamedValue("GB/T 35561", "11A51"),), areas=(geocode_area("武隆", ["500156"]),)
    )

    wrong, _ = authority().problems(replace(alert, infos=(info, other)), of("met-hechuan"))

    assert {(problem.rule, problem.place) for problem in wrong} == {
        ("authority.event", "/alert/info[2]/eventCode"),
        ("authority.region", "/alert/info[2]/area[1]/geocode[1]"),
    }
