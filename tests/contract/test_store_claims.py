"""A claim belongs to one worker until its lease runs out, and what it recorded is where the next one goes on."""

from __future__ import annotations

import asyncio

import numpy as np
import pytest

from broker.errors import ClaimLost, StoreError
from broker.store.contract import Store
from broker.store.records import Claim, FarIds, Work
from broker.types import ChannelName, Lane
from tests.support.storing import T0, planned

LONG = 600_000
OVER = 0
"""A lease that has run out as soon as it is given."""


async def a_batch(store: Store) -> int:
    return (await planned(store, (50,))).batches[0].id


async def claimed(store: Store, batch: int, owner: str = "w1", lease_ms: int = LONG, attempt: int = 1) -> Claim:
    claim = await store.claim(batch, attempt, owner, lease_ms)
    assert claim is not None
    return claim


def ordinals(*values: int) -> np.ndarray:
    return np.array(values, np.uint16)


def window(batch: int, first: int, *ids: bytes, channel: ChannelName = ChannelName.SMS) -> FarIds:
    return FarIds(channel, batch, 1, np.arange(first, first + len(ids), dtype=np.uint16), np.array(ids))


async def test_a_fresh_claim_starts_at_the_beginning_with_the_whole_batch(store: Store) -> None:
    batch = await a_batch(store)
    claim = await claimed(store, batch)
    assert (claim.batch, claim.attempt, claim.owner, claim.low, claim.high) == (batch, 1, "w1", 0, 0)
    assert claim.ordinals is None
    assert claim.retry.tolist() == []


async def test_what_is_held_closed_or_unknown_cannot_be_claimed(store: Store) -> None:
    batch = await a_batch(store)
    claim = await claimed(store, batch)
    assert await store.claim(batch, 1, "w2", LONG) is None
    assert await store.claim(batch, 1, "w1", LONG) is None
    assert await store.work_open(batch, 1)
    await store.close_work(claim)
    assert await store.claim(batch, 1, "w2", LONG) is None
    assert not await store.work_open(batch, 1)
    assert await store.claim(batch, 2, "w2", LONG) is None
    assert not await store.work_open(batch, 2)


async def test_of_many_workers_at_once_exactly_one_gets_the_claim(store: Store) -> None:
    batch = await a_batch(store)
    claims = await asyncio.gather(*(store.claim(batch, 1, f"w{i}", LONG) for i in range(10)))
    assert sum(claim is not None for claim in claims) == 1


async def test_whoever_takes_over_goes_on_where_the_former_holder_recorded(store: Store) -> None:
    batch = await a_batch(store)
    first = await claimed(store, batch)
    await store.mark(first, low=0, high=20, lease_ms=LONG)
    await store.mark(first, low=20, high=40, lease_ms=OVER, retry=ordinals(3, 17))
    second = await claimed(store, batch, "w2")
    assert (second.low, second.high) == (20, 40)
    assert second.retry.tolist() == [3, 17]
    await store.mark(second, low=40, high=50, lease_ms=OVER)
    third = await claimed(store, batch, "w3")
    assert (third.low, third.high, third.retry.tolist()) == (40, 50, [3, 17])
    await store.mark(third, low=50, high=50, lease_ms=OVER, retry=ordinals())
    assert (await claimed(store, batch, "w4")).retry.tolist() == []


async def test_a_lease_runs_out_by_time_and_a_mark_renews_it(store: Store) -> None:
    batch = await a_batch(store)
    claim = await claimed(store, batch, lease_ms=300)
    await store.mark(claim, low=0, high=10, lease_ms=LONG)
    await asyncio.sleep(0.35)
    assert await store.claim(batch, 1, "w2", LONG) is None
    await store.mark(claim, low=10, high=20, lease_ms=300)
    await asyncio.sleep(0.35)
    assert await store.claim(batch, 1, "w2", LONG) is not None


async def test_a_claim_that_was_taken_over_is_lost_and_writes_nothing(store: Store) -> None:
    batch = await a_batch(store)
    first = await claimed(store, batch, lease_ms=OVER)
    second = await claimed(store, batch, "w2")
    with pytest.raises(ClaimLost):
        await store.mark(first, low=9, high=19, lease_ms=LONG, far_ids=window(batch, 0, b"a"))
    with pytest.raises(ClaimLost):
        retry = Work(batch, 2, ChannelName.SMS, Lane.URGENT, T0)
        await store.close_work(first, far_ids=window(batch, 0, b"a"), retry=retry)
    assert await store.far_ids(ChannelName.SMS, [batch]) == []
    assert not await store.work_open(batch, 2)
    await store.mark(second, low=0, high=10, lease_ms=LONG)


async def test_an_owner_that_lost_its_lease_and_claimed_again_cannot_act_on_the_former_hold(store: Store) -> None:
    batch = await a_batch(store)
    first = await claimed(store, batch, lease_ms=OVER)
    second = await claimed(store, batch)
    with pytest.raises(ClaimLost):
        await store.mark(first, low=9, high=19, lease_ms=LONG)
    await store.mark(second, low=0, high=10, lease_ms=LONG)


async def test_a_lease_that_ran_out_but_was_not_taken_is_still_the_owners(store: Store) -> None:
    batch = await a_batch(store)
    claim = await claimed(store, batch, lease_ms=OVER)
    await store.mark(claim, low=0, high=10, lease_ms=LONG)
    assert await store.claim(batch, 1, "w2", LONG) is None


async def test_closing_opens_the_next_attempt_in_the_outbox(store: Store) -> None:
    batch = await a_batch(store)
    await store.mark_published([(batch, 1)], T0)
    claim = await claimed(store, batch)
    retry = Work(batch, 2, ChannelName.SMS, Lane.URGENT, T0 + 30_000, ordinals(1, 5, 49))
    await store.close_work(claim, retry=retry)
    (found,) = await store.unpublished(10)
    assert (found.batch, found.attempt, found.channel, found.lane, found.not_before) == (
        batch,
        2,
        ChannelName.SMS,
        Lane.URGENT,
        T0 + 30_000,
    )
    assert found.ordinals is not None
    assert found.ordinals.tolist() == [1, 5, 49]
    again = await claimed(store, batch, attempt=2)
    assert again.ordinals is not None
    assert again.ordinals.tolist() == [1, 5, 49]
    with pytest.raises(ClaimLost):
        await store.close_work(claim)


async def test_a_retry_that_exists_already_keeps_the_claim_open(store: Store) -> None:
    batch = await a_batch(store)
    claim = await claimed(store, batch)
    with pytest.raises(StoreError):
        await store.close_work(claim, retry=Work(batch, 1, ChannelName.SMS, Lane.URGENT, T0))
    assert await store.work_open(batch, 1)
    await store.close_work(claim)


async def test_releasing_claims_voids_every_lease_and_keeps_the_windows(store: Store) -> None:
    first, second, third = [await a_batch(store) for _ in range(3)]
    held = await claimed(store, first)
    await store.mark(held, low=10, high=20, lease_ms=LONG, retry=ordinals(4))
    await claimed(store, second)
    await store.close_work(await claimed(store, third))
    assert await store.release_claims() == 2
    assert await store.release_claims() == 0
    with pytest.raises(ClaimLost):
        await store.mark(held, low=20, high=30, lease_ms=LONG)
    taken = await claimed(store, first)
    assert (taken.low, taken.high, taken.retry.tolist()) == (10, 20, [4])
    assert await store.claim(third, 1, "w", LONG) is None


async def test_ids_of_the_far_end_lead_back_to_their_recipients(store: Store) -> None:
    batch, other = await a_batch(store), await a_batch(store)
    claim, other_claim = await claimed(store, batch), await claimed(store, other)
    parts = FarIds(ChannelName.SMS, batch, 1, ordinals(0, 0, 1), np.array([b"a1", b"a2", b"b1"]))
    await store.mark(claim, low=2, high=4, lease_ms=LONG, far_ids=parts)
    await store.mark(other_claim, low=1, high=2, lease_ms=LONG, far_ids=window(other, 7, b"longer-id"))
    await store.close_work(claim, far_ids=window(batch, 2, b"c", b"dd"))
    kept = await store.far_ids(ChannelName.SMS, [other, batch, batch])
    assert [(each.batch, each.attempt, each.ordinals.tolist(), each.ids.tolist()) for each in kept] == [
        (batch, 1, [0, 0, 1], [b"a1", b"a2", b"b1"]),
        (other, 1, [7], [b"longer-id"]),
        (batch, 1, [2, 3], [b"c", b"dd"]),
    ]
    assert [each.batch for each in await store.far_ids(ChannelName.SMS, [other])] == [other]
    assert await store.far_ids(ChannelName.APP, [batch, other]) == []
    assert await store.far_ids(ChannelName.SMS, []) == []


async def test_ids_of_the_far_end_without_their_recipients_are_refused(store: Store) -> None:
    batch = await a_batch(store)
    claim = await claimed(store, batch)
    shifted = FarIds(ChannelName.SMS, batch, 1, ordinals(0, 1), np.array([b"a"]))
    with pytest.raises(ValueError, match="one ordinal"):
        await store.mark(claim, low=5, high=6, lease_ms=LONG, far_ids=shifted)
    await store.mark(claim, low=0, high=2, lease_ms=OVER)
    assert (await claimed(store, batch)).low == 0


async def test_open_work_counts_what_is_not_closed_of_one_alert(store: Store) -> None:
    plan = await planned(store, (1, 1, 1))
    await planned(store, (1,))
    assert await store.open_work(plan.alert) == 3
    claim = await claimed(store, plan.batches[0].id)
    assert await store.open_work(plan.alert) == 3
    await store.close_work(claim, retry=Work(plan.batches[0].id, 2, ChannelName.SMS, Lane.URGENT, T0, ordinals(0)))
    assert await store.open_work(plan.alert) == 3
    await store.close_work(await claimed(store, plan.batches[0].id, attempt=2))
    await store.close_work(await claimed(store, plan.batches[1].id))
    assert await store.open_work(plan.alert) == 1
    assert await store.open_work("nothing") == 0


async def test_open_works_tell_who_holds_what_and_how_far_it_came(store: Store) -> None:
    plan = await planned(store, (50, 50, 50, 50))
    await planned(store, (5,))
    fresh, held, lapsed, done = (batch.id for batch in plan.batches)
    await store.mark(
        await claimed(store, held), low=10, high=20, lease_ms=LONG, far_ids=window(held, 0, b"a"), retry=ordinals(4)
    )
    await store.mark(await claimed(store, lapsed), low=0, high=10, lease_ms=OVER)
    retry = Work(done, 2, ChannelName.SMS, Lane.URGENT, T0, ordinals(3, 9))
    await store.close_work(await claimed(store, done), retry=retry)
    found = await store.open_works(plan.alert)
    assert [(each.batch, each.attempt, each.taken, each.low, each.high, each.held) for each in found] == [
        (fresh, 1, 0, 0, 0, False),
        (held, 1, 1, 10, 20, True),
        (lapsed, 1, 1, 0, 10, False),
        (done, 2, 0, 0, 0, False),
    ]
    assert [each.ordinals if each.ordinals is None else each.ordinals.tolist() for each in found] == [
        None,
        None,
        None,
        [3, 9],
    ]
    assert [each.retry.tolist() for each in found] == [[], [4], [], []]
    assert await store.open_works("nothing") == []


async def test_work_that_nobody_holds_can_be_stopped_and_is_then_nobodys(store: Store) -> None:
    plan = await planned(store, (50, 50, 50))
    fresh, lapsed, held = (batch.id for batch in plan.batches)
    former = await claimed(store, lapsed)
    await store.mark(former, low=10, high=20, lease_ms=OVER, far_ids=window(lapsed, 0, b"a", b"b"))
    holder = await claimed(store, held)
    assert await store.stop_work(await store.open_works(plan.alert)) == 2
    assert [each.batch for each in await store.open_works(plan.alert)] == [held]
    assert await store.claim(fresh, 1, "w2", LONG) is None
    assert not await store.work_open(lapsed, 1)
    with pytest.raises(ClaimLost):
        await store.mark(former, low=20, high=30, lease_ms=LONG)
    (kept,) = await store.far_ids(ChannelName.SMS, [lapsed])
    assert kept.ids.tolist() == [b"a", b"b"]
    assert [work.batch for work in await store.unpublished(10)] == [held]
    await store.mark(holder, low=10, high=20, lease_ms=LONG)
    await store.close_work(holder)


async def test_work_that_moved_since_it_was_read_is_not_stopped(store: Store) -> None:
    plan = await planned(store, (50, 50, 50))
    marked, taken, closed = (batch.id for batch in plan.batches)
    lapsed = await claimed(store, marked)
    await store.mark(lapsed, low=0, high=10, lease_ms=OVER)
    seen = await store.open_works(plan.alert)
    assert not any(each.held for each in seen)
    await store.mark(lapsed, low=10, high=20, lease_ms=OVER)  # it was only slow
    await claimed(store, taken, lease_ms=OVER)
    await store.close_work(await claimed(store, closed))
    assert await store.stop_work(seen) == 0
    assert [each.batch for each in await store.open_works(plan.alert)] == [marked, taken]
    assert await store.stop_work(await store.open_works(plan.alert)) == 2
    assert await store.stop_work([]) == 0


async def test_of_a_stop_and_a_claim_at_once_exactly_one_gets_the_work(store: Store) -> None:
    for _ in range(5):
        plan = await planned(store, (1,))
        seen = await store.open_works(plan.alert)
        stopped, claim = await asyncio.gather(store.stop_work(seen), store.claim(plan.batches[0].id, 1, "w1", LONG))
        assert (stopped == 1) is (claim is None)


async def test_two_who_stop_the_same_work_at_once_close_it_once(store: Store) -> None:
    plan = await planned(store, (1,) * 8)
    seen = await store.open_works(plan.alert)
    closed = await asyncio.gather(store.stop_work(seen), store.stop_work(seen[::-1]))
    assert sum(closed) == 8
    assert await store.open_work(plan.alert) == 0
