"""The bucket of a department: never more than its burst at once, never more than its rate in the long run."""

from __future__ import annotations

import math

from hypothesis import given
from hypothesis import strategies as st

from broker.api.rates import Buckets, RateLimit


class Clock:
    """A clock that goes when it is told to."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


LIMITS = st.builds(RateLimit, per_minute=st.integers(1, 6000), burst=st.integers(1, 50))


@given(limit=LIMITS, waits=st.lists(st.floats(0, 30), max_size=80))
def test_no_window_of_time_lets_more_through_than_burst_and_rate(limit: RateLimit, waits: list[float]) -> None:
    clock = Clock()
    buckets, through = Buckets(limit, clock), []
    for wait in waits:
        clock.now += wait
        taken = buckets.take("a")
        assert 0 <= taken.remaining < limit.burst + 1
        if taken.allowed:
            through.append(clock.now)
        else:
            assert taken.wait >= 1
    for first, start in enumerate(through):
        for last, end in enumerate(through[first:], first):
            assert last - first + 1 <= limit.burst + (end - start) * limit.per_minute / 60 + 1e-6


@given(limit=LIMITS)
def test_a_full_bucket_gives_its_burst_and_then_one_after_the_wait_that_it_names(limit: RateLimit) -> None:
    clock = Clock()
    buckets = Buckets(limit, clock)
    taken = [buckets.take("a") for _ in range(limit.burst)]
    assert all(each.allowed for each in taken)
    assert [each.remaining for each in taken] == list(range(limit.burst - 1, -1, -1))
    refused = buckets.take("a")
    assert not refused.allowed
    assert refused.reset == math.ceil(limit.burst * 60 / limit.per_minute)
    clock.now += refused.wait
    assert buckets.take("a").allowed


def test_refusals_cost_nothing_and_keys_do_not_share() -> None:
    clock = Clock()
    buckets = Buckets(RateLimit(per_minute=60, burst=1), clock)
    assert buckets.take("a").allowed
    assert not any(buckets.take("a").allowed for _ in range(100))
    assert buckets.take("b").allowed
    clock.now += 1
    assert buckets.take("a").allowed
