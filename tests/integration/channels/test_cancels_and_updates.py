"""A warning and then its Cancel or Update, as simulated handsets, installations and screens get to see them."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from broker.clock import now_ms
from broker.ledger.state import Arrival
from broker.types import ChannelName
from tests.support.channels import ALERT, STAGES, Desk, MailboxStage, Stage

MAILBOXES = [ChannelName.APP, ChannelName.SIGNAGE]


@pytest.fixture
async def stage(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Stage]:
    made = STAGES[request.param](tmp_path)
    yield made
    await made.close()


@pytest.fixture
def desk(stage: Stage) -> Desk:
    return Desk(stage)


def a_cancel(desk: Desk, number: int = 9, addresses: list[str] | None = None, **how: Any) -> Any:
    """A Cancel of ALERT."""
    told = {"alert": "c1", "phase": "cancel", "replaces": [ALERT], **how}
    alert = told.pop("alert")
    return desk.batch(number, addresses, alert=alert, **told)


def everybody(stage: Stage) -> dict[str, int]:
    return dict.fromkeys(stage.addresses, 1)


async def playlist(stage: Stage, screen: str) -> list[dict[str, Any]]:
    assert isinstance(stage, MailboxStage)
    headers = {"Authorization": f"Bearer {stage.tokens[screen]}"}
    url = f"http://127.0.0.1:{stage.port}/v1/screens/{screen}/playlist"
    async with aiohttp.ClientSession() as session, session.get(url, headers=headers) as answer:
        found: list[dict[str, Any]] = (await answer.json())["items"]
        return found


@pytest.mark.parametrize("stage", MAILBOXES, indirect=True, ids=str)
async def test_what_was_displayed_is_hidden_and_the_all_clear_is_displayed(stage: Stage, desk: Desk) -> None:
    await stage.up()
    async with desk.running() as channel:
        await desk.send(channel, desk.batch(1))
        await desk.until(lambda: len(desk.reached(1, Arrival.PRESENTED)) == 40)
        await channel.withdraw(ALERT)
        await desk.send(channel, a_cancel(desk))
        await desk.until(lambda: len(desk.reached(9, Arrival.PRESENTED)) == 40)
        if stage.name is ChannelName.SIGNAGE:
            (item,) = await playlist(stage, stage.addresses[0])
            assert (item["id"], item["phase"], item["colour"]) == ("9:0", "cancel", "#2e7d32")
        await desk.until(lambda: stage.logged("withdrawn", 1, range(40), stage.addresses) == everybody(stage))
    await stage.close()  # it has written its log to the end
    assert stage.logged("presented", 1, range(40), stage.addresses) == everybody(stage)
    assert stage.logged("presented", 9, range(40), stage.addresses) == everybody(stage)
    assert not stage.logged("withdrawn", 9, range(40), stage.addresses)


@pytest.mark.parametrize("stage", MAILBOXES, indirect=True, ids=str)
async def test_devices_that_were_away_hide_what_they_had_and_are_not_given_what_they_missed(
    stage: Stage, desk: Desk
) -> None:
    await stage.up()
    had, missed = stage.addresses[:20], stage.addresses[20:]
    async with desk.running() as channel:
        await desk.send(channel, desk.batch(1, had))
        await desk.until(lambda: len(desk.reached(1, Arrival.PRESENTED)) == 20)
        await stage.down()
        await desk.send(channel, desk.batch(2, missed))
        await channel.withdraw(ALERT)
        await desk.send(channel, a_cancel(desk))
        await stage.up()
        await desk.until(lambda: len(desk.reached(9, Arrival.PRESENTED)) == 40)
        await desk.until(lambda: stage.logged("withdrawn", 1, range(20), had) == dict.fromkeys(had, 1))
    await stage.close()  # it has written its log to the end
    assert not stage.logged("received", 2, range(20), missed)
    assert not desk.reached(2, Arrival.DELIVERED)


@pytest.mark.parametrize("stage", MAILBOXES, indirect=True, ids=str)
async def test_what_was_taken_back_before_it_was_displayed_never_is(stage: Stage, desk: Desk) -> None:
    assert isinstance(stage, MailboxStage)
    await stage.up(*stage.slow)
    async with desk.running() as channel:
        await desk.send(channel, desk.batch(1))
        await desk.until(lambda: len(desk.reached(1, Arrival.DELIVERED)) == 40)
        await channel.withdraw(ALERT)
        await desk.until(lambda: stage.logged("withdrawn", 1, range(40), stage.addresses) == everybody(stage))
        await stage.down()
        await stage.up()  # with devices that display at once, if they display at all
        await desk.send(channel, a_cancel(desk))
        await desk.until(lambda: len(desk.reached(9, Arrival.PRESENTED)) == 40)
    await stage.close()  # it has written its log to the end
    assert not stage.logged("presented", 1, range(40), stage.addresses)
    assert desk.counts(1)["presented"] == 0


@pytest.mark.parametrize("stage", MAILBOXES, indirect=True, ids=str)
async def test_an_update_takes_the_place_of_what_it_replaces_before_that_is_withdrawn(
    stage: Stage, desk: Desk
) -> None:
    await stage.up()
    half = stage.addresses[:20]
    async with desk.running() as channel:
        await desk.send(channel, desk.batch(1))
        await desk.until(lambda: len(desk.reached(1, Arrival.PRESENTED)) == 40)
        await desk.send(channel, a_cancel(desk, 2, half, alert="u1", phase="update", level="Blue"))
        await desk.until(lambda: len(desk.reached(2, Arrival.PRESENTED)) == 20)
        await desk.until(lambda: stage.logged("withdrawn", 1, range(20), half) == dict.fromkeys(half, 1))
        if stage.name is ChannelName.SIGNAGE:
            for screen, items in ((stage.addresses[0], ["2:0"]), (stage.addresses[39], ["1:39"])):
                assert [item["id"] for item in await playlist(stage, screen)] == items
    await stage.close()  # it has written its log to the end
    assert stage.logged("withdrawn", 1, range(40), stage.addresses) == dict.fromkeys(half, 1)


@pytest.mark.parametrize("stage", [ChannelName.SIGNAGE], indirect=True, ids=str)
async def test_an_all_clear_leaves_the_screens_by_itself(stage: Stage, desk: Desk) -> None:
    await stage.up()
    async with desk.running() as channel:
        await desk.send(channel, desk.batch(1))
        await channel.withdraw(ALERT)
        await desk.send(channel, a_cancel(desk, expires_in=5))
        await desk.until(lambda: len(desk.reached(9, Arrival.PRESENTED)) == 40)

        screen = stage.addresses[3]
        assert [item["id"] for item in await playlist(stage, screen)] == ["9:3"]
        await desk.until(lambda: desk.batches[9].expires < now_ms())
        assert await playlist(stage, screen) == []
    await stage.close()  # it has written its log to the end
    assert not stage.logged("withdrawn", 9, range(40), stage.addresses), "it ran out, nobody took it back"


@pytest.mark.parametrize("stage", [ChannelName.SMS], indirect=True, ids=str)
async def test_handsets_get_the_warning_and_then_the_words_of_its_cancel(stage: Stage, desk: Desk) -> None:
    await stage.up()
    async with desk.running() as channel:
        await desk.send(channel, desk.batch(1))
        await channel.withdraw(ALERT)
        await desk.send(channel, desk.batch(2))
        await desk.send(channel, a_cancel(desk))
        await desk.until(lambda: len(desk.reached(9, Arrival.DELIVERED)) == 40)
        await desk.until(lambda: len(desk.reached(1, Arrival.DELIVERED)) == 40)
    await stage.close()  # it has written its log to the end
    assert stage.logged("delivered", 1, range(40), stage.addresses) == everybody(stage)
    assert stage.logged("delivered", 9, range(40), stage.addresses) == everybody(stage)
    assert not stage.logged("received", 2, range(40), stage.addresses)
