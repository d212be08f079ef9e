"""What alerts refer to is found by identity, whichever comes first; previews are kept as they were shown."""

from __future__ import annotations

import hashlib
from dataclasses import replace

import pytest

from broker.errors import NotFound
from broker.store.contract import Store
from broker.store.records import AlertRecord, PreviewRecord, ReferenceRecord
from broker.types import AlertState
from tests.support.storing import T0, add, an_alert, an_event

HOUR = 3_600_000


def to(alert: AlertRecord, by: AlertRecord) -> ReferenceRecord:
    """A triple by which one alert names another."""
    return ReferenceRecord(by.id, alert.sender, alert.identifier, alert.sent)


async def add_with(store: Store, alert: AlertRecord, *named: AlertRecord) -> AlertRecord:
    references = [to(other, alert) for other in named]
    return await store.add_alert(alert, an_event(alert.id, alert.state), references)


async def test_references_lead_to_what_was_accepted_before_and_to_what_comes_after(store: Store) -> None:
    first, late = an_alert("A1"), an_alert("A9")
    await add(store, first)
    update = await add_with(store, an_alert("A2"), late, first)
    assert await store.references(update.id) == [to(late, update), replace(to(first, update), target="A1")]
    assert await store.referring("A1") == [replace(update, body=b"")]
    await add(store, late)
    assert [each.target for each in await store.references(update.id)] == ["A9", "A1"]
    assert [each.id for each in await store.referring("A9")] == ["A2"]
    assert await store.references("A1") == await store.references("nothing") == []
    assert await store.referring("A2") == await store.referring("nothing") == []


@pytest.mark.parametrize("change", [{"sender": "b"}, {"identifier": "b"}, {"sent": T0 + 1}])
async def test_a_reference_that_differs_in_one_part_of_the_identity_names_another_alert(
    store: Store, change: dict[str, object]
) -> None:
    first, update = await add(store, an_alert("A1")), an_alert("A2")
    reference = replace(to(first, update), **change)  # type: ignore[arg-type]
    await store.add_alert(update, an_event("A2", update.state), [reference])
    assert await store.references("A2") == [reference]
    assert await store.referring("A1") == []


async def test_all_who_refer_are_found_oldest_first_and_each_once(store: Store) -> None:
    first = await add(store, an_alert("A1"))
    for name in ("A3", "A2", "A4"):
        await add_with(store, an_alert(name), first, first)
    assert [each.id for each in await store.referring("A1")] == ["A2", "A3", "A4"]


async def test_an_alert_that_names_itself_is_not_among_those_that_refer_to_it(store: Store) -> None:
    own = an_alert("A1")
    await add_with(store, own, own)
    assert [each.target for each in await store.references("A1")] == ["A1"]
    assert await store.referring("A1") == []


async def test_a_twin_of_an_accepted_alert_brings_no_references(store: Store) -> None:
    other = await add(store, an_alert("A0"))
    first = await add(store, an_alert("A1"))
    assert await add_with(store, replace(first, id="A2"), other) == first
    assert await store.references("A1") == await store.references("A2") == []
    assert await store.referring("A0") == []


async def test_a_note_stands_in_the_history_and_moves_nothing(store: Store) -> None:
    alert = await add(store, an_alert("A1"))
    note = an_event("A1", AlertState.RECEIVED, at=T0 + 7, why="acknowledged by hydrology")
    await store.note_alert(note)
    assert (await store.alert_events("A1"))[1:] == [note]
    assert await store.alert("A1") == alert
    with pytest.raises(NotFound):
        await store.note_alert(an_event("nothing", AlertState.RECEIVED))
    assert await store.alert_events("nothing") == []


async def test_over_are_the_cancelled_and_the_superseded_that_have_not_expired(store: Store) -> None:
    for number, state in enumerate(AlertState):
        await add(store, an_alert(f"A{number:02}", state=state))
    over = {
        f"A{n:02}" for n, state in enumerate(AlertState) if state in (AlertState.CANCELLED, AlertState.SUPERSEDED)
    }
    assert await store.over(T0) == sorted(over)
    assert await store.over(T0 + HOUR - 1) == sorted(over)
    assert await store.over(T0 + HOUR) == []
    moved = an_event("A00", AlertState.CANCELLED)
    assert await store.move_alert("A00", [AlertState.RECEIVED], moved)
    assert await store.over(T0) == sorted({*over, "A00"})


async def test_followers_are_updates_and_cancels_that_went_out_and_have_not_expired(store: Store) -> None:
    for number, state in enumerate(AlertState):
        for kind in ("Alert", "Update", "Cancel", "Ack", "Error"):
            await add(store, replace(an_alert(f"{kind}-{number:02}", state=state), msg_type=kind))
    out = [
        n for n, s in enumerate(AlertState) if s in (AlertState.PLANNED, AlertState.SENDING, AlertState.COMPLETED)
    ]
    expected = [f"{kind}-{number:02}" for kind in ("Cancel", "Update") for number in out]
    found = await store.followers(T0)
    assert [each.id for each in found] == expected
    assert {each.body for each in found} == {b""}
    assert await store.followers(T0 + HOUR - 1) == found
    assert await store.followers(T0 + HOUR) == []


def a_preview(alert: str, **changed: object) -> PreviewRecord:
    preview = PreviewRecord(
        id=hashlib.sha256(alert.encode()).hexdigest(),
        alert=alert,
        author="token-1",
        made=T0,
        valid_until=T0 + 900_000,
        content={"counts": {"sms": {"500117": 3}}, "renditions": ["请立即转移"], "none": None},
        recipients=b"\x01\x00\x00\x00\xff\xff\xff\xff",
    )
    return replace(preview, **changed)  # type: ignore[arg-type]


async def test_a_preview_comes_back_as_it_was_shown_and_shown_again_it_takes_its_own_place(store: Store) -> None:
    await add(store, an_alert("A1"))
    await add(store, an_alert("A2"))
    first, other = a_preview("A1"), a_preview("A2", recipients=b"")
    await store.add_preview(first)
    await store.add_preview(other)
    assert await store.preview(first.id) == first
    again = replace(first, made=T0 + 5, valid_until=T0 + 900_005, author="token-2")
    await store.add_preview(again)
    assert await store.preview(first.id) == again
    assert await store.preview(other.id) == other
    with pytest.raises(NotFound):
        await store.preview("0" * 64)


async def test_the_preview_that_a_releaser_named_stays_with_the_alert(store: Store) -> None:
    await add(store, an_alert("A1", state=AlertState.AWAITING_RELEASE))
    assert (await store.alert("A1")).preview is None
    released = an_event("A1", AlertState.RELEASED)
    assert not await store.move_alert("A1", [AlertState.RECEIVED], released, preview="p0")
    assert (await store.alert("A1")).preview is None
    assert await store.move_alert("A1", [AlertState.AWAITING_RELEASE], released, preview="p1")
    assert (await store.alert("A1")).preview == "p1"
    stopped = an_event("A1", AlertState.CANCELLED)
    assert await store.move_alert("A1", [AlertState.RELEASED], stopped, reason="taken back")
    alert = await store.alert("A1")
    assert (alert.preview, alert.reason) == ("p1", "taken back")
