from __future__ import annotations

import numpy as np
import pytest

from broker.audience.area import AreaUnresolved, Ground, resolve
from broker.audience.index import AudienceIndex
from broker.cap.compose import circle_area, geocode_area, polygon_area
from broker.cap.model import Area, Circle, Height, NamedValue, Polygon
from broker.types import ChannelName, Kind
from tests.support.places import LANGUAGES, Person, districts, pages, regions

SQUARE = [(30.0, 106.0), (30.0, 106.4), (30.3, 106.4), (30.3, 106.0)]
EVERYBODY = frozenset(Kind)


def ground(*areas: Area) -> Ground:
    return resolve(areas, regions(), districts())


def chosen(people: list[Person], *areas: Area) -> list[int]:
    index = AudienceIndex.of(pages(people), languages=LANGUAGES)
    positions = index.select(ChannelName.SMS, ground(*areas), EVERYBODY)
    return index.channels[ChannelName.SMS].ids[positions].tolist()


def test_an_area_with_a_polygon_and_a_geocode_covers_both() -> None:
    people = [
        Person(1, lon=106.2, lat=30.1, region=500101001001),
        Person(2, lon=108.4, lat=30.7, region=500156101005),
        Person(3, lon=108.4, lat=30.7, region=500101001001),
    ]
    polygon = polygon_area("square", SQUARE)
    both = Area("both", polygons=polygon.polygons, geocodes=geocode_area("x", ["500156101000"]).geocodes)
    assert chosen(people, both) == [1, 2]


def test_who_has_no_place_is_found_by_a_geocode_and_never_by_a_shape() -> None:
    people = [Person(1, region=500117001005), Person(2, region=500117001005, lon=106.2, lat=30.1)]
    assert chosen(people, polygon_area("square", SQUARE)) == [2]
    assert chosen(people, circle_area("circle", 30.1, 106.2, 500)) == [2]
    assert chosen(people, geocode_area("district", ["500117"])) == [1, 2]


def test_a_point_on_the_border_is_inside() -> None:
    people = [Person(1, lon=106.4, lat=30.1), Person(2, lon=106.4, lat=30.3), Person(3, lon=106.4000001, lat=30.1)]
    assert chosen(people, polygon_area("square", SQUARE)) == [1, 2]


def test_codes_of_both_generations_of_the_merger_reach_the_same_people() -> None:
    codes = [region.number for region in regions() if region.level == "village" and region.code[:6] == "500105"]
    people = [Person(i, region=code) for i, code in enumerate(codes[:20], 1)]
    assert people
    assert chosen(people, geocode_area("new", ["500157"])) == [person.id for person in people]
    assert chosen(people, geocode_area("old", ["500105"])) == [person.id for person in people]


def test_filters_that_are_empty_select_nobody_and_filters_left_out_everybody() -> None:
    index = AudienceIndex.of(pages([Person(1), Person(2, language="en")]), languages=LANGUAGES)
    everywhere = ground(geocode_area("city", ["500000000000"]))

    def n(**filters: object) -> int:
        return len(index.select(ChannelName.SMS, everywhere, EVERYBODY, **filters))  # type: ignore[arg-type]

    assert n() == 2
    assert n(groups_mask=0) == 0
    assert n(languages=[]) == 0
    assert n(languages=["nobody"]) == 0
    assert n(languages=["en", "nobody"]) == 1
    assert len(index.select(ChannelName.SMS, everywhere, [])) == 0


BAD = {
    "none": [],
    "audience.area.empty": [Area("all of Chongqing")],
    "audience.area.geocode unknown": [geocode_area("x", ["500199"])],
    "audience.area.geocode digits": [geocode_area("x", ["50011"])],
    "audience.area.geocode system": [Area("x", geocodes=(NamedValue("UGC", "500117"),))],
    "audience.area.polygon open": [Area("x", polygons=(Polygon.parse("30,106 30,107 31,107 31,106"),))],
    "audience.area.polygon crossing": [Area("x", polygons=(Polygon.parse("30,106 31,107 30,107 31,106 30,106"),))],
    "audience.area.polygon flat": [Area("x", polygons=(Polygon.parse("30,106 30,107 30,108 30,106"),))],
    "audience.area.polygon text": [Area("x", polygons=(Polygon.parse("thirty,106 30,107"),))],
    "audience.area.polygon swapped": [Area("x", polygons=(Polygon.parse("106,30 107,30 107,31 106,30"),))],
    "audience.area.circle text": [Area("x", circles=(Circle.parse("30,106"),))],
    "audience.area.circle negative": [Area("x", circles=(Circle.parse("30,106 -1"),))],
    "audience.area.outside polygon": [polygon_area("Beijing", [(39, 116), (39, 117), (40, 117), (40, 116)])],
    "audience.area.outside circle": [circle_area("Beijing", 39.9, 116.4, 50)],
    "audience.area.height": [
        Area("x", geocodes=geocode_area("x", ["500117"]).geocodes, altitude=Height.parse("1000"))
    ],
}


@pytest.mark.parametrize("case", BAD)
def test_an_area_that_cannot_be_resolved_is_refused_with_its_reason(case: str) -> None:
    with pytest.raises(AreaUnresolved) as caught:
        ground(*BAD[case])
    rules = {problem.rule for problem in caught.value.problems}
    assert rules == {case.split(maxsplit=1)[0] if "." in case else f"audience.area.{case}"}
    assert all(len(problem.message) > 20 for problem in caught.value.problems)


def test_a_shape_outside_the_city_is_no_fault_beside_ground_inside_it() -> None:
    beyond = circle_area("Beijing", 39.9, 116.4, 50)
    inside = circle_area("Hechuan", 30.0, 106.3, 10)
    coded = geocode_area("x", ["500117"])
    assert ground(Area("both", circles=beyond.circles + inside.circles)).circles[1].lat == 30.0
    assert ground(Area("both", circles=beyond.circles, geocodes=coded.geocodes)).codes == ("500117000000",)


def test_one_bad_area_beside_a_good_one_refuses_the_whole_ground() -> None:
    with pytest.raises(AreaUnresolved):
        ground(geocode_area("good", ["500117"]), Area("bad"))


def test_every_problem_of_every_area_is_listed() -> None:
    with pytest.raises(AreaUnresolved) as caught:
        ground(Area("one"), geocode_area("two", ["500199", "500198"]))
    assert len(caught.value.problems) == 3


def test_columns_keep_divisions_by_number_and_give_them_back() -> None:
    codes = [500156101005, 500117001005, 500156101005, 500101001001]
    index = AudienceIndex.of(pages([Person(i, region=code) for i, code in enumerate(codes)]))
    columns = index.channels[ChannelName.SMS]
    assert columns.regions(np.arange(4)).tolist() == codes
    assert len(columns.division_table) == 3
