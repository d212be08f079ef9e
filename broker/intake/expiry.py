"""How long a message stands that does not say when it expires (config/expiry.yaml; CAP 1.2, 3.2.2 `expires`)."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Final, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, field_validator

from broker.cap.level import Level
from broker.cap.model import MsgType
from broker.errors import Problem
from broker.geo.events import is_pattern, pattern_covers
from broker.yamlfile import load_yaml

MOST_HOURS: Final = 31 * 24
"""What a warning may stand at most, however its end is found."""

Hours = Annotated[float, Field(gt=0, le=MOST_HOURS, strict=True, allow_inf_nan=False)]
_Level = Literal["Red", "Orange", "Yellow", "Blue"]


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Rule(_Strict):
    """One line of the policy: which warnings stand for how many hours."""

    events: Annotated[tuple[str, ...], Field(min_length=1)] | None = None
    """Event codes, or patterns such as `11B*`; all when absent."""
    levels: Annotated[tuple[_Level, ...], Field(min_length=1)] | None = None
    """All, and warnings without a level, when absent."""
    hours: Hours

    @field_validator("events")
    @classmethod
    def _patterns(cls, events: tuple[str, ...] | None) -> tuple[str, ...] | None:
        for event in events or ():
            if not is_pattern(event):
                raise ValueError(f"{event!r} is neither an event code nor a pattern such as 11B*")
        return events

    def covers(self, event: str, level: Level | None) -> bool:
        """Whether this line is about such a warning."""
        if self.levels is not None and (level is None or level.value not in self.levels):
            return False
        return self.events is None or any(pattern_covers(pattern, event) for pattern in self.events)


class Expiry(_Strict):
    """The whole policy; the first line that covers a warning decides."""

    warnings: tuple[Rule, ...] = ()
    """For Alert and Update."""
    otherwise: Hours = 24
    """For warnings that no line covers."""
    messages: Hours = 24
    """For Cancel, Ack and Error: how long everybody is sought who must learn of them."""

    @classmethod
    def load(cls, path: Path) -> Self:
        """From a YAML file. Raises ConfigError with file and line of everything wrong."""
        return load_yaml(path, cls)

    def of(self, event: str, level: Level | None, msg_type: MsgType) -> float:
        """Hours for which a message stands that names no end itself."""
        if msg_type not in (MsgType.ALERT, MsgType.UPDATE):
            return self.messages
        return next((rule.hours for rule in self.warnings if rule.covers(event, level)), self.otherwise)


def unreachable(expiry: Expiry, place: str) -> list[Problem]:
    """Lines that can never decide because one before them covers everything they do, for `fenghuo check`."""
    found = []
    for number, rule in enumerate(expiry.warnings):
        for before, other in enumerate(expiry.warnings[:number]):
            levels = other.levels is None or (rule.levels is not None and set(rule.levels) <= set(other.levels))
            events = other.events is None or (
                rule.events is not None
                and all(any(_within(own, wide) for wide in other.events) for own in rule.events)
            )
            if levels and events:
                message = f"warnings[{number}] never decides: warnings[{before}] covers all of it"
                found.append(Problem(place, "expiry.unreachable", message))
                break
    return found


def _within(own: str, wide: str) -> bool:
    return own == wide or (wide.endswith("*") and own.rstrip("*").startswith(wide[:-1]))
