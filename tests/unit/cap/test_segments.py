"""Segments: which infos of an alert belong together."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime, timedelta

import pytest
from hypothesis import HealthCheck, given, settings

from broker.cap import Level, lint, segments
from broker.cap.compose import Translation, circle_area, compose, geocode_area, polygon_area, reference_to
from broker.cap.model import Alert, Area, CapTime, MsgType, NamedValue, Severity
from tests.unit.cap.samples import NOW
from tests.unit.cap.strategies import alerts

RING = [(31.0, 109.8), (31.0, 110.0), (31.2, 110.0), (31.2, 109.8)]
ENGLISH = Translation("en", "Landslide", "Red landslide warning", "Slope moving.", "Leave now.", None, ("Wushan",))


def _alert(level: Level = Level.RED, areas: tuple[Area, ...] = (), **more: object) -> Alert:
    areas = areas or (polygon_area("巫山", RING),)
    return compose(
        "1",
        "geo@example.org",
        NOW,
        "11D01",
        "滑坡",
        level,
        "滑坡预警",
        "坡体变形。",
        "立即撤离。",
        areas=areas,
        expires=NOW + timedelta(hours=6),
        **more,  # type: ignore[arg-type]
    )


def _joined(*parts: Alert) -> Alert:
    return replace(parts[0], infos=tuple(info for part in parts for info in part.infos))


def test_two_languages_of_one_warning_are_one_segment() -> None:
    (segment,) = segments(_alert(translations=[ENGLISH]))
    assert segment.number == 1
    assert segment.level is Level.RED
    assert segment.event_code == "11D01"
    assert segment.languages == ("zh-CN", "en")
    assert segment.areas[0].area_desc == "巫山"


def test_a_bulletin_of_four_colours_has_four_segments_in_its_order() -> None:
    parts = [_alert(level, translations=[ENGLISH]) for level in Level]
    found = segments(_joined(*parts))
    assert [segment.number for segment in found] == [1, 2, 3, 4]
    assert [segment.level for segment in found] == list(Level)
    assert [len(segment.infos) for segment in found] == [2, 2, 2, 2]


def test_languages_may_stand_apart() -> None:
    red, blue = (_alert(level, translations=[ENGLISH]) for level in (Level.RED, Level.BLUE))
    mixed = replace(red, infos=(red.infos[0], blue.infos[0], red.infos[1], blue.infos[1]))
    assert [[info.language for info in segment.infos] for segment in segments(mixed)] == [["zh-CN", "en"]] * 2


def test_other_areas_make_another_segment() -> None:
    codes = geocode_area("巫山", ["500237"])
    found = segments(_joined(_alert(), _alert(areas=(codes,)), _alert(areas=(circle_area("巫山", 31, 109.9, 3),))))
    assert [len(segment.infos) for segment in found] == [1, 1, 1]


def test_an_area_split_differently_is_the_same_area() -> None:
    together = geocode_area("两镇", ["500237100000", "500237101000"])
    apart = (geocode_area("A", ["500237101000"]), geocode_area("B", ["500237100000"]))
    assert len(segments(_joined(_alert(areas=(together,)), _alert(areas=apart)))) == 1


def test_the_same_polygon_in_other_white_space_is_the_same_area() -> None:
    area = polygon_area("巫山", RING)
    text = area.polygons[0].text.replace(" ", "\n")
    spaced = replace(area, polygons=(type(area.polygons[0]).parse(text),))
    assert len(segments(_joined(_alert(areas=(area,)), _alert(areas=(spaced,))))) == 1


def test_another_event_code_makes_another_segment() -> None:
    alert = _alert(translations=[ENGLISH])
    other = replace(alert.infos[1], event_codes=(NamedValue("GB/T 35561", "11D02"),))
    found = segments(replace(alert, infos=(alert.infos[0], other)))
    assert [segment.event_code for segment in found] == ["11D01", "11D02"]


def test_without_event_codes_the_order_tells_translations_from_other_events() -> None:
    alert = _alert(translations=[ENGLISH])
    chinese, english = (replace(info, event_codes=()) for info in alert.infos)
    assert len(segments(replace(alert, infos=(chinese, english)))) == 1
    other = replace(chinese, event="泥石流")
    found = segments(replace(alert, infos=(chinese, english, other)))
    assert [[info.event for info in segment.infos] for segment in found] == [["滑坡", "Landslide"], ["泥石流"]]
    assert found[0].event_code is None


def test_unknown_severity_is_no_level() -> None:
    alert = _alert()
    unknown = replace(alert, infos=(replace(alert.infos[0], severity=Severity.UNKNOWN),))
    assert segments(unknown)[0].level is None


def test_a_segment_ends_with_the_first_of_its_texts() -> None:
    alert = _alert(translations=[ENGLISH])
    sooner = CapTime.of(NOW + timedelta(hours=1))
    found = segments(replace(alert, infos=(alert.infos[0], replace(alert.infos[1], expires=sooner))))
    assert found[0].expires == sooner
    assert found[0].onset is None


def test_the_best_info_is_the_exact_language_then_the_same_primary_one_then_the_first() -> None:
    (segment,) = segments(_alert(translations=[ENGLISH]))
    assert segment.best_info("EN").language == "en"
    assert segment.best_info("en-GB").language == "en"
    assert segment.best_info("zh").language == "zh-CN"
    assert segment.best_info("fr", "en").language == "en"
    assert segment.best_info("fr").language == "zh-CN"


@settings(max_examples=80, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(alerts)
def test_every_info_is_in_exactly_one_segment(alert: Alert) -> None:
    found = segments(alert)
    assert sorted(id(info) for segment in found for info in segment.infos) == sorted(map(id, alert.infos))
    assert all(info.severity is segment.infos[0].severity for segment in found for info in segment.infos)


def _complaints(alert: Alert, now: datetime = NOW) -> set[str]:
    return {finding.rule for finding in lint(alert, now=now)}


def test_a_composed_alert_is_valid_and_so_are_its_update_and_cancel() -> None:
    alert = _alert(areas=(polygon_area("a", RING), circle_area("b", 31.1, 109.9, 2.5)))
    assert _complaints(alert) == set()
    assert _complaints(_alert(translations=[ENGLISH])) <= {"cap.geocode.alone"}
    later = NOW + timedelta(minutes=30)
    for kind in (MsgType.UPDATE, MsgType.CANCEL):
        follow = compose(
            "2",
            "geo@example.org",
            later,
            "11D01",
            "滑坡",
            Level.YELLOW,
            "h",
            "d",
            "i",
            areas=[geocode_area("巫山", ["500237"])],
            expires=later + timedelta(hours=1),
            msg_type=kind,
            references=[reference_to(alert)],
        )
        assert _complaints(follow, later) == {"cap.geocode.alone"}
        assert [reference.identity for reference in follow.references] == [alert.identity]


def test_a_translation_must_describe_every_area_or_none() -> None:
    with pytest.raises(ValueError, match="1 area descriptions for 2 areas"):
        _alert(areas=(polygon_area("a", RING), polygon_area("b", RING)), translations=[ENGLISH])
