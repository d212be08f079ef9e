"""Our client against our SMSC, both whole, over sockets that break."""

from __future__ import annotations

import asyncio

import numpy as np
import pytest
from structlog.testing import capture_logs

from broker.errors import ChannelError
from broker.ledger.state import DELIVERED, Rank, Reason, rank_of, reason_of, word
from broker.types import Lane
from channels.sms.text import encode
from tests.support.faultproxy import FaultProxy

SENT = word(Rank.SENT, attempt=1)


def _outcome(states: np.ndarray, rank: Rank, reason: Reason = Reason.NONE) -> set[int]:
    return {n for n, state in enumerate(states.tolist()) if (rank_of(state), reason_of(state)) == (rank, reason)}


@pytest.mark.parametrize("which", [0, 1], ids=["one part", "several parts"])
@pytest.mark.parametrize("form", ["both", "tlv", "text"])
async def test_everyone_is_sent_the_text_once_and_their_receipts_come_back(
    smsc, broker, phones, texts, which, form
) -> None:
    far = await smsc("--receipt-form", form)
    near = broker(far.port, window=200)
    numbers = [*phones(1500), "4912345678", "85212345678"]
    async with near.channel() as channel:
        assert channel.healthy
        outcomes = await near.send(channel, numbers, texts[which])
        assert set(outcomes.states.tolist()) == {SENT}
        assert len(outcomes.far_ids) == len(numbers) * len(encode(texts[which], 0).parts)
        await near.until(lambda: len(near.with_state(DELIVERED)) == len(numbers))
    assert await far.stop() == 0
    once = dict.fromkeys([(own, texts[which]) for own in numbers], 1)
    assert far.events("received") == once
    assert far.events("delivered") == once


async def test_what_cannot_be_delivered_fails_for_good_and_the_same_ones_again(smsc, broker, phones, texts) -> None:
    far = await smsc("--undeliverable", "0.3", "--seed", "5")
    near = broker(far.port)
    numbers = phones(400)
    async with near.channel() as channel:
        for batch, text in enumerate(texts, 1):
            await near.send(channel, numbers, text, batch=batch, attempt=2)
        await near.until(lambda: len(near.evidence) == 800)
    failed = word(Rank.FAILED, attempt=2, reason=Reason.UNDELIVERABLE)
    lost = near.with_state(failed, 1)
    assert 60 < len(lost) < 180
    assert near.with_state(failed, 2) == lost
    assert near.with_state(DELIVERED, 1) == set(range(400)) - lost
    await far.stop()
    assert {own for own, text in far.events("failed") if text == texts[0]} == {numbers[n] for n in lost}


async def test_a_wrong_password_is_said_clearly_and_never_shown(smsc, broker) -> None:
    far = await smsc()
    near = broker(far.port, password="wrong123")
    with capture_logs() as logs, pytest.raises(ChannelError) as error:
        async with near.channel():
            pass
    assert "ESME_RINVPASWD" in str(error.value)
    assert "'fenghuo'" in str(error.value)
    assert "wrong123" not in str(error.value) + str(logs) + repr(near.settings)


async def test_an_smsc_that_comes_up_late_is_found(smsc, broker, phones) -> None:
    far = await smsc()
    port = far.port
    await far.stop()
    near = broker(port)
    async with near.channel() as channel:
        assert not channel.healthy
        outcomes = await near.send(channel, phones(10))
        assert _outcome(outcomes.states, Rank.FAILED, Reason.DISCONNECTED) == set(range(10))
        await smsc(port=port)
        await near.until(lambda: channel.healthy)
        outcomes = await near.send(channel, phones(10), attempt=2)
        assert set(outcomes.states.tolist()) == {word(Rank.SENT, attempt=2)}


@pytest.mark.parametrize("which", [0, 1], ids=["one part", "several parts"])
async def test_a_connection_cut_in_mid_window_leaves_nobody_in_the_dark(smsc, broker, phones, texts, which) -> None:
    far = await smsc("--latency-ms", "20")
    numbers = phones(2000)
    with capture_logs() as logs:
        async with FaultProxy("127.0.0.1", far.port) as proxy:
            near = broker(proxy.port, window=300)
            async with near.channel() as channel:
                proxy.cut_after((120_000, 400_000)[which])
                outcomes = await near.send(channel, numbers, texts[which])
                await near.until(lambda: channel.healthy)
                again = await near.send(channel, numbers[:5], texts[which], batch=2)
                assert set(again.states.tolist()) == {SENT}
    sent = _outcome(outcomes.states, Rank.SENT)
    unknown = _outcome(outcomes.states, Rank.UNKNOWN)
    never = _outcome(outcomes.states, Rank.FAILED, Reason.DISCONNECTED)
    assert sent
    assert unknown
    assert never
    assert len(sent) + len(unknown) + len(never) == 2000
    assert len(unknown) <= 300
    await far.stop()
    received = {numbers.index(own) for own, _ in far.events("received")}
    assert sent <= received
    # What is said not to have left is nowhere, except those of the second window.
    assert not (never - set(range(5))) & received
    assert not any(own in str(logs) for own in numbers[:50])


async def test_a_link_that_fell_silent_is_given_up(smsc, broker, phones) -> None:
    far = await smsc()
    async with FaultProxy("127.0.0.1", far.port) as proxy:
        near = broker(proxy.port, enquire_link_s=0.2, response_timeout_s=0.4)
        async with near.channel() as channel:
            proxy.stall()
            outcomes = await near.send(channel, phones(20))
            assert _outcome(outcomes.states, Rank.UNKNOWN) == set(range(20))
            await near.until(lambda: not channel.healthy)
            proxy.resume()
            await near.until(lambda: channel.healthy)


async def test_throttled_submits_are_transient_and_were_not_taken(smsc, broker, phones) -> None:
    far = await smsc("--rate", "500", "--throttle")
    near = broker(far.port)
    numbers = phones(1000)
    async with near.channel() as channel:
        outcomes = await near.send(channel, numbers)
    throttled = _outcome(outcomes.states, Rank.FAILED, Reason.THROTTLED)
    sent = _outcome(outcomes.states, Rank.SENT)
    assert throttled
    assert sent | throttled == set(range(1000))
    await far.stop()
    assert {own for own, _ in far.events("received")} == {numbers[n] for n in sent}


async def test_sending_stops_when_told_and_the_rest_is_withheld(smsc, broker, phones, texts) -> None:
    far = await smsc("--rate", "300")
    near = broker(far.port, window=60)
    numbers = phones(1000)
    stop = asyncio.Event()
    async with near.channel() as channel:
        asyncio.get_running_loop().call_later(0.4, stop.set)
        outcomes = await near.send(channel, numbers, texts[1], stop=stop.is_set)
    withheld = _outcome(outcomes.states, Rank.WITHHELD, Reason.STOPPED)
    sent = _outcome(outcomes.states, Rank.SENT)
    assert withheld
    assert sent | withheld == set(range(1000))
    await far.stop()
    assert {own for own, _ in far.events("received")} == {numbers[n] for n in sent}


async def test_a_malformed_number_fails_for_good_and_holds_up_nobody(smsc, broker, phones) -> None:
    far = await smsc()
    near = broker(far.port)
    async with near.channel() as channel:
        outcomes = await near.send(channel, ["+8610001", *phones(3), "", "86 10", "8" * 21])
    assert _outcome(outcomes.states, Rank.FAILED, Reason.INVALID_ADDRESS) == {0, 4, 5, 6}
    assert _outcome(outcomes.states, Rank.SENT) == {1, 2, 3}


@pytest.mark.parametrize("text", ["", "雨" * 1000])
async def test_a_text_that_cannot_be_sent_is_rejected(smsc, broker, phones, text) -> None:
    far = await smsc()
    near = broker(far.port)
    async with near.channel() as channel:
        outcomes = await near.send(channel, phones(3), text)
    assert _outcome(outcomes.states, Rank.FAILED, Reason.REJECTED) == {0, 1, 2}
    await far.stop()
    assert not far.events("received")


async def test_an_urgent_window_passes_a_routine_one(smsc, broker, phones) -> None:
    far = await smsc("--rate", "400")
    near = broker(far.port, window=50)
    async with near.channel() as channel:
        routine = asyncio.create_task(near.send(channel, phones(800), lane=Lane.ROUTINE))
        await asyncio.sleep(0.2)
        await near.send(channel, phones(50), batch=2, lane=Lane.URGENT)
        assert not routine.done()
        assert set((await routine).states.tolist()) == {SENT}


@pytest.mark.parametrize("which", [0, 1], ids=["one part", "several parts"])
async def test_a_killed_smsc_tells_its_pending_receipts_when_it_is_back(smsc, broker, phones, texts, which) -> None:
    far = await smsc("--receipt-delay-ms", "3600000")
    near = broker(far.port)
    numbers = phones(300)
    async with near.channel() as channel:
        assert set((await near.send(channel, numbers, texts[which])).states.tolist()) == {SENT}
        far.kill()
        await far.process.wait()
        await near.until(lambda: not channel.healthy)
        far = await smsc(port=far.port)
        await near.until(lambda: len(near.with_state(DELIVERED)) == 300)
    await far.stop()
    assert far.events("delivered") == dict.fromkeys([(own, texts[which]) for own in numbers], 1)


@pytest.mark.parametrize("which", [0, 1], ids=["one part", "several parts"])
async def test_receipts_nobody_listened_to_come_to_the_next_process(smsc, broker, phones, texts, which) -> None:
    far = await smsc()
    near = broker(far.port)
    numbers = phones(300)
    async with near.channel(listening=False) as channel:
        await near.send(channel, numbers, texts[which])
        await asyncio.sleep(0.3)
    assert not far.events("delivered")
    async with near.channel():
        await near.until(lambda: len(near.with_state(DELIVERED)) == 300)
    await far.stop()
    assert len(far.events("delivered")) == 300


async def test_a_second_copy_is_seen_and_receipted_but_delivered_once(smsc, broker, phones, texts) -> None:
    far = await smsc()
    near = broker(far.port)
    async with near.channel() as channel:
        for attempt in (1, 2):
            await near.send(channel, phones(5), texts[1], attempt=attempt)
        await near.until(
            lambda: all(len(states) == 2 for states in near.evidence.values()) and len(near.evidence) == 5
        )
    await far.stop()
    assert set(far.events("received").values()) == {2}
    assert set(far.events("delivered").values()) == {1}
    assert set(far.events("duplicate").values()) == {1}


async def test_each_bind_is_told_of_what_it_sent(smsc, broker, phones) -> None:
    far = await smsc()
    one, other = broker(far.port), broker(far.port)
    async with one.channel() as first, other.channel() as second:
        await asyncio.gather(
            one.send(first, phones(500), batch=1), other.send(second, phones(700), "other", batch=2)
        )
        await one.until(lambda: len(one.with_state(DELIVERED, 1)) == 500)
        await other.until(lambda: len(other.with_state(DELIVERED, 2)) == 700)
    assert not one.with_state(DELIVERED, 2)
    assert not other.with_state(DELIVERED, 1)
