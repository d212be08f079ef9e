"""Rate limits: a bucket of tokens for each department, filled at a steady rate, in the memory of this process."""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field


class RateLimit(BaseModel):
    """How many requests a department may make, by each process that serves the API."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    per_minute: Annotated[int, Field(ge=1, le=1_000_000)] = 600
    """In the long run."""
    burst: Annotated[int, Field(ge=1, le=1_000_000)] = 300
    """At once, after a while without any."""


@dataclass(frozen=True, slots=True)
class Taken:
    """What taking one request out of a bucket gave."""

    allowed: bool
    limit: int
    remaining: int
    reset: int
    """Seconds until the bucket is full."""
    wait: int
    """Seconds until the next request is allowed; 0 if it is now."""


class Buckets:
    """One bucket per key (department and share). `clock` counts seconds and never goes back."""

    def __init__(self, limit: RateLimit, clock: Callable[[], float] = time.monotonic) -> None:
        self._rate = limit.per_minute / 60
        self._burst = limit.burst
        self._clock = clock
        self._full_at: dict[object, float] = {}

    def take(self, key: object) -> Taken:
        """Take one, if there is one."""
        now = self._clock()
        # The moment at which the bucket is full again says how full it is now, and needs no timer.
        full_at = max(self._full_at.get(key, now), now)
        level = self._burst - (full_at - now) * self._rate
        # A bucket filled to a hair's breadth of one is filled: seconds are not whole numbers of requests.
        allowed = level >= 1 - 1e-9
        if allowed:
            full_at += 1 / self._rate
            level -= 1
            self._full_at[key] = full_at
        return Taken(
            allowed=allowed,
            limit=self._burst,
            remaining=max(0, math.floor(level + 1e-9)),
            reset=math.ceil(full_at - now - 1e-6),
            wait=0 if allowed else max(1, math.ceil((1 - level) / self._rate)),
        )
