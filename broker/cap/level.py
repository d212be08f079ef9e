"""The four warning levels and their place in CAP's severity."""

from __future__ import annotations

from enum import StrEnum

from broker.cap.model import Severity


class Level(StrEnum):
    """A warning level 预警级别, highest first; CAP carries it as `severity`."""

    RED = "Red"
    ORANGE = "Orange"
    YELLOW = "Yellow"
    BLUE = "Blue"

    @property
    def severity(self) -> Severity:
        """The CAP severity that stands for this level."""
        return _SEVERITIES[self]

    @property
    def chinese(self) -> str:
        """The level in Chinese, as it is written in headlines: 红色, 橙色, 黄色, 蓝色."""
        return _CHINESE[self]

    @property
    def rank(self) -> int:
        """4 for red down to 1 for blue, so that the highest of several is their `max` by rank."""
        return _RANKS[self]

    @classmethod
    def of(cls, severity: Severity) -> Level | None:
        """The level that a CAP severity stands for; None for Unknown, which is no level."""
        return _LEVELS.get(severity)


_SEVERITIES = {
    Level.RED: Severity.EXTREME,
    Level.ORANGE: Severity.SEVERE,
    Level.YELLOW: Severity.MODERATE,
    Level.BLUE: Severity.MINOR,
}
_LEVELS = {severity: level for level, severity in _SEVERITIES.items()}
_CHINESE = {Level.RED: "红色", Level.ORANGE: "橙色", Level.YELLOW: "黄色", Level.BLUE: "蓝色"}
_RANKS = {Level.RED: 4, Level.ORANGE: 3, Level.YELLOW: 2, Level.BLUE: 1}
