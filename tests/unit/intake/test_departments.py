"""The departments' file: what is granted, and what is wrong with it, each said with its line."""

from __future__ import annotations

from pathlib import Path

import pytest

from broker.errors import ConfigError, NotFound
from broker.intake.departments import Department, Departments, ReleaseMode
from tests.support.places import ROOT

GOOD = """departments:
  - id: met
    name_zh: 气象台
    name_en: Observatory
    senders: [met@warning.example]
    events: ["11B*"]
    regions: ["500117000000"]
    levels: [Red, Blue]
    release: {Red: second_person, Blue: none}
"""


def load(folder: Path, text: str) -> Departments:
    path = folder / "departments.yaml"
    path.write_text(text, encoding="utf-8")
    return Departments.load(path)


def test_what_a_file_grants_is_read(tmp_path: Path) -> None:
    [department] = load(tmp_path, GOOD)

    assert department.prefixes == ("500117",)
    assert department.may_warn_of("11B03")
    assert not department.may_warn_of("11A51")
    assert department.covers("500117001000")
    assert not department.covers("500156101000")
    assert department.release_mode("Blue") is ReleaseMode.NONE
    assert department.release_mode("Red") is ReleaseMode.SECOND_PERSON


@pytest.mark.parametrize("level", ["Yellow", "Orange", None])
def test_a_level_of_which_nothing_is_said_needs_a_second_person(tmp_path: Path, level: str | None) -> None:
    [department] = load(tmp_path, GOOD)

    assert department.release_mode(level) is ReleaseMode.SECOND_PERSON


def test_the_departments_that_come_with_it_are_good() -> None:
    given = Departments.load(ROOT / "config/departments.yaml")

    assert [one.id for one in given][:3] == ["meteorology", "hydrology", "geology"]
    assert given.get("meteorology").name_zh == "重庆市气象台"
    assert given.get("meteorology").prefixes == ("50",)
    assert sum(one.id.startswith("met-") for one in given) == 3


def test_an_unknown_department_is_not_found_and_the_known_are_named(tmp_path: Path) -> None:
    with pytest.raises(NotFound, match="no department 'mat'; there are met"):
        load(tmp_path, GOOD).get("mat")


@pytest.mark.parametrize(
    ("regions", "prefixes"),
    [
        ('["500000000000"]', ("50",)),
        ('["50"]', ("50",)),
        ('["500117"]', ("500117",)),
        ('["500117001"]', ("500117001",)),
        ('["500117001005"]', ("500117001005",)),
        ('["500117001000", "500156"]', ("500117001", "500156")),
    ],
)
def test_regions_are_shortened_to_the_digits_that_select(
    tmp_path: Path, regions: str, prefixes: tuple[str, ...]
) -> None:
    [department] = load(tmp_path, GOOD.replace('["500117000000"]', regions))

    assert department.prefixes == prefixes


@pytest.mark.parametrize(
    ("old", "new", "line", "message"),
    [
        ("senders:", "sender:", 5, "unknown key 'sender' in departments[0], did you mean 'senders'?"),
        ("    levels: [Red, Blue]\n", "", 2, "the key 'levels' is missing in departments[0]"),
        ("id: met", "id: Met Office", 2, "should match pattern '^[a-z0-9-]+$'"),
        ("[met@warning.example]", "[]", 5, "senders must not be empty"),
        ("[Red, Blue]", "[Red, Bleu]", 8, "did you mean 'Blue'?"),
        ("[Red, Blue]", "[]", 8, "levels must not be empty"),
        ('["11B*"]', "[]", 6, "events must not be empty"),
        ('["11B*"]', '["rain"]', 6, "'rain' is neither an event code nor a pattern such as 11B*"),
        ('["11B*"]', '["11B*3"]', 6, "'11B*3' is neither an event code nor a pattern"),
        ('["500117000000"]', "[500117000000]", 7, "put 500117000000 in quotes"),
        ('["500117000000"]', '["5001170"]', 7, "should match pattern"),
        ('["500117000000"]', '["合川"]', 7, "should match pattern"),
        ("Red: second_person", "Red: second-person", 9, "did you mean 'second_person'?"),
        ("Red: second_person", "Rot: second_person", 9, "'Rot'"),
        ("name_zh: 气象台", "name_zh: 12", 3, "put 12 in quotes"),
        ("    levels", "    posture: lenient\n    levels", 8, "'lenient' is not a value of departments[0].posture"),
        ("    name_zh: 气象台\n", "    name_zh: 气象台\n    name_zh: 台\n", 4, "name_zh"),
        ("departments:", "department:", 1, "did you mean 'departments'?"),
    ],
)
def test_what_is_wrong_is_said_with_its_line(tmp_path: Path, old: str, new: str, line: int, message: str) -> None:
    assert old in GOOD
    with pytest.raises(ConfigError) as caught:
        load(tmp_path, GOOD.replace(old, new, 1))

    said = {problem.place.rpartition("/")[2]: problem.message for problem in caught.value.problems}
    assert message in said[f"departments.yaml:{line}"]


def test_everything_that_is_wrong_is_said_at_once(tmp_path: Path) -> None:
    text = GOOD.replace("[Red, Blue]", "[Rot]").replace("11B*", "rain").replace("id: met", "id: ''")

    with pytest.raises(ConfigError) as caught:
        load(tmp_path, text)

    assert len(caught.value.problems) == 3


def test_two_departments_with_one_id_or_one_sender_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="two departments have the same id"):
        load(tmp_path, GOOD + GOOD.removeprefix("departments:\n"))
    second = GOOD.removeprefix("departments:\n").replace("id: met", "id: other")
    with pytest.raises(ConfigError, match=r"'met@warning\.example' belongs to met and to other"):
        load(tmp_path, GOOD + second)


def test_a_department_cannot_be_changed_once_it_is_read(tmp_path: Path) -> None:
    [department] = load(tmp_path, GOOD)

    with pytest.raises(ValueError, match="frozen"):
        department.levels = ("Red", "Orange")  # type: ignore[misc]
    assert isinstance(department, Department)


# ── machines ──────────────────────────────────────────────────────────────────────────────────────────

MACHINE = GOOD.replace("{Red: second_person, Blue: none}", "{Red: machine, Blue: none}") + (
    "    machine:\n"
    "      events: [11B03]\n"
    "      levels: [Red]\n"
    "      max_area_km2: 400\n"
    "      max_districts: 1\n"
    "      max_per_hour: 3\n"
    "      parameters:\n"
    "        rain_mm: {min: 0, max: 300}\n"
)


def test_the_limits_of_machines_are_read(tmp_path: Path) -> None:
    [department] = load(tmp_path, MACHINE)

    assert department.release_mode("Red") is ReleaseMode.MACHINE
    assert department.machine is not None
    assert department.machine.max_area_km2 == 400
    assert department.machine.parameters["rain_mm"].max == 300


@pytest.mark.parametrize(
    ("old", "new", "line", "message"),
    [
        ("      max_per_hour: 3\n", "", 10, "the key 'max_per_hour' is missing"),
        ("max_area_km2: 400", "max_area_km2: 0", 13, "greater than 0"),
        ("max_area_km2: 400", "max_area_km2: .nan", 13, "max_area_km2"),
        ("max_districts: 1", "max_districts: 1.5", 14, "max_districts"),
        ("max_per_hour: 3", "max_per_hour: 0", 15, "greater than or equal to 1"),
        ("{min: 0, max: 300}", "{}", 17, "min, max or both are needed"),
        ("{min: 0, max: 300}", "{min: 3, max: 1}", 17, "min 3.0 is more than max 1.0"),
        ("[11B03]", "[rain]", 11, "'rain' is neither an event code nor a pattern"),
        ("max_area_km2", "max_area", 13, "unknown key 'max_area'"),
    ],
)
def test_what_is_wrong_with_limits_is_said_with_its_line(
    tmp_path: Path, old: str, new: str, line: int, message: str
) -> None:
    assert old in MACHINE
    with pytest.raises(ConfigError) as caught:
        load(tmp_path, MACHINE.replace(old, new, 1))

    said = [str(problem) for problem in caught.value.problems]
    assert any(f"departments.yaml:{line}: " in each and message in each for each in said), said


def test_a_level_for_machines_needs_limits(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="limits of machines must stand under the key 'machine'"):
        load(tmp_path, GOOD.replace("second_person", "machine"))
