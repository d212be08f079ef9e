"""What a crash costs: at most one window sent again, and nobody missed, wherever the worker is cut off."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from itertools import count
from typing import Any

import numpy as np
import pytest
import pytest_asyncio
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from broker.clock import now_ms
from broker.errors import StoreError
from broker.ledger.arrays import Receipts
from broker.ledger.state import DELIVERED, Rank, Reason
from broker.store.contract import Store
from broker.store.records import BatchRecord
from broker.store.sql import open_store
from broker.transport.contract import LADDER_SECONDS
from channels.channel import Window
from tests.support.scripted_channel import ScriptedChannel, Wire, far_id
from tests.support.waiting import eventually, soon
from tests.support.working import LEASE_MS, Bench, a_bench, kill, work_state

pytestmark = pytest.mark.asyncio(loop_scope="module")

SENT = (1, Rank.SENT, Reason.NONE)


@pytest_asyncio.fixture(loop_scope="module", scope="module")
async def store() -> AsyncIterator[Store]:
    store = open_store("sqlite:///:memory:")
    await store.start()
    yield store
    await store.close()


@pytest_asyncio.fixture(loop_scope="module")
async def bench(store: Store) -> AsyncIterator[Bench]:
    async with a_bench(store) as bench:
        yield bench


class Cut:
    """Stops the world of one worker at the `at`-th point that it comes to; `stuck` says that it is there."""

    def __init__(self, at: int) -> None:
        self._at = at
        self._points = count()
        self.stuck = asyncio.Event()
        self.go_on = asyncio.Event()
        self.where = "the end"

    async def point(self, name: str) -> None:
        if next(self._points) == self._at:
            self.where = name
            self.stuck.set()
            await self.go_on.wait()

    async def told(self, point: str, _args: tuple[Any, ...], _kwargs: dict[str, Any]) -> None:
        await self.point(point)

    async def on(self, point: str, _window: Window) -> None:
        await self.point(f"send:{point}")


async def stuck_or_closed(bench: Bench, cut: Cut, batch: BatchRecord) -> bool:
    """Whether the worker came to the cut; False if it was done before."""

    async def either() -> bool:
        state = await work_state(bench.store, batch.id)
        return cut.stuck.is_set() or (state is not None and state.closed)

    await eventually(either)
    return cut.stuck.is_set()


POINTS_PER_WINDOW = 7  # mark before and after, send enter half exit, publish before and after

cut_anywhere = st.integers(0, 4 * POINTS_PER_WINDOW + 2)


@given(n=st.integers(1, 9), window=st.integers(1, 5), at=cut_anywhere, transient=st.sets(st.integers(0, 8)))
@settings(
    max_examples=30,
    deadline=None,
    derandomize=True,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
# Before a window, in it, after it before the receipts, after the receipts before the next mark, at the close.
@example(n=4, window=2, at=POINTS_PER_WINDOW, transient={0, 3})
@example(n=4, window=2, at=POINTS_PER_WINDOW + 1, transient={0})
@example(n=4, window=2, at=POINTS_PER_WINDOW + 3, transient={0})
@example(n=4, window=2, at=POINTS_PER_WINDOW + 4, transient={0, 2})
@example(n=4, window=2, at=POINTS_PER_WINDOW + 5, transient={0, 2})
@example(n=4, window=2, at=POINTS_PER_WINDOW + 6, transient={0, 2})
@example(n=4, window=2, at=2 * POINTS_PER_WINDOW, transient={0, 3})
@example(n=4, window=2, at=2 * POINTS_PER_WINDOW + 1, transient={0, 3})
async def test_wherever_a_worker_dies_its_successor_repeats_one_window_at_most_and_misses_nobody(
    store: Store, n: int, window: int, at: int, transient: set[int]
) -> None:
    fails: dict[int | tuple[int, int], Reason] = dict.fromkeys(sorted(transient), Reason.QUEUE_FULL)
    wire, cut = Wire(), Cut(at)
    async with a_bench(store) as bench:
        first = ScriptedChannel(wire, window=window, on=cut.on, fails=fails)
        worker = await bench.started(first, "first", told=cut.told)
        batch = await bench.plan(n)
        await bench.deliver(batch)
        died = await stuck_or_closed(bench, cut, batch)
        await kill(worker)
        before = await work_state(store, batch.id)
        assert before is not None
        doubtful = [] if before.closed else list(range(before.low, before.high))
        crossed = wire.times(batch.id)
        already = len(bench.said)

        await store.release_claims()
        second = ScriptedChannel(wire, window=window, fails=fails)
        await bench.started(second, "second")
        await bench.deliver(batch)
        await bench.closed(batch)
        await eventually(lambda: not any(worker._attempts for worker in bench.workers[1:]))

        times = wire.times(batch.id)
        assert sorted(times) == list(range(n)), f"somebody was missed after a cut at {cut.where}"
        assert [i for i in times if times[i] > 1 and i not in doubtful] == [], f"cut at {cut.where}"
        assert max(times.values()) <= 2
        assert len(doubtful) <= window
        # Whatever had crossed without being recorded is in the window in doubt, and is said to be so.
        assert set(crossed) <= set(range(before.low if not before.closed else n)) | set(doubtful)
        later = [r for r in bench.said[already:] if r.batch == batch.id]
        said_unknown = [r.ordinals.tolist() for r in later if int(r.states[0]) >> 7 & 7 == Rank.UNKNOWN]
        assert said_unknown == ([doubtful] if doubtful else [])
        if doubtful:
            assert said_unknown[0] == later[0].ordinals.tolist(), "the doubt must be told before sending goes on"
        assert died or not doubtful
        # Everybody is accounted for, and everybody who failed in passing gets another attempt.
        expected = sorted(transient & set(range(n)))
        states = await bench.states(batch)
        assert [i for i in range(n) if states[i] != SENT] == expected
        assert all(states[i] == (1, Rank.FAILED, Reason.QUEUE_FULL) for i in expected)
        retry = await work_state(store, batch.id, 2)
        assert (retry.ordinals if retry else []) == expected


async def taken_over(
    bench: Bench, window: int, at: int, **how: Any
) -> tuple[Cut, ScriptedChannel, ScriptedChannel, BatchRecord]:
    """A worker frozen at a point of its second window while another one has done all of its work."""
    wire, cut = Wire(), Cut(at)
    first = ScriptedChannel(wire, window=window, on=cut.on, gives_ids=True)
    frozen = await bench.started(first, "frozen", told=cut.told, **how)
    batch = await bench.plan(2 * window + 1)
    await bench.deliver(batch)
    await soon(cut.stuck.wait())
    for subscription in frozen._subscriptions:
        await subscription.cancel()
    await bench.store.release_claims()
    second = ScriptedChannel(wire, window=window, gives_ids=True)
    await bench.started(second, "successor")
    await bench.deliver(batch)
    await bench.closed(batch)
    return cut, first, second, batch


async def test_a_worker_that_wakes_after_it_was_taken_over_sends_no_further_window(bench: Bench) -> None:
    cut, first, second, batch = await taken_over(bench, 2, POINTS_PER_WINDOW + 4)
    assert cut.where == "send:exit"
    cut.go_on.set()
    await eventually(lambda: not bench.workers[0]._attempts)
    assert [window.ordinals.tolist() for window in first.windows] == [[0, 1], [2, 3]]
    assert [window.ordinals.tolist() for window in second.windows] == [[2, 3], [4]]
    assert first.wire.times(batch.id) == {0: 1, 1: 1, 2: 2, 3: 2, 4: 1}
    assert await bench.states(batch) == [SENT] * 5


async def test_what_it_withheld_when_it_lost_its_claim_it_does_not_report(bench: Bench) -> None:
    cut, first, _, batch = await taken_over(bench, 4, POINTS_PER_WINDOW + 3, lease_ms=1000)
    assert cut.where == "send:half"
    await eventually(lambda: _lost(bench), "the frozen worker notices that its claim is lost")
    cut.go_on.set()
    await eventually(lambda: not bench.workers[0]._attempts)
    assert len(first.windows) == 2
    assert bench.reported(batch, Rank.WITHHELD) == []
    assert first.wire.times(batch.id)[4] == 2
    assert first.wire.times(batch.id)[7] == 1
    last = bench.said[-1]
    assert last.ordinals.tolist() == [4, 5], "only what had crossed is reported"
    assert await bench.states(batch) == [SENT] * 9


def _lost(bench: Bench) -> bool:
    """Whether a claim's keeper has given up (the frozen worker's is the only one that can)."""
    return not any(task.get_name().startswith("lease:") and not task.done() for task in asyncio.all_tasks())


async def test_transients_of_earlier_windows_survive_a_takeover_and_get_their_retry(bench: Bench) -> None:
    wire, cut = Wire(), Cut(2 * POINTS_PER_WINDOW + 2)
    fails: dict[int | tuple[int, int], Reason] = {0: Reason.THROTTLED, 3: Reason.DISCONNECTED}
    worker = await bench.started(ScriptedChannel(wire, window=2, on=cut.on, fails=fails), told=cut.told)
    batch = await bench.plan(6)
    await bench.deliver(batch)
    await soon(cut.stuck.wait())
    assert cut.where == "send:enter"
    await kill(worker)
    await bench.store.release_claims()
    await bench.started(ScriptedChannel(wire, window=2, fails={5: Reason.OFFLINE}), "second")
    await bench.deliver(batch)
    await bench.closed(batch)
    retry = await work_state(bench.store, batch.id, 2)
    assert retry is not None
    assert retry.ordinals == [0, 3, 5]


async def test_ids_of_windows_before_a_takeover_are_kept(bench: Bench) -> None:
    cut, _, _, batch = await taken_over(bench, 2, POINTS_PER_WINDOW + 4)
    cut.go_on.set()
    await eventually(lambda: not bench.workers[0]._attempts)
    kept = await bench.store.far_ids(batch.channel, [batch.id])
    pairs = [pair for each in kept for pair in zip(each.ordinals.tolist(), each.ids.tolist(), strict=True)]
    assert pairs == [(i, far_id(batch.id, 1, i)) for i in range(5)]


# ── attempts ──────────────────────────────────────────────────────────────────────────────────────────


async def test_a_retry_sends_only_whom_the_attempt_before_failed_in_passing(bench: Bench) -> None:
    fails: dict[int | tuple[int, int], Reason] = {
        (1, 1): Reason.THROTTLED,
        (1, 4): Reason.FAR_END_ERROR,
        (1, 2): Reason.INVALID_ADDRESS,
        (2, 4): Reason.QUEUE_FULL,
    }
    channel = ScriptedChannel(window=2, fails=fails, gives_ids=True)
    await bench.started(channel)
    batch = await bench.plan(6)
    for attempt, (ordinals, expected) in enumerate([(None, [0, 1, 2, 3, 4, 5]), ([1, 4], [1, 4]), ([4], [4])], 1):
        await bench.deliver(batch, attempt, ordinals)
        await bench.closed(batch, attempt)
        assert channel.wire.ordinals(batch.id, attempt) == expected
    assert await work_state(bench.store, batch.id, 4) is None
    assert await bench.states(batch) == [
        SENT,
        (2, Rank.SENT, Reason.NONE),
        (1, Rank.FAILED, Reason.INVALID_ADDRESS),
        SENT,
        (3, Rank.SENT, Reason.NONE),
        SENT,
    ]
    assert [window.attempt for window in channel.windows] == [1, 1, 1, 2, 3]
    assert [each.address for each in channel.wire.left if each.attempt == 3] == [
        each.address for each in channel.wire.left if (each.attempt, each.ordinal) == (1, 4)
    ]


async def test_each_retry_waits_a_rung_longer_until_the_attempts_are_used_up(bench: Bench) -> None:
    await bench.started(ScriptedChannel(fails={1: Reason.OFFLINE}), max_attempts=3)
    batch = await bench.plan(3)
    for attempt in (1, 2, 3):
        before = now_ms()
        await bench.deliver(batch, attempt, None if attempt == 1 else [1])
        await bench.closed(batch, attempt)
        following = await work_state(bench.store, batch.id, attempt + 1)
        if attempt == 3:
            assert following is None
        else:
            assert following is not None
            delay = 1000 * LADDER_SECONDS[attempt - 1]
            assert before + delay <= following.not_before <= now_ms() + delay
            assert following.ordinals == [1]
    assert (await bench.states(batch))[1] == (3, Rank.FAILED, Reason.OFFLINE)
    assert await bench.store.open_work(batch.alert) == 0


async def test_permanent_failures_are_not_tried_again(bench: Bench) -> None:
    permanent = [reason for reason in Reason if reason >= 64]
    channel = ScriptedChannel(window=4, fails=dict(enumerate(permanent)))
    await bench.started(channel)
    batch = await bench.plan(len(permanent))
    await bench.deliver(batch)
    await bench.closed(batch)
    assert await work_state(bench.store, batch.id, 2) is None
    assert await bench.states(batch) == [(1, Rank.FAILED, reason) for reason in permanent]


# ── shutting down ─────────────────────────────────────────────────────────────────────────────────────


async def test_a_shutdown_between_windows_leaves_the_claim_free_with_nothing_in_doubt(bench: Bench) -> None:
    inside, go_on = asyncio.Event(), asyncio.Event()

    async def hold(point: str, window: Window) -> None:
        if point == "half" and int(window.ordinals[0]) == 2:
            inside.set()
            await go_on.wait()

    wire = Wire()
    fails: dict[int | tuple[int, int], Reason] = {0: Reason.THROTTLED, 3: Reason.THROTTLED}
    worker = await bench.started(ScriptedChannel(wire, window=2, on=hold, fails=fails, gives_ids=True))
    batch = await bench.plan(6)
    await bench.deliver(batch)
    await soon(inside.wait())
    closing = asyncio.create_task(worker.close())
    await soon(worker._stopping.wait())
    go_on.set()
    await soon(closing)
    state = await work_state(bench.store, batch.id)
    assert state is not None
    assert (state.low, state.high, state.closed, state.leased) == (4, 4, False, False)
    assert state.retry == [0, 3], "the window that was in flight counts too"
    kept = await bench.store.far_ids(batch.channel, [batch.id])
    assert [ordinal for each in kept for ordinal in each.ordinals.tolist()] == [0, 1, 2, 3]

    await bench.started(ScriptedChannel(wire, window=2), "second")
    await bench.closed(batch)  # without another delivery: the first worker gave it back
    assert wire.times(batch.id) == dict.fromkeys(range(6), 1)
    assert bench.reported(batch, Rank.UNKNOWN) == []
    retry = await work_state(bench.store, batch.id, 2)
    assert retry is not None
    assert retry.ordinals == [0, 3]


async def test_a_shutdown_gives_back_what_it_has_not_begun(bench: Bench) -> None:
    inside, go_on = asyncio.Event(), asyncio.Event()

    async def hold(point: str, _window: Window) -> None:
        if point == "enter":
            inside.set()
            await go_on.wait()

    wire = Wire()
    worker = await bench.started(ScriptedChannel(wire, on=hold), concurrency_urgent=1)
    begun, waiting = await bench.plan(3), await bench.plan(3)
    await bench.deliver(begun)
    await soon(inside.wait())
    await bench.deliver(waiting)
    await eventually(lambda: len(worker._attempts) == 2)
    closing = asyncio.create_task(worker.close())
    await soon(worker._stopping.wait())
    go_on.set()
    await soon(closing)
    await soon(worker._subscriptions[0].drained())  # type: ignore[attr-defined]
    assert wire.times(waiting.id) == {}
    await bench.started(ScriptedChannel(wire), "second")
    await bench.closed(waiting)
    assert wire.times(begun.id) | wire.times(waiting.id) == dict.fromkeys(range(3), 1)


async def test_a_shutdown_does_not_wait_for_the_pace(bench: Bench) -> None:
    channel = ScriptedChannel(window=2)
    worker = await bench.started(channel, per_second=0.001)  # the second window may leave in half an hour
    batch = await bench.plan(4)
    await bench.deliver(batch)

    async def one_is_done() -> bool:
        return bench.reported(batch, Rank.SENT) == [0, 1]

    await eventually(one_is_done)
    await soon(worker.close(grace=3600))
    state = await work_state(bench.store, batch.id)
    assert state is not None
    assert (state.low, state.high, state.leased) == (2, 2, False)


# ── the lease ─────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("waits_for", ["the far end", "the pace", "the receipts"])
async def test_a_lease_is_renewed_for_as_long_as_the_work_takes(
    bench: Bench, waits_for: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    inside, go_on = asyncio.Event(), asyncio.Event()
    renewals = 0

    async def told(point: str, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        nonlocal renewals
        if point == "mark:after" and inside.is_set():
            renewals += 1
        if point == "publish:before" and waits_for == "the receipts":
            inside.set()
            await go_on.wait()

    async def hold(point: str, _window: Window) -> None:
        if point == "half" and waits_for == "the far end":
            inside.set()
            await go_on.wait()

    channel = ScriptedChannel(window=2, on=hold)
    worker = await bench.started(channel, told=told, lease_ms=1000, per_second=1e9)
    if waits_for == "the pace":

        async def take(_lane: object, _n: int) -> None:
            if len(channel.windows) == 1:
                inside.set()
                await go_on.wait()

        monkeypatch.setattr(worker._pacer, "take", take)
    batch = await bench.plan(4)
    await bench.deliver(batch)
    await soon(inside.wait())
    await eventually(lambda: renewals >= 3)  # as long as the lease lasts
    assert await bench.store.claim(batch.id, 1, "somebody else", LEASE_MS) is None
    go_on.set()
    await bench.closed(batch)
    assert channel.wire.times(batch.id) == dict.fromkeys(range(4), 1)


async def test_no_renewal_puts_a_mark_back_though_the_store_is_slow(bench: Bench, store: Store) -> None:
    marks: list[tuple[int, int]] = []
    renewing, go_on = asyncio.Event(), asyncio.Event()

    async def told(point: str, _args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        if not point.startswith("mark"):
            return
        renewal = "retry" not in kwargs
        if point == "mark:before" and renewal and not renewing.is_set():
            renewing.set()
            await go_on.wait()  # the renewal of the first window hangs on its way to the database …
        if point == "mark:after":
            marks.append((kwargs["low"], kwargs["high"]))

    async def hold(point: str, window: Window) -> None:
        if point == "exit" and int(window.ordinals[0]) == 0:
            await renewing.wait()

    channel = ScriptedChannel(window=2, on=hold)
    await bench.started(channel, told=told, lease_ms=1000)
    batch = await bench.plan(4)
    await bench.deliver(batch)
    await soon(renewing.wait())

    async def recorded() -> bool:
        return (await bench.states(batch))[:2] == [SENT, SENT]

    await eventually(recorded)
    await asyncio.sleep(0.2)  # time in which a worker that did not wait would go on
    assert len(channel.windows) == 1, "… so the next window must wait for it"
    go_on.set()
    await bench.closed(batch)
    assert marks == sorted(marks)


async def test_a_store_that_fails_to_renew_is_asked_again(bench: Bench) -> None:
    failures, inside, go_on = 0, asyncio.Event(), asyncio.Event()

    async def told(point: str, _args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        nonlocal failures
        if point == "mark:before" and "retry" not in kwargs:
            failures += 1
            if failures < 3:
                raise StoreError("the database restarts")
            go_on.set()

    async def hold(point: str, _window: Window) -> None:
        if point == "half":
            inside.set()
            await soon(go_on.wait())

    channel = ScriptedChannel(window=4, on=hold)
    await bench.started(channel, told=told, lease_ms=1000)
    batch = await bench.plan(4)
    await bench.deliver(batch)
    await bench.closed(batch)
    assert await bench.states(batch) == [SENT] * 4


async def test_a_store_that_fails_between_windows_costs_one_window_at_most(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("channels.worker.LADDER_SECONDS", (0.01, 30, 120, 600))
    failed = False

    async def told(point: str, _args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        nonlocal failed
        if point == "mark:before" and kwargs["low"] == 2 and not failed:
            failed = True
            await bench.store.release_claims()  # as if the lease had run out while the database was away
            raise StoreError("the database is away")

    channel = ScriptedChannel(window=2)
    await bench.started(channel, told=told)
    batch = await bench.plan(6)
    await bench.deliver(batch)
    await bench.closed(batch)
    assert channel.wire.times(batch.id) == {0: 2, 1: 2, 2: 1, 3: 1, 4: 1, 5: 1}
    assert bench.reported(batch, Rank.UNKNOWN) == [0, 1]
    assert await bench.states(batch) == [SENT] * 6


async def test_evidence_of_a_doubtful_window_outranks_the_doubt(bench: Bench) -> None:
    cut, _, _, batch = await taken_over(bench, 2, POINTS_PER_WINDOW + 4)
    cut.go_on.set()
    await eventually(lambda: not bench.workers[0]._attempts)
    await bench.store.merge([Receipts.uniform(batch.id, np.arange(5, dtype=np.uint16), DELIVERED, batch.expires)])
    (counters,) = await bench.store.counters(batch.alert)
    assert counters.counts[:3] == (5, 5, 5)
    assert await bench.store.counters(batch.alert) == await bench.store.recount(batch.alert)
