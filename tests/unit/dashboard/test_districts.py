"""The outlines that the map draws."""

from __future__ import annotations

import json
from datetime import date

import pytest
import shapely
from shapely.geometry import shape

from broker.dashboard.districts import drawn_districts
from broker.geo.districts import Districts
from tests.support.dashboard import DISTRICTS


@pytest.fixture(scope="module")
def districts() -> Districts:
    return Districts.load(DISTRICTS)


def test_after_the_merger_the_former_districts_are_drawn_as_their_heir(districts: Districts):
    features = json.loads(drawn_districts(districts, date(2026, 6, 1)))["features"]
    by_code = {feature["properties"]["code"]: feature["properties"] for feature in features}
    assert by_code["500157"]["folds"] == ["500105", "500112"]
    assert "500105" not in by_code
    assert by_code["500117"] == {
        "code": "500117",
        "zh": "合川区",
        "en": "Hechuan District",
        "approximate": False,
        "folds": [],
    }


def test_every_district_of_either_generation_is_drawn_exactly_once(districts: Districts):
    for day in (date(2025, 6, 1), date(2026, 6, 1)):
        properties = [f["properties"] for f in json.loads(drawn_districts(districts, day))["features"]]
        codes = [each["code"] for each in properties]
        standing = {code[:6] for code in (d.code for d in districts.on(day))}
        assert sorted(codes) == sorted(standing)


def test_the_drawn_map_is_smaller_and_still_covers_the_city(districts: Districts):
    drawn = drawn_districts(districts, date(2026, 6, 1))
    outlines = [shape(feature["geometry"]) for feature in json.loads(drawn)["features"]]
    city = shapely.union_all(outlines)
    assert len(drawn) < DISTRICTS.stat().st_size
    assert shapely.area(city ^ districts.city) < 0.01 * shapely.area(districts.city)
    assert all(outline.is_valid for outline in outlines)
