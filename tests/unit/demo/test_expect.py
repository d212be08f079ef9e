"""The count by hand that targeting is compared with must itself be right."""

from __future__ import annotations

import math
from datetime import UTC, datetime

import numpy as np
import pytest

from broker.cap import read, segments
from broker.demo.alerts import day
from broker.demo.expect import NaiveArea, Row, expected
from broker.geo.shapes import Circle, Polygon
from broker.intake.describing import highest
from broker.types import Kind

SQUARE = ((30.0, 106.0), (30.0, 107.0), (31.0, 107.0), (31.0, 106.0), (30.0, 106.0))


def row(
    lat: float = 0.0, lon: float = 0.0, region: str = "500117001005", kind: Kind = Kind.PUBLIC, number: int = 1
) -> Row:
    return Row(number, lon, lat, region, kind)


@pytest.mark.parametrize(
    ("lat", "lon", "inside"),
    [
        (30.5, 106.5, True),
        (30.01, 106.99, True),
        (29.99, 106.5, False),
        (30.5, 107.01, False),
        (106.5, 30.5, False),
    ],
)
def test_a_point_is_in_a_polygon_or_not(lat: float, lon: float, inside: bool) -> None:
    assert NaiveArea((SQUARE,), (), ()).holds(row(lat, lon)) is inside


def test_a_notch_is_outside() -> None:
    notched = ((0.0, 0.0), (0.0, 4.0), (4.0, 4.0), (1.0, 2.0), (4.0, 0.0), (0.0, 0.0))

    area = NaiveArea((notched,), (), ())

    assert not area.holds(row(3.0, 2.0))
    assert area.holds(row(0.5, 2.0))
    assert area.holds(row(3.0, 0.3))


def test_a_circle_is_measured_on_the_sphere() -> None:
    degree = 2 * math.pi * 6371.0088 / 360
    area = NaiveArea((), ((60.0, 106.0, degree),), ())

    assert area.holds(row(60.999, 106.0))
    assert not area.holds(row(61.001, 106.0))
    # At 60 degrees north a degree of longitude is half as long.
    assert area.holds(row(60.0, 107.9))
    assert not area.holds(row(60.0, 108.1))


def test_training_recipients_are_never_expected() -> None:
    rows = [row(30.5, 106.5, kind=kind, number=number) for number, kind in enumerate(Kind, 1)]

    assert expected(rows, NaiveArea((SQUARE,), (), ())) == {1, 2}


def test_the_areas_of_the_days_alerts_are_read_from_their_bytes() -> None:
    rain, flood, slide = (NaiveArea.of(alert.body) for alert in day(datetime(2026, 6, 18, tzinfo=UTC)))

    assert len(rain.polygons) == 1
    assert rain.polygons[0][0] == rain.polygons[0][-1]
    assert (rain.circles, rain.prefixes) == ((), ())
    assert set(flood.prefixes) == {"500156101", "500156111", "500156112", "500156004", "500156203"}
    assert slide.circles == ((31.0768, 109.879, 25.0),)


def test_a_prefix_ends_with_its_township_or_is_a_whole_village() -> None:
    code = "<geocode><valueName>GB/T 2260</valueName><value>{}</value></geocode>".format
    areas = f"<info><area>{code('500156101000')}{code('500156101205')}</area></info>"
    body = f'<alert xmlns="urn:oasis:names:tc:emergency:cap:1.2">{areas}</alert>'

    area = NaiveArea.of(body.encode())

    assert set(area.prefixes) == {"500156101", "500156101205"}
    assert area.holds(row(region="500156101999"))
    assert not area.holds(row(region="500156102000"))


def test_the_days_alerts_are_right_and_alike_whenever_they_are_written_anew() -> None:
    now = datetime(2026, 6, 18, 1, 30, 15, tzinfo=UTC)
    alerts = list(day(now))

    assert [alert.body for alert in alerts] == [alert.body for alert in day(now)]
    levels = []
    for alert in alerts:
        reading = read(alert.body, "xml", now=now)
        assert reading.valid, reading.errors
        assert reading.schema_valid
        assert reading.alert is not None
        assert reading.alert.identifier == alert.identifier
        assert {info.language for info in reading.alert.infos} == {"zh-CN", "en"}
        [segment] = segments(reading.alert)
        levels.append(str(highest([segment]).level))
    assert levels == ["Red", "Orange", "Yellow"]
    assert len({alert.identifier for alert in alerts}) == 3


def test_the_count_agrees_with_the_targeting_it_checks_on_random_places() -> None:
    rng = np.random.default_rng(7)
    lon, lat = rng.uniform(105.8, 110.3, 4000), rng.uniform(29.5, 31.6, 4000)
    rain, _, slide = (NaiveArea.of(alert.body) for alert in day(datetime(2026, 6, 18, tzinfo=UTC)))
    polygon, circle = Polygon(rain.polygons[0]), Circle(*slide.circles[0])

    by_hand = [
        [area.holds(row(float(y), float(x), region="000000000000")) for x, y in zip(lon, lat, strict=True)]
        for area in (rain, slide)
    ]

    assert by_hand[0] == polygon.mask(lon, lat).tolist()
    assert by_hand[1] == circle.mask(lon, lat).tolist()
    assert any(by_hand[0])
    assert any(by_hand[1])
