"""Queries are read strictly: what is odd is refused with its place, never mended."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from multidict import MultiDict

from broker.api.listing import AlertQuery
from broker.api.questions import read_query
from broker.clock import from_ms
from broker.errors import InputRefused


def rules(*pairs: tuple[str, str]) -> list[str]:
    with pytest.raises(InputRefused) as refused:
        read_query(AlertQuery, MultiDict(pairs))
    assert refused.value.status == 400
    return sorted(problem.rule for problem in refused.value.problems)


def refused(query: MultiDict[str]) -> list[str]:
    """The rules that it breaks, if any."""
    try:
        read_query(AlertQuery, query)
    except InputRefused as error:
        return [problem.rule for problem in error.problems]
    return []


def read(*pairs: tuple[str, str]) -> AlertQuery:
    query = read_query(AlertQuery, MultiDict(pairs))
    assert isinstance(query, AlertQuery)
    return query


def test_what_is_right_is_read() -> None:
    query = read(("limit", "7"), ("state", "released"), ("state", "planned"), ("level", "Red"))

    assert (query.limit, query.state, query.level, query.status) == (7, ("released", "planned"), ("Red",), ())
    assert (query.cursor, query.since) == (None, None)


def test_everything_that_is_wrong_is_listed() -> None:
    found = rules(("limit", "0"), ("state", "sent"), ("since", "noon"), ("color", "red"), ("limit", "1"))

    assert found == ["query.repeated", "query.since", "query.state", "query.unknown"]


def test_a_call_without_a_query_knows_no_parameter() -> None:
    assert read_query(None, MultiDict()) is None
    with pytest.raises(InputRefused) as error:
        read_query(None, MultiDict([("a", "1")]))
    assert [problem.rule for problem in error.value.problems] == ["query.unknown"]


@given(ms=st.integers(0, 4_000_000_000_000))
def test_since_is_an_instant_in_whatever_zone_it_is_written(ms: int) -> None:
    written = from_ms(ms).isoformat(timespec="milliseconds")
    assert read(("since", written)).since == ms
    assert read(("since", written.replace("+00:00", "Z").lower())).since == ms


@given(text=st.text(max_size=20))
def test_any_text_is_read_or_refused(text: str) -> None:
    for name in AlertQuery.model_fields:
        assert set(refused(MultiDict([(name, text)]))) <= {f"query.{name}"}
