"""What lint says: findings, and how grave each is in which posture. The catalogue is in `catalogue`."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

CLIPPED = 120
"""Longest value that a finding repeats, in characters."""


class Grade(StrEnum):
    """How grave a finding is; only an error makes a message invalid."""

    ERROR = "error"
    WARNING = "warning"
    INFO = "info"


class Posture(StrEnum):
    """How a message is judged: strict for our own departments, lenient for feeds of others."""

    STRICT = "strict"
    LENIENT = "lenient"


@dataclass(frozen=True, slots=True)
class Rule:
    """A rule of the catalogue: what must hold, where the standard says so, and its grade per posture.

    `clause` names the section of CAP 1.2, or begins with another standard's name, or is "house rule".
    """

    id: str
    sentence: str
    clause: str
    strict: Grade = Grade.ERROR
    lenient: Grade = Grade.ERROR

    def grade(self, posture: Posture) -> Grade:
        """How grave it is to break this rule in a posture."""
        return self.strict if posture is Posture.STRICT else self.lenient


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing found in one place.

    `place` is an XPath in local names, a JSON Pointer, or a line and column where there is no tree;
    `value` is what stood there, clipped; `line` counts from 1 and is known for XML only.
    """

    rule: str
    severity: Grade
    place: str
    value: str
    message: str
    clause: str
    line: int | None = None

    def as_dict(self) -> dict[str, str | int | None]:
        """The finding for JSON, as lint and the API print it."""
        return {
            "rule": self.rule,
            "severity": self.severity.value,
            "place": self.place,
            "line": self.line,
            "value": self.value,
            "message": self.message,
            "clause": self.clause,
        }


def clip(value: str) -> str:
    """`value` short enough for a report, control characters made visible."""
    cut = value if len(value) <= CLIPPED else value[: CLIPPED - 1] + "…"
    return "".join(char if char.isprintable() else repr(char)[1:-1] for char in cut)
