from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from broker.errors import InputRefused, Problem
from channels.mailbox.reports import Report, parse_reports

STATES = {"delivered": 1, "displayed": 2}
JSON = st.recursive(
    st.none() | st.booleans() | st.floats(allow_nan=True) | st.text(max_size=8) | st.integers(),
    lambda inner: (
        st.lists(inner, max_size=4) | st.dictionaries(st.sampled_from(["id", "state", "x"]), inner, max_size=3)
    ),
    max_leaves=12,
)


def test_a_list_of_reports_is_read_in_order() -> None:
    body = b'[{"id":"12:0","state":"delivered"},{"id":"9:65535","state":"displayed"}]'
    assert parse_reports(body, STATES, 10) == [Report(12, 0, 1), Report(9, 65_535, 2)]


@pytest.mark.parametrize(
    ("body", "status", "rules"),
    [
        (b"", 400, ["report.json"]),
        (b"\xff\xfe", 400, ["report.json"]),
        (b"[" * 30_000, 400, ["report.json"]),
        (b'[{"id":"1:1","id":"2:2","state":"delivered"}]', 400, ["report.json"]),
        (b"{}", 422, ["report.list"]),
        (b"[1]", 422, ["report.object"]),
        (b'[{"id":"01:1","state":"delivered"}]', 422, ["report.id"]),
        (b'[{"id":"1:1 ","state":"delivered"}]', 422, ["report.id"]),
        ('[{"id":"１:1","state":"delivered"}]'.encode(), 422, ["report.id"]),
        (b'[{"id":"1:65536","state":"delivered"}]', 422, ["report.id"]),
        (b'[{"id":"9999999999999999999:1","state":"delivered"}]', 422, ["report.id"]),
        (b'[{"id":"1:1","state":["delivered"]}]', 422, ["report.state"]),
        (b'[{"id":7,"state":"seen","x":1}]', 422, ["report.unknown", "report.id", "report.state"]),
        (json.dumps([{"id": "1:1", "state": "delivered"}] * 11).encode(), 422, ["report.count"]),
    ],
)
def test_malformed_reports_are_refused_with_every_problem(body: bytes, status: int, rules: list[str]) -> None:
    with pytest.raises(InputRefused) as refused:
        parse_reports(body, STATES, 10)
    assert refused.value.status == status
    assert [problem.rule for problem in refused.value.problems] == rules


def test_each_problem_says_where_it_is() -> None:
    body = b'[{"id":"1:1","state":"delivered"},{"id":"x","state":"y"}]'
    with pytest.raises(InputRefused) as refused:
        parse_reports(body, STATES, 10)
    assert [problem.place for problem in refused.value.problems] == ["/1/id", "/1/state"]


@given(JSON)
def test_any_json_is_either_read_or_refused_in_good_order(value: object) -> None:
    problems: list[Problem] = []
    reports: list[Report] = []
    try:
        reports = parse_reports(json.dumps(value).encode(), STATES, 10)
    except InputRefused as refused:
        problems = refused.problems
    well_formed = isinstance(value, list) and len(reports) == len(value)
    assert bool(problems) != well_formed
