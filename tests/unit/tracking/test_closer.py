"""The end of an alert: completed when nobody is left, settled when its time is over, then forgotten by number."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from dataclasses import replace
from typing import Any, cast

import numpy as np
import pytest
import sqlalchemy as sa
from hypothesis import given
from hypothesis import strategies as st

from broker.clock import now_ms
from broker.errors import StoreError
from broker.ledger.arrays import LedgerRow, Receipts, final_mask
from broker.ledger.state import DELIVERED, Rank, Reason, arrival_of, attempt_of, rank_of, reason_of, word
from broker.store import schema
from broker.store.contract import Store
from broker.store.records import Plan, Work
from broker.store.sql import open_store
from broker.tracking import closer as module
from broker.tracking.closer import unconfirmed
from broker.types import AlertState, ChannelName, Lane
from tests.support.storing import T0, a_plan, add, an_alert, an_event, commit
from tests.support.through import Through
from tests.support.waiting import eventually
from tests.support.working import states_of

HOUR = 3_600_000


def Closer(store: Store, **settings: Any) -> module.Closer:  # noqa: N802 - stands for the class
    """A closer that looks at what has ended every time."""
    return module.Closer(store, **{"sweep": 0.0, **settings})


SENT, FAILED = word(Rank.SENT, attempt=1), word(Rank.FAILED, attempt=1, reason=Reason.THROTTLED)


@pytest.fixture
async def store() -> AsyncIterator[Store]:
    store = open_store("sqlite:///:memory:")
    await store.start()
    yield store
    await store.close()


async def going_out(store: Store, sizes: tuple[int, ...] = (3,), *, expires_in: int = HOUR) -> Plan:
    """A planned alert that expires at its time from now (negative: expired so long ago)."""
    alert = replace(an_alert(state=AlertState.RELEASED), received=now_ms() - 10_000, expires=now_ms() + expires_in)
    await add(store, alert)
    plan = await a_plan(store, sizes, alert=alert.id, at=now_ms() - 9_000, expires=alert.expires)
    return await commit(store, plan)


async def report(store: Store, batch: int, state: int, *ordinals: int) -> None:
    await store.merge([Receipts.uniform(batch, np.array(ordinals, np.uint16), state, now_ms())])


async def close_work(store: Store, batch: int, attempt: int = 1, retry: Work | None = None) -> None:
    claim = await store.claim(batch, attempt, "w", 60_000)
    assert claim is not None
    await store.close_work(claim, retry=retry)


async def state_of(store: Store, plan: Plan) -> AlertState:
    return (await store.alert(plan.alert)).state


async def test_an_alert_is_sending_when_somebody_was_reached_and_completed_when_all_are_final(
    store: Store,
) -> None:
    closer = Closer(store)
    plan = await going_out(store)
    (batch,) = plan.batches
    await closer.once()
    assert await state_of(store, plan) is AlertState.PLANNED
    await report(store, batch.id, SENT, 0)
    await closer.once()
    assert await state_of(store, plan) is AlertState.SENDING
    await report(store, batch.id, DELIVERED, 0, 1, 2)
    await closer.once()
    assert await state_of(store, plan) is AlertState.SENDING, "the work is still open"
    await close_work(store, batch.id)
    await closer.once()
    assert await state_of(store, plan) is AlertState.COMPLETED
    history = [event.state for event in await store.alert_events(plan.alert)]
    assert history[-3:] == [AlertState.PLANNED, AlertState.SENDING, AlertState.COMPLETED]
    assert (await store.alert(plan.alert)).completed is not None


async def test_an_alert_is_not_completed_while_a_retry_is_open(store: Store) -> None:
    closer = Closer(store)
    plan = await going_out(store, (2,))
    (batch,) = plan.batches
    await report(store, batch.id, FAILED, 0, 1)
    retry = Work(batch.id, 2, ChannelName.SMS, Lane.URGENT, now_ms() + 5_000, np.array([0, 1], np.uint16))
    await close_work(store, batch.id, retry=retry)
    await closer.once()
    assert await state_of(store, plan) is AlertState.SENDING
    await close_work(store, batch.id, 2)
    await closer.once()
    assert await state_of(store, plan) is AlertState.COMPLETED


async def test_an_alert_that_reaches_nobody_is_completed_at_once(store: Store) -> None:
    plan = await going_out(store, ())
    await Closer(store).once()
    assert await state_of(store, plan) is AlertState.COMPLETED


async def test_at_expiry_and_grace_what_is_not_proved_is_unconfirmed_and_what_never_left_expired(
    store: Store,
) -> None:
    plan = await going_out(store, (6,), expires_in=-60_000)
    (batch,) = plan.batches
    await report(store, batch.id, SENT, 0)
    await report(store, batch.id, word(Rank.UNKNOWN, attempt=2), 1)
    await report(store, batch.id, DELIVERED, 2)
    await report(store, batch.id, word(Rank.FAILED, attempt=1, reason=Reason.REJECTED), 3)
    await report(store, batch.id, word(Rank.EXPIRED, attempt=1, reason=Reason.EXPIRED), 4)
    await Closer(store, grace_ms=HOUR).once()
    assert await state_of(store, plan) is AlertState.SENDING, "the grace is not over"
    before = await store.ledger_row(batch.id)
    await Closer(store, grace_ms=30_000).once()
    assert await state_of(store, plan) is AlertState.COMPLETED
    after = await store.ledger_row(batch.id)
    assert states_of(after)[:2] == [
        (1, Rank.FAILED, Reason.UNCONFIRMED),
        (2, Rank.FAILED, Reason.UNCONFIRMED),
    ]
    assert after.states[2:5].tolist() == before.states[2:5].tolist(), "what is final stays as it is"
    assert states_of(after)[5] == (0, Rank.EXPIRED, Reason.EXPIRED)
    (counters,) = await store.counters(plan.alert)
    assert counters.counts[-1] == counters.counts[0] == 6
    assert await store.counters(plan.alert) == await store.recount(plan.alert)


async def test_evidence_that_comes_after_settling_still_counts(store: Store) -> None:
    plan = await going_out(store, (2,), expires_in=-60_000)
    (batch,) = plan.batches
    await report(store, batch.id, SENT, 0, 1)
    await Closer(store, grace_ms=0).once()
    await report(store, batch.id, DELIVERED, 1)
    (counters,) = await store.counters(plan.alert)
    assert counters.counts == (2, 2, 1, 0, 0, 1, 0, 0, 2)


async def test_who_is_left_over_in_a_completed_alert_is_settled_too(store: Store) -> None:
    # With a server's queues, a later attempt's receipts may be merged after the alert was found complete.
    closer = Closer(store, grace_ms=30_000)
    plan = await going_out(store, (2,))
    (batch,) = plan.batches
    await report(store, batch.id, FAILED, 0, 1)
    await close_work(store, batch.id)
    await closer.once()
    assert await state_of(store, plan) is AlertState.COMPLETED
    await report(store, batch.id, word(Rank.SENT, attempt=2), 0)
    await over(store, plan)
    await closer.once()
    row = await store.ledger_row(batch.id)
    assert states_of(row)[0] == (2, Rank.FAILED, Reason.UNCONFIRMED)
    assert final_mask(row.states).all()


async def over(store: Store, plan: Plan) -> None:
    """Make the alert's end lie an hour back."""
    table = schema.alerts
    statement = sa.update(table).where(table.c.id == plan.alert).values(expires=now_ms() - HOUR)

    async def work(conn: Any) -> None:
        await conn.execute(statement)

    await cast("Any", store)._db.write(work)


async def test_addresses_are_erased_only_after_the_grace(store: Store) -> None:
    closer = Closer(store, grace_ms=30_000)
    plan = await going_out(store, (2, 2))
    for batch in plan.batches:
        await report(store, batch.id, DELIVERED, 0, 1)
        await close_work(store, batch.id)
    await closer.once()
    assert await state_of(store, plan) is AlertState.COMPLETED
    await closer.once()
    assert all(batch.addresses for batch in await store.batches([b.id for b in plan.batches]))
    await over(store, plan)
    await closer.once()
    assert [batch.addresses for batch in await store.batches([b.id for b in plan.batches])] == [b"", b""]


@pytest.mark.parametrize("state", [AlertState.CANCELLED, AlertState.SUPERSEDED])
async def test_an_alert_that_was_taken_back_or_replaced_is_settled_and_keeps_no_addresses_either(
    store: Store, state: AlertState
) -> None:
    plan = await going_out(store, (3,), expires_in=-60_000)
    (batch,) = plan.batches
    await report(store, batch.id, SENT, 0)
    await report(store, batch.id, word(Rank.WITHHELD, attempt=1, reason=Reason.STOPPED), 1)
    assert await store.move_alert(plan.alert, [AlertState.PLANNED], an_event(plan.alert, state))
    await Closer(store, grace_ms=HOUR).once()
    assert (await store.batch(batch.id)).addresses, "evidence may still come"
    await Closer(store, grace_ms=0).once()
    assert (await store.batch(batch.id)).addresses == b""
    assert await state_of(store, plan) is state
    assert states_of(await store.ledger_row(batch.id)) == [
        (1, Rank.FAILED, Reason.UNCONFIRMED),
        (1, Rank.WITHHELD, Reason.STOPPED),
        (0, Rank.EXPIRED, Reason.EXPIRED),
    ]


async def a_later_round(store: Store, plan: Plan, number: int) -> Plan:
    more = await a_plan(store, (2,), alert=plan.alert, at=now_ms(), expires=now_ms() + HOUR)
    batches = tuple(replace(batch, round=number) for batch in more.batches)
    more = replace(more, batches=batches, round=number)
    assert await store.commit_round(more, an_event(plan.alert, AlertState.SENDING))
    return more


async def finish(store: Store, plan: Plan) -> None:
    for batch in plan.batches:
        await report(store, batch.id, DELIVERED, *range(len(batch)))
        await close_work(store, batch.id)


async def test_a_completed_alert_that_got_a_later_round_is_completed_again_when_that_is_final(store: Store) -> None:
    closer = Closer(store)
    plan = await going_out(store)
    await finish(store, plan)
    await closer.once()
    assert await state_of(store, plan) is AlertState.COMPLETED
    more = await a_later_round(store, plan, 2)
    assert await state_of(store, plan) is AlertState.SENDING
    await closer.once()
    assert await state_of(store, plan) is AlertState.SENDING
    await finish(store, more)
    await closer.once()
    assert await state_of(store, plan) is AlertState.COMPLETED


@pytest.mark.parametrize("kind", ["Update", "Cancel"])
async def test_a_message_that_follows_another_completes_like_it(store: Store, kind: str) -> None:
    alert = replace(an_alert(state=AlertState.RELEASED), msg_type=kind, expires=now_ms() + HOUR)
    await add(store, alert)
    plan = await commit(store, await a_plan(store, (), alert=alert.id, at=now_ms()))
    closer = Closer(store)
    await closer.once()
    assert await state_of(store, plan) is AlertState.COMPLETED, "nobody was to be told"
    more = await a_later_round(store, plan, 2)
    await closer.once()
    assert await state_of(store, plan) is AlertState.SENDING
    await finish(store, more)
    await closer.once()
    assert await state_of(store, plan) is AlertState.COMPLETED


async def test_a_round_that_is_planned_while_the_alert_is_being_completed_is_not_passed_over(store: Store) -> None:
    plan = await going_out(store)
    await finish(store, plan)
    late: list[Plan] = []

    async def told(point: str, _args: Any, _kwargs: Any) -> None:
        if point == "open_work:after" and not late:
            late.append(await a_later_round(store, plan, 2))

    closer = Closer(cast("Store", Through(store, told, "open_work")))
    await closer.once()
    assert late
    assert await state_of(store, plan) is AlertState.SENDING
    await finish(store, late[0])
    await closer.once()
    assert await state_of(store, plan) is AlertState.COMPLETED


async def test_who_looks_late_does_not_undo_what_another_has_moved_on(store: Store) -> None:
    plan = await going_out(store)
    await finish(store, plan)
    moved = False

    async def told(point: str, _args: Any, _kwargs: Any) -> None:
        nonlocal moved
        if point == "counters:before" and not moved:
            moved = True
            await Closer(store).once()

    await Closer(cast("Store", Through(store, told, "counters"))).once()
    assert await state_of(store, plan) is AlertState.COMPLETED
    history = [event.state for event in await store.alert_events(plan.alert)]
    assert history.count(AlertState.SENDING) == history.count(AlertState.COMPLETED) == 1


async def test_what_has_ended_is_looked_through_now_and_then_only(store: Store) -> None:
    asked: list[Any] = []

    async def told(point: str, _args: Any, kwargs: Any) -> None:
        if point == "alerts:before":
            asked.append(kwargs["states"])

    closer = Closer(cast("Store", Through(store, told, "alerts")), sweep=3_600.0)
    for _ in range(5):
        await closer.once()
    assert sum(AlertState.COMPLETED in states for states in asked) == 1
    assert sum(AlertState.SENDING in states for states in asked) == 5


async def test_old_alerts_are_not_overlooked_because_there_are_many_newer_ones(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("broker.tracking.closer._PAGE", 2)
    plans = [await going_out(store, (1,), expires_in=-60_000) for _ in range(5)]
    await Closer(store, grace_ms=0).once()
    assert [await state_of(store, plan) for plan in plans] == [AlertState.COMPLETED] * 5
    closer = Closer(store, grace_ms=0)
    await closer.once()
    assert not any([(await store.batch(plan.batches[0].id)).addresses for plan in plans])


async def test_what_nobody_released_in_time_expires(store: Store) -> None:
    waiting = replace(an_alert(state=AlertState.AWAITING_RELEASE), expires=now_ms() + HOUR)
    late = replace(an_alert(state=AlertState.AWAITING_RELEASE), expires=now_ms() - 1)
    for alert in (waiting, late):
        await add(store, alert)
    await Closer(store).once()
    assert (await store.alert(waiting.id)).state is AlertState.AWAITING_RELEASE
    assert (await store.alert(late.id)).state is AlertState.EXPIRED


async def test_two_closers_move_an_alert_once(store: Store) -> None:
    plan = await going_out(store, (1,))
    await report(store, plan.batches[0].id, DELIVERED, 0)
    await close_work(store, plan.batches[0].id)
    await asyncio.gather(*(Closer(store).once() for _ in range(4)))
    history = [event.state for event in await store.alert_events(plan.alert)]
    assert history.count(AlertState.SENDING) == 1
    assert history.count(AlertState.COMPLETED) == 1


async def test_a_store_that_fails_for_a_while_only_delays_the_end(store: Store) -> None:
    failures = 0

    async def told(point: str, _args: Any, _kwargs: Any) -> None:
        nonlocal failures
        if point == "alerts:before" and failures < 2:
            failures += 1
            raise StoreError("the database is away")

    plan = await going_out(store, ())
    closer = Closer(cast("Store", Through(store, told, "alerts")), interval=0.001)
    running = asyncio.create_task(closer.run())

    async def completed() -> bool:
        return await state_of(store, plan) is AlertState.COMPLETED

    await eventually(completed)
    assert failures == 2
    running.cancel()
    await asyncio.gather(running, return_exceptions=True)


ranks = st.sampled_from(Rank)
words = st.builds(
    lambda rank, attempt, arrival: word(rank, attempt=attempt) | arrival << 14,
    ranks,
    st.integers(0, 15),
    st.integers(0, 3),
)


@given(st.lists(words, max_size=50))
def test_settling_makes_everybody_final_and_touches_nobody_who_was(states: list[int]) -> None:
    row = LedgerRow.fresh(1, len(states), T0)
    row.states[:] = states
    settled = unconfirmed(row, T0 + 5)
    row.merge(settled)
    assert final_mask(row.states).all()
    assert len(unconfirmed(row, T0 + 6)) == 0
    for before, after in zip(states, row.states.tolist(), strict=True):
        if arrival_of(before) or rank_of(before) in (Rank.FAILED, Rank.WITHHELD, Rank.EXPIRED):
            assert after == before
        else:
            assert attempt_of(after) == attempt_of(before)
            left = rank_of(before) is not Rank.PLANNED
            assert reason_of(after) is (Reason.UNCONFIRMED if left else Reason.EXPIRED)
            assert rank_of(after) is (Rank.FAILED if left else Rank.EXPIRED)
