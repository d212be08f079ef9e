"""Records for tests of the store, made with as little as each test needs to say."""

from __future__ import annotations

import hashlib
from itertools import count

import numpy as np

from broker.ledger.arrays import LedgerRow, Receipts
from broker.store.contract import Store
from broker.store.records import AlertEvent, AlertRecord, BatchRecord, Plan, RenditionRecord
from broker.types import AlertState, ChannelName, Lane

T0 = 1_760_000_000_000
"""When the alerts of these tests are received, UTC milliseconds."""

_numbers = count(1)


def an_alert(
    name: str | None = None,
    *,
    sender: str = "station@example.org",
    sent: int = T0 - 5_000,
    body: bytes | None = None,
    received: int = T0,
    state: AlertState = AlertState.RECEIVED,
) -> AlertRecord:
    """An alert; its id and identifier are `name`."""
    name = name or f"A{next(_numbers):06}"
    body = f"<alert>{name}</alert>".encode() if body is None else body
    return AlertRecord(
        id=name,
        sender=sender,
        identifier=name,
        sent=sent,
        department="meteorology",
        status="Actual",
        msg_type="Alert",
        level="Red",
        event="11B03",
        headline="暴雨红色预警",
        content_type="application/cap+xml",
        digest=hashlib.sha256(body).digest(),
        body=body,
        received=received,
        expires=received + 3_600_000,
        state=state,
        author="token-1",
    )


def an_event(alert: str, state: AlertState, *, at: int = T0, why: str = "because") -> AlertEvent:
    """One move of `alert`."""
    return AlertEvent(alert, at, state, "somebody", why)


async def add(store: Store, alert: AlertRecord) -> AlertRecord:
    """Add an alert together with the event of its first state."""
    return await store.add_alert(alert, an_event(alert.id, alert.state))


async def a_plan(
    store: Store,
    sizes: tuple[int, ...] = (5,),
    *,
    alert: str | None = None,
    channels: tuple[ChannelName, ...] = (ChannelName.SMS,),
    districts: tuple[int, ...] = (500117,),
    lane: Lane = Lane.URGENT,
    at: int = T0 + 100,
    expires: int = T0 + 3_600_000,
) -> Plan:
    """A plan for a fresh, released alert: a batch for each size, going round channels and districts."""
    if alert is None:
        alert = (await add(store, an_alert(state=AlertState.RELEASED))).id
    first_batch = await store.reserve_batches(len(sizes))
    first_rendition = await store.reserve_renditions(len(channels))
    renditions = tuple(
        RenditionRecord(first_rendition + i, alert, 0, channel, "zh-CN", "default", {"text": "请立即转移"})
        for i, channel in enumerate(channels)
    )
    batches = tuple(
        BatchRecord(
            id=first_batch + i,
            alert=alert,
            segment=0,
            channel=channels[i % len(channels)],
            lane=lane,
            rendition=first_rendition + i % len(channels),
            district=districts[i % len(districts)],
            round=1,
            expires=expires,
            recipients=np.arange(i * 10_000, i * 10_000 + size, dtype=np.uint32),
            addresses=f"sealed-{first_batch + i}".encode(),
        )
        for i, size in enumerate(sizes)
    )
    return Plan(alert, at, renditions, batches)


async def commit(store: Store, plan: Plan) -> Plan:
    """Commit a plan that must be committed."""
    assert await store.commit_plan(plan, an_event(plan.alert, AlertState.PLANNED, at=plan.at))
    return plan


async def planned(store: Store, sizes: tuple[int, ...] = (5,), **how: object) -> Plan:
    """A committed plan."""
    return await commit(store, await a_plan(store, sizes, **how))  # type: ignore[arg-type]


def reports(batch: int, *items: tuple[int, int, int]) -> Receipts:
    """Receipts from (ordinal, state, time) each."""
    ordinals, states, at = zip(*items, strict=True)
    return Receipts(batch, np.array(ordinals, np.uint16), np.array(states, np.uint16), np.array(at, np.int64))


def same_row(one: LedgerRow, other: LedgerRow) -> bool:
    """Whether two ledger rows say the same."""
    return (
        one.batch == other.batch
        and one.base == other.base
        and np.array_equal(one.states, other.states)
        and np.array_equal(one.times, other.times)
    )
