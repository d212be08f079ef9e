"""Curves over the seconds after accept: thinned for drawing, and the moments of 50, 90 and 99 percent."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from typing import Final

from broker.ledger.arrays import Milestone
from broker.store.records import CurveRow

Points = list[list[int]]
"""[seconds after accept, how many reached it by then], both rising."""

DRAWN: Final = (Milestone.SENT, Milestone.DELIVERED, Milestone.PRESENTED)
MARKS: Final = (50, 90, 99)
"""Percent of the planned recipients."""
MOST_POINTS: Final = 240
ALL: Final = "all"
"""Beside the names of channels: all of them together."""


def drawn(rows: Iterable[CurveRow]) -> dict[str, dict[str, Points]]:
    """Channel → milestone → points; a point says how many reached the milestone before its second.

    Where the curve is longer than MOST_POINTS seconds, every 2nd, 4th, 8th … second gets a point, the same
    step for all curves of an alert, so that curves that grow keep their beginning.
    """
    series: defaultdict[tuple[str, int], list[tuple[int, int]]] = defaultdict(list)
    longest = 0
    for row in rows:
        if row.milestone in DRAWN:
            series[row.channel, row.milestone].append((row.second, row.n))
            longest = max(longest, row.second + 1)
    step = 1
    while longest > step * MOST_POINTS:
        step *= 2
    curves: defaultdict[str, dict[str, Points]] = defaultdict(dict)
    for (channel, milestone), seconds in sorted(series.items()):
        curves[channel][Milestone(milestone).name.lower()] = _cumulated(seconds, step)
    return dict(curves)


def _cumulated(seconds: list[tuple[int, int]], step: int) -> Points:
    points: Points = []
    total = 0
    for second, n in sorted(seconds):
        total += n
        end = (second // step + 1) * step
        if points and points[-1][0] == end:
            points[-1][1] = total
        else:
            points.append([end, total])
    return points


def marks(rows: Sequence[CurveRow], planned: Mapping[str, int]) -> dict[str, list[int | None]]:
    """For each channel that was planned, and for `all`, the seconds within which MARKS percent were delivered.

    Whole seconds, rounded up; None where that share is not reached.
    """
    delivered: defaultdict[str, defaultdict[int, int]] = defaultdict(lambda: defaultdict(int))
    for row in rows:
        if row.milestone == Milestone.DELIVERED:
            delivered[row.channel][row.second] += row.n
            delivered[ALL][row.second] += row.n
    totals = {channel: n for channel, n in planned.items() if n}
    if totals:
        totals[ALL] = sum(totals.values())
    return {channel: _reached(delivered[channel], total) for channel, total in totals.items()}


def _reached(by_second: Mapping[int, int], planned: int) -> list[int | None]:
    wanted = [math.ceil(planned * percent / 100) for percent in MARKS]
    found: list[int | None] = [None] * len(wanted)
    total = 0
    for second in sorted(by_second):
        total += by_second[second]
        for place, enough in enumerate(wanted):
            if found[place] is None and total >= enough:
                found[place] = second + 1
    return found
