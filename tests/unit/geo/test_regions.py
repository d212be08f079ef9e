"""Divisions of both generations: reading, resolving, selecting."""

from __future__ import annotations

import csv
from datetime import date
from functools import cache
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from broker.geo.errors import GeoDataError, UnknownRegion
from broker.geo.regions import Region, Regions, RegionSelector

FILE = Path(__file__).parents[3] / "config" / "regions" / "divisions.csv"
BEFORE, AFTER = date(2025, 12, 31), date(2026, 1, 1)
TO_BEIBEI = {"大湾镇", "统景镇", "大盛镇", "兴隆镇", "茨竹镇"}
TO_LIANGJIANG = {"蔡家岗街道", "水土街道", "复兴街道", "施家梁镇", "童家溪镇"}


@cache
def regions() -> Regions:
    return Regions.load(FILE)


@cache
def lines() -> list[dict[str, str]]:
    """The file as it is, for expectations that do not go through the code under test."""
    with FILE.open(encoding="utf-8", newline="") as source:
        return list(csv.DictReader(source))


@cache
def numbers() -> np.ndarray:
    return np.array([int(line["code"]) for line in lines()], dtype=np.int64)


def selected(code: str, on: date | None = None) -> set[str]:
    mask = regions().selector([code], on).mask(numbers())
    return {line["code"] for line, chosen in zip(lines(), mask, strict=True) if chosen}


def towns(prefix: str, names: set[str] | None = None) -> set[str]:
    """Nine-digit codes of the townships under a district's prefix."""
    return {
        line["code"][:9]
        for line in lines()
        if line["level"] == "township"
        and line["code"].startswith(prefix)
        and (names is None or line["name_zh"] in names)
    }


def under(prefixes: set[str]) -> set[str]:
    return {line["code"] for line in lines() if any(line["code"].startswith(p) for p in prefixes)}


codes = st.deferred(lambda: st.sampled_from([line["code"] for line in lines()]))
days = st.sampled_from([None, date(2020, 5, 1), BEFORE, AFTER, date(2031, 7, 1)])


def test_the_table_holds_both_generations_of_the_whole_city() -> None:
    old = [line for line in lines() if not line["valid_from"]]
    counts = {level: sum(line["level"] == level for line in old) for level in ("district", "township", "village")}
    assert counts == {"district": 38, "township": 1031, "village": 11270}
    assert len(regions().districts(BEFORE)) == 38
    assert len(regions().districts(AFTER)) == len(regions().districts()) == 37
    assert len(regions().children("500157")) == 42
    assert len(regions().children("500109", BEFORE)) == len(regions().children("500109", AFTER)) == 17


def test_english_names_are_the_ones_in_use() -> None:
    names = {region.code: region.name_en for region in regions()}
    assert names["500115000000"] == "Changshou District"
    assert names["500109002000"] == "Chaoyang Subdistrict"
    assert names["500242000000"] == "Youyang Tujia and Miao Autonomous County"
    assert names["500157100000"] == "Mu'er Town"
    assert names["500156202000"] == "Shiqiao Miao and Tujia Ethnic Township"
    assert all(name.isprintable() and name[0].isascii() and name[0].isupper() for name in names.values())


def test_short_and_long_codes_are_padded_by_rule() -> None:
    hechuan = regions().get("500117")
    assert hechuan.name_zh == "合川区"
    assert regions().get("500117000000") == regions().get("50011700000000") == hechuan
    assert regions().get("500117001").name_zh == "合阳城街道"
    assert regions().get("50011700100000").level == "township"


@pytest.mark.parametrize(
    "code",
    [
        "",
        "5",
        "50",
        "5001",
        "50011",
        "500117001001001",
        "5001170010010",
        "５００１１７",
        "50011x",
        " 500117",
        "-50117",
    ],
)
def test_a_code_of_another_form_is_refused(code: str) -> None:
    with pytest.raises(UnknownRegion, match="6, 9, 12 or 14 digits"):
        regions().get(code)


def test_fourteen_digits_must_end_in_zeros() -> None:
    with pytest.raises(UnknownRegion, match="must be 00"):
        regions().get("50011700000001")


def test_an_unknown_code_names_what_was_perhaps_meant() -> None:
    with pytest.raises(UnknownRegion) as caught:
        regions().resolve("500117001999")
    assert "500117001000" in caught.value.nearest or caught.value.nearest[0].startswith("500117001")
    assert "500117001" in str(caught.value)
    with pytest.raises(UnknownRegion) as caught:
        regions().resolve("610000")
    assert caught.value.nearest == ()


def test_liangjiang_is_found_under_every_code_its_people_ever_had() -> None:
    expected = under(
        {"500157", "500105"} | (towns("500112") - towns("500112", TO_BEIBEI)) | towns("500109", TO_LIANGJIANG)
    )
    assert selected("500157") == expected
    assert selected("500157", BEFORE) == expected


def test_beibei_changed_its_ground_with_the_new_year() -> None:
    kept = towns("500109") - towns("500109", TO_LIANGJIANG) - towns("500109", TO_BEIBEI)
    after = under({"500109000000"} | kept | towns("500109", TO_BEIBEI) | towns("500112", TO_BEIBEI))
    assert selected("500109", AFTER) == selected("500109") == after
    before = under({"500109000000"} | kept | towns("500109", TO_LIANGJIANG) | towns("500157", TO_LIANGJIANG))
    assert selected("500109", BEFORE) == before


def test_an_ended_district_keeps_the_ground_of_its_last_day() -> None:
    names = {
        line["name_zh"] for line in lines() if line["level"] == "township" and line["parent"] == "500112000000"
    }
    fuxing_is_elsewhere = towns("500157", names) | towns("500109", TO_BEIBEI)
    assert selected("500112") == under({"500112"} | fuxing_is_elsewhere)
    resolved = regions().resolve("500112")
    assert [region.name_zh for region in resolved.current] == ["两江新区", "北碚区"]
    assert regions().resolve("500112", BEFORE).current == (resolved.region,)


def test_a_township_is_one_place_under_both_codes() -> None:
    assert selected("500112133") == selected("500109124") == under({"500112133", "500109124"})
    assert [r.name_zh for r in regions().resolve("500112133").current] == ["统景镇"]
    assert regions().resolve("500109124", BEFORE).current[0].code == "500112133000"


def test_a_village_hangs_below_the_heir_of_its_township() -> None:
    village = next(line["code"] for line in lines() if line["parent"] == "500112133000")
    assert [r.code for r in regions().ancestors(village, BEFORE)] == [
        "500112133000",
        "500112000000",
        "500000000000",
    ]
    assert [r.code for r in regions().ancestors(village)] == ["500109124000", "500109000000", "500000000000"]
    assert village in {r.code for r in regions().children("500109124")}
    assert regions().district_of(village).name_zh == "北碚区"
    assert regions().district_of(village, BEFORE).name_zh == "渝北区"


def test_containment_follows_the_ground_not_the_digits() -> None:
    village = next(line["code"] for line in lines() if line["parent"] == "500112133000")
    assert regions().contains("500157", "500105")
    assert not regions().contains("500157", "500112")
    assert not regions().contains("500105", "500157")
    assert regions().contains("500109", village)
    assert not regions().contains("500157", village)
    assert regions().contains("500112", village)
    assert regions().contains("500109", "500109006", BEFORE)
    assert not regions().contains("500109", "500109006", AFTER)


def test_the_city_selects_everybody_and_lies_in_no_district() -> None:
    assert len(selected("500000")) == len(lines())
    with pytest.raises(UnknownRegion, match="no district"):
        regions().district_of("500000")


@settings(deadline=None)
@given(codes, days)
def test_a_division_contains_itself_and_all_its_ancestors_contain_it(code: str, on: date | None) -> None:
    region = regions().get(code)
    for outer in (region, *regions().ancestors(code, on)):
        if on is None or outer.valid_on(on):
            # A district that was divided lies in none of its heirs as a whole.
            divided = len(region.successors) > 1 and outer is not region and outer.level == "district"
            assert divided or regions().contains(outer.code, code, on)


@settings(deadline=None)
@given(days)
def test_every_village_is_selected_by_exactly_the_district_that_holds_it(on: date | None) -> None:
    villages = [line["code"] for line in lines() if line["level"] == "village"]
    array = np.array([int(code) for code in villages], dtype=np.int64)
    home = regions().districts_of(array, on)
    for district in regions().districts(on):
        mask = regions().selector([district.code], on).mask(array)
        assert np.array_equal(mask, home == int(district.prefix))
    assert (home > 0).all()


@settings(deadline=None)
@given(codes, days)
def test_many_districts_at_once_are_the_same_as_one_by_one(code: str, on: date | None) -> None:
    [many] = regions().districts_of(np.array([int(code)], dtype=np.int64), on)
    if regions().get(code).level == "city":
        assert many == 0
    else:
        assert many == int(regions().district_of(code, on).prefix)


def test_codes_nobody_knows_have_no_district() -> None:
    unknown = np.array([0, 110101001001, 500157999001, 500199000000, 510000000000], dtype=np.int64)
    assert regions().districts_of(unknown).tolist() == [0, 0, 0, 0, 0]


@settings(deadline=None, max_examples=30)
@given(codes, days)
def test_prefixes_and_ranges_say_the_same(code: str, on: date | None) -> None:
    resolved = regions().resolve(code, on)
    by_prefix = {line["code"] for line in lines() if line["code"].startswith(resolved.prefixes)}
    by_range = {line["code"] for line in lines() if any(a <= int(line["code"]) < b for a, b in resolved.ranges)}
    assert by_prefix == by_range == selected(code, on)
    assert code in by_prefix


@settings(deadline=None)
@given(
    st.lists(st.tuples(st.integers(0, 60), st.integers(1, 9)).map(lambda p: (p[0], p[0] + p[1])), max_size=8),
    st.lists(st.integers(-5, 80), max_size=40),
)
def test_a_selector_is_membership_in_any_of_its_ranges(ranges: list[tuple[int, int]], points: list[int]) -> None:
    mask = RegionSelector(ranges).mask(np.array(points, dtype=np.int64))
    assert mask.tolist() == [any(a <= point < b for a, b in ranges) for point in points]


def test_a_selector_of_several_codes_is_their_union() -> None:
    mask = regions().selector(["500117", "500156101", "500112"]).mask(numbers())
    chosen = {line["code"] for line, hit in zip(lines(), mask, strict=True) if hit}
    assert chosen == selected("500117") | selected("500156101") | selected("500112")
    assert not regions().selector([]).mask(numbers()).any()


HEADER = "code,name_zh,name_en,level,parent,valid_from,valid_to,successors,lon,lat,place,population"
GOOD = [
    "500000000000,重庆市,Chongqing,city,,,,,106.5,29.5,centroid,1",
    "500101000000,万州区,Wanzhou,district,500000000000,,,,108.4,30.7,centroid,1",
    "500101001000,甲街道,Jia,township,500101000000,,,,108.4,30.7,synthetic,",
]


def load(tmp_path: Path, *rows: str, header: str = HEADER) -> Regions:
    path = tmp_path / "divisions.csv"
    path.write_text("\n".join([header, *rows]) + "\n", encoding="utf-8")
    return Regions.load(path)


@pytest.mark.parametrize(
    ("row", "complaint"),
    [
        ("50010100200,乙,Yi,township,500101000000,,,,1,1,synthetic,", "not twelve digits"),
        ("500101002000,乙,Yi,village,500101000000,,,,1,1,synthetic,", "cannot be a 'village'"),
        ("500101002000,乙,,township,500101000000,,,,1,1,synthetic,", "no name in both languages"),
        ("500101002000,乙,Yi,township,500101000000,,,,1,91,synthetic,", "no place on Earth"),
        ("500101002000,乙,Yi,township,500101000000,,,,nan,1,synthetic,", "no place on Earth"),
        ("500101002000,乙,Yi,township,500101000000,,,,1,x,synthetic,", "could not convert"),
        ("500101002000,乙,Yi,township,500101000000,,,,1,1,guessed,", "place is 'guessed'"),
        ("500101002000,乙,Yi,township,500101000000,2026-13-01,,,1,1,synthetic,", "month"),
        ("500101002000,乙,Yi,township", "4 columns"),
        ("500101001000,甲,Jia,township,500101000000,,,,1,1,synthetic,", "comes twice"),
        ("500101002000,乙,Yi,township,500000000000,,,,1,1,synthetic,", "the code says 500101000000"),
        ("500102002000,乙,Yi,township,500102000000,,,,1,1,synthetic,", "parent 500102000000 is missing"),
        ("500101002000,乙,Yi,township,500101000000,,,500101001000,1,1,synthetic,", "no last day"),
        ("500101002000,乙,Yi,township,500101000000,,2025-01-01,500101009000,1,1,synthetic,", "is missing"),
        ("500101002000,乙,Yi,township,500101000000,,2025-01-01,500101000000,1,1,synthetic,", "is a district"),
        (
            "500101002000,乙,Yi,township,500101000000,,2025-01-01,500101001000|500101001000,1,1,synthetic,",
            "one successor only",
        ),
        (
            "500101002000,乙,Yi,township,500101000000,,2025-01-01,500101002000,1,1,synthetic,",
            "does not outlast",
        ),
    ],
)
def test_a_bad_line_is_named_with_its_fault(tmp_path: Path, row: str, complaint: str) -> None:
    with pytest.raises(GeoDataError) as caught:
        load(tmp_path, *GOOD, row)
    assert any(complaint in problem.message for problem in caught.value.problems), caught.value.problems


def test_all_bad_lines_are_listed_with_their_numbers(tmp_path: Path) -> None:
    with pytest.raises(GeoDataError) as caught:
        load(tmp_path, *GOOD, "x", "y")
    places = [problem.place.rpartition(":")[2] for problem in caught.value.problems]
    assert places == ["5", "6"]


def test_another_header_is_refused(tmp_path: Path) -> None:
    with pytest.raises(GeoDataError, match="first line"):
        load(tmp_path, *GOOD, header="code,name")
    with pytest.raises(GeoDataError, match="no divisions"):
        load(tmp_path)


def test_a_good_small_table_loads(tmp_path: Path) -> None:
    table = load(tmp_path, *GOOD)
    assert len(table) == 3
    assert table.city.name_zh == "重庆市"
    assert isinstance(table.get("500101001"), Region)
    assert "500101001000" in table
