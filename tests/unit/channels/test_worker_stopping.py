"""An alert that is over: nothing more of it leaves, what left stays recorded, and the work on it is closed."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import pytest
import pytest_asyncio
from pydantic import ValidationError
from structlog.testing import capture_logs

from broker.errors import StoreError
from broker.ledger.state import Rank, Reason
from broker.store.contract import Store
from broker.store.sql import open_store
from broker.types import AlertState, ChannelName
from channels.channel import Window
from channels.worker import WorkerSettings
from tests.support.scripted_channel import ScriptedChannel
from tests.support.waiting import eventually
from tests.support.working import Bench, a_bench, kill, work_state

pytestmark = pytest.mark.asyncio(loop_scope="module")

SENT = (1, Rank.SENT, Reason.NONE)
STOPPED = (1, Rank.WITHHELD, Reason.STOPPED)


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


@pytest.mark.parametrize("state", [AlertState.CANCELLED, AlertState.SUPERSEDED])
async def test_a_batch_of_an_alert_that_is_over_is_not_begun(bench: Bench, state: AlertState) -> None:
    channel = ScriptedChannel()
    batch = await bench.plan(5)
    await bench.end(batch.alert, state)
    await bench.started(channel)
    assert batch.alert in channel.withdrawn
    await bench.deliver(batch)
    await bench.closed(batch)
    assert channel.windows == []
    assert await bench.states(batch) == [STOPPED] * 5
    assert await work_state(bench.store, batch.id, 2) is None


async def test_an_alert_that_ends_while_it_is_sent_stops_before_the_next_window(bench: Bench) -> None:
    async def end(point: str, window: Window) -> None:
        if point == "exit" and window.ordinals[0] == 2:
            await bench.end(window.alert)
            await eventually(lambda: window.alert in channel.withdrawn)

    channel = ScriptedChannel(window=2, on=end, fails={0: Reason.THROTTLED}, gives_ids=True)
    await bench.started(channel)
    batch = await bench.plan(7)
    await bench.deliver(batch)
    await bench.closed(batch)
    assert channel.wire.ordinals(batch.id) == [0, 1, 2, 3]
    failed = (1, Rank.FAILED, Reason.THROTTLED)
    assert await bench.states(batch) == [failed, SENT, SENT, SENT, STOPPED, STOPPED, STOPPED]
    assert await work_state(bench.store, batch.id, 2) is None, "whom the far end throttled is not tried again"
    kept = await bench.store.far_ids(ChannelName.SMS, [batch.id])
    assert [ordinal for each in kept for ordinal in each.ordinals.tolist()] == [0, 1, 2, 3]
    assert bench.reported(batch, Rank.EXPIRED) == []


async def test_an_alert_that_ends_within_a_window_stops_there_and_the_others_stay_sent(bench: Bench) -> None:
    async def end(point: str, window: Window) -> None:
        if point == "half":
            await bench.end(window.alert)
            await eventually(lambda: window.alert in channel.withdrawn)

    channel = ScriptedChannel(window=4, on=end, gives_ids=True)
    await bench.started(channel)
    batch = await bench.plan(6)
    await bench.deliver(batch)
    await bench.closed(batch)
    assert await bench.states(batch) == [SENT, SENT, STOPPED, STOPPED, STOPPED, STOPPED]
    (kept,) = await bench.store.far_ids(ChannelName.SMS, [batch.id])
    assert kept.ordinals.tolist() == [0, 1]


async def test_the_attempt_that_is_stopped_is_the_one_that_is_reported(bench: Bench) -> None:
    channel = ScriptedChannel(window=2, fails={1: Reason.THROTTLED, 3: Reason.QUEUE_FULL})
    await bench.started(channel)
    batch = await bench.plan(4)
    await bench.deliver(batch)
    await bench.closed(batch)
    await bench.end(batch.alert)
    await eventually(lambda: batch.alert in channel.withdrawn)
    await bench.deliver(batch, 2, [1, 3])
    await bench.closed(batch, 2)
    stopped = (2, Rank.WITHHELD, Reason.STOPPED)
    assert await bench.states(batch) == [SENT, stopped, SENT, stopped]
    assert await work_state(bench.store, batch.id, 3) is None


async def test_a_window_in_doubt_of_an_alert_that_is_over_stays_in_doubt_and_is_not_sent_again(
    bench: Bench,
) -> None:
    batch = await bench.plan(6)
    claim = await bench.store.claim(batch.id, 1, "a worker that died", 60_000)
    assert claim is not None
    await bench.store.mark(claim, low=2, high=4, lease_ms=0)
    await bench.end(batch.alert)
    channel = ScriptedChannel(window=2)
    await bench.started(channel)
    await bench.deliver(batch)
    await bench.closed(batch)
    assert channel.windows == []
    planned, unknown = (0, Rank.PLANNED, Reason.NONE), (1, Rank.UNKNOWN, Reason.NONE)
    # What the dead worker had finished it reported itself; here nobody did.
    assert await bench.states(batch) == [planned, planned, unknown, unknown, STOPPED, STOPPED]


async def test_an_attempt_that_waits_for_its_pace_is_closed_as_soon_as_the_alert_is_over(bench: Bench) -> None:
    channel = ScriptedChannel(window=2)
    await bench.started(channel, per_second=0.001)
    batch = await bench.plan(6)
    await bench.deliver(batch)
    await eventually(lambda: len(channel.wire.left) == 2)
    await bench.end(batch.alert)
    await bench.closed(batch)
    assert await bench.states(batch) == [SENT, SENT, STOPPED, STOPPED, STOPPED, STOPPED]


async def test_other_alerts_go_on(bench: Bench) -> None:
    channel = ScriptedChannel(window=2)
    await bench.started(channel)
    over, other = await bench.plan(4), await bench.plan(4)
    await bench.end(over.alert)
    await eventually(lambda: over.alert in channel.withdrawn)
    for batch in (over, other):
        await bench.deliver(batch)
        await bench.closed(batch)
    assert await bench.states(other) == [SENT] * 4
    assert other.alert not in channel.withdrawn


async def test_an_alert_is_withdrawn_once_by_each_process(bench: Bench) -> None:
    asked = 0

    async def told(point: str, _args: Any, _kwargs: Any) -> None:
        nonlocal asked
        asked += point == "over:after"

    batch = await bench.plan(1)
    first = ScriptedChannel()
    worker = await bench.started(first, asked=told)
    await bench.end(batch.alert, AlertState.SUPERSEDED)
    await eventually(lambda: batch.alert in first.withdrawn)
    await bench.end(batch.alert)  # a Cancel ends the whole chain, the superseded too
    before = asked
    await eventually(lambda: asked > before + 3)
    await kill(worker)
    assert first.withdrawn.count(batch.alert) == 1
    second = ScriptedChannel()
    await bench.started(second, "w2")
    assert second.withdrawn.count(batch.alert) == 1


async def test_a_withdrawal_that_fails_is_tried_again_and_holds_up_no_other(bench: Bench) -> None:
    bad, good = await bench.plan(1), await bench.plan(1)
    failures = 0

    class Failing(ScriptedChannel):
        async def withdraw(self, alert: str) -> None:
            nonlocal failures
            if alert == bad.alert and failures < 2:
                failures += 1
                raise RuntimeError("a fault of ours")
            await super().withdraw(alert)

    channel = Failing()
    with capture_logs() as log:
        await bench.started(channel)
        for batch in (bad, good):
            await bench.end(batch.alert)
        await eventually(lambda: {bad.alert, good.alert} <= set(channel.withdrawn))
    assert failures == 2
    assert [line["alert"] for line in log if line["event"] == "withdraw_failed"] == [bad.alert] * 2
    assert channel.withdrawn.count(bad.alert) == channel.withdrawn.count(good.alert) == 1


async def test_a_store_that_cannot_be_asked_is_logged_once_and_what_is_known_stays_known(bench: Bench) -> None:
    broken = asked = 0

    async def told(point: str, _args: Any, _kwargs: Any) -> None:
        nonlocal asked
        if point == "over:before":
            asked += 1
            if broken:
                raise StoreError("the database is away")

    known, late = await bench.plan(2), await bench.plan(2)
    await bench.end(known.alert)
    channel = ScriptedChannel()
    with capture_logs() as log:
        await bench.started(channel, asked=told)
        broken = 1
        before = asked
        await eventually(lambda: asked > before + 5)
        await bench.deliver(known)
        await bench.closed(known)
        assert channel.windows == []
        await bench.end(late.alert)
        assert late.alert not in channel.withdrawn
        broken = 0
        await eventually(lambda: late.alert in channel.withdrawn)
    said = [line["event"] for line in log]
    assert said.count("stops_unknown") == said.count("stops_known_again") == 1


async def test_a_worker_starts_though_the_store_cannot_say_what_is_over(bench: Bench) -> None:
    async def told(point: str, _args: Any, _kwargs: Any) -> None:
        if point == "over:before":
            raise StoreError("the database is away")

    channel = ScriptedChannel()
    await bench.started(channel, asked=told)
    batch = await bench.plan(2)
    await bench.deliver(batch)
    await bench.closed(batch)
    assert await bench.states(batch) == [SENT] * 2


async def test_at_a_shutdown_what_is_over_is_closed_rather_than_left(bench: Bench) -> None:
    inside, go_on = asyncio.Event(), asyncio.Event()

    async def hold(point: str, _window: Window) -> None:
        if point == "exit":
            inside.set()
            await go_on.wait()

    channel = ScriptedChannel(window=2, on=hold)
    worker = await bench.started(channel)
    batch = await bench.plan(6)
    await bench.deliver(batch)
    await eventually(inside.is_set)
    await bench.end(batch.alert)
    await eventually(lambda: batch.alert in channel.withdrawn)
    closing = asyncio.create_task(worker.close())
    await eventually(worker._stopping.is_set)
    go_on.set()
    await closing
    assert not await bench.store.work_open(batch.id, 1)
    assert worker._stops._task is not None
    assert worker._stops._task.done()


async def test_a_channel_learns_which_batches_are_over_and_still_prove_something(bench: Bench) -> None:
    channel = ScriptedChannel()
    await bench.started(channel)
    assert channel.context is not None
    going, over, other = await bench.plan(1), await bench.plan(1), await bench.plan(1, channel=ChannelName.APP)
    for batch in (over, other):
        await bench.end(batch.alert)
    found = await channel.context.over_batches()
    assert over.id in found
    assert going.id not in found
    assert other.id not in found, "another channel's"
    assert over.id not in await channel.context.open_batches()
    assert (await channel.context.batch(over.id)).alert == over.alert


async def test_asking_less_often_than_twice_a_second_is_refused() -> None:
    assert WorkerSettings(stop_poll_seconds=0.5).stop_poll_seconds == 0.5
    for seconds in (0, 0.51, 5):
        with pytest.raises(ValidationError):
            WorkerSettings(stop_poll_seconds=seconds)
