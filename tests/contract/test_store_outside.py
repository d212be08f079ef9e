"""What is published, feeds that are pulled, and who is told of the states of alerts."""

from __future__ import annotations

import asyncio
from dataclasses import replace

import pytest
import sqlalchemy as sa
from sqlalchemy.ext.asyncio import create_async_engine

from broker.errors import ClaimLost, NotFound, StoreError
from broker.store.callbacks import SETTLED_MS
from broker.store.contract import Store
from broker.store.outside_records import (
    CallbackRecord,
    DeliveryOutcome,
    DeliveryRecord,
    FeedItem,
    FeedRecord,
    ItemOutcome,
)
from broker.store.records import AlertRecord, ReferenceRecord
from broker.store.sql import open_store
from broker.types import AlertState
from tests.support.storing import T0, add, an_alert, an_event

S = AlertState


async def gone_out(store: Store, name: str, *, at: int = T0 + 10, **changes: object) -> AlertRecord:
    """An alert that was released and planned at `at`."""
    alert = replace(an_alert(name, state=S.RECEIVED), **changes)  # type: ignore[arg-type]
    await add(store, alert)
    assert await store.move_alert(name, (S.RECEIVED,), an_event(name, S.RELEASED, at=at))
    assert await store.move_alert(name, (S.RELEASED,), an_event(name, S.PLANNED, at=at))
    return alert


# ── what is published ─────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("state", [state for state in AlertState if state is not S.PLANNED])
async def test_of_what_was_planned_the_states_after_that_are_published(store: Store, state: AlertState) -> None:
    await gone_out(store, "A1")
    assert [alert.id for alert in await store.published()] == ["A1"]
    assert await store.move_alert("A1", (S.PLANNED,), an_event("A1", state))
    shown = {S.SENDING, S.COMPLETED, S.SUPERSEDED, S.CANCELLED}
    assert [alert.id for alert in await store.published()] == (["A1"] if state in shown else [])


@pytest.mark.parametrize("state", list(AlertState))
async def test_what_was_never_planned_is_not_published_in_any_state(store: Store, state: AlertState) -> None:
    await add(store, an_alert("A1", state=state))
    await add(store, an_alert("A2"))
    assert await store.move_alert("A2", (S.RECEIVED,), an_event("A2", S.RELEASED))
    if state is not S.RELEASED:
        assert await store.move_alert("A2", (S.RELEASED,), an_event("A2", state))
    # Planned is the one state that proves itself.
    assert [alert.id for alert in await store.published()] == (["A2"] if state is S.PLANNED else [])


@pytest.mark.parametrize(
    "changes",
    [
        *({"status": status} for status in ("Exercise", "System", "Test", "Draft")),
        *({"scope": scope} for scope in ("Restricted", "Private")),
        *({"msg_type": kind} for kind in ("Ack", "Error")),
    ],
    ids=str,
)
async def test_only_public_warnings_that_are_meant_are_published(store: Store, changes: dict[str, str]) -> None:
    await gone_out(store, "A1", **changes)  # type: ignore[arg-type]
    await gone_out(store, "A2")
    assert [alert.id for alert in await store.published()] == ["A2"]


async def test_a_cancel_without_a_plan_is_published_if_what_it_takes_back_was(store: Store) -> None:
    await gone_out(store, "A1")
    await add(store, an_alert("A2", state=S.CANCELLED))  # never left the house
    for name, target in (("C1", "A1"), ("C2", "A2")):
        cancel = replace(an_alert(name), msg_type="Cancel")
        reference = ReferenceRecord(name, "station@example.org", target, T0 - 5_000)
        await store.add_alert(cancel, an_event(name, S.RECEIVED), (reference,))
        for before, after in ((S.RECEIVED, S.RELEASED), (S.RELEASED, S.COMPLETED)):
            assert await store.move_alert(name, (before,), an_event(name, after, at=T0 + 50))
    assert [alert.id for alert in await store.published()] == ["C1", "A1"]


async def test_the_published_are_listed_by_release_newest_first_and_page_by_page(store: Store) -> None:
    for number in range(7):
        await gone_out(store, f"A{number}", at=T0 + (number % 3) * 10)
    listed = await store.published(limit=100)
    keys = [(alert.released, alert.id) for alert in listed]
    assert keys == sorted(keys, reverse=True)
    assert len(keys) == 7
    assert all(alert.body == b"" for alert in listed)
    pages: list[str] = []
    before: tuple[int, str] | None = None
    while page := await store.published(limit=2, before=before):
        pages += [alert.id for alert in page]
        before = (page[-1].released or 0, page[-1].id)
    assert pages == [alert.id for alert in listed]


# ── feeds ─────────────────────────────────────────────────────────────────────────────────────────────


async def test_a_feed_is_held_by_one_until_it_lets_go_or_its_lease_runs_out(store: Store) -> None:
    claims = await asyncio.gather(
        *(store.claim_feed("cma", "https://a.example/f", f"p{n}", now=T0, lease_ms=100) for n in range(5))
    )
    (held,) = [claim for claim in claims if claim is not None]
    assert (held.name, held.failures, held.etag) == ("cma", 0, None)
    assert await store.claim_feed("cma", "https://a.example/f", "late", now=T0 + 99, lease_ms=100) is None
    taken = await store.claim_feed("cma", "https://a.example/f", "late", now=T0 + 100, lease_ms=100)
    assert taken is not None
    with pytest.raises(ClaimLost):
        await store.close_feed(replace(held, failures=9))
    done = replace(
        taken, tried=T0, succeeded=T0, listed=3, seen=3, imported=1, refused=1, next_try=T0 + 500, etag='"x"'
    )
    await store.close_feed(done)
    assert await store.feed("cma") == replace(done, owner=None, lease_until=None)
    with pytest.raises(ClaimLost):
        await store.close_feed(done)


async def test_a_feed_is_not_due_before_its_time_unless_a_person_asks(store: Store) -> None:
    claim = await store.claim_feed("cma", "u", "p", now=T0, lease_ms=100)
    assert claim is not None
    await store.close_feed(replace(claim, next_try=T0 + 1_000))
    assert await store.claim_feed("cma", "u", "p", now=T0 + 999, lease_ms=100) is None
    assert await store.claim_feed("cma", "u", "p", now=T0 + 999, lease_ms=100, due=False) is not None


async def test_another_address_forgets_what_the_former_server_said(store: Store) -> None:
    claim = await store.claim_feed("cma", "https://old.example/", "p", now=T0, lease_ms=100)
    assert claim is not None
    await store.close_feed(replace(claim, etag='"old"', last_modified="then", failures=2))
    claim = await store.claim_feed("cma", "https://new.example/", "p", now=T0, lease_ms=100)
    assert claim is not None
    assert (claim.etag, claim.last_modified, claim.failures) == (None, None, 2)


async def test_items_are_kept_replaced_touched_and_forgotten(store: Store) -> None:
    assert await store.claim_feed("cma", "u", "p", now=T0, lease_ms=100)
    findings: tuple[dict[str, object], ...] = ({"rule": "cap.namespace", "line": 1, "value": "暴雨"},)
    refused = FeedItem(
        "cma", "k1", "entry 1", ItemOutcome.REFUSED, T0, T0, 1, "I", "S", b"\x01", None, findings, b"<"
    )
    other = FeedItem("cma", "k2", "entry 2", ItemOutcome.IMPORTED, T0 + 1, T0 + 1, alert="A1")
    await store.put_items([refused, other])
    assert await store.items("cma") == [other, refused]
    assert await store.items("cma", outcomes=(ItemOutcome.REFUSED,)) == [refused]
    assert await store.items("cma", limit=1) == [other]
    assert await store.items("other") == []
    found = await store.items_by_key("cma", ["k1", "k3"])
    assert found == {"k1": replace(refused, body=None)}
    await store.put_items([replace(refused, outcome=ItemOutcome.KNOWN, tries=2)])
    assert (await store.items_by_key("cma", ["k1"]))["k1"].tries == 2
    await store.touch_items("cma", ["k1"], T0 + 50)
    assert await store.forget_items("cma", T0 + 50) == 1
    assert set(await store.items_by_key("cma", ["k1", "k2"])) == {"k1"}


async def test_more_keys_than_one_statement_takes_are_all_looked_up(store: Store) -> None:
    assert await store.claim_feed("cma", "u", "p", now=T0, lease_ms=100)
    keys = [f"k{number}" for number in range(2_500)]
    await store.put_items([FeedItem("cma", key, "", ItemOutcome.KNOWN, T0, T0) for key in keys])
    assert set(await store.items_by_key("cma", keys)) == set(keys)
    await store.touch_items("cma", keys, T0 + 9)
    assert await store.forget_items("cma", T0 + 9) == 0


async def test_feeds_are_listed_by_name(store: Store) -> None:
    for name in ("b", "a"):
        assert await store.claim_feed(name, "u", "p", now=T0, lease_ms=100)
    assert [feed.name for feed in await store.feeds()] == ["a", "b"]
    assert isinstance(await store.feed("a"), FeedRecord)
    assert await store.feed("c") is None


# ── callbacks ─────────────────────────────────────────────────────────────────────────────────────────


def a_callback(
    name: str = "c1", department: str = "meteorology", states: tuple[AlertState, ...] = ()
) -> CallbackRecord:
    return CallbackRecord(name, department, "https://a.example/hook", b"sealed", states, T0)


async def told(store: Store, callback: str = "c1", *, now: int = T0) -> list[tuple[str, AlertState]]:
    """What waits to be told, in the order of the events."""
    await store.spread_events(now)
    waiting = await store.deliveries(callback=callback, outcomes=(DeliveryOutcome.WAITING,))
    return [(each.alert, each.state) for each in sorted(waiting, key=lambda each: each.event)]


async def test_a_callback_is_told_of_its_departments_events_from_its_registration_on(store: Store) -> None:
    await add(store, an_alert("A0"))
    await store.add_callback(a_callback())
    assert await told(store) == []
    await gone_out(store, "A1")
    await gone_out(store, "B1", department="geology")
    expected = [("A1", S.RECEIVED), ("A1", S.RELEASED), ("A1", S.PLANNED)]
    assert await told(store) == expected
    assert await told(store) == expected, "a second look makes nothing twice"
    assert await told(store, now=T0 + SETTLED_MS + 1_000) == expected
    assert (await store.callback("c1")).cursor > 0
    assert await told(store, now=T0 + SETTLED_MS + 1_000) == expected


async def test_a_callback_hears_only_of_the_states_it_asked_for(store: Store) -> None:
    await store.add_callback(a_callback(states=(S.PLANNED, S.STOPPED)))
    await gone_out(store, "A1")
    assert await told(store) == [("A1", S.PLANNED)]


async def test_pages_of_events_lose_nothing_when_the_cursor_moves(store: Store) -> None:
    await store.add_callback(a_callback())
    for number in range(5):
        await gone_out(store, f"A{number}")
    late = T0 + 10 * SETTLED_MS
    counts = [await store.spread_events(late, limit=4) for _ in range(6)]
    assert counts == [4, 4, 4, 3, 0, 0]
    assert len(await store.deliveries(callback="c1")) == 15


async def test_what_was_told_long_ago_and_forgotten_is_not_told_again(store: Store) -> None:
    await store.add_callback(a_callback())
    await gone_out(store, "A1")
    late = T0 + 2 * SETTLED_MS
    await store.spread_events(late)
    for delivery in await store.deliveries():
        claim = await store.claim_delivery(delivery, now=late, lease_ms=10)
        assert claim is not None
        await store.close_delivery(replace(claim, outcome=DeliveryOutcome.DELIVERED, closed=late, status=204))
    assert await store.forget_deliveries(late) == 0
    assert await store.forget_deliveries(late + 1) == 3
    assert await store.spread_events(late + 2) == 0


async def test_several_processes_make_each_delivery_once(store: Store, store_url: str) -> None:
    other = open_store(store_url)
    await other.start()
    await store.add_callback(a_callback())
    await gone_out(store, "A1")
    await asyncio.gather(*(each.spread_events(T0) for each in (store, other, store, other)))
    await other.close()
    assert len(await store.deliveries()) == 3


async def due(store: Store, now: int, limit: int = 10) -> list[DeliveryRecord]:
    return await store.due_deliveries("c1", now, limit=limit)


async def test_of_each_alert_the_first_that_waits_is_due_and_the_next_after_it(store: Store) -> None:
    await store.add_callback(a_callback())
    await gone_out(store, "A1")
    await gone_out(store, "A2")
    await store.spread_events(T0)
    assert await store.due_callbacks(T0 - 1) == []
    assert await store.due_callbacks(T0) == ["c1"]
    first, second = await due(store, T0)
    assert [(each.alert, each.state) for each in (first, second)] == [("A1", S.RECEIVED), ("A2", S.RECEIVED)]
    assert len(await due(store, T0, limit=1)) == 1
    claim = await store.claim_delivery(first, now=T0, lease_ms=100)
    assert claim is not None
    assert [each.alert for each in await due(store, T0)] == ["A2"], "what somebody holds keeps back its successors"
    await store.close_delivery(replace(claim, next_try=T0 + 500, attempts=1, status=503, error="503"))
    assert [each.alert for each in await due(store, T0 + 499)] == ["A2"]
    (again,) = [each for each in await due(store, T0 + 500) if each.alert == "A1"]
    assert (again.attempts, again.status, again.error) == (1, 503, "503")
    claim = await store.claim_delivery(again, now=T0 + 500, lease_ms=100)
    assert claim is not None
    await store.close_delivery(replace(claim, outcome=DeliveryOutcome.GIVEN_UP, closed=T0 + 501))
    assert {(each.alert, each.state) for each in await due(store, T0 + 501)} == {
        ("A1", S.RELEASED),
        ("A2", S.RECEIVED),
    }


async def test_of_several_who_claim_a_delivery_one_gets_it_and_a_lost_claim_closes_nothing(store: Store) -> None:
    await store.add_callback(a_callback())
    await gone_out(store, "A1")
    await store.spread_events(T0)
    (first,) = await due(store, T0)
    claims = await asyncio.gather(*(store.claim_delivery(first, now=T0, lease_ms=100) for _ in range(5)))
    (held,) = [claim for claim in claims if claim is not None]
    (again,) = await due(store, T0 + 100)
    taken = await store.claim_delivery(again, now=T0 + 100, lease_ms=100)
    assert taken is not None
    with pytest.raises(ClaimLost):
        await store.close_delivery(replace(held, outcome=DeliveryOutcome.DELIVERED, closed=T0 + 101))
    await store.close_delivery(replace(taken, outcome=DeliveryOutcome.DELIVERED, closed=T0 + 102))
    with pytest.raises(ClaimLost):
        await store.close_delivery(taken)


async def test_callbacks_are_listed_and_removed_with_what_they_were_told(store: Store) -> None:
    await store.add_callback(a_callback())
    await store.add_callback(replace(a_callback("c2", "geology", (S.CANCELLED,)), created=T0 + 1))
    with pytest.raises(StoreError):
        await store.add_callback(a_callback())
    assert [each.id for each in await store.callbacks()] == ["c1", "c2"]
    assert await store.callbacks("geology") == [await store.callback("c2")]
    assert (await store.callback("c2")).states == (S.CANCELLED,)
    await gone_out(store, "A1")
    await store.spread_events(T0)
    assert await store.remove_callback("c1")
    assert not await store.remove_callback("c1")
    assert await store.deliveries() == []
    with pytest.raises(NotFound):
        await store.callback("c1")
    assert await store.spread_events(T0) == 0


async def test_an_event_that_becomes_visible_after_a_later_one_is_told_all_the_same(
    store: Store, store_url: str
) -> None:
    """Ids are given before the commit: a slow transaction's event appears below what was told already."""
    await store.add_callback(a_callback())
    await add(store, an_alert("A1"))
    await add(store, an_alert("A2"))
    url = store_url.replace("sqlite:", "sqlite+aiosqlite:").replace("postgresql:", "postgresql+asyncpg:")
    engine = create_async_engine(url)
    insert = (
        "INSERT INTO alert_events (id, alert, at, state, who, why) VALUES (:id, :alert, :at, 'released', 'w', 'y')"
    )
    now = T0 + SETTLED_MS - 1
    told_of: list[list[str]] = []
    for number, alert in ((1_001, "A1"), (1_000, "A2")):
        async with engine.begin() as connection:
            await connection.execute(sa.text(insert), {"id": number, "alert": alert, "at": T0})
        await store.spread_events(now)
        told_of.append([each.alert for each in await store.deliveries() if each.state is S.RELEASED])
    await engine.dispose()
    assert told_of == [["A1"], ["A2", "A1"]]
