"""What a terminal reports of a message, as one small JSON object on its own topic.

`{"batch", "ordinal", "attempt", "key", "state", "reason"?, "at"}`. A report is evidence only if its sender,
known from the topic that the server lets only this terminal write, stands at that ordinal of that batch.
A refusal of a message whose signature is not good names no batch: otherwise whoever forges a message could
mark the true one as refused.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from enum import StrEnum


class TerminalState(StrEnum):
    """How far a terminal has come with a message."""

    VERIFIED = "verified"
    """Received, and the signature, age, area and addressee are right."""
    PLAYING = "playing"
    PLAYED = "played"
    """Played to its end."""
    REFUSED = "refused"


@dataclass(frozen=True, slots=True)
class Reference:
    """The place in the broker's books that a signed message gave to a terminal."""

    batch: int
    ordinal: int
    attempt: int
    key: str


@dataclass(frozen=True, slots=True)
class Report:
    """One report; `reference` is None in a refusal of something not verified."""

    state: TerminalState
    at: int
    """The terminal's own clock, UTC milliseconds; for the log only."""
    reference: Reference | None = None
    reason: str | None = None

    def encode(self) -> bytes:
        """As bytes."""
        fields: dict[str, object] = {"state": self.state.value, "at": self.at}
        if self.reference is not None:
            fields |= {
                "batch": self.reference.batch,
                "ordinal": self.reference.ordinal,
                "attempt": self.reference.attempt,
                "key": self.reference.key,
            }
        if self.reason is not None:
            fields["reason"] = self.reason
        return json.dumps(fields, ensure_ascii=False, separators=(",", ":")).encode()

    @classmethod
    def decode(cls, data: bytes) -> Report:
        """From bytes. Raises ValueError for anything else than a report."""
        try:
            fields = json.loads(data)
        except RecursionError as error:
            raise ValueError("not a report") from error
        if not isinstance(fields, dict):
            raise ValueError("not a report")
        reference = _reference(fields)
        at, reason = fields.get("at"), fields.get("reason")
        if type(at) is not int or not isinstance(reason, str | None):
            raise ValueError("a report has a time, and its reason is a text")
        state = TerminalState(str(fields.get("state")))
        if reference is None and state is not TerminalState.REFUSED:
            raise ValueError("only a refusal may name no batch")
        return cls(state, at, reference, reason)


def _reference(fields: dict[str, object]) -> Reference | None:
    if not fields.keys() & {"batch", "ordinal", "attempt", "key"}:
        return None
    batch, ordinal, attempt, key = (fields.get(name) for name in ("batch", "ordinal", "attempt", "key"))
    if type(batch) is not int or type(ordinal) is not int or type(attempt) is not int or type(key) is not str:
        raise ValueError("a report names batch, ordinal, attempt and key, or none of them")
    if not 0 <= batch < 1 << 63 or not 0 <= ordinal <= 0xFFFF or not 1 <= attempt <= 15:
        raise ValueError("batch, ordinal or attempt out of range")
    return Reference(batch, ordinal, attempt, key)
