"""The contract of a channel (channels/channel.py), the same for all four, each against its own far end.

What `sent` needs differs: SMS and broadcast need their far end, so without it a window fails in passing and
the worker tries again; app and signage put a message into a mailbox, which needs nobody on the other side.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import AsyncIterator
from pathlib import Path

import numpy as np
import pytest
from structlog.testing import capture_logs

from broker.clock import now_ms
from broker.errors import ChannelError
from broker.ledger.arrays import Milestone
from broker.ledger.state import (
    ARRIVAL_SHIFT,
    FIRST_PERMANENT,
    FIRST_TRANSIENT,
    Arrival,
    Rank,
    Reason,
    attempt_of,
    rank_of,
    reason_of,
    word,
)
from broker.types import Lane
from channels.channel import Outcomes
from tests.support.channels import ALERT, STAGES, Desk, MailboxStage, Stage
from tests.support.faultproxy import FaultProxy


@pytest.fixture(params=list(STAGES), ids=str)
async def stage(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Stage]:
    made = STAGES[request.param](tmp_path)
    yield made
    await made.close()


@pytest.fixture
def desk(stage: Stage) -> Desk:
    return Desk(stage)


def ranks(outcomes: Outcomes) -> set[Rank]:
    return {rank_of(state) for state in outcomes.states.tolist()}


def reasons(outcomes: Outcomes) -> set[Reason]:
    return {reason_of(state) for state in outcomes.states.tolist()}


def furthest(stage: Stage) -> Arrival:
    """How far the far end takes every message."""
    return Arrival.PRESENTED if stage.presents else Arrival.DELIVERED


async def test_everybody_of_a_window_gets_one_outcome_and_then_the_evidence(stage: Stage, desk: Desk) -> None:
    await stage.up()
    content = desk.batch(1)
    everybody = set(range(len(content.addresses)))
    async with desk.running() as channel:
        assert channel.name is stage.name
        assert channel.window >= 1
        assert channel.healthy
        before = now_ms()
        outcomes = await desk.send(channel, content, attempt=3)
        assert set(outcomes.states.tolist()) == {word(Rank.SENT, attempt=3)}
        assert outcomes.at.min() >= before
        assert outcomes.at.max() <= now_ms()
        await desk.until(lambda: desk.reached(1, furthest(stage)) == everybody)
    counts = desk.counts(1)
    assert counts["sent"] == counts["delivered"] == counts["planned"] == len(everybody)
    assert counts["presented"] == (len(everybody) if stage.presents else 0)
    assert counts["failed"] == 0
    times = desk.ledgers[1].times.astype(np.int64)
    assert (times[Milestone.SENT] <= times[Milestone.DELIVERED]).all()
    if stage.presents:
        assert (times[Milestone.DELIVERED] <= times[Milestone.PRESENTED]).all()


async def test_evidence_names_the_recipients_that_were_sent_to_and_nobody_else(stage: Stage, desk: Desk) -> None:
    """Parts of batches in which the same devices stand at other ordinals: a shift by one would be seen."""
    await stage.up()
    odd, few = list(range(1, 40, 2)), [0, 7, 8, 39]
    async with desk.running() as channel:
        plain, turned = desk.batch(1), desk.batch(2, stage.addresses[::-1])
        await desk.send(channel, plain, odd)
        await desk.send(channel, turned, few)
        await desk.until(lambda: len(desk.reached(1, furthest(stage))) >= len(odd))
        await desk.until(lambda: len(desk.reached(2, furthest(stage))) >= len(few))
    assert desk.reached(1, Arrival.DELIVERED) == set(odd)
    assert desk.reached(2, Arrival.DELIVERED) == set(few)
    await stage.close()  # it has written its log to the end
    for batch, ordinals, content in ((1, odd, plain), (2, few, turned)):
        everywhere = [own.decode() for own in content.addresses.tolist()]
        delivered = stage.logged("delivered", batch, range(40), everywhere)
        assert delivered == dict.fromkeys([everywhere[ordinal] for ordinal in ordinals], 1)


async def test_an_address_of_the_wrong_form_fails_for_good_and_holds_up_nobody(stage: Stage, desk: Desk) -> None:
    await stage.up()
    content = desk.batch(1, [*stage.addresses[:3], stage.wrong_address, *stage.addresses[3:5]])
    async with desk.running() as channel:
        outcomes = await desk.send(channel, content)
        expected = np.full(6, word(Rank.SENT, attempt=1), np.uint16)
        expected[3] = word(Rank.FAILED, attempt=1, reason=Reason.INVALID_ADDRESS)
        assert outcomes.states.tolist() == expected.tolist()
        await desk.until(lambda: desk.reached(1, furthest(stage)) == {0, 1, 2, 4, 5})


async def test_a_far_end_that_is_away_at_the_start_is_served_when_it_comes(stage: Stage, desk: Desk) -> None:
    content = desk.batch(1)
    async with desk.running() as channel:
        outcomes = await desk.send(channel, content)
        if stage.dials:
            assert not channel.healthy
            assert ranks(outcomes) == {Rank.FAILED}
            (reason,) = reasons(outcomes)
            assert FIRST_TRANSIENT <= reason < FIRST_PERMANENT
        else:
            assert channel.healthy
            assert ranks(outcomes) == {Rank.SENT}
        await stage.up()
        if stage.dials:
            await desk.until(lambda: channel.healthy)
            outcomes = await desk.send(channel, content, attempt=2)
            assert set(outcomes.states.tolist()) == {word(Rank.SENT, attempt=2)}
        await desk.until(lambda: len(desk.reached(1, furthest(stage))) == 40)
    await stage.close()  # it has written its log to the end
    assert stage.logged("received", 1, range(40), stage.addresses) == dict.fromkeys(stage.addresses, 1)


async def test_a_far_end_that_goes_and_comes_back_is_found_again(stage: Stage, desk: Desk) -> None:
    await stage.up()
    first, second = desk.batch(1), desk.batch(2)
    async with desk.running() as channel:
        await desk.send(channel, first)
        await desk.until(lambda: len(desk.reached(1, Arrival.DELIVERED)) == 40)
        await stage.down()
        if stage.dials:
            await desk.until(lambda: not channel.healthy)
            lost = await desk.send(channel, second)
            assert ranks(lost) <= {Rank.FAILED, Rank.UNKNOWN}
        await stage.up()
        await desk.until(lambda: channel.healthy)
        await desk.send(channel, second, attempt=2)
        await desk.until(lambda: len(desk.reached(2, furthest(stage))) == 40)
    await stage.close()  # it has written its log to the end
    assert stage.logged("delivered", 2, range(40), stage.addresses) == dict.fromkeys(stage.addresses, 1)


async def test_once_told_to_stop_nothing_is_submitted_and_that_is_said(stage: Stage, desk: Desk) -> None:
    await stage.up()
    async with desk.running() as channel:
        stopped, after = desk.batch(1), desk.batch(2)
        outcomes = await desk.send(channel, stopped, attempt=2, stop=lambda: True)
        expected = word(Rank.WITHHELD, attempt=2, reason=Reason.STOPPED)
        assert set(outcomes.states.tolist()) == {expected}
        # Whatever had been submitted would have arrived before what is sent now.
        await desk.send(channel, after)
        await desk.until(lambda: len(desk.reached(2, furthest(stage))) == 40)
    await stage.close()  # it has written its log to the end
    assert not stage.logged("received", 1, range(40), stage.addresses)
    assert not desk.reached(1, Arrival.DELIVERED)


async def test_a_window_sent_twice_is_presented_once_and_the_ledger_is_unharmed(stage: Stage, desk: Desk) -> None:
    await stage.up()
    content = desk.batch(1)
    async with desk.running() as channel:
        await desk.send(channel, content)
        await desk.until(lambda: len(desk.reached(1, furthest(stage))) == 40)
        again = await desk.send(channel, content, attempt=2)
        assert set(again.states.tolist()) == {word(Rank.SENT, attempt=2)}
        if stage.copies:
            await desk.until(lambda: stage.logged("duplicate", 1, range(40), stage.addresses).total() == 40)
        else:
            await asyncio.sleep(0.5)
    await stage.close()  # it has written its log to the end
    assert stage.logged("delivered", 1, range(40), stage.addresses) == dict.fromkeys(stage.addresses, 1)
    if stage.presents:
        assert stage.logged("presented", 1, range(40), stage.addresses) == dict.fromkeys(stage.addresses, 1)
    copies = stage.logged("received", 1, range(40), stage.addresses)
    assert set(copies.values()) == {2} if stage.copies else set(copies.values()) <= {1, 2}
    counts = desk.counts(1)
    assert counts["delivered"] == counts["sent"] == 40
    assert counts["failed"] == 0


async def test_what_has_expired_is_not_sent(stage: Stage, desk: Desk) -> None:
    await stage.up()
    over, after = desk.batch(1, expires_in=-1), desk.batch(2)
    async with desk.running() as channel:
        outcomes = await desk.send(channel, over)
        assert ranks(outcomes) <= {Rank.WITHHELD, Rank.EXPIRED}
        await desk.send(channel, after)
        await desk.until(lambda: len(desk.reached(2, furthest(stage))) == 40)
    await stage.close()  # it has written its log to the end
    assert not stage.logged("received", 1, range(40), stage.addresses)


async def test_what_expires_on_the_way_is_not_presented(stage: Stage, desk: Desk) -> None:
    """Accepted in time; the recipients can be reached only when it is too late."""
    if stage.copies:
        await stage.up("--receipt-delay-ms", "3000")
    elif stage.dials:
        await stage.up()
        await stage.devices_leave()
    late, after = desk.batch(1, expires_in=1.5), desk.batch(2)
    async with desk.running() as channel:
        outcomes = await desk.send(channel, late)
        assert ranks(outcomes) == {Rank.SENT}
        await desk.until(lambda: now_ms() > late.expires)
        if not stage.copies:
            await stage.up()
        await desk.send(channel, after)
        await desk.until(lambda: len(desk.reached(2, furthest(stage))) == 40)
    await stage.close()  # it has written its log to the end
    assert not stage.logged("delivered", 1, range(40), stage.addresses)
    assert not stage.logged("presented", 1, range(40), stage.addresses)
    assert not desk.reached(1, Arrival.DELIVERED)


async def test_windows_of_several_batches_go_side_by_side(stage: Stage, desk: Desk) -> None:
    await stage.up()
    rotated = [stage.addresses[n:] + stage.addresses[:n] for n in range(6)]
    contents = [desk.batch(number, addresses) for number, addresses in enumerate(rotated, 1)]
    lanes = (Lane.URGENT, Lane.ROUTINE)
    async with desk.running() as channel:
        results = await asyncio.gather(
            *(desk.send(channel, content, lane=lanes[n % 2]) for n, content in enumerate(contents))
        )
        assert all(ranks(outcomes) == {Rank.SENT} for outcomes in results)
        for content in contents:
            number = content.batch
            await desk.until(lambda number=number: len(desk.reached(number, furthest(stage))) == 40)
    await stage.close()  # it has written its log to the end
    for content, addresses in zip(contents, rotated, strict=True):
        assert stage.logged("delivered", content.batch, range(40), addresses) == dict.fromkeys(addresses, 1)


async def test_closing_while_windows_are_on_their_way_ends_soon_and_with_outcomes(stage: Stage, desk: Desk) -> None:
    await stage.up()
    contents = [desk.batch(number) for number in range(1, 5)]
    async with FaultProxy("127.0.0.1", stage.port) as proxy:
        async with desk.running(port=proxy.port) as channel:
            proxy.stall()
            sending = [asyncio.create_task(desk.send(channel, content)) for content in contents]
            await asyncio.sleep(0.3)
            if stage.dials:
                assert not any(task.done() for task in sending)
            began = time.monotonic()
            await asyncio.wait_for(channel.close(), 15)
            results = await asyncio.wait_for(asyncio.gather(*sending), 15)
            assert time.monotonic() - began < 15
        for outcomes in results:
            assert {attempt_of(state) for state in outcomes.states.tolist()} == {1}
            assert ranks(outcomes) <= {Rank.SENT, Rank.UNKNOWN, Rank.FAILED}
            assert all(reason < FIRST_PERMANENT for reason in reasons(outcomes))
        if stage.dials:
            # A submission that nobody answered is in doubt, and must not pass for sent.
            assert Rank.UNKNOWN in set().union(*map(ranks, results))
            assert Rank.SENT not in set().union(*map(ranks, results))


async def test_evidence_that_was_not_durable_before_a_crash_comes_again_after_it(stage: Stage, desk: Desk) -> None:
    await stage.up()
    content = desk.batch(1)
    async with desk.running(stuck=True) as channel:
        await desk.send(channel, content)
        await desk.until(lambda: bool(desk.pieces))
        await asyncio.sleep(0.3)
    assert len(desk.pieces) == 1
    (piece,) = desk.pieces
    assert len(piece)
    assert not desk.reached(1, Arrival.DELIVERED)
    async with desk.running():
        await desk.until(lambda: len(desk.reached(1, furthest(stage))) == 40)
    for ordinal, state in zip(piece.ordinals.tolist(), piece.states.tolist(), strict=True):
        assert desk.ledgers[1].states[ordinal] >> ARRIVAL_SHIFT >= state >> ARRIVAL_SHIFT
    await stage.close()  # it has written its log to the end
    assert stage.logged("received", 1, range(40), stage.addresses).keys() == set(stage.addresses)
    for event in ("delivered", "presented") if stage.presents else ("delivered",):
        assert stage.logged(event, 1, range(40), stage.addresses) == dict.fromkeys(stage.addresses, 1)


async def test_once_withdrawn_nothing_of_an_alert_is_submitted_and_others_go_on(stage: Stage, desk: Desk) -> None:
    await stage.up()
    over, other = desk.batch(1), desk.batch(2, alert="a2")
    async with desk.running() as channel:
        await channel.withdraw("an alert of another channel")
        for _ in range(2):
            await channel.withdraw(ALERT)
        outcomes = await desk.send(channel, over, attempt=3)
        assert set(outcomes.states.tolist()) == {word(Rank.WITHHELD, attempt=3, reason=Reason.STOPPED)}
        await desk.send(channel, other)
        await desk.until(lambda: len(desk.reached(2, furthest(stage))) == 40)
    await stage.close()  # it has written its log to the end
    assert not stage.logged("received", 1, range(40), stage.addresses)
    assert stage.logged("delivered", 2, range(40), stage.addresses) == dict.fromkeys(stage.addresses, 1)


async def test_a_withdrawal_while_windows_are_on_their_way_leaves_each_with_an_honest_outcome(
    stage: Stage, desk: Desk
) -> None:
    await stage.up()
    contents = [desk.batch(number) for number in range(1, 9)]
    async with desk.running() as channel:
        sending = [asyncio.create_task(desk.send(channel, content)) for content in contents]
        await asyncio.sleep(0)
        await channel.withdraw(ALERT)
        results = await asyncio.gather(*sending)
        for content, outcomes in zip(contents, results, strict=True):
            assert ranks(outcomes) <= {Rank.SENT, Rank.WITHHELD}
            sent = {n for n, state in enumerate(outcomes.states.tolist()) if rank_of(state) is Rank.SENT}
            if stage.dials:
                number, count = content.batch, len(sent)
                await desk.until(
                    lambda number=number, count=count: len(desk.reached(number, Arrival.DELIVERED)) >= count
                )
                assert desk.reached(number, Arrival.DELIVERED) == sent


async def test_devices_that_come_after_a_withdrawal_are_not_given_what_waited_for_them(
    stage: Stage, desk: Desk
) -> None:
    if stage.dials:
        pytest.skip("nothing waits on our side of this channel")
    over, other = desk.batch(1), desk.batch(2, alert="a2")
    async with desk.running() as channel:
        assert ranks(await desk.send(channel, over)) == {Rank.SENT}
        await desk.send(channel, other)
        await channel.withdraw(ALERT)
        await stage.up()
        await desk.until(lambda: len(desk.reached(2, furthest(stage))) == 40)
    desk.over.add(ALERT)
    async with desk.running() as channel:
        await desk.send(channel, desk.batch(3, alert="a3"))
        await desk.until(lambda: len(desk.reached(3, furthest(stage))) == 40)
    await stage.close()  # it has written its log to the end
    for event in ("received", "withdrawn"):
        assert not stage.logged(event, 1, range(40), stage.addresses)


async def test_whoever_holds_what_is_withdrawn_sees_it_go_and_evidence_of_it_still_counts(
    stage: Stage, desk: Desk
) -> None:
    over, other = desk.batch(1), desk.batch(2, alert="a2")
    if isinstance(stage, MailboxStage):
        await stage.up(*stage.slow)
        async with desk.running() as channel:
            for content in (over, other):
                await desk.send(channel, content)
                number = content.batch
                await desk.until(lambda number=number: len(desk.reached(number, Arrival.DELIVERED)) == 40)
            await channel.withdraw(ALERT)
            await desk.until(
                lambda: (
                    stage.logged("withdrawn", 1, range(40), stage.addresses) == dict.fromkeys(stage.addresses, 1)
                )
            )
            assert await stage.report(1, 7, stage.addresses[7]) == 202
            await desk.until(lambda: desk.reached(1, Arrival.PRESENTED) == {7})
        await stage.close()  # it has written its log to the end
        assert not stage.logged("withdrawn", 2, range(40), stage.addresses)
        return
    if stage.copies:
        await stage.up("--receipt-delay-ms", "1500")
    else:
        await stage.up()
        await stage.devices_leave()
    async with desk.running() as channel:
        assert ranks(await desk.send(channel, over)) == {Rank.SENT}
        await channel.withdraw(ALERT)
        if not stage.copies:
            await stage.up()
        await desk.until(lambda: len(desk.reached(1, Arrival.DELIVERED)) == 40)


async def test_what_was_over_before_a_restart_stays_so_and_its_evidence_still_comes(
    stage: Stage, desk: Desk
) -> None:
    content = desk.batch(1)
    if isinstance(stage, MailboxStage):
        await stage.up(*stage.slow)
    elif stage.copies:
        await stage.up("--receipt-delay-ms", "3000")
    else:
        await stage.up("--play-ms", "1500")
    async with desk.running() as channel:
        await desk.send(channel, content)
        if not stage.copies:
            await desk.until(lambda: len(desk.reached(1, Arrival.DELIVERED)) == 40)
    desk.over.add(ALERT)
    async with desk.running() as channel:
        if isinstance(stage, MailboxStage):
            await desk.until(
                lambda: (
                    stage.logged("withdrawn", 1, range(40), stage.addresses) == dict.fromkeys(stage.addresses, 1)
                )
            )
            assert await stage.report(1, 0, stage.addresses[0]) == 202
            await desk.until(lambda: desk.reached(1, Arrival.PRESENTED) == {0})
        else:
            await channel.withdraw(ALERT)
            await desk.until(lambda: len(desk.reached(1, furthest(stage))) == 40)
    await stage.close()  # it has written its log to the end
    assert stage.logged("received", 1, range(40), stage.addresses) == dict.fromkeys(stage.addresses, 1)


async def test_no_address_and_no_secret_stands_in_logs_or_errors(
    stage: Stage, desk: Desk, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    said: list[str] = []
    with capture_logs() as logs:
        await stage.up()
        wrong = stage.misconfigured()
        with pytest.raises(ChannelError) as error:
            await wrong.start(desk.context())
        await wrong.close()
        said += [str(error.value), repr(error.value), str(error.value.__cause__)]
        content = desk.batch(1, [*stage.addresses, stage.wrong_address])
        async with desk.running() as channel:
            await desk.send(channel, content)
            await desk.until(lambda: len(desk.reached(1, Arrival.DELIVERED)) == 40)
            await stage.provoke(desk)
            await stage.down()
            await asyncio.sleep(0.3)
            await desk.send(channel, desk.batch(2))
            said += [repr(channel), repr(desk.window(content)), repr(content)]
    said += [str(logs), caplog.text]
    hidden = [*stage.secrets, *stage.addresses, stage.wrong_address]
    assert [text[:4] + "…" for text in hidden if any(text in words for words in said)] == []
