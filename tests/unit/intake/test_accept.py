"""Ids that sort by time, and the forms that a Content-Type may name."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from broker.errors import InputRefused
from broker.intake.accept import form_of, is_id, new_id

TIMES = st.integers(0, 2**44 - 1)


@given(st.lists(TIMES, max_size=20, unique=True))
def test_ids_sort_by_time(times: list[int]) -> None:
    ids = [new_id(at) for at in times]

    assert sorted(ids) == [new for _, new in sorted(zip(times, ids, strict=True))]
    assert all(is_id(new) for new in ids)


def test_ids_of_one_moment_differ() -> None:
    assert len({new_id(1_781_746_200_000) for _ in range(1000)}) == 1000


@given(st.text(max_size=30))
def test_nothing_but_an_id_is_one(text: str) -> None:
    assert is_id(text) == (len(text) == 21 and set(text) <= set("0123456789abcdef"))


@pytest.mark.parametrize("text", ["0" * 20, "0" * 22, "0" * 20 + "\n", "0" * 21 + "\n", "A" * 21, "٠" * 21])
def test_what_looks_like_an_id_is_none(text: str) -> None:
    assert not is_id(text)


@pytest.mark.parametrize(
    ("content_type", "form"),
    [
        ("application/cap+xml", "xml"),
        ("application/xml", "xml"),
        ("APPLICATION/XML;charset=utf-8", "xml"),
        ("application/json", "json"),
        ("application/cap+json; charset=utf-8", "json"),
    ],
)
def test_known_types_name_a_form(content_type: str, form: str) -> None:
    assert form_of(content_type) == form


@pytest.mark.parametrize(
    "content_type",
    [
        "",
        "text/xml",
        "application/xhtml+xml",
        "application/xml, application/json",
        "application/xml; a=\r\nX: y",
        "application/xml; a=é",
    ],
)
def test_other_types_are_refused_with_those_that_are_known(content_type: str) -> None:
    with pytest.raises(InputRefused) as caught:
        form_of(content_type)

    assert caught.value.status == 415
    assert "application/cap+xml" in caught.value.problems[0].message
