"""Certificates that end soon: a gauge to alarm on, and a line in the log every day until somebody acts.

The lapses that this is made for went unnoticed for weeks, for every part of the system kept quiet about them.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Final

from broker import logs
from broker.clock import from_ms, now_ms
from broker.metrics import Metrics
from broker.signing.certificates import DAY_MS, Expiry

STAGES: Final = (7, 30, 60)
"""Days before the end from which on it is said."""


@dataclass(frozen=True, slots=True)
class ExpiryNotice:
    """What is to be said of one certificate today."""

    expiry: Expiry
    stage: int
    """The stage that it has reached, in days; 0 once it has ended."""
    days_left: int
    replaced: bool
    """Whether the same department has another one that is good now and beyond the last stage."""

    @property
    def grave(self) -> bool:
        """Whether signatures fail for it already."""
        return self.stage == 0 and not self.replaced


def notices(expiries: Sequence[Expiry], at_ms: int) -> list[ExpiryNotice]:
    """What there is to say at `at_ms`, for every certificate that has ended or ends within sixty days."""
    found = []
    for expiry in expiries:
        left = expiry.not_after_ms - at_ms
        stage = 0 if left < 0 else next((stage for stage in STAGES if left <= stage * DAY_MS), None)
        if stage is not None:
            replaced = _replaced(expiry, expiries, at_ms)
            found.append(ExpiryNotice(expiry, stage, expiry.days_left(at_ms), replaced))
    return found


def _replaced(expiry: Expiry, expiries: Iterable[Expiry], at_ms: int) -> bool:
    return any(
        other.department == expiry.department
        and other.not_before_ms <= at_ms
        and other.not_after_ms > max(expiry.not_after_ms, at_ms + STAGES[-1] * DAY_MS)
        for other in expiries
    )


class ExpiryWatch:
    """Sets the gauge, and says once a day, and at once when a stage is reached, what ends."""

    def __init__(
        self,
        expiries: Sequence[Expiry],
        metrics: Metrics,
        *,
        clock: Callable[[], int] = now_ms,
        interval: float = 600.0,
    ) -> None:
        self._expiries = tuple(expiries)
        self._clock = clock
        self._interval = interval
        self._said: dict[tuple[str, str], tuple[int, int]] = {}
        self._log = logs.get(role="certificates")
        for expiry in self._expiries:
            gauge = metrics.certificate_expires.labels(expiry.department, expiry.fingerprint)
            gauge.set(expiry.not_after_ms / 1000)

    async def run(self) -> None:
        """Until cancelled; looks every `interval` seconds, so that a clock that was set is noticed."""
        while True:
            self.look()
            await asyncio.sleep(self._interval)

    def look(self) -> list[ExpiryNotice]:
        """Say what has not been said today, and return it."""
        at_ms = self._clock()
        fresh = []
        for notice in notices(self._expiries, at_ms):
            name = (notice.expiry.department, notice.expiry.fingerprint)
            today = (at_ms // DAY_MS, notice.stage)
            if self._said.get(name) != today:
                self._said[name] = today
                fresh.append(notice)
                self._say(notice)
        return fresh

    def _say(self, notice: ExpiryNotice) -> None:
        expiry = notice.expiry
        say = self._log.error if notice.grave else self._log.warning
        say(
            "certificate_ended" if notice.stage == 0 else "certificate_ends",
            department=expiry.department,
            fingerprint=expiry.fingerprint,
            subject=expiry.subject,
            file=str(expiry.path),
            ends=f"{from_ms(expiry.not_after_ms):%Y-%m-%d}",
            days_left=notice.days_left,
            replaced=notice.replaced,
        )
