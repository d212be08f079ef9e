from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tests.support.simulated import Stage

SCREENS = [f"s{index:06d}" for index in range(50)]


@pytest.fixture
async def stage(tmp_path: Path) -> AsyncIterator[Stage]:
    started = Stage("signage", SCREENS, tmp_path)
    yield started
    await started.close()


async def test_every_screen_holds_and_shows_its_items_once_and_reports_it(stage: Stage) -> None:
    stage.plan(SCREENS[:30], SCREENS[20:45])
    await stage.serve("--send")
    simulator = await stage.simulate("--show-ms", "50")
    await stage.until(lambda: len(stage.arrivals()) == 55 and min(stage.arrivals().values()) == 2)
    expected = {(screen, f"1:{ordinal}") for ordinal, screen in enumerate(SCREENS[:30])}
    expected |= {(screen, f"2:{ordinal}") for ordinal, screen in enumerate(SCREENS[20:45])}
    events = ("received", "delivered", "presented")
    # The log may be a moment behind what was reported.
    await stage.until(lambda: all(len(stage.logged(event)) >= len(expected) for event in events))
    for event in events:
        assert stage.logged(event) == dict.fromkeys(expected, 1)
    simulator.terminate()
    assert await asyncio.wait_for(simulator.wait(), 10) == 0


async def test_after_a_killed_server_screens_come_back_and_finish_their_reports(stage: Stage) -> None:
    stage.plan(SCREENS)
    await stage.serve()
    await stage.simulate("--show-ms", "3000")
    await stage.until(lambda: len(stage.arrivals()) >= 40)
    await stage.kill_server()
    await stage.until(lambda: len(stage.logged("presented")) == 50)
    assert min(stage.arrivals().values()) < 2
    await stage.serve()
    await stage.until(lambda: len(stage.arrivals()) == 50 and min(stage.arrivals().values()) == 2)
    expected = {(screen, f"1:{ordinal}") for ordinal, screen in enumerate(SCREENS)}
    for event in ("delivered", "presented"):
        assert stage.logged(event) == dict.fromkeys(expected, 1)
