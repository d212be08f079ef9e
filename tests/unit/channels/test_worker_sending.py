"""The worker's ordinary way: window by window, marked before, reported after, closed at the end."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import pytest_asyncio
from structlog.testing import capture_logs

from broker.clock import now_ms
from broker.errors import ChannelError, FenghuoError, NotFound, TransportError
from broker.ledger.arrays import Milestone, Receipts
from broker.ledger.state import ACKNOWLEDGED, DELIVERED, PRESENTED, Arrival, Rank, Reason
from broker.sealing import Keyring, batch_context, pack
from broker.store.contract import Store
from broker.store.sql import open_store
from broker.transport.contract import PARKING, Delivery, Message
from broker.transport.settling import unparked
from broker.types import ChannelName, Lane
from channels.channel import Window
from channels.worker import Worker, _Sending
from tests.support.scripted_channel import ScriptedChannel, far_id
from tests.support.waiting import eventually, soon
from tests.support.working import KEYRING, Bench, a_bench, number_of, work_state

pytestmark = pytest.mark.asyncio(loop_scope="module")


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


def spans(channel: ScriptedChannel) -> list[list[int]]:
    return [window.ordinals.tolist() for window in channel.windows]


SENT = (1, Rank.SENT, Reason.NONE)


async def test_a_batch_goes_out_window_by_window_and_is_closed(bench: Bench) -> None:
    channel = ScriptedChannel(window=3)
    await bench.started(channel)
    batch = await bench.plan(8)
    await bench.deliver(batch)
    await bench.closed(batch)
    assert spans(channel) == [[0, 1, 2], [3, 4, 5], [6, 7]]
    assert await bench.states(batch) == [SENT] * 8
    assert await bench.store.open_work(batch.alert) == 0


async def test_each_recipient_gets_the_words_at_its_own_address(bench: Bench) -> None:
    channel = ScriptedChannel(window=3)
    await bench.started(channel)
    batch = await bench.plan(7)
    await bench.deliver(batch)
    await bench.closed(batch)
    crossed = [(each.ordinal, each.recipient, each.address) for each in channel.wire.left]
    assert crossed == [(i, int(batch.recipients[i]), number_of(batch.id, i)) for i in range(7)]
    assert {rendition.id for rendition in channel.renditions} == {batch.rendition}
    first = channel.windows[0]
    assert (first.alert, first.batch, first.attempt) == (batch.alert, batch.id, 1)
    assert (first.lane, first.district, first.expires) == (batch.lane, batch.district, batch.expires)


async def test_the_high_water_mark_is_durable_before_the_window_leaves(bench: Bench, store: Store) -> None:
    seen: list[tuple[int, int]] = []

    async def look(point: str, window: Window) -> None:
        if point == "enter":
            state = await work_state(store, window.batch)
            assert state is not None
            seen.append((state.low, state.high))

    await bench.started(ScriptedChannel(window=3, on=look))
    batch = await bench.plan(7)
    await bench.deliver(batch)
    await bench.closed(batch)
    assert seen == [(0, 3), (3, 6), (6, 7)]


async def test_outcomes_are_committed_before_the_next_window_leaves(bench: Bench) -> None:
    known: list[list[int]] = []

    async def look(point: str, window: Window) -> None:
        if point == "enter":
            row = await bench.store.ledger_row(window.batch)
            known.append(np.flatnonzero(row.states).tolist())

    await bench.started(ScriptedChannel(window=2, on=look))
    batch = await bench.plan(5)
    await bench.deliver(batch)
    await bench.closed(batch)
    assert known == [[], [0, 1], [0, 1, 2, 3]]


async def test_the_same_attempt_delivered_twice_is_sent_once(bench: Bench) -> None:
    entered, go_on = asyncio.Event(), asyncio.Event()

    async def hold(point: str, _window: Window) -> None:
        if point == "half":
            entered.set()
            await go_on.wait()

    channel = ScriptedChannel(window=4, on=hold)
    await bench.started(channel, told=None)
    other = ScriptedChannel(channel.wire, window=4)
    batch = await bench.plan(8)
    await bench.deliver(batch)
    await soon(entered.wait())
    await bench.started(other, "w2")
    await bench.deliver(batch)  # the second one finds it held …
    await bench.deliver(batch)
    go_on.set()
    await bench.closed(batch)
    await bench.deliver(batch)  # … this one finds it closed
    await eventually(lambda: not any(worker._attempts for worker in bench.workers))
    assert channel.wire.times(batch.id) == dict.fromkeys(range(8), 1)
    assert other.windows == []


async def test_who_finds_an_attempt_held_looks_again_until_it_is_closed(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("channels.worker.LADDER_SECONDS", (0.01, 30, 120, 600))
    batch = await bench.plan(6)
    claim = await bench.store.claim(batch.id, 1, "a worker that died", 60_000)
    assert claim is not None
    channel = ScriptedChannel(window=6)
    worker = await bench.started(channel)
    await bench.deliver(batch)
    await eventually(lambda: bench.transport._queues["sms.urgent"]._timers, "the delivery is put off")
    assert channel.windows == []
    await bench.store.mark(claim, low=0, high=0, lease_ms=0)
    await bench.closed(batch)
    await eventually(lambda: not worker._attempts)
    assert channel.wire.times(batch.id) == dict.fromkeys(range(6), 1)


async def test_what_expired_is_not_sent_and_reported_expired(bench: Bench) -> None:
    channel = ScriptedChannel()
    await bench.started(channel)
    batch = await bench.plan(5, lives_ms=-1)
    await bench.deliver(batch)
    await bench.closed(batch)
    assert channel.windows == []
    assert await bench.states(batch) == [(1, Rank.EXPIRED, Reason.EXPIRED)] * 5


async def test_what_expires_between_windows_is_dropped_before_the_next_one(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    late = False
    monkeypatch.setattr("channels.worker.now_ms", lambda: now_ms() + (7_200_000 if late else 0))

    async def expire(point: str, _window: Window) -> None:
        nonlocal late
        late = late or point == "exit"

    channel = ScriptedChannel(window=2, on=expire, fails={0: Reason.THROTTLED})
    await bench.started(channel)
    batch = await bench.plan(5)
    await bench.deliver(batch)
    await bench.closed(batch)
    assert spans(channel) == [[0, 1]]
    expired = (1, Rank.EXPIRED, Reason.EXPIRED)
    assert await bench.states(batch) == [(1, Rank.FAILED, Reason.THROTTLED), SENT, expired, expired, expired]
    assert await work_state(bench.store, batch.id, 2) is None


async def test_whom_the_expiry_cut_off_within_a_window_are_expired_not_withheld(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    late = False
    monkeypatch.setattr("channels.worker.now_ms", lambda: now_ms() + (7_200_000 if late else 0))

    async def expire(point: str, _window: Window) -> None:
        nonlocal late
        late = late or point == "half"

    channel = ScriptedChannel(window=4, on=expire)
    await bench.started(channel)
    batch = await bench.plan(4)
    await bench.deliver(batch)
    await bench.closed(batch)
    expired = (1, Rank.EXPIRED, Reason.EXPIRED)
    assert await bench.states(batch) == [SENT, SENT, expired, expired]


async def test_expiry_is_asked_after_the_pace_has_let_the_window_go(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    late = False
    monkeypatch.setattr("channels.worker.now_ms", lambda: now_ms() + (7_200_000 if late else 0))
    channel = ScriptedChannel(window=2)
    worker = await bench.started(channel, per_second=1000.0)
    take = worker._pacer.take

    async def slow(lane: Lane, n: int) -> None:
        nonlocal late
        await take(lane, n)
        late = True

    monkeypatch.setattr(worker._pacer, "take", slow)
    batch = await bench.plan(4)
    await bench.deliver(batch)
    await bench.closed(batch)
    assert channel.windows == []
    assert await bench.states(batch) == [(1, Rank.EXPIRED, Reason.EXPIRED)] * 4


async def test_ids_of_the_far_end_are_kept_with_the_next_mark_and_at_the_close(bench: Bench, store: Store) -> None:
    kept: list[list[int]] = []

    async def look(point: str, window: Window) -> None:
        if point == "enter":
            found = await store.far_ids(ChannelName.SMS, [window.batch])
            kept.append([ordinal for each in found for ordinal in each.ordinals.tolist()])

    channel = ScriptedChannel(window=2, on=look, gives_ids=True)
    worker = await bench.started(channel)
    batch = await bench.plan(5)
    await bench.deliver(batch)
    await bench.closed(batch)
    assert kept == [[], [0, 1], [0, 1, 2, 3]]
    assert channel.context is not None
    found = await channel.context.far_ids([batch.id])
    pairs = [pair for _, ordinals, ids in found for pair in zip(ordinals.tolist(), ids.tolist(), strict=True)]
    assert pairs == [(i, far_id(batch.id, 1, i)) for i in range(5)]
    assert worker.channel is channel


async def test_an_urgent_batch_does_not_wait_for_routine_ones(bench: Bench) -> None:
    stuck, go_on = asyncio.Semaphore(0), asyncio.Event()

    async def hold(point: str, window: Window) -> None:
        if window.lane is Lane.ROUTINE and point == "enter":
            stuck.release()
            await go_on.wait()

    await bench.started(ScriptedChannel(on=hold), concurrency_routine=2, concurrency_urgent=1)
    routine = [await bench.plan(3, lane=Lane.ROUTINE) for _ in range(8)]
    for batch in routine:
        await bench.deliver(batch)
    await soon(stuck.acquire())
    await soon(stuck.acquire())
    urgent = await bench.plan(3)
    await bench.deliver(urgent)
    await bench.closed(urgent)
    for batch in routine:
        assert await bench.store.work_open(batch.id, 1)
    go_on.set()
    for batch in routine:
        await bench.closed(batch)


async def test_no_more_batches_of_a_lane_are_in_hand_than_it_has_slots(bench: Bench) -> None:
    inside, most, two = 0, 0, asyncio.Event()

    async def count(point: str, _window: Window) -> None:
        nonlocal inside, most
        inside += {"enter": 1, "exit": -1}.get(point, 0)
        most = max(most, inside)
        if inside == 2:
            two.set()
        await soon(two.wait())

    await bench.started(ScriptedChannel(on=count), concurrency_urgent=2)
    batches = [await bench.plan(6) for _ in range(6)]
    for batch in batches:
        await bench.deliver(batch)
    for batch in batches:
        await bench.closed(batch)
    assert most == 2


# ── what cannot be sent ───────────────────────────────────────────────────────────────────────────────


async def parked_by(bench: Bench) -> tuple[Message, str, str]:
    found: asyncio.Future[Message] = asyncio.get_running_loop().create_future()

    async def take(delivery: Delivery) -> None:
        found.set_result(delivery.message)
        await delivery.ack()

    subscription = await bench.transport.consume(PARKING, take, prefetch=1)
    message = await soon(found)
    await subscription.cancel()
    return unparked(message)


async def test_an_unreadable_message_is_parked_with_its_reason(bench: Bench) -> None:
    await bench.started(ScriptedChannel())
    await bench.transport.publish("sms.urgent", Message({"kind": "batch.7"}, b"?", "odd-1"))
    message, queue, reason = await parked_by(bench)
    assert (message.id, message.body, queue) == ("odd-1", b"?", "sms.urgent")
    assert "unreadable" in reason
    assert "batch.7" in reason


@pytest.mark.parametrize(
    ("addresses", "why"),
    [
        (b"", "not a sealed page"),
        (Keyring({"lost": b"l" * 32}).seal(pack(["1"]), "batch/1"), "no key"),
        ("moved", "does not open as batch/"),
        ("short", "2 addresses for 4 recipients"),
    ],
    ids=["erased", "lost key", "moved from another batch", "too few"],
)
async def test_a_batch_whose_addresses_cannot_be_opened_is_parked(
    bench: Bench, addresses: bytes | str, why: str
) -> None:
    channel = ScriptedChannel()
    await bench.started(channel)
    batch = await bench.plan(4, addresses=b"" if isinstance(addresses, str) else addresses)
    if addresses == "moved":
        other = await bench.plan(4)
        batch = replace(batch, addresses=other.addresses)
    elif addresses == "short":
        batch = replace(batch, addresses=KEYRING.seal(pack(["1", "2"]), batch_context(batch.id)))
    await bench.deliver(batch)
    message, queue, reason = await parked_by(bench)
    assert message.headers["batch"] == batch.id
    assert queue == "sms.urgent"
    assert why in reason
    assert channel.windows == []
    assert await bench.store.work_open(batch.id, 1)


async def test_a_batch_without_its_words_is_parked(bench: Bench) -> None:
    channel = ScriptedChannel()
    await bench.started(channel)
    batch = await bench.plan(2)
    await bench.deliver(replace(batch, rendition=999_999))
    _, _, reason = await parked_by(bench)
    assert reason == "no rendition 999999"
    assert channel.windows == []


async def test_a_channel_that_raises_costs_only_its_own_batch(bench: Bench) -> None:
    broken = True

    async def burst(point: str, window: Window) -> None:
        if broken and window.batch == bad.id and point == "enter":
            raise RuntimeError("a fault of ours")

    channel = ScriptedChannel(on=burst)
    worker = await bench.started(channel)
    bad, good = await bench.plan(3), await bench.plan(3)
    with capture_logs() as log:
        await bench.deliver(bad)
        await bench.deliver(good)
        await bench.closed(good)
        await eventually(lambda: not worker._attempts)
    assert [(line["batch"], line["event"]) for line in log] == [(bad.id, "batch_failed")]
    assert await bench.store.work_open(bad.id, 1)
    assert channel.wire.times(bad.id) == {}
    broken = False
    await bench.store.release_claims()
    await bench.deliver(bad)
    await bench.closed(bad)
    assert channel.wire.times(bad.id) == dict.fromkeys(range(3), 1)


# ── evidence ──────────────────────────────────────────────────────────────────────────────────────────


async def test_evidence_is_merged_though_it_comes_out_of_order_and_doubled(bench: Bench) -> None:
    channel = ScriptedChannel(window=3)
    await bench.started(channel)
    batch = await bench.plan(3)
    at = batch.expires - 3_000_000

    def says(state: int, *ordinals: int, later: int = 0) -> Receipts:
        return Receipts.uniform(batch.id, np.array(ordinals, np.uint16), state, at + later)

    channel.hears(says(PRESENTED, 1, later=9))  # before it was even sent
    channel.hears(says(DELIVERED, 0, 1, later=5))
    channel.hears(says(DELIVERED, 0, 1, later=7))
    await bench.deliver(batch)
    await bench.closed(batch)
    channel.hears(says(ACKNOWLEDGED, 0, later=20))
    channel.hears(says(DELIVERED, 0, later=30))

    async def acknowledged() -> bool:
        return bool((await bench.store.counters(batch.alert))[0].counts[4])

    await eventually(acknowledged)
    (counters,) = await bench.store.counters(batch.alert)
    assert counters.counts[:5] == (3, 3, 2, 2, 1)
    assert await bench.store.counters(batch.alert) == await bench.store.recount(batch.alert)
    row = await bench.store.ledger_row(batch.id)
    assert sorted(row.at(Milestone.DELIVERED).tolist()) == [at + 5, at + 5]
    assert (row.states >> 14).tolist() == [Arrival.ACKNOWLEDGED, Arrival.PRESENTED, Arrival.NONE]


async def test_the_next_evidence_is_asked_for_only_when_the_former_is_durable(bench: Bench) -> None:
    channel = ScriptedChannel()
    worker = await bench.started(channel)
    batch = await bench.plan(2)
    durable: list[bool] = []

    async def evidence() -> Any:
        for ordinal in (0, 1):
            yield Receipts.uniform(batch.id, np.array([ordinal], np.uint16), DELIVERED, now_ms())
            row = await bench.store.ledger_row(batch.id)
            durable.append(bool(row.states[ordinal]))
        await asyncio.Event().wait()

    channel.listen = evidence  # type: ignore[method-assign]
    assert worker._listener is not None
    worker._listener.cancel()
    worker._listener = asyncio.create_task(worker._listen())
    await eventually(lambda: len(durable) == 2)
    assert durable == [True, True]


async def test_a_channel_learns_from_its_context_what_it_needs_to_start_anew(bench: Bench) -> None:
    channel = ScriptedChannel()
    await bench.started(channel)
    batch, over = await bench.plan(3), await bench.plan(3, lives_ms=-1)
    assert channel.context is not None
    content = await channel.context.batch(batch.id)
    assert (content.alert, content.batch, content.expires) == (batch.alert, batch.id, batch.expires)
    assert content.addresses.tolist() == [number_of(batch.id, i) for i in range(3)]
    assert content.rendition.id == batch.rendition
    assert "138" not in repr(content)
    assert batch.id in await channel.context.open_batches()
    assert over.id not in await channel.context.open_batches()
    delivered = Receipts.uniform(batch.id, np.array([1], np.uint16), DELIVERED, now_ms())
    await bench.store.merge([delivered])
    assert (await channel.context.arrivals(batch.id)).tolist() == [0, Arrival.DELIVERED, 0]
    with pytest.raises(NotFound):
        await channel.context.batch(10**9)
    await bench.store.erase_addresses(over.alert)
    with pytest.raises(NotFound, match="erased"):
        await channel.context.batch(over.id)


# ── when things around it fail ────────────────────────────────────────────────────────────────────────


async def test_a_transport_that_fails_for_a_while_delays_but_loses_nothing(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("channels.worker._PAUSE_S", 0.001)
    failures = 0

    async def told(point: str, _args: Any, _kwargs: Any) -> None:
        nonlocal failures
        if point == "publish:before" and failures < 5:
            failures += 1
            raise TransportError("no connection")

    channel = ScriptedChannel(window=2)
    await bench.started(channel, told=told)
    batch = await bench.plan(4)
    channel.hears(Receipts.uniform(batch.id, np.array([3], np.uint16), DELIVERED, now_ms()))
    await bench.deliver(batch)
    await bench.closed(batch)
    assert failures == 5
    assert channel.wire.times(batch.id) == dict.fromkeys(range(4), 1)

    async def complete() -> bool:
        return (await bench.store.counters(batch.alert))[0].counts[1:3] == (4, 1)

    await eventually(complete)


async def test_a_channel_that_stops_listening_makes_run_raise(bench: Bench) -> None:
    channel = ScriptedChannel()
    worker = await bench.started(channel)
    running = asyncio.create_task(worker.run())
    channel.ends()
    with pytest.raises(FenghuoError, match="sms channel stopped listening"):
        await soon(running)


async def test_what_kills_the_listening_comes_out_of_run(bench: Bench) -> None:
    channel = ScriptedChannel()
    worker = await bench.started(channel)
    running = asyncio.create_task(worker.run())
    channel.ends(ChannelError("the far end speaks nonsense"))
    with pytest.raises(ChannelError, match="nonsense"):
        await soon(running)


async def test_run_ends_quietly_when_the_worker_is_closed(bench: Bench) -> None:
    channel = ScriptedChannel()
    worker = await bench.started(channel)
    running = asyncio.create_task(worker.run())
    await worker.close()
    await soon(running)
    assert channel.closed


async def test_a_worker_that_cannot_take_batches_closes_its_channel_again(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    channel = ScriptedChannel()

    async def refuse(*_args: Any, **_kwargs: Any) -> None:
        raise TransportError("no such queue")

    worker: Worker = bench.worker(channel)
    monkeypatch.setattr(bench.transport, "consume", refuse)
    with pytest.raises(TransportError):
        await worker.start()
    assert channel.closed
    assert worker._listener is not None
    assert worker._listener.done()


async def test_nothing_that_is_printed_shows_a_number() -> None:
    addresses = pack(["13800001111", "13800002222"])
    window = Window("A", 1, 1, Lane.URGENT, 500117, 0, np.zeros(2, np.uint16), np.zeros(2, np.uint32), addresses)
    assert "1380000" not in repr(window)
    sending = _Sending(None, None, window.ordinals, addresses, None, window.ordinals)  # type: ignore[arg-type]
    assert "1380000" not in repr(sending)
