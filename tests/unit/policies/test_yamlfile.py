from __future__ import annotations

from enum import StrEnum
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import BaseModel, ConfigDict, Field

from broker.errors import ConfigError, Problem
from broker.yamlfile import load_yaml, parse_yaml, suggestion


class Colour(StrEnum):
    RED = "Red"
    BLUE = "Blue"


class Item(BaseModel):
    model_config = ConfigDict(extra="forbid")
    name: str
    colour: Colour = Colour.RED
    tags: tuple[str, ...] = Field((), min_length=0)
    size: int | None = None


class File(BaseModel):
    model_config = ConfigDict(extra="forbid")
    items: tuple[Item, ...]
    by_name: dict[str, Item] = {}
    again: bool = Field(False, alias="continue")


def problems(text: str, tmp_path: Path) -> list[tuple[int, str, str]]:
    path = tmp_path / "file.yaml"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(ConfigError) as caught:
        load_yaml(path, File)
    found = []
    for problem in caught.value.problems:
        name, _, line = problem.place.rpartition(":")
        assert name == str(path)
        found.append((int(line), problem.rule, problem.message))
    return found


def test_a_good_file_becomes_the_model(tmp_path: Path) -> None:
    path = tmp_path / "file.yaml"
    path.write_text("items:\n  - name: a\n    colour: Blue\ncontinue: true\nby_name: {x: {name: b}}\n")
    file = load_yaml(path, File)
    assert file.items[0].colour is Colour.BLUE
    assert file.again is True
    assert file.by_name["x"].name == "b"


def test_an_unknown_key_is_named_with_its_line_and_the_likely_right_one(tmp_path: Path) -> None:
    text = "items:\n  - name: a\n    colur: Red\nby_name:\n  x:\n    name: b\n    sise: 3\n"
    first, second = problems(text, tmp_path)
    assert (first[0], second[0]) == (3, 7)
    assert "'colur'" in first[2]
    assert "did you mean 'colour'?" in first[2]
    assert "did you mean 'size'?" in second[2]


def test_a_wrong_value_of_a_closed_list_is_named_with_the_likely_right_one(tmp_path: Path) -> None:
    ((line, rule, message),) = problems("items:\n  - name: a\n    colour: rad\n", tmp_path)
    assert (line, rule) == (3, "yaml.enum")
    assert "'rad'" in message
    assert "did you mean 'Red'?" in message


def test_the_alias_of_a_key_is_what_is_suggested(tmp_path: Path) -> None:
    ((_, _, message),) = problems("items: []\ncontnue: true\n", tmp_path)
    assert "did you mean 'continue'?" in message


def test_a_key_that_comes_twice_is_an_error_and_both_lines_are_told(tmp_path: Path) -> None:
    ((line, rule, message),) = problems("items: []\ncontinue: true\nitems: []\n", tmp_path)
    assert (line, rule) == (3, "yaml.duplicate_key")
    assert "line 1" in message


def test_a_missing_key_stands_at_the_line_of_what_it_is_missing_in(tmp_path: Path) -> None:
    ((line, _, message),) = problems("items:\n  - name: a\n  - colour: Red\n", tmp_path)
    assert line == 3
    assert "'name' is missing" in message


def test_a_number_where_text_is_meant_asks_for_quotes(tmp_path: Path) -> None:
    ((line, _, message),) = problems("items:\n  - name: 500157\n", tmp_path)
    assert line == 2
    assert "put 500157 in quotes" in message


def test_every_problem_of_a_file_is_listed_in_the_order_of_lines(tmp_path: Path) -> None:
    found = problems("items:\n  - name: 1\n    colour: x\n    z: 1\n  - {}\nfoo: 1\n", tmp_path)
    assert [line for line, _, _ in found] == [2, 3, 4, 5, 6]


@pytest.mark.parametrize(
    "text",
    [
        "items: [",
        "- a\n- b\n",
        "items: !!python/object/apply:os.system ['true']",
        "items: &a [*a]",
        "items:\n\t- x\n",
        "items: 2020-13-45",
        "? [a, b]\n: c\n",
        "<<: {items: []}\n",
        "items: \x00",
        "items: []\n---\nitems: []\n",
        "'items",
        "items: !unknown x",
        "just text",
        "items: " + "[" * 100 + "]" * 100,
        "%YAML 9.9\n---\na: b",
        "items: *nothing",
    ],
)
def test_what_is_no_good_yaml_is_a_problem_with_a_line_and_never_a_traceback(text: str, tmp_path: Path) -> None:
    assert all(line >= 1 and message for line, _, message in problems(text, tmp_path))


def test_a_file_that_is_not_there_or_not_utf8_is_a_problem(tmp_path: Path) -> None:
    for path in (tmp_path / "none.yaml", tmp_path / "latin.yaml"):
        (tmp_path / "latin.yaml").write_bytes(b"items: \xff\xfe")
        with pytest.raises(ConfigError) as caught:
            load_yaml(path, File)
        assert str(path) in str(caught.value)


@given(st.text(max_size=60))
def test_any_text_is_a_document_or_a_list_of_problems(text: str) -> None:
    problems: list[Problem] | None = None
    try:
        parse_yaml(text, "any.yaml").validate(File)
    except ConfigError as error:
        problems = error.problems
    assert problems is None or problems


def test_nothing_is_suggested_for_a_word_that_resembles_nothing() -> None:
    assert suggestion("zzzz", ["levels", "events"]) == ""
