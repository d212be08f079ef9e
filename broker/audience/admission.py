"""Which kinds of recipients a message may reach at all, by its CAP status: one table, asked before any policy.

A drill that looked like the real thing, and a test that reached the public, are the classic accidents of
warning systems; so this is code and no policy can widen it.
"""

from __future__ import annotations

from typing import Final

from broker.cap.model import Status
from broker.types import Kind

ADMITTED: Final[dict[Status, frozenset[Kind]]] = {
    Status.ACTUAL: frozenset({Kind.PUBLIC, Kind.DUTY}),
    Status.EXERCISE: frozenset({Kind.DUTY, Kind.TRAINING}),
    Status.TEST: frozenset({Kind.TRAINING}),
    Status.SYSTEM: frozenset(),
    Status.DRAFT: frozenset(),
}
"""CAP 1.2, 3.2.1 `status` → whom it may reach. Only Actual reaches the public."""


def admitted(status: Status) -> frozenset[Kind]:
    """The kinds of recipients that a message of this status may reach."""
    return ADMITTED[status]
