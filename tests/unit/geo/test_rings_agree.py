"""Lint and targeting look at a ring separately: what lint lets pass, targeting must be able to use."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from broker.cap.rings import ring_problems as lint_problems
from broker.geo.shapes import ring_problems as targeting_problems

_degrees = st.integers(0, 6).map(float)
_points = st.tuples(_degrees, _degrees)
_rings = st.lists(_points, min_size=1, max_size=8).flatmap(
    lambda points: st.sampled_from([points, [*points, points[0]]])
)


@given(_rings)
def test_lint_and_targeting_refuse_the_same_rings(ring: list[tuple[float, float]]) -> None:
    assert bool(list(lint_problems(ring))) == bool(targeting_problems(ring))
