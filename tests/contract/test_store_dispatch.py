"""A plan is written whole or not at all; its work rows are the outbox."""

from __future__ import annotations

import asyncio
from dataclasses import replace

import numpy as np
import pytest

from broker.errors import NotFound, StoreError
from broker.ledger.arrays import LedgerRow
from broker.store.contract import Store
from broker.store.records import BatchRecord, Plan, Work
from broker.types import AlertState, ChannelName, Lane
from tests.support.storing import T0, a_plan, add, an_alert, an_event, commit, planned, same_row


def assert_same(one: BatchRecord, other: BatchRecord) -> None:
    assert np.array_equal(one.recipients, other.recipients)
    assert one.recipients.dtype == np.uint32
    empty = np.zeros(0, np.uint32)
    assert replace(one, recipients=empty).__repr__() == replace(other, recipients=empty).__repr__()


def keys(work: list[Work]) -> list[tuple[int, int]]:
    return [(item.batch, item.attempt) for item in work]


@pytest.mark.parametrize("kind", ["batches", "renditions"])
async def test_reserved_ids_are_given_to_nobody_else(store: Store, kind: str) -> None:
    reserve = store.reserve_batches if kind == "batches" else store.reserve_renditions
    firsts = await asyncio.gather(*(reserve(n) for n in range(1, 21)))
    taken = [first + i for first, n in zip(firsts, range(1, 21), strict=True) for i in range(n)]
    assert len(set(taken)) == len(taken)
    assert await reserve(0) == await reserve(1)
    with pytest.raises(ValueError, match="negative"):
        await reserve(-1)


async def test_a_plan_is_there_with_all_that_belongs_to_it(store: Store) -> None:
    channels = (ChannelName.SMS, ChannelName.APP)
    plan = await planned(store, (3, 2, 4), channels=channels, districts=(500117, 500156))
    alert = await store.alert(plan.alert)
    assert (alert.state, alert.planned) == (AlertState.PLANNED, plan.at)
    assert (await store.alert_events(plan.alert))[-1].state is AlertState.PLANNED
    assert await store.renditions(plan.alert) == list(plan.renditions)
    assert await store.rendition(plan.renditions[1].id) == plan.renditions[1]
    for batch in plan.batches:
        assert_same(await store.batch(batch.id), batch)
        assert same_row(await store.ledger_row(batch.id), LedgerRow.fresh(batch.id, len(batch), plan.at))
        assert await store.work_open(batch.id, 1)
    assert await store.unpublished(10) == [
        Work(batch.id, 1, batch.channel, batch.lane, plan.at) for batch in plan.batches
    ]
    counters = {(row.channel, row.district): row.counts for row in await store.counters(plan.alert)}
    assert counters == {
        (ChannelName.SMS, 500117): (7, 0, 0, 0, 0, 0, 0, 0, 0),
        (ChannelName.APP, 500156): (2, 0, 0, 0, 0, 0, 0, 0, 0),
    }
    assert await store.open_work(plan.alert) == 3
    assert await store.curve(plan.alert) == []


async def test_a_plan_with_nobody_in_it_still_moves_the_alert(store: Store) -> None:
    alert = await add(store, an_alert(state=AlertState.RELEASED))
    await commit(store, Plan(alert.id, T0, (), ()))
    assert (await store.alert(alert.id)).state is AlertState.PLANNED
    assert await store.counters(alert.id) == []


async def test_a_plan_for_an_alert_that_is_no_longer_released_writes_nothing(store: Store) -> None:
    plan = await a_plan(store)
    cancelled = an_event(plan.alert, AlertState.CANCELLED)
    assert await store.move_alert(plan.alert, [AlertState.RELEASED], cancelled)
    version = await store.ledger_version()
    assert not await store.commit_plan(plan, an_event(plan.alert, AlertState.PLANNED))
    assert await store.batch_ids(alert=plan.alert) == []
    assert await store.renditions(plan.alert) == []
    assert await store.unpublished(10) == []
    assert await store.counters(plan.alert) == []
    assert await store.ledger_version() == version
    assert (await store.alert_events(plan.alert))[-1] == cancelled


async def test_of_two_plans_for_one_alert_at_once_exactly_one_is_written(store: Store) -> None:
    first = await a_plan(store, (2, 2))
    second = await a_plan(store, (3,), alert=first.alert)
    event = an_event(first.alert, AlertState.PLANNED)
    results = await asyncio.gather(store.commit_plan(first, event), store.commit_plan(second, event))
    assert sorted(results) == [False, True]
    winner = first if results[0] else second
    assert await store.batch_ids(alert=first.alert) == [batch.id for batch in winner.batches]


async def test_a_plan_that_fails_in_the_middle_leaves_nothing(store: Store) -> None:
    good = await a_plan(store, (2, 2))
    homeless = replace(good.batches[1], rendition=999_999)
    with pytest.raises(StoreError):
        await store.commit_plan(
            replace(good, batches=(good.batches[0], homeless)), an_event(good.alert, AlertState.PLANNED)
        )
    assert await store.batch_ids(alert=good.alert) == []
    assert (await store.alert(good.alert)).state is AlertState.RELEASED
    await commit(store, good)


async def test_a_plan_with_batches_of_another_alert_is_refused(store: Store) -> None:
    plan, other = await a_plan(store), await a_plan(store)
    with pytest.raises(ValueError, match="own alert"):
        await store.commit_plan(
            replace(plan, batches=plan.batches + other.batches), an_event(plan.alert, AlertState.PLANNED)
        )


async def test_the_outbox_gives_the_urgent_lane_first_and_the_oldest_first(store: Store) -> None:
    late = await planned(store, (1, 1), lane=Lane.URGENT, at=T0 + 500)
    routine = await planned(store, (1,), lane=Lane.ROUTINE, at=T0)
    early = await planned(store, (1,), lane=Lane.URGENT, at=T0 + 200)
    expected = [plan_batch.id for plan in (early, late, routine) for plan_batch in plan.batches]
    assert [work.batch for work in await store.unpublished(10)] == expected
    assert [work.batch for work in await store.unpublished(2)] == expected[:2]
    assert [work.batch for work in await store.unpublished(4)] == expected
    assert await store.unpublished(0) == []


async def test_what_is_marked_published_or_closed_is_not_given_again(store: Store) -> None:
    plan = await planned(store, (1, 1, 1, 1))
    first, second, third, fourth = (batch.id for batch in plan.batches)
    await store.mark_published([(third, 1), (first, 1)], T0)
    await store.mark_published([], T0)
    claim = await store.claim(fourth, 1, "w", 60_000)
    assert claim is not None
    await store.close_work(claim)
    assert keys(await store.unpublished(10)) == [(second, 1)]
    assert await store.forget_published() == 2
    assert keys(await store.unpublished(10)) == [(first, 1), (second, 1), (third, 1)]
    assert await store.forget_published() == 0


async def test_batches_come_in_the_order_asked_and_one_that_is_missing_is_told(store: Store) -> None:
    plan = await planned(store, (1, 2, 3))
    ids = [batch.id for batch in plan.batches]
    wanted = [ids[2], ids[0], ids[2]]
    assert [batch.id for batch in await store.batches(wanted)] == wanted
    assert await store.batches([]) == []
    with pytest.raises(NotFound, match=str(ids[-1] + 1)):
        await store.batches([ids[0], ids[-1] + 1])
    with pytest.raises(NotFound):
        await store.batch(ids[-1] + 1)


async def test_more_batches_than_a_statement_has_variables_for_can_be_read(store: Store) -> None:
    plan = await planned(store, (1,) * 2_500)
    found = await store.batches([batch.id for batch in plan.batches])
    assert [batch.addresses for batch in found] == [batch.addresses for batch in plan.batches]


async def test_a_rendition_that_is_missing_is_not_found(store: Store) -> None:
    with pytest.raises(NotFound):
        await store.rendition(4711)
    assert await store.renditions("nothing") == []


async def test_batch_ids_are_found_by_alert_channel_and_expiry(store: Store) -> None:
    both = (ChannelName.SMS, ChannelName.APP)
    first = await planned(store, (1, 1, 1), channels=both, expires=T0 + 1_000)
    second = await planned(store, (1,), expires=T0 + 2_000)
    sms, app = [first.batches[0].id, first.batches[2].id], [first.batches[1].id]
    last = second.batches[0].id
    assert await store.batch_ids(alert=first.alert) == sorted(sms + app)
    assert await store.batch_ids(alert=first.alert, channel=ChannelName.APP) == app
    assert await store.batch_ids(channel=ChannelName.SMS) == [*sms, last]
    assert await store.batch_ids() == sorted([*sms, *app, last])
    assert await store.batch_ids(expires_after=T0 + 999) == sorted([*sms, *app, last])
    assert await store.batch_ids(expires_after=T0 + 1_000) == [last]
    assert await store.batch_ids(alert=first.alert, expires_after=T0 + 1_000) == []


@pytest.mark.parametrize(
    ("state", "listed"),
    [
        (AlertState.SENDING, True),
        (AlertState.COMPLETED, True),
        (AlertState.CANCELLED, False),
        (AlertState.SUPERSEDED, False),
        (AlertState.EXPIRED, False),
    ],
)
async def test_batches_of_alerts_that_ended_otherwise_are_not_listed_unless_asked_for(
    store: Store, state: AlertState, listed: bool
) -> None:
    plan = await planned(store, (1,))
    ids = [plan.batches[0].id]
    assert await store.batch_ids() == ids
    assert await store.move_alert(plan.alert, [AlertState.PLANNED], an_event(plan.alert, state))
    assert await store.batch_ids() == (ids if listed else [])
    assert await store.batch_ids(alert=plan.alert) == ids


async def test_erased_addresses_are_gone_and_only_those_of_that_alert(store: Store) -> None:
    first, second = await planned(store, (1, 1)), await planned(store, (1,))
    await store.erase_addresses(first.alert)
    for batch in first.batches:
        assert_same(await store.batch(batch.id), replace(batch, addresses=b""))
    assert_same(await store.batch(second.batches[0].id), second.batches[0])


async def a_round(store: Store, alert: str, number: int, sizes: tuple[int, ...] = (2,)) -> Plan:
    """A later round of an alert, not committed."""
    plan = await a_plan(store, sizes, alert=alert)
    batches = tuple(replace(batch, round=number) for batch in plan.batches)
    return replace(plan, batches=batches, round=number)


async def test_a_later_round_adds_to_the_first_and_leaves_the_state(store: Store) -> None:
    plan = await planned(store, (3,))
    assert (await store.alert(plan.alert)).round == 1
    later = await a_round(store, plan.alert, 2, (2, 1))
    event = an_event(plan.alert, AlertState.SENDING, at=T0 + 9, why="those whose evidence came late")
    assert await store.commit_round(later, event)
    alert = await store.alert(plan.alert)
    assert (alert.state, alert.round, alert.planned) == (AlertState.PLANNED, 2, plan.at)
    assert (await store.alert_events(plan.alert))[-1] == replace(event, state=AlertState.PLANNED)
    assert await store.batch_ids(alert=plan.alert) == [batch.id for batch in (*plan.batches, *later.batches)]
    assert [batch.round for batch in await store.batches([batch.id for batch in later.batches])] == [2, 2]
    assert [row.counts[0] for row in await store.counters(plan.alert)] == [6]
    assert await store.open_work(plan.alert) == 3
    assert len(await store.unpublished(10)) == 3


async def test_a_completed_alert_with_a_later_round_is_sending_again(store: Store) -> None:
    plan = await planned(store, (1,))
    done = an_event(plan.alert, AlertState.COMPLETED, at=T0 + 5)
    assert await store.move_alert(plan.alert, [AlertState.PLANNED], done)
    event = an_event(plan.alert, AlertState.SENDING, at=T0 + 9)
    assert await store.commit_round(await a_round(store, plan.alert, 2), event)
    assert (await store.alert(plan.alert)).state is AlertState.SENDING
    assert (await store.alert_events(plan.alert))[-1] == event
    # Whatever state the caller names, a round never makes an alert more finished than it is.
    assert await store.move_alert(plan.alert, [AlertState.SENDING], done)
    assert await store.commit_round(await a_round(store, plan.alert, 3), an_event(plan.alert, AlertState.COMPLETED))
    assert (await store.alert(plan.alert)).state is AlertState.SENDING


@pytest.mark.parametrize("number", [1, 3])
async def test_a_round_that_is_not_the_next_one_writes_nothing(store: Store, number: int) -> None:
    plan = await planned(store, (1,))
    history = await store.alert_events(plan.alert)
    wrong = await a_round(store, plan.alert, number)
    assert not await store.commit_round(wrong, an_event(plan.alert, AlertState.SENDING))
    assert await store.batch_ids(alert=plan.alert) == [plan.batches[0].id]
    assert (await store.alert(plan.alert)).round == 1
    assert await store.alert_events(plan.alert) == history
    assert await store.open_work(plan.alert) == 1


@pytest.mark.parametrize(
    "state", [AlertState.RELEASED, AlertState.CANCELLED, AlertState.SUPERSEDED, AlertState.EXPIRED]
)
async def test_an_alert_that_does_not_go_out_gets_no_round(store: Store, state: AlertState) -> None:
    plan = await planned(store, (1,))
    assert await store.move_alert(plan.alert, [AlertState.PLANNED], an_event(plan.alert, state))
    later = await a_round(store, plan.alert, 2)
    assert not await store.commit_round(later, an_event(plan.alert, AlertState.SENDING))
    assert await store.batch_ids(alert=plan.alert) == [plan.batches[0].id]
    alert = await store.alert(plan.alert)
    assert (alert.state, alert.round) == (state, 1)


async def test_of_two_dispatchers_with_the_same_round_at_once_exactly_one_writes_it(store: Store) -> None:
    for completed in (False, True):
        plan = await planned(store, (1,))
        if completed:
            done = an_event(plan.alert, AlertState.COMPLETED)
            assert await store.move_alert(plan.alert, [AlertState.PLANNED], done)
        rounds = [await a_round(store, plan.alert, 2, (size,)) for size in (2, 3)]
        event = an_event(plan.alert, AlertState.SENDING)
        won = await asyncio.gather(*(store.commit_round(each, event) for each in rounds))
        assert sorted(won) == [False, True]
        winner = rounds[won.index(True)]
        assert await store.batch_ids(alert=plan.alert) == [plan.batches[0].id, winner.batches[0].id]
        alert = await store.alert(plan.alert)
        assert (alert.round, alert.state) == (2, AlertState.SENDING if completed else AlertState.PLANNED)


async def test_a_round_that_fails_in_the_middle_leaves_nothing(store: Store) -> None:
    plan = await planned(store, (1,))
    later = await a_round(store, plan.alert, 2, (2, 2))
    homeless = replace(later.batches[1], rendition=999_999)
    with pytest.raises(StoreError):
        await store.commit_round(
            replace(later, batches=(later.batches[0], homeless)), an_event(plan.alert, AlertState.SENDING)
        )
    assert (await store.alert(plan.alert)).round == 1
    assert await store.commit_round(later, an_event(plan.alert, AlertState.SENDING))


async def test_a_plan_whose_batches_are_of_another_round_is_refused(store: Store) -> None:
    plan = await planned(store, (1,))
    mixed = replace(await a_plan(store, alert=plan.alert), round=2)
    with pytest.raises(ValueError, match="own round"):
        await store.commit_round(mixed, an_event(plan.alert, AlertState.SENDING))
