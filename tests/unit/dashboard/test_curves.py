"""Curves: nothing is lost by thinning, and the moments of 50, 90 and 99 percent are exact to the second."""

from __future__ import annotations

import math

from hypothesis import given
from hypothesis import strategies as st

from broker.dashboard.curves import MARKS, MOST_POINTS, drawn, marks
from broker.ledger.arrays import Milestone
from broker.store.records import CurveRow
from broker.types import ChannelName

seconds = st.dictionaries(st.integers(0, 5000), st.integers(1, 900), min_size=1, max_size=60)


def rows(by_second: dict[int, int], channel: ChannelName = ChannelName.SMS) -> list[CurveRow]:
    return [CurveRow("a", channel, Milestone.DELIVERED, second, n) for second, n in sorted(by_second.items())]


@given(seconds)
def test_a_thinned_curve_never_says_more_than_had_arrived_and_ends_at_the_total(by_second: dict[int, int]):
    points = drawn(rows(by_second))["sms"]["delivered"]
    assert len(points) <= MOST_POINTS
    assert points[-1][1] == sum(by_second.values())
    for end, total in points:
        assert total == sum(n for second, n in by_second.items() if second < end)


@given(seconds, st.integers(1, 50_000))
def test_a_mark_is_the_first_second_by_which_the_share_had_arrived(by_second: dict[int, int], more: int):
    planned = sum(by_second.values()) + more % 100
    found = marks(rows(by_second), {"sms": planned})
    assert found["all"] == found["sms"]
    for percent, mark in zip(MARKS, found["sms"], strict=True):

        def arrived(before: int) -> int:
            return sum(n for second, n in by_second.items() if second < before)

        enough = math.ceil(planned * percent / 100)
        if mark is None:
            assert arrived(5001) < enough
        else:
            assert arrived(mark - 1) < enough <= arrived(mark)


def test_channels_are_marked_apart_and_together():
    both = rows({0: 50, 9: 50}) + rows({3: 10}, ChannelName.APP)
    found = marks(both, {"sms": 100, "app": 20, "signage": 0})
    assert found == {"sms": [1, 10, 10], "app": [4, None, None], "all": [4, 10, None]}


def test_milestones_that_are_not_drawn_are_left_out():
    row = CurveRow("a", ChannelName.SMS, Milestone.ACKNOWLEDGED, 3, 5)
    assert drawn([row]) == {}
    assert marks([row], {"sms": 5})["sms"] == [None, None, None]
