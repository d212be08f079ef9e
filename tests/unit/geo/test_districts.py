"""Outlines of the districts and the synthetic places inside them."""

from __future__ import annotations

import json
from datetime import date
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import shapely

from broker.geo.districts import Districts
from broker.geo.errors import GeoDataError, ShapeError
from broker.geo.regions import Regions
from broker.geo.shapes import Circle, Polygon, ring_problems

CONFIG = Path(__file__).parents[3] / "config"
BEFORE = date(2025, 12, 31)


@cache
def districts() -> Districts:
    return Districts.load(CONFIG / "regions" / "districts.geojson")


@cache
def regions() -> Regions:
    return Regions.load(CONFIG / "regions" / "divisions.csv")


def box(south: float, west: float, north: float, east: float) -> Polygon:
    return Polygon(((south, west), (south, east), (north, east), (north, west), (south, west)))


def test_every_district_of_every_generation_has_an_outline_and_the_same_names() -> None:
    assert {d.code for d in districts()} == {r.code for r in regions() if r.level == "district"}
    for district in districts():
        region = regions().get(district.code)
        assert (district.name_zh, district.name_en) == (region.name_zh, region.name_en)
        assert (district.valid_from, district.valid_to) == (region.valid_from, region.valid_to)
    assert {d.name_zh for d in districts() if d.approximate} == {"两江新区", "北碚区"}


@pytest.mark.parametrize(("day", "count"), [(BEFORE, 38), (None, 37)])
def test_the_districts_of_a_day_cover_the_city_once(day: date | None, count: int) -> None:
    outlines = [d.outline for d in districts().on(day)]
    assert len(outlines) == count
    assert sum(o.area for o in outlines) == pytest.approx(districts().city.area, rel=1e-9)
    assert shapely.coverage_is_valid(outlines)


def test_wanzhou_is_where_it_is() -> None:
    found = districts().district_at(108.38, 30.81)
    assert found is not None
    assert found.code == "500101000000"
    west, south, east, north = found.bbox
    assert west < 108.38 < east
    assert south < 30.81 < north


def test_the_answer_for_a_place_follows_the_date() -> None:
    point = regions().get("500105").lon, regions().get("500105").lat
    before, after = districts().district_at(*point, BEFORE), districts().district_at(*point)
    assert before is not None
    assert after is not None
    assert (before.name_zh, after.name_zh) == ("江北区", "两江新区")


def test_a_place_elsewhere_is_in_no_district() -> None:
    assert districts().district_at(121.47, 31.23) is None
    assert districts().get("510100") is None


def test_every_place_in_the_table_lies_in_the_outline_of_its_district() -> None:
    inside = 0
    for district in districts():
        if district.code == "500157000000":
            continue  # its units have the places of the old districts, some of them beyond the approximate line
        prefix = district.code[:6]
        here = [r for r in regions() if r.code.startswith(prefix) and r.valid_from is None and r.level != "city"]
        mask = shapely.intersects_xy(
            district.outline, np.array([r.lon for r in here]), np.array([r.lat for r in here])
        )
        assert mask.all(), [r.code for r, ok in zip(here, mask, strict=True) if not ok][:5]
        inside += len(here)
    assert inside == 38 + 1031 + 11270


def test_places_below_the_district_say_that_they_are_synthetic() -> None:
    for region in regions():
        assert region.place == ("centroid" if region.level in ("city", "district") else "synthetic")


def test_villages_stand_apart_from_each_other() -> None:
    places = [(r.lon, r.lat) for r in regions() if r.level == "village"]
    assert len(set(places)) > 0.999 * len(places)


def test_the_same_unit_has_the_same_place_under_both_codes() -> None:
    for region in regions():
        if region.level == "township" and region.successors:
            heir = regions().get(region.successors[0])
            assert (region.lon, region.lat, region.name_zh) == (heir.lon, heir.lat, heir.name_zh)


def test_district_populations_of_each_generation_make_up_the_city() -> None:
    for day in (BEFORE, None):
        assert sum(d.population or 0 for d in regions().districts(day)) == regions().city.population


def test_a_shape_elsewhere_is_told_from_one_that_touches_the_city() -> None:
    assert districts().outside_city(box(31, 121, 32, 122))
    assert not districts().outside_city(box(30.5, 108, 31, 108.5))
    assert not districts().outside_city(box(20, 100, 40, 120))
    west = min(x for x, _ in shapely.get_coordinates(districts().city))
    tip = next((x, y) for x, y in shapely.get_coordinates(districts().city) if x == west)
    assert not districts().outside_city(box(tip[1] - 0.1, west - 1, tip[1] + 0.1, west))
    assert districts().outside_city(box(tip[1] - 0.1, west - 1, tip[1] + 0.1, west - 1e-6))


def test_a_circle_touches_the_city_from_its_true_distance_on() -> None:
    away = districts().distance_km(31.23, 121.47)
    coordinates = shapely.get_coordinates(shapely.segmentize(districts().city, 0.001))
    cosines = np.sin(np.radians(coordinates[:, 1])) * np.sin(np.radians(31.23)) + np.cos(
        np.radians(coordinates[:, 1])
    ) * np.cos(np.radians(31.23)) * np.cos(np.radians(coordinates[:, 0] - 121.47))
    assert away == pytest.approx(float(np.arccos(cosines).min()) * 6371.0088, abs=0.1)
    assert districts().outside_city(Circle(31.23, 121.47, away * 0.999))
    assert not districts().outside_city(Circle(31.23, 121.47, away * 1.001))
    assert not districts().outside_city(Circle(30.81, 108.38, 0))


def test_a_bad_shape_is_refused() -> None:
    with pytest.raises(ShapeError):
        districts().outside_city(Circle(30, 108, -1))
    with pytest.raises(ShapeError):
        districts().outside_city(Polygon(((30, 108), (31, 108), (30, 108))))


def feature(**changes: Any) -> dict[str, Any]:
    properties = {
        "code": "500101000000",
        "name_zh": "甲",
        "name_en": "Jia",
        "approximate": False,
        "valid_from": None,
        "valid_to": None,
    }
    ring = [[106, 29], [107, 29], [107, 30], [106, 29]]
    geometry = changes.pop("geometry", {"type": "Polygon", "coordinates": [ring]})
    return {"type": "Feature", "properties": {**properties, **changes}, "geometry": geometry}


@pytest.mark.parametrize(
    ("changes", "complaint"),
    [
        ({"code": "500101"}, "not twelve digits"),
        ({"approximate": "no"}, "neither true nor false"),
        ({"valid_from": "soon"}, "Invalid isoformat"),
        ({"geometry": {"type": "Point", "coordinates": [106, 29]}}, "instead of a polygon"),
        (
            {"geometry": {"type": "Polygon", "coordinates": [[[0, 0], [1, 1], [1, 0], [0, 1], [0, 0]]]}},
            "Self-intersection",
        ),
    ],
)
def test_a_bad_feature_is_named(tmp_path: Path, changes: dict[str, Any], complaint: str) -> None:
    path = tmp_path / "districts.geojson"
    path.write_text(json.dumps({"features": [feature(), feature(**{"code": "500102000000", **changes})]}))
    with pytest.raises(GeoDataError) as caught:
        Districts.load(path)
    [problem] = caught.value.problems
    assert problem.place.endswith("#/features/1")
    assert complaint in problem.message


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"features": []}'])
def test_a_file_without_features_is_refused(tmp_path: Path, text: str) -> None:
    path = tmp_path / "districts.geojson"
    path.write_text(text)
    with pytest.raises(GeoDataError):
        Districts.load(path)


def test_the_example_zone_is_a_usable_polygon_in_the_city() -> None:
    for path in (CONFIG / "zones").glob("*.geojson"):
        for zone in json.loads(path.read_text(encoding="utf-8"))["features"]:
            [outer] = zone["geometry"]["coordinates"]
            ring = tuple((lat, lon) for lon, lat in outer)
            assert ring_problems(ring) == []
            assert not districts().outside_city(Polygon(ring))
            assert zone["properties"]["region"] in regions()
