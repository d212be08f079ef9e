"""Updates and Cancels: exactly those who were reached are told, each once, and nothing else goes out any more."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from broker.cap.compose import geocode_area
from broker.cap.level import Level
from broker.cap.model import MsgType, Status
from broker.dispatch.chain import chain_of
from broker.ledger.arrays import COUNT_NAMES
from broker.sealing import batch_context
from broker.store.records import AlertRecord
from broker.store.sql import open_store
from broker.types import AlertState, ChannelName, Lane, Phase
from tests.support.chains import HECHUAN, WULONG, World
from tests.support.places import KEYRING, Person
from tests.support.storing import T0, an_alert

SMS, APP = ChannelName.SMS, ChannelName.APP
IN_HECHUAN, IN_WULONG = 500117001005, 500156001001
PEOPLE = [
    *(Person(n) for n in range(1, 7)),
    *(Person(n, region=IN_WULONG) for n in range(7, 10)),
    Person(20, APP),
    Person(21, APP, region=IN_WULONG),
]
BOTH = (HECHUAN, WULONG)


@pytest.fixture
async def world() -> AsyncIterator[World]:
    store = open_store("sqlite:///:memory:")
    await store.start()
    made = World(store)
    await made.register(PEOPLE)
    yield made
    await store.close()


async def test_a_cancel_goes_to_exactly_those_who_were_sent_the_alert(world: World) -> None:
    dispatcher = world.dispatcher()
    alert = await world.post()
    await dispatcher._plan_all()
    await world.send(alert, {1, 3, 20})
    cancel = await world.post(MsgType.CANCEL, alert, note="解除：险情已排除")
    await dispatcher._plan_all()
    assert await world.told(cancel) == {Phase.CANCEL: {SMS: [1, 3], APP: [20]}}
    assert await world.state(alert) is AlertState.CANCELLED
    assert await world.state(cancel) is AlertState.PLANNED
    for batch in await world.store.batches(await world.store.batch_ids(alert=cancel.id)):
        assert batch.lane is Lane.URGENT
        opened = KEYRING.open(batch.addresses, batch_context(batch.id))
        assert opened.tolist() == [Person(int(each)).address.encode() for each in batch.recipients]
    for rendition in await world.store.renditions(cancel.id):
        assert rendition.content["replaces"] == [alert.id]
        assert "解除" in str(rendition.content)


async def test_what_was_not_sent_yet_is_withheld_and_nobody_can_claim_it(world: World) -> None:
    dispatcher = world.dispatcher()
    alert = await world.post()
    await dispatcher._plan_all()
    cancel = await world.post(MsgType.CANCEL, alert)
    works = await world.store.open_works(alert.id)
    await dispatcher._plan_all()
    assert works
    assert await world.store.open_work(alert.id) == 0
    for work in works:
        assert await world.store.claim(work.batch, work.attempt, "late", 1000) is None
    totals = [
        sum(column) for column in zip(*(row.counts for row in await world.store.counters(alert.id)), strict=True)
    ]
    counts = dict(zip(COUNT_NAMES, totals, strict=True))
    assert counts["withheld"] == counts["planned"] == counts["final"] == 7
    assert await world.told(cancel) == {}
    assert "nobody had been sent" in (await world.store.alert_events(cancel.id))[-1].why


async def test_an_alert_that_waits_for_release_is_cancelled_without_anything_being_sent(world: World) -> None:
    alert = await world.post(state=AlertState.AWAITING_RELEASE)
    cancel = await world.post(MsgType.CANCEL, alert)
    await world.dispatcher()._plan_all()
    assert await world.state(alert) is AlertState.CANCELLED
    assert await world.state(cancel) is AlertState.PLANNED
    assert await world.told(cancel) == {}


async def test_a_cancel_never_overtakes_a_window_that_a_worker_still_holds(world: World) -> None:
    dispatcher = world.dispatcher()
    alert = await world.post()
    await dispatcher._plan_all()
    (sms, app) = await world.store.open_works(alert.id)
    held = await world.store.claim(sms.batch, 1, "worker", 60_000)
    assert held is not None
    await world.store.mark(held, low=0, high=2, lease_ms=60_000)
    cancel = await world.post(MsgType.CANCEL, alert)
    await dispatcher._plan_all()
    assert await world.told(cancel) == {}
    # The worker ends its window, sees that the alert is over and closes.
    await world.store.close_work(held)
    await world.send(alert, {1, 2})
    dispatcher._following._watches.clear()
    assert await dispatcher._following.sweep() == 1
    assert await world.told(cancel) == {Phase.CANCEL: {SMS: [1, 2]}}
    assert (await world.store.alert(cancel.id)).round == 2
    assert app.batch != sms.batch


async def test_the_window_that_a_dead_worker_left_in_doubt_is_cancelled_too(world: World) -> None:
    dispatcher = world.dispatcher()
    alert = await world.post()
    await dispatcher._plan_all()
    (sms, _) = await world.store.open_works(alert.id)
    claim = await world.store.claim(sms.batch, 1, "dead", 60_000)
    assert claim is not None
    await world.store.mark(claim, low=1, high=3, lease_ms=60_000)
    await world.store.release_claims()
    cancel = await world.post(MsgType.CANCEL, alert)
    await dispatcher._plan_all()
    # Below the window everything was recorded by the worker, above it nothing had left.
    assert await world.told(cancel) == {Phase.CANCEL: {SMS: [2, 3]}}


async def test_evidence_that_comes_after_the_cancel_gets_a_round_of_its_own_and_only_once(world: World) -> None:
    dispatcher = world.dispatcher()
    alert = await world.post()
    await dispatcher._plan_all()
    await world.send(alert, {1})
    cancel = await world.post(MsgType.CANCEL, alert)
    await dispatcher._plan_all()
    assert await world.told(cancel) == {Phase.CANCEL: {SMS: [1]}}
    assert await dispatcher._following.sweep() == 0
    await world.send(alert, {1, 4, 20})
    for expected in (1, 0):
        dispatcher._following._watches.clear()
        assert await dispatcher._following.sweep() == expected
        assert await world.told(cancel) == {Phase.CANCEL: {SMS: [1, 4], APP: [20]}}
    assert (await world.store.alert(cancel.id)).round == 2


async def test_a_fault_with_one_follower_does_not_keep_the_others_from_their_rounds(world: World) -> None:
    dispatcher = world.dispatcher()
    alert, broken = await world.post(), await world.post(areas=(WULONG,))
    await dispatcher._plan_all()
    bad = await world.post(MsgType.CANCEL, broken)
    good = await world.post(MsgType.CANCEL, alert)
    await dispatcher._plan_all()
    await world.send(alert, {2})
    await world.send(broken, {7})
    propose = dispatcher._proposer.propose

    async def burst(record: AlertRecord, **how: Any) -> Any:
        if record.id == bad.id:
            raise RuntimeError("a fault of ours")
        return await propose(record, **how)

    dispatcher._proposer.propose = burst  # type: ignore[method-assign]
    assert await dispatcher._following.sweep() == 1
    assert await world.told(good) == {Phase.CANCEL: {SMS: [2]}}
    assert await world.told(bad) == {}


async def test_two_dispatchers_cancel_and_sweep_once(world: World) -> None:
    one, other = world.dispatcher(), world.dispatcher()
    alert = await world.post()
    await one._plan_all()
    await world.send(alert, {1, 2})
    cancel = await world.post(MsgType.CANCEL, alert)
    await one._plan_all()
    await other._plan_all()
    await world.send(alert, {3})
    assert await one._following.sweep() + await other._following.sweep() == 1
    assert await world.told(cancel) == {Phase.CANCEL: {SMS: [1, 2, 3]}}


async def test_a_cancel_that_comes_before_its_alert_waits_and_then_nobody_is_sent_it(world: World) -> None:
    dispatcher = world.dispatcher()
    to_come = an_alert("to-come", sender="cq-geo@warning.example", sent=T0)
    cancel = await world.post(MsgType.CANCEL, to_come)
    await dispatcher._plan_all()
    assert await world.state(cancel) is AlertState.RELEASED
    alert = await world.post(identifier="to-come", sent_ms=T0)
    await dispatcher._plan_all()
    assert await world.state(alert) is AlertState.CANCELLED
    await dispatcher._plan_all()
    assert await world.state(cancel) is AlertState.PLANNED
    assert await world.told(alert) == await world.told(cancel) == {}


async def test_a_cancel_whose_alert_never_comes_expires(world: World) -> None:
    cancel = await world.post(MsgType.CANCEL, an_alert("never"), expires_in=-1)
    await world.dispatcher()._plan_all()
    assert await world.state(cancel) is AlertState.EXPIRED


async def test_an_update_tells_each_by_what_they_knew(world: World) -> None:
    dispatcher = world.dispatcher()
    alert = await world.post(areas=BOTH)
    await dispatcher._plan_all()
    await world.send(alert, {1, 2, 7, 8, 20, 21})
    update = await world.post(MsgType.UPDATE, alert, areas=(HECHUAN,))
    await dispatcher._plan_all()
    assert await world.state(alert) is AlertState.SUPERSEDED
    assert await world.told(update) == {
        Phase.UPDATE: {SMS: [1, 2], APP: [20]},
        Phase.WARNING: {SMS: [3, 4, 5, 6]},
        Phase.CLEAR: {SMS: [7, 8], APP: [21]},
    }
    for rendition in await world.store.renditions(update.id):
        told_before = rendition.content["phase"] != "warning"
        assert rendition.content["replaces"] == ([alert.id] if told_before else [])


async def test_an_update_that_cannot_be_planned_leaves_the_warning_before_it_in_force(world: World) -> None:
    dispatcher = world.dispatcher()
    alert = await world.post()
    await dispatcher._plan_all()
    await world.send(alert)
    nowhere = geocode_area("某地", ["509999000000"])
    update = await world.post(MsgType.UPDATE, alert, areas=(nowhere,))
    await dispatcher._plan_all()
    assert await world.state(update) is AlertState.STOPPED
    assert await world.state(alert) is AlertState.PLANNED
    assert await world.told(update) == {}


async def test_a_cancel_that_names_the_first_message_ends_the_whole_chain(world: World) -> None:
    dispatcher = world.dispatcher()
    first = await world.post(areas=BOTH)
    await dispatcher._plan_all()
    await world.send(first, {1, 7})
    second = await world.post(MsgType.UPDATE, first, areas=(HECHUAN,))
    await dispatcher._plan_all()
    await world.send(second)
    cancel = await world.post(MsgType.CANCEL, first)
    await dispatcher._plan_all()
    assert await world.state(first) is await world.state(second) is AlertState.CANCELLED
    # 7 was told that it is over for her; that it is over for all is no news that she should miss.
    assert await world.told(cancel) == {Phase.CANCEL: {SMS: [1, 2, 3, 4, 5, 6, 7], APP: [20]}}


async def test_of_two_updates_the_one_sent_later_stands_whatever_comes_first(world: World) -> None:
    dispatcher = world.dispatcher()
    alert = await world.post()
    newer = await world.post(MsgType.UPDATE, alert, sent_ms=alert.sent + 120_000)
    await dispatcher._plan_all()
    older = await world.post(MsgType.UPDATE, alert, sent_ms=alert.sent + 60_000)
    await dispatcher._plan_all()
    assert await world.state(newer) is AlertState.PLANNED
    assert await world.state(older) is AlertState.SUPERSEDED
    assert await world.told(older) == {}


async def test_an_update_before_its_alert_warns_and_the_alert_is_not_sent_after_it(world: World) -> None:
    dispatcher = world.dispatcher()
    to_come = an_alert("late", sender="cq-geo@warning.example", sent=T0)
    update = await world.post(MsgType.UPDATE, to_come, sent_ms=T0 + 60_000)
    await dispatcher._plan_all()
    assert set(await world.told(update)) == {Phase.WARNING}
    alert = await world.post(identifier="late", sent_ms=T0)
    await dispatcher._plan_all()
    assert await world.state(alert) is AlertState.SUPERSEDED


@pytest.mark.parametrize("later_ms", [-60_000, 0, 60_000])
async def test_what_an_update_names_is_older_than_it_whatever_the_clocks_say(world: World, later_ms: int) -> None:
    dispatcher = world.dispatcher()
    to_come = an_alert("late", sender="cq-geo@warning.example", sent=T0 + later_ms)
    update = await world.post(MsgType.UPDATE, to_come, sent_ms=T0)
    await dispatcher._plan_all()
    alert = await world.post(identifier="late", sent_ms=T0 + later_ms)
    await dispatcher._plan_all()
    assert await world.state(update) is AlertState.PLANNED
    assert await world.state(alert) is AlertState.SUPERSEDED
    assert await world.told(alert) == {}


async def test_a_second_cancel_tells_only_those_whom_the_first_did_not(world: World) -> None:
    dispatcher = world.dispatcher()
    alert = await world.post()
    await dispatcher._plan_all()
    await world.send(alert, {1, 2})
    first, second = await world.post(MsgType.CANCEL, alert), await world.post(MsgType.CANCEL, alert)
    await dispatcher._plan_all()
    assert await world.told(first) == {Phase.CANCEL: {SMS: [1, 2]}}
    assert await world.told(second) == {}
    again = await world.post(MsgType.UPDATE, alert)
    await dispatcher._plan_all()
    await world.send(again, {1})
    third = await world.post(MsgType.CANCEL, alert)
    await dispatcher._plan_all()
    assert await world.told(third) == {Phase.CANCEL: {SMS: [1]}}


async def test_a_drill_cannot_end_a_live_warning_nor_another_departments_message(world: World) -> None:
    dispatcher = world.dispatcher()
    alert = await world.post()
    await dispatcher._plan_all()
    await world.send(alert)
    await world.post(MsgType.CANCEL, alert, status=Status.EXERCISE)
    await world.post(MsgType.CANCEL, alert, department="meteorology")
    await world.post(MsgType.UPDATE, alert, status=Status.TEST)
    await dispatcher._plan_all()
    assert await world.state(alert) is AlertState.PLANNED


async def test_one_cancel_can_end_several_warnings_without_joining_them(world: World) -> None:
    dispatcher = world.dispatcher()
    one = await world.post(areas=(HECHUAN,))
    other = await world.post(areas=(WULONG,), level=Level.ORANGE)
    await dispatcher._plan_all()
    await world.send(one, {1})
    await world.send(other, {7})
    cancel = await world.post(MsgType.CANCEL, one, other)
    await dispatcher._plan_all()
    assert await world.told(cancel) == {Phase.CANCEL: {SMS: [1, 7]}}
    assert [each.id for each in (await chain_of(world.store, one)).warnings] == [one.id]


@pytest.mark.parametrize("msg_type", [MsgType.ACK, MsgType.ERROR])
async def test_an_answer_is_noted_with_what_it_answers_and_reaches_nobody(world: World, msg_type: MsgType) -> None:
    dispatcher = world.dispatcher()
    alert = await world.post()
    answer = await world.post(msg_type, alert, note="收到")
    await dispatcher._plan_all()
    assert await world.state(answer) is AlertState.COMPLETED
    assert await world.told(answer) == {}
    notes = [event.why for event in await world.store.alert_events(alert.id)]
    word = "acknowledged" if msg_type is MsgType.ACK else "refused"
    assert f"{word} by cq-geo@warning.example: 收到" in notes
    assert await world.state(alert) is AlertState.PLANNED


@settings(max_examples=25)
@given(st.data())
def test_after_any_chain_everybody_reached_has_the_last_word_once(data: st.DataObject) -> None:
    """Against sets: warned are those inside and new, updated those inside and known, cleared the rest, once."""
    asyncio.run(_law(data))


async def _law(data: st.DataObject) -> None:
    store = open_store("sqlite:///:memory:")
    await store.start()
    try:
        await _any_chain(World(store), data)
    finally:
        await store.close()


async def _any_chain(world: World, data: st.DataObject) -> None:
    homes = data.draw(st.lists(st.sampled_from([IN_HECHUAN, IN_WULONG]), min_size=1, max_size=12))
    await world.register(Person(n, region=home) for n, home in enumerate(homes, 1))
    dispatcher = world.dispatcher()
    places = {IN_HECHUAN: HECHUAN, IN_WULONG: WULONG}
    reached: set[int] = set()
    cleared: set[int] = set()
    messages: list[AlertRecord] = []
    for _ in range(data.draw(st.integers(1, 3))):
        chosen = data.draw(st.sets(st.sampled_from([IN_HECHUAN, IN_WULONG]), min_size=1))
        inside = {n for n, home in enumerate(homes, 1) if home in chosen}
        referred = [data.draw(st.sampled_from(messages))] if messages else []
        areas = [places[home] for home in sorted(chosen)]
        kind = MsgType.UPDATE if messages else MsgType.ALERT
        message = await world.post(kind, *referred, areas=areas)
        await dispatcher._plan_all()
        told = {phase: set(here.get(SMS, [])) for phase, here in (await world.told(message)).items()}
        expected = {
            Phase.WARNING: inside - reached,
            Phase.UPDATE: inside & reached,
            Phase.CLEAR: reached - inside - cleared,
        }
        assert told == {phase: ids for phase, ids in expected.items() if ids}
        everybody = set().union(*expected.values())
        sent = data.draw(st.sets(st.sampled_from(sorted(everybody)))) if everybody else set()
        await world.send(message, sent)
        reached |= sent
        cleared = (cleared | (sent & expected[Phase.CLEAR])) - (sent & inside)
        messages.append(message)
    cancel = await world.post(MsgType.CANCEL, data.draw(st.sampled_from(messages)))
    await dispatcher._plan_all()
    cancelled = (await world.told(cancel)).get(Phase.CANCEL, {}).get(SMS, [])
    assert cancelled == sorted(reached)
    assert {await world.state(message) for message in messages} == {AlertState.CANCELLED}
