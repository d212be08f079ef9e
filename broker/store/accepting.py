"""The way in: accepted alerts with their audit and their references, many in one transaction."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields, replace
from typing import Any, Final

from sqlalchemy.ext.asyncio import AsyncConnection

from broker.store import schema
from broker.store.alerts import STAMPS, alert_of, select_alerts
from broker.store.database import Database, Rows
from broker.store.part import Part
from broker.store.records import AlertEvent, AlertRecord, ReferenceRecord
from broker.store.together import Together

_ALERT: Final = tuple(field.name for field in fields(AlertRecord))
_IDENTITY: Final = ("sender", "identifier", "sent")
_STATE, _SENDER, _IDENTIFIER, _SENT = map(_ALERT.index, ("state", *_IDENTITY))
_EVENT: Final = ("alert", "at", "state", "who", "why")
_REFERENCE: Final = ("alert", "position", "sender", "identifier", "sent")


@dataclass(frozen=True, slots=True)
class _Arrival:
    """An alert on its way in."""

    alert: AlertRecord
    events: tuple[AlertEvent, ...]
    references: Sequence[ReferenceRecord]


class SqlAccepting(Part):
    """See broker.store.contract.Alerts."""

    def __init__(self, db: Database) -> None:
        super().__init__(db)
        self._arrivals = Together(db, self._keep, single=db.at_one_stroke)

    async def add_alert(
        self,
        alert: AlertRecord,
        event: AlertEvent,
        references: Sequence[ReferenceRecord] = (),
        *,
        moved: AlertEvent | None = None,
    ) -> AlertRecord:
        """Keep it, or return the one with the same identity."""
        events: tuple[AlertEvent, ...] = (event,)
        if moved is not None:
            stamp: dict[str, Any] = {STAMPS[moved.state]: moved.at} if moved.state in STAMPS else {}
            alert = replace(alert, state=moved.state, **stamp)
            events = (event, moved)
        return await self._arrivals.write(_Arrival(alert, events, references))

    async def _keep(self, conn: AsyncConnection, group: Sequence[_Arrival]) -> list[AlertRecord]:
        # In one order everywhere, so that two processes with the same alerts in hand cannot block each other.
        rows = sorted((_values(each.alert) for each in group), key=_identity)
        events = [_event(event) for each in group for event in each.events]
        named = [
            (reference.alert, position, reference.sender, reference.identifier, reference.sent)
            for each in group
            for position, reference in enumerate(each.references)
        ]
        parts = (Rows(schema.alert_events, _EVENT, events), Rows(schema.alert_references, _REFERENCE, named))
        new = await self._db.insert_new_many(conn, schema.alerts, _ALERT, rows, unique=_IDENTITY, parts=parts)
        return [each.alert if each.alert.id in new else await _present(conn, each.alert) for each in group]


async def _present(conn: AsyncConnection, alert: AlertRecord) -> AlertRecord:
    """The one that is there already."""
    table = schema.alerts
    same = (
        (table.c.sender == alert.sender) & (table.c.identifier == alert.identifier) & (table.c.sent == alert.sent)
    )
    return alert_of((await conn.execute(select_alerts().where(same))).one())


def _values(alert: AlertRecord) -> tuple[Any, ...]:
    row = [getattr(alert, name) for name in _ALERT]
    row[_STATE] = str(alert.state)
    return tuple(row)


def _identity(row: tuple[Any, ...]) -> tuple[Any, ...]:
    return row[_SENDER], row[_IDENTIFIER], row[_SENT]


def _event(event: AlertEvent) -> tuple[Any, ...]:
    return event.alert, event.at, str(event.state), event.who, event.why
