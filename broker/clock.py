"""Time as the whole project counts it: whole milliseconds since 1970-01-01T00:00Z."""

from __future__ import annotations

import time
from datetime import UTC, datetime


def now_ms() -> int:
    """Now, in UTC milliseconds since the epoch."""
    return time.time_ns() // 1_000_000


def to_ms(instant: datetime) -> int:
    """Milliseconds since the epoch of an aware datetime."""
    if instant.tzinfo is None:
        raise ValueError("a time without an offset is ambiguous")
    return round(instant.timestamp() * 1000)


def from_ms(ms: int) -> datetime:
    """The aware UTC datetime of `ms`."""
    return datetime.fromtimestamp(ms / 1000, tz=UTC)
