"""The pace that a provider allows, urgent first."""

from __future__ import annotations

import asyncio
from itertools import pairwise

from broker.types import Lane
from channels.pacing import Pacer
from tests.support.waiting import soon


async def test_without_a_limit_nobody_waits() -> None:
    pacer = Pacer(None)
    for _ in range(100):
        taking = pacer.take(Lane.ROUTINE, 10**9)
        try:
            taking.send(None)  # a coroutine that would wait gives something here
        except StopIteration:
            continue
        raise AssertionError("it waited")
    assert not pacer.paced


async def test_never_more_leave_than_the_pace_allows() -> None:
    pacer, loop, n = Pacer(1000.0), asyncio.get_running_loop(), 20
    granted: list[float] = []

    async def sender(lane: Lane) -> None:
        for _ in range(3):
            await pacer.take(lane, n)
            granted.append(loop.time())

    await soon(asyncio.gather(*(sender(lane) for lane in (Lane.URGENT, Lane.ROUTINE, Lane.URGENT))))
    assert len(granted) == 9
    assert pacer.paced
    for earlier, later in pairwise(granted):
        assert later - earlier >= n / 1000.0 - 1e-3  # a clock tick


async def test_urgent_work_that_waits_goes_before_routine_work_that_came_first() -> None:
    pacer, order = Pacer(1000.0), []
    await pacer.take(Lane.ROUTINE, 50)  # uses up the next fifty milliseconds

    async def sender(name: str, lane: Lane) -> None:
        await pacer.take(lane, 5)
        order.append(name)

    waiting = [asyncio.create_task(sender(f"routine {i}", Lane.ROUTINE)) for i in range(3)]
    await asyncio.sleep(0)
    waiting += [asyncio.create_task(sender(f"urgent {i}", Lane.URGENT)) for i in range(3)]
    await soon(asyncio.gather(*waiting))
    assert [name.split()[0] for name in order] == ["urgent"] * 3 + ["routine"] * 3


async def test_urgent_work_that_gave_up_waiting_does_not_hold_routine_work_back() -> None:
    pacer = Pacer(1000.0)
    await pacer.take(Lane.URGENT, 50)
    gone = asyncio.create_task(pacer.take(Lane.URGENT, 5))
    await asyncio.sleep(0)
    gone.cancel()
    await asyncio.gather(gone, return_exceptions=True)
    await soon(pacer.take(Lane.ROUTINE, 1))
