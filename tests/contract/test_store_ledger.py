"""Merges lose nothing and count nothing twice, whoever merges, in whatever order and however often."""

from __future__ import annotations

import asyncio
import random
from collections import Counter
from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from broker.errors import NotFound
from broker.ledger.arrays import COUNT_NAMES, NEVER, Milestone, Receipts
from broker.ledger.state import ACKNOWLEDGED, DELIVERED, PRESENTED, Rank, Reason, word
from broker.store.contract import Store
from broker.store.records import Plan
from broker.store.sql import open_store
from broker.types import ChannelName
from tests.support.storing import T0, planned, reports, same_row

SENT = word(Rank.SENT, attempt=1)
WORDS = (
    word(Rank.SENDING, attempt=1),
    word(Rank.UNKNOWN, attempt=1),
    SENT,
    word(Rank.SENT, attempt=2),
    word(Rank.FAILED, attempt=1, reason=Reason.OFFLINE),
    word(Rank.FAILED, attempt=2, reason=Reason.REJECTED),
    word(Rank.WITHHELD, reason=Reason.STOPPED),
    word(Rank.EXPIRED, reason=Reason.EXPIRED),
    DELIVERED,
    PRESENTED,
    ACKNOWLEDGED,
)
PROVES: dict[Milestone, Callable[[int], bool]] = {
    Milestone.SENT: lambda state: state >= DELIVERED or (state >> 7) & 7 in (Rank.UNKNOWN, Rank.SENT),
    Milestone.DELIVERED: lambda state: state >= DELIVERED,
    Milestone.PRESENTED: lambda state: state >= PRESENTED,
    Milestone.ACKNOWLEDGED: lambda state: state >= ACKNOWLEDGED,
}
Report = tuple[int, int, int, int]
"""Batch (by position in its plan), ordinal, state, time."""


class Naive:
    """The ledger recipient by recipient, as one would write it without caring for speed."""

    def __init__(self, plan: Plan) -> None:
        self.plan = plan
        self.states = {(batch.id, i): 0 for batch in plan.batches for i in range(len(batch))}
        self.times: dict[Milestone, dict[tuple[int, int], int]] = {milestone: {} for milestone in Milestone}

    def report(self, batch: int, ordinal: int, state: int, at: int) -> None:
        key = (batch, ordinal)
        self.states[key] = max(self.states[key], state)
        for milestone, proves in PROVES.items():
            if proves(state):
                self.times[milestone][key] = min(self.times[milestone].get(key, at), at)

    def counters(self) -> dict[tuple[ChannelName, int], Counter[str]]:
        found: dict[tuple[ChannelName, int], Counter[str]] = {}
        for batch in self.plan.batches:
            count = found.setdefault((batch.channel, batch.district), Counter())
            for ordinal in range(len(batch)):
                key = (batch.id, ordinal)
                state = self.states[key]
                rank = (state >> 7) & 7
                count["planned"] += 1
                count["sent"] += key in self.times[Milestone.SENT]
                count["delivered"] += state >= DELIVERED
                count["presented"] += state >= PRESENTED
                count["acknowledged"] += state >= ACKNOWLEDGED
                arrived = state >= DELIVERED
                count["failed"] += not arrived and rank == Rank.FAILED
                count["withheld"] += not arrived and rank == Rank.WITHHELD
                count["expired"] += not arrived and rank == Rank.EXPIRED
                count["final"] += arrived or rank in (Rank.FAILED, Rank.WITHHELD, Rank.EXPIRED)
        return found

    def curve(self) -> dict[tuple[ChannelName, int, int], int]:
        channels = {batch.id: batch.channel for batch in self.plan.batches}
        found: Counter[tuple[ChannelName, int, int]] = Counter()
        for milestone, times in self.times.items():
            for (batch, _), at in times.items():
                found[channels[batch], int(milestone), max(at - T0, 0) // 1000] += 1
        return dict(found)


async def assert_equal(store: Store, naive: Naive) -> None:
    plan = naive.plan
    for batch in plan.batches:
        row = await store.ledger_row(batch.id)
        assert row.states.tolist() == [naive.states[batch.id, i] for i in range(len(batch))]
        for milestone in Milestone:
            times = naive.times[milestone]
            expected = [
                times[batch.id, i] - plan.at if (batch.id, i) in times else NEVER for i in range(len(batch))
            ]
            assert row.times[milestone].tolist() == expected
    counters = await store.counters(plan.alert)
    assert await store.recount(plan.alert) == counters
    assert {(row.channel, row.district): dict(zip(COUNT_NAMES, row.counts, strict=True)) for row in counters} == {
        key: {name: count[name] for name in COUNT_NAMES} for key, count in naive.counters().items()
    }
    curve = await store.curve(plan.alert)
    assert {(row.channel, row.milestone, row.second): row.n for row in curve} == naive.curve()
    for channel in {batch.channel for batch in plan.batches}:
        for milestone in Milestone:
            of_channel = {batch.id for batch in plan.batches if batch.channel is channel}
            expected = sorted(at for (batch, _), at in naive.times[milestone].items() if batch in of_channel)
            assert await store.milestone_times(plan.alert, channel, milestone) == expected
            in_curve = sum(row.n for row in curve if (row.channel, row.milestone) == (channel, milestone))
            counted = sum(row.counts[1 + milestone] for row in counters if row.channel is channel)
            assert in_curve == counted == len(expected)


def receipts_of(plan: Plan, items: list[Report]) -> list[Receipts]:
    return [reports(plan.batches[batch].id, (ordinal, state, at)) for batch, ordinal, state, at in items]


async def test_sending_and_arrival_are_recorded_counted_and_timed(store: Store) -> None:
    plan = await planned(store, (4,), at=T0 + 100)
    batch = plan.batches[0].id
    await store.merge([reports(batch, (0, SENT, T0 + 900), (1, SENT, T0 + 1_100), (2, SENT, T0 + 1_100))])
    await store.merge([reports(batch, (0, DELIVERED, T0 + 2_500), (2, ACKNOWLEDGED, T0 + 9_999))])
    failed = word(Rank.FAILED, attempt=1, reason=Reason.REJECTED)
    await store.merge([reports(batch, (1, failed, T0 + 3_000))])
    (counters,) = await store.counters(plan.alert)
    assert dict(zip(COUNT_NAMES, counters.counts, strict=True)) == {
        "planned": 4,
        "sent": 3,
        "delivered": 2,
        "presented": 1,
        "acknowledged": 1,
        "failed": 1,
        "withheld": 0,
        "expired": 0,
        "final": 3,
    }
    assert [(row.milestone, row.second, row.n) for row in await store.curve(plan.alert)] == [
        (Milestone.SENT, 0, 1),
        (Milestone.SENT, 1, 2),
        (Milestone.DELIVERED, 2, 1),
        (Milestone.DELIVERED, 9, 1),
        (Milestone.PRESENTED, 9, 1),
        (Milestone.ACKNOWLEDGED, 9, 1),
    ]
    assert await store.milestone_times(plan.alert, ChannelName.SMS, Milestone.DELIVERED) == [T0 + 2_500, T0 + 9_999]
    assert await store.milestone_times(plan.alert, ChannelName.APP, Milestone.DELIVERED) == []


async def test_an_earlier_time_moves_its_point_of_the_curve(store: Store) -> None:
    plan = await planned(store, (1,), at=T0)
    batch = plan.batches[0].id
    for at, seconds in ((T0 + 7_000, 7), (T0 + 3_000, 3), (T0 + 5_000, 3), (T0 + 3_900, 3)):
        await store.merge([reports(batch, (0, SENT, at))])
        assert [(row.second, row.n) for row in await store.curve(plan.alert)] == [(seconds, 1)]


async def test_times_before_the_alert_was_received_count_as_its_first_second(store: Store) -> None:
    plan = await planned(store, (1,), at=T0 - 5_000)
    await store.merge([reports(plan.batches[0].id, (0, SENT, T0 - 3_000))])
    assert [(row.second, row.n) for row in await store.curve(plan.alert)] == [(0, 1)]


async def test_receipts_of_an_unknown_batch_are_not_found_and_nothing_is_merged(store: Store) -> None:
    plan = await planned(store, (2,))
    known = plan.batches[0].id
    version = await store.ledger_version()
    with pytest.raises(NotFound, match=str(known + 1)):
        await store.merge([reports(known, (0, SENT, T0)), reports(known + 1, (0, SENT, T0))])
    assert (await store.ledger_row(known)).states.tolist() == [0, 0]
    assert await store.ledger_version() == version
    with pytest.raises(NotFound):
        await store.ledger_row(known + 1)


async def test_receipts_outside_the_batch_are_refused_and_nothing_is_merged(store: Store) -> None:
    plan = await planned(store, (2, 2))
    first, second = (batch.id for batch in plan.batches)
    with pytest.raises(IndexError):
        await store.merge([reports(first, (0, SENT, T0)), reports(second, (2, SENT, T0))])
    assert (await store.ledger_row(first)).states.tolist() == [0, 0]
    await store.merge([reports(first, (0, SENT, T0))])


async def test_merging_nothing_does_nothing(store: Store) -> None:
    plan = await planned(store, (2,))
    version = await store.ledger_version()
    nothing = np.zeros(0, np.uint16)
    await store.merge([])
    await store.merge([Receipts.uniform(plan.batches[0].id, nothing, SENT, T0)])
    assert await store.ledger_version() == version


async def test_the_version_rises_with_plans_and_merges_that_change_something(store: Store) -> None:
    versions = [await store.ledger_version()]
    plan = await planned(store, (2,))
    versions.append(await store.ledger_version())
    for state in (SENT, DELIVERED):
        await store.merge([reports(plan.batches[0].id, (0, state, T0 + 500))])
        versions.append(await store.ledger_version())
    assert versions == sorted(set(versions))
    await store.merge([reports(plan.batches[0].id, (0, DELIVERED, T0 + 500))])
    assert await store.ledger_version() == versions[-1]


async def test_a_state_without_a_count_or_a_time_is_kept_too(store: Store) -> None:
    plan = await planned(store, (2,))
    sending = word(Rank.SENDING, attempt=1)
    await store.merge([reports(plan.batches[0].id, (1, sending, T0))])
    row = await store.ledger_row(plan.batches[0].id)
    assert row.states.tolist() == [0, sending]
    assert (row.times == NEVER).all()


async def test_many_receipts_of_many_batches_go_in_one_merge(store: Store) -> None:
    sizes = tuple(1 + i % 7 for i in range(300))
    plan = await planned(store, sizes, channels=tuple(ChannelName), districts=(500101, 500117, 500156))
    naive, rng = Naive(plan), random.Random(7)
    items: list[Report] = []
    for _ in range(3_000):
        position = rng.randrange(len(sizes))
        item = (position, rng.randrange(sizes[position]), rng.choice(WORDS), plan.at + rng.randrange(60_000))
        items.append(item)
        naive.report(plan.batches[position].id, *item[1:])
    await store.merge(receipts_of(plan, items))
    await assert_equal(store, naive)


SIZES = (2, 1)


@st.composite
def portions(draw: st.DrawFn) -> list[list[Report]]:
    """Receipts of few recipients, some of them twice, in any order and cut anywhere."""
    batch = st.integers(0, len(SIZES) - 1)
    report = batch.flatmap(
        lambda position: st.tuples(
            st.just(position),
            st.integers(0, SIZES[position] - 1),
            st.sampled_from(WORDS),
            st.integers(T0 + 100, T0 + 9_000),
        )
    )
    items = draw(st.lists(report, min_size=1, max_size=25))
    everything = draw(st.permutations(items + draw(st.lists(st.sampled_from(items), max_size=10))))
    cuts = sorted(draw(st.lists(st.integers(0, len(everything)), max_size=6)))
    return [everything[start:end] for start, end in zip([0, *cuts], [*cuts, len(everything)], strict=True)]


@settings(
    max_examples=25,
    deadline=None,
    # Without shrinking: every example is a dozen of commits, and the examples are small as they are.
    phases=(Phase.explicit, Phase.reuse, Phase.generate),
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@given(parts=portions())
async def test_any_order_split_and_repetition_of_receipts_gives_the_naive_ledger(
    store: Store, parts: list[list[Report]]
) -> None:
    plan = await planned(store, SIZES, channels=(ChannelName.SMS, ChannelName.APP), at=T0 + 100)
    naive = Naive(plan)
    for part in parts:
        for position, *rest in part:
            naive.report(plan.batches[position].id, *rest)
        await store.merge(receipts_of(plan, part))
    await assert_equal(store, naive)


async def test_two_trackers_that_merge_the_same_batches_at_once_lose_nothing(store: Store, store_url: str) -> None:
    other = open_store(store_url)
    await other.start()
    sizes = (6, 6, 6, 6)
    plan = await planned(store, sizes, channels=(ChannelName.SMS, ChannelName.APP), districts=(500101, 500102))
    naive, rng = Naive(plan), random.Random(3)

    def some(n: int) -> list[Receipts]:
        items: list[Report] = []
        for _ in range(n):
            position = rng.randrange(len(sizes))
            item = (position, rng.randrange(6), rng.choice(WORDS), plan.at + rng.randrange(20_000))
            items.append(item)
            naive.report(plan.batches[position].id, *item[1:])
        return receipts_of(plan, items)

    merges = [(store, other)[turn % 2].merge(some(8)) for turn in range(60)]
    await asyncio.gather(*merges)
    await assert_equal(store, naive)
    await other.close()


async def test_counters_can_be_read_while_merges_go_on_and_always_equal_a_recount_afterwards(store: Store) -> None:
    plan = await planned(store, (200,) * 6)
    everyone = np.arange(200, dtype=np.uint16)

    async def merging() -> None:
        for step, state in enumerate((SENT, DELIVERED, PRESENTED)):
            for batch in plan.batches:
                await store.merge([Receipts.uniform(batch.id, everyone, state, T0 + 1_000 * step)])

    task = asyncio.ensure_future(merging())
    delivered = [0]
    while not task.done():
        (row,) = await store.counters(plan.alert)
        planned_, sent, arrived, presented = row.counts[:4]
        assert planned_ == 1_200
        assert planned_ >= sent >= arrived >= presented
        delivered.append(arrived)
    await task
    assert delivered == sorted(delivered)
    assert await store.recount(plan.alert) == await store.counters(plan.alert)
    assert (await store.counters(plan.alert))[0].counts[:4] == (1_200,) * 4


async def test_a_ledger_is_found_again_after_reopening(store: Store, store_url: str) -> None:
    plan = await planned(store, (3, 2))
    naive = Naive(plan)
    for position, ordinal, state, at in ((0, 2, DELIVERED, T0 + 700), (1, 0, SENT, T0 + 800)):
        naive.report(plan.batches[position].id, ordinal, state, at)
        await store.merge(receipts_of(plan, [(position, ordinal, state, at)]))
    await store.close()
    again = open_store(store_url)
    await again.start()
    await assert_equal(again, naive)
    await again.close()


async def test_several_rows_come_in_the_order_asked_each_as_it_would_alone(store: Store) -> None:
    plan = await planned(store, (3, 2, 4))
    first, second, third = (batch.id for batch in plan.batches)
    await store.merge([reports(second, (1, SENT, T0 + 500)), reports(third, (0, DELIVERED, T0 + 900))])
    wanted = [third, first, third, second]
    found = await store.ledger_rows(wanted)
    assert [row.batch for row in found] == wanted
    for row in found:
        assert same_row(row, await store.ledger_row(row.batch))
    assert found[0].at(Milestone.DELIVERED).tolist() == [T0 + 900]
    assert await store.ledger_rows([]) == []
    with pytest.raises(NotFound, match=str(third + 1)):
        await store.ledger_rows([first, third + 1])


async def test_more_rows_than_are_read_at_once_come_all_and_in_order(store: Store) -> None:
    plan = await planned(store, (1,) * 600)
    wanted = [batch.id for batch in plan.batches][::-1]
    assert [row.batch for row in await store.ledger_rows(wanted)] == wanted
