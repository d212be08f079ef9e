"""What a message refers to: found among what was accepted, and whether it may refer to that (CAP 1.2, 3.2.1)."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Final

from broker.cap.model import Alert, MsgType, Reference
from broker.clock import to_ms
from broker.errors import Problem
from broker.intake.departments import Department
from broker.store.contract import Alerts
from broker.store.records import AlertRecord, ReferenceRecord

EARLY_MS: Final = 3_600_000
"""How far the clock of a sender may be ahead of ours: `sent` beyond it is refused."""
LATE_MS: Final = 86_400_000
"""How old a message may be when it comes to us."""
MOST: Final = 200
"""References in one message; real ones name the few messages of one chain."""

_PAGE: Final = 500
_PLACE: Final = "/alert/references"
_OF_OWN: Final = (MsgType.UPDATE, MsgType.CANCEL)
_ABOUT_OTHERS: Final = (*_OF_OWN, MsgType.ACK, MsgType.ERROR)
_WARNINGS: Final = (MsgType.ALERT, MsgType.UPDATE)


@dataclass(frozen=True, slots=True)
class Named:
    """One message that is referred to, and its record (without the body) if it was accepted by now."""

    reference: Reference
    target: AlertRecord | None


async def resolve(alert: Alert, store: Alerts) -> tuple[Named, ...]:
    """What `alert` refers to, in its order, each once; of too many only the first, `problems` refuses the rest."""
    first = {reference.identity: reference for reference in reversed(alert.references)}
    references = [*{each.identity: first[each.identity] for each in alert.references}.values()][:MOST]
    keys = {(each.sender, each.identifier, to_ms(each.sent.instant)) for each in references}
    found: dict[tuple[str, str, int], AlertRecord] = {}
    for low, high in _windows(sent for _, _, sent in keys):
        async for record in _received(store, low, high):
            key = (record.sender, record.identifier, record.sent)
            if key in keys:
                found[key] = record
    return tuple(
        Named(each, found.get((each.sender, each.identifier, to_ms(each.sent.instant)))) for each in references
    )


def problems(alert: Alert, named: Sequence[Named], department: Department) -> tuple[list[Problem], list[Problem]]:
    """(what the department may not refer to, what cannot be referred to by anybody)."""
    denied: list[Problem] = []
    unclear: list[Problem] = []
    if len(alert.references) > MOST:
        message = f"{len(alert.references)} references; at most {MOST} are taken"
        unclear.append(Problem(_PLACE, "intake.references.many", message))
    if alert.msg_type not in _ABOUT_OTHERS:
        return denied, unclear
    for each in named:
        text, target = each.reference.text, each.target
        if alert.msg_type in _OF_OWN:
            if each.reference.sender not in department.senders:
                message = f"{department.id} may not {alert.msg_type} what {each.reference.sender} has sent"
                denied.append(Problem(_PLACE, "authority.reference", message, text))
            elif target is not None and target.department != department.id:
                message = f"this message was posted by {target.department}, not by {department.id}"
                denied.append(Problem(_PLACE, "authority.reference", message, text))
        if target is None:
            continue  # it may come later: messages overtake each other
        if target.status != alert.status:
            message = f"the message is {alert.status} and refers to one that is {target.status}"
            unclear.append(Problem(_PLACE, "intake.references.status", message, text))
        if alert.msg_type in _OF_OWN and target.msg_type not in _WARNINGS:
            message = f"the message is of type {alert.msg_type} and refers to one of type {target.msg_type}"
            unclear.append(Problem(_PLACE, "intake.references.kind", message, text))
    return denied, unclear


def records(alert: str, named: Iterable[Named]) -> tuple[ReferenceRecord, ...]:
    """What the store keeps of the references of an accepted message."""
    return tuple(
        ReferenceRecord(
            alert,
            each.reference.sender,
            each.reference.identifier,
            to_ms(each.reference.sent.instant),
            None if each.target is None else each.target.id,
        )
        for each in named
    )


def _windows(sent: Iterable[int]) -> Iterator[tuple[int, int]]:
    """When messages of these times can have come to us (UTC milliseconds), overlapping spans as one."""
    low = high = -1
    for at in sorted(set(sent)):
        if high >= 0 and at - EARLY_MS <= high:
            high = at + LATE_MS
            continue
        if high >= 0:
            yield low, high
        low, high = at - EARLY_MS, at + LATE_MS
    if high >= 0:
        yield low, high


async def _received(store: Alerts, low: int, high: int) -> AsyncIterator[AlertRecord]:
    """Accepted messages that came in the span, newest first; ids begin with the time of acceptance."""
    before = f"{min(max(high + 1, 0), 16**11 - 1):011x}"
    while True:
        page = await store.alerts(limit=_PAGE, before=before, since=low)
        for record in page:
            yield record
        if len(page) < _PAGE:
            return
        before = page[-1].id
