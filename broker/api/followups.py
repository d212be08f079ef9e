"""The messages that end or narrow an accepted alert, made of the alert as it was received.

A follow-up that was asked for with a key is decided on once: its identifier and time are written into the history
of the alert before it is composed. Whoever asks again with that key, through whatever process and after whatever
crash, gets the same bytes composed, and intake gives the same bytes the same answer.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from enum import StrEnum
from typing import Final, Self

from broker.api.models import CancelRequest, CorrectedArea, CorrectionRequest
from broker.api.problems import KeyReused
from broker.cap.document import read
from broker.cap.findings import Posture
from broker.cap.followup import cancel_of, correction_of, next_identifier
from broker.cap.model import Alert, Area, Circle, MsgType, NamedValue, Polygon
from broker.cap.names import GEOCODE_NAME
from broker.clock import from_ms, now_ms, to_ms
from broker.errors import Conflict, InputRefused, Problem
from broker.intake.accept import form_of
from broker.store.contract import Store
from broker.store.records import AlertEvent, AlertRecord

_ASKED: Final = re.compile(
    r"(?P<kind>\w+) (?P<identifier>\S+) of (?P<sent>[0-9]+) asked for, key (?P<key>\w+)/(?P<body>\w+)"
)
_DIGITS: Final = 16
"""Hexadecimal digits of a digest in the history."""

Wanted = CancelRequest | CorrectionRequest


class Kind(StrEnum):
    """What a follow-up is: the msgType of the message."""

    CANCEL = "Cancel"
    CORRECTION = "Update"


@dataclass(frozen=True, slots=True)
class Named:
    """The identity that a follow-up has or will have."""

    identifier: str
    sent: datetime


@dataclass(frozen=True, slots=True)
class Request:
    """What was asked for under a key, as digests: the key may be a secret of the caller's."""

    key: str
    body: str

    @classmethod
    def of(cls, department: str, key: str, wanted: Wanted) -> Self:
        """A department's key, and what came with it."""
        return cls(_digest(f"{department} {key}"), _digest(wanted.model_dump_json()))


class FollowUps:
    """Names and composes follow-ups."""

    def __init__(self, store: Store) -> None:
        self._store = store

    async def fresh(self, record: AlertRecord) -> Named:
        """An identity for a follow-up of `record` (with its body) that is sent now."""
        sent = datetime.now(UTC).replace(microsecond=0)
        taken = [each.identifier for each in await self._store.referring(record.id)]
        return Named(next_identifier(_read(record), sent, taken), sent)

    async def known(self, record: AlertRecord, kind: Kind, request: Request) -> Named | None:
        """The identity that was given to the same key before. Raises KeyReused if it came with another request."""
        for event in await self._store.alert_events(record.id):
            asked = _ASKED.fullmatch(event.why)
            if asked is not None and (asked["kind"], asked["key"]) == (kind, request.key):
                if asked["body"] != request.body:
                    raise KeyReused
                return Named(asked["identifier"], from_ms(int(asked["sent"])))
        return None

    async def keep(self, record: AlertRecord, kind: Kind, request: Request, named: Named, who: str) -> Named:
        """Give the key its identity: `named`, or the one that another process gave it at the same moment."""
        why = f"{kind} {named.identifier} of {to_ms(named.sent)} asked for, key {request.key}/{request.body}"
        await self._store.note_alert(AlertEvent(record.id, now_ms(), record.state, who, why))
        first = await self.known(record, kind, request)
        assert first is not None
        return first


def compose(record: AlertRecord, kind: Kind, wanted: Wanted | None, named: Named) -> Alert:
    """The follow-up of `record` (with its body); without `wanted` it says no reason and keeps the areas.

    Raises Conflict for an alert that warns of nothing or is over, and InputRefused (422) for areas that do not fit.
    """
    if record.msg_type not in (MsgType.ALERT, MsgType.UPDATE):
        raise Conflict(f"a message of type {record.msg_type} warns of nothing that could be taken back")
    alert, note = _read(record), None if wanted is None else wanted.reason
    areas = _areas(wanted.areas) if isinstance(wanted, CorrectionRequest) else None
    try:
        if kind is Kind.CANCEL:
            return cancel_of(alert, identifier=named.identifier, sent=named.sent, note=note)
        return correction_of(
            alert,
            areas,
            identifier=named.identifier,
            sent=named.sent,
            note=note,
            expires=from_ms(record.expires),
        )
    except ValueError as error:
        if areas is None or record.expires <= to_ms(named.sent):
            raise Conflict(str(error)) from error
        raise InputRefused([Problem("/areas", "correction.areas", str(error))]) from error


def _areas(wanted: Sequence[CorrectedArea]) -> Sequence[Area] | Mapping[int, Sequence[Area]]:
    """By segment where a segment is named, else for the only one."""
    if all(each.segment is None for each in wanted):
        return tuple(map(_area, wanted))
    found: dict[int, list[Area]] = {}
    for number, each in enumerate(wanted):
        if each.segment is None:
            message = "say of every area, or of none, in which segment it is"
            raise InputRefused([Problem(f"/areas/{number}/segment", "correction.segment", message)])
        found.setdefault(each.segment, []).append(_area(each))
    return found


def _area(area: CorrectedArea) -> Area:
    return Area(
        area.areaDesc,
        polygons=tuple(map(Polygon.parse, area.polygons)),
        circles=tuple(map(Circle.parse, area.circles)),
        geocodes=tuple(NamedValue(GEOCODE_NAME, code) for code in area.geocodes),
    )


def _read(record: AlertRecord) -> Alert:
    alert = read(record.body, form_of(record.content_type), posture=Posture.LENIENT).alert
    assert alert is not None  # it was accepted
    return alert


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()[:_DIGITS]
