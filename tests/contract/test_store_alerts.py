"""Alerts are kept once, move by compare-and-set, and their history is kept."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from typing import Any

import pytest

from broker.errors import NotFound
from broker.store.contract import Store
from broker.types import AlertState
from tests.support.storing import T0, add, an_alert, an_event


async def test_an_alert_comes_back_as_it_was_received(store: Store) -> None:
    alert = replace(an_alert(body=b"\x00\xff<alert/>"), level=None)
    assert await add(store, alert) == alert
    assert await store.alert(alert.id) == alert


async def test_an_unknown_alert_is_not_found(store: Store) -> None:
    with pytest.raises(NotFound):
        await store.alert("nothing")


async def test_the_same_identity_again_gives_the_alert_that_is_there(store: Store) -> None:
    first = await add(store, an_alert("A1"))
    twin = replace(first, id="A2")
    assert await add(store, twin) == first
    other_bytes = replace(first, id="A3", body=b"other", digest=b"other")
    assert await add(store, other_bytes) == first
    with pytest.raises(NotFound):
        await store.alert("A2")
    assert len(await store.alert_events("A1")) == 1
    assert await store.alert_events("A2") == []


@pytest.mark.parametrize("change", [{"sender": "b"}, {"identifier": "b"}, {"sent": T0 + 1}])
async def test_another_sender_identifier_or_time_is_another_alert(store: Store, change: dict[str, Any]) -> None:
    first = await add(store, an_alert("A1"))
    other = replace(first, id="A2", **change)
    assert await add(store, other) == other


async def test_of_many_posts_of_one_alert_at_once_exactly_one_is_kept(store: Store) -> None:
    first = an_alert("A0")
    answers = await asyncio.gather(*(add(store, replace(first, id=f"A{i}")) for i in range(10)))
    assert len({answer.id for answer in answers}) == 1
    assert [alert.id for alert in await store.alerts()] == [answers[0].id]
    assert len(await store.alert_events(answers[0].id)) == 1


async def test_an_alert_is_found_by_the_digest_of_its_body(store: Store) -> None:
    alert = await add(store, an_alert("A1"))
    assert await store.alert_by_digest(alert.digest) == alert
    assert await store.alert_by_digest(b"unknown") is None


async def test_alerts_are_listed_newest_first_by_state_in_pages_and_without_body(store: Store) -> None:
    for number, state in enumerate(
        [AlertState.RELEASED, AlertState.REJECTED, AlertState.RELEASED, AlertState.SENDING]
    ):
        await add(store, an_alert(f"A{number}", state=state))
    listed = await store.alerts()
    assert [alert.id for alert in listed] == ["A3", "A2", "A1", "A0"]
    assert {alert.body for alert in listed} == {b""}
    assert listed[0] == replace(await store.alert("A3"), body=b"")
    assert [alert.id for alert in await store.alerts(limit=2)] == ["A3", "A2"]
    assert [alert.id for alert in await store.alerts(limit=2, before="A2")] == ["A1", "A0"]
    wanted = (AlertState.RELEASED, AlertState.SENDING)
    assert [alert.id for alert in await store.alerts(states=wanted)] == ["A3", "A2", "A0"]


async def test_a_page_of_alerts_is_full_of_what_was_asked_for_however_much_else_lies_between(store: Store) -> None:
    for number in range(12):
        mine = number % 4 == 0
        alert = replace(an_alert(f"A{number:02}"), department="mine" if mine else "theirs", received=T0 + number)
        await add(
            store, replace(alert, status="Exercise" if number == 4 else "Actual", level="Red" if mine else None)
        )
    assert [alert.id for alert in await store.alerts(department="mine", limit=2)] == ["A08", "A04"]
    assert [alert.id for alert in await store.alerts(department="mine", limit=2, before="A04")] == ["A00"]
    assert [alert.id for alert in await store.alerts(statuses=("Exercise", "Test"))] == ["A04"]
    assert [alert.id for alert in await store.alerts(levels=("Red",), since=T0 + 4)] == ["A08", "A04"]
    assert await store.alerts(department="nobody") == []
    assert await store.alerts(department="mine", levels=("Blue",)) == []


async def test_a_move_sets_the_state_its_moment_and_the_reason_and_is_recorded(store: Store) -> None:
    alert = await add(store, an_alert("A1"))
    released = an_event("A1", AlertState.RELEASED, at=T0 + 1, why="signed")
    assert await store.move_alert("A1", [AlertState.RECEIVED], released)
    planned = an_event("A1", AlertState.PLANNED, at=T0 + 2)
    assert await store.move_alert("A1", [AlertState.RELEASED], planned, reason="a sentence")
    completed = an_event("A1", AlertState.COMPLETED, at=T0 + 3)
    assert await store.move_alert("A1", [AlertState.PLANNED, AlertState.SENDING], completed)
    assert await store.alert("A1") == replace(
        alert,
        state=AlertState.COMPLETED,
        released=T0 + 1,
        planned=T0 + 2,
        completed=T0 + 3,
        reason="a sentence",
    )
    events = await store.alert_events("A1")
    assert events == [an_event("A1", AlertState.RECEIVED), released, planned, completed]


async def test_a_move_from_a_state_that_is_not_allowed_changes_and_records_nothing(store: Store) -> None:
    alert = await add(store, an_alert("A1"))
    event = an_event("A1", AlertState.PLANNED)
    assert not await store.move_alert("A1", [AlertState.RELEASED], event, reason="no")
    assert not await store.move_alert("A1", [], event)
    assert await store.alert("A1") == alert
    assert len(await store.alert_events("A1")) == 1


async def test_moving_an_alert_that_does_not_exist_is_not_found(store: Store) -> None:
    with pytest.raises(NotFound):
        await store.move_alert("nothing", [AlertState.RECEIVED], an_event("nothing", AlertState.RELEASED))


async def test_of_two_moves_at_once_exactly_one_wins(store: Store) -> None:
    for name in ("A1", "A2", "A3", "A4", "A5"):
        await add(store, an_alert(name))
        moves = (
            store.move_alert(name, [AlertState.RECEIVED], an_event(name, AlertState.RELEASED)),
            store.move_alert(name, [AlertState.RECEIVED], an_event(name, AlertState.REJECTED)),
        )
        assert sorted(await asyncio.gather(*moves)) == [False, True]
        events = await store.alert_events(name)
        assert len(events) == 2
        assert (await store.alert(name)).state is events[-1].state


async def test_an_alert_may_be_kept_with_its_first_move_in_one_transaction(store: Store) -> None:
    posted = an_alert("A1", state=AlertState.RECEIVED)
    event = an_event("A1", AlertState.RECEIVED, at=T0)
    kept = await store.add_alert(posted, event, moved=an_event("A1", AlertState.RELEASED, at=T0 + 5))
    assert kept == replace(posted, state=AlertState.RELEASED, released=T0 + 5)
    assert await store.alert("A1") == kept
    waiting = an_alert("A2", state=AlertState.RECEIVED)
    event = an_event("A2", AlertState.RECEIVED, at=T0)
    kept = await store.add_alert(waiting, event, moved=an_event("A2", AlertState.AWAITING_RELEASE, at=T0 + 6))
    assert kept == replace(waiting, state=AlertState.AWAITING_RELEASE)
    states = [event.state for event in await store.alert_events("A2")]
    assert states == [AlertState.RECEIVED, AlertState.AWAITING_RELEASE]


async def test_an_alert_that_is_there_is_not_moved_by_the_same_post_again(store: Store) -> None:
    first = await add(store, an_alert("A1", state=AlertState.RECEIVED))
    twin = replace(first, id="A2")
    moved = an_event("A2", AlertState.RELEASED)
    assert await store.add_alert(twin, an_event("A2", AlertState.RECEIVED), moved=moved) == first
    assert await store.alert("A1") == first
    assert len(await store.alert_events("A1")) == 1


async def test_many_alerts_at_once_are_all_kept_each_with_its_own_history(store: Store) -> None:
    alerts = [an_alert(f"M{number:03}") for number in range(300)]
    assert await asyncio.gather(*(add(store, alert) for alert in alerts)) == alerts
    assert {alert.id for alert in await store.alerts(limit=1_000)} == {alert.id for alert in alerts}
    histories = await asyncio.gather(*(store.alert_events(alert.id) for alert in alerts))
    assert [[event.alert for event in history] for history in histories] == [[alert.id] for alert in alerts]


async def test_an_alert_that_the_database_cannot_take_is_the_only_one_of_many_to_fail(store: Store) -> None:
    good = [an_alert(f"G{number}") for number in range(20)]
    bad = replace(an_alert("B1"), sent=1 << 80)
    outcomes = await asyncio.gather(*(add(store, alert) for alert in [*good, bad]), return_exceptions=True)
    assert outcomes[:-1] == good
    assert isinstance(outcomes[-1], Exception)
    assert {alert.id for alert in await store.alerts()} == {alert.id for alert in good}
