"""The catalogue of national event codes."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import pytest
import yaml

from broker.geo.errors import GeoDataError, UnknownEvent
from broker.geo.events import EventCatalogue, is_pattern, pattern_covers
from broker.geo.regions import Regions

CONFIG = Path(__file__).parents[3] / "config"
GOOD = '  - {code: "11B03", zh: 暴雨, en: Rainstorm, department: meteorology, cap_category: Met}\n'


def catalogue() -> EventCatalogue:
    return EventCatalogue.load(CONFIG / "events.yaml")


def test_the_classes_that_warn_the_public_are_there() -> None:
    counts = Counter(event.code[:3] for event in catalogue())
    assert counts == {"11A": 11, "11B": 59, "11C": 4, "11D": 9, "11E": 8, "11G": 9}
    assert all(event.zh and event.en.isascii() for event in catalogue())


def test_codes_whose_number_is_in_doubt_are_not_there() -> None:
    assert not {"11A06", "11A10", "11A55", "11B58"} & {event.code for event in catalogue()}


def test_an_event_is_found_by_code_and_by_name() -> None:
    rain = catalogue().get("11B03")
    assert (rain.zh, rain.en, rain.department, rain.cap_category) == ("暴雨", "Rainstorm", "meteorology", "Met")
    assert catalogue().by_name_zh("滑坡").code == "11D01"
    assert catalogue().get("11D01").cap_category == "Geo"


def test_an_unknown_event_names_what_was_perhaps_meant() -> None:
    with pytest.raises(UnknownEvent) as caught:
        catalogue().get("11b03")
    assert "11B03" in caught.value.nearest
    with pytest.raises(UnknownEvent) as caught:
        catalogue().by_name_zh("大暴雨")
    assert "暴雨" in caught.value.nearest


def test_patterns_cover_by_their_beginning() -> None:
    assert pattern_covers("11B*", "11B03")
    assert not pattern_covers("11B*", "11A03")
    assert pattern_covers("11B37", "11B37")
    assert not pattern_covers("11B3", "11B37")
    assert {event.code[:3] for event in catalogue().matching("11D*")} == {"11D"}
    assert [event.zh for event in catalogue().matching("11A0*")][:2] == ["水旱灾害", "洪水"]


@pytest.mark.parametrize("text", ["11B03", "11B*", "11B0*", "11*", "1*"])
def test_these_are_patterns(text: str) -> None:
    assert is_pattern(text)


@pytest.mark.parametrize("text", ["", "*", "11B", "11b*", "11B03*", "15A*", "11B*3", "B03"])
def test_these_are_not_patterns(text: str) -> None:
    assert not is_pattern(text)


def problems(tmp_path: Path, text: str) -> list[tuple[int, str]]:
    path = tmp_path / "events.yaml"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(GeoDataError) as caught:
        EventCatalogue.load(path)
    return [(int(p.place.rpartition(":")[2]), p.message) for p in caught.value.problems]


@pytest.mark.parametrize(
    ("old", "new", "complaint"),
    [
        ('"11B03"', '"11B3"', "no event code"),
        ('"11B03"', "1103", "must be text"),
        ("meteorology", "weather", "none of meteorology"),
        ("cap_category: Met", "cap_category: met", "none of Geo"),
        ("department", "departement", "did you mean `department`"),
        (", en: Rainstorm", "", "`en` is missing"),
        ("zh: 暴雨", "zh: 大风", "comes twice"),
        ("zh: 暴雨", 'zh: ""', "must be text"),
        ("zh: 暴雨", "zh: 暴雨, zh: 雨", "key `zh` comes twice"),
    ],
)
def test_a_fault_is_named_with_its_line(tmp_path: Path, old: str, new: str, complaint: str) -> None:
    first = GOOD.replace("11B03", "11B06").replace("暴雨", "大风")
    found = problems(tmp_path, "events:\n" + first + GOOD.replace(old, new))
    assert any(complaint in message for _, message in found), found
    assert {line for line, _ in found} == {3}


@pytest.mark.parametrize("text", ["", "[]", "event: []", "events: 3", "events:\n  - 3\n", "events: [}\n"])
def test_a_file_of_another_shape_is_refused(tmp_path: Path, text: str) -> None:
    assert problems(tmp_path, text)


def test_the_departments_speak_of_events_and_regions_that_exist() -> None:
    regions = Regions.load(CONFIG / "regions" / "divisions.csv")
    entries = yaml.safe_load((CONFIG / "departments.yaml").read_text(encoding="utf-8"))["departments"]
    assert len(entries) == 6
    senders = [sender for entry in entries for sender in entry["senders"]]
    assert len(senders) == len(set(senders))
    assert not any(set(sender) & set(" ,<&") for sender in senders)
    for entry in entries:
        assert all(is_pattern(pattern) and catalogue().matching(pattern) for pattern in entry["events"])
        assert all(code in regions for code in entry["regions"])
        assert set(entry["release"]) == set(entry["levels"]) <= {"Red", "Orange", "Yellow", "Blue"}
        assert entry["sender_code"] is None or len(entry["sender_code"]) == 14
