"""How much of a message the codecs are willing to look at."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Limits:
    """Bounds on one message, XML or JSON; a message over any of them is refused, never cut.

    `max_bytes` is the size as received; `max_depth` counts nested elements (CAP itself needs five),
    `max_elements` counts all of them; `max_points` bounds one polygon, since judging whether it crosses itself
    can take time with the square of its points; `max_findings` bounds the report, whose last entry then tells
    how many more there were.
    """

    max_bytes: int = 2 * 1024 * 1024
    max_depth: int = 12
    max_elements: int = 20_000
    max_points: int = 40_000
    max_findings: int = 500
