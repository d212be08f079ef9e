"""Pure corrections: the same words, to some of those who have them; everything else waits for a second person."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from broker.audience.index import LiveIndex
from broker.cap.compose import geocode_area
from broker.cap.level import Level
from broker.cap.model import MsgType
from broker.dispatch.corrections import Corrections
from broker.dispatch.proposal import Proposer
from broker.store.records import AlertRecord
from broker.store.sql import open_store
from broker.types import AlertState
from tests.support.chains import HECHUAN, PLANNER, WULONG, World
from tests.support.places import KEYRING, Person, regions

PEOPLE = [*(Person(n) for n in range(1, 5)), *(Person(n, region=500156001001) for n in (5, 6))]


@pytest.fixture
async def world() -> AsyncIterator[World]:
    store = open_store("sqlite:///:memory:")
    await store.start()
    made = World(store)
    await made.register(PEOPLE)
    yield made
    await store.close()


async def judged(world: World, update: AlertRecord) -> str | None:
    proposer = Proposer(world.store, PLANNER, KEYRING, LiveIndex(world.store))
    return await Corrections(world.store, proposer)(await world.store.alert(update.id))


async def sent_to_both(world: World, ids: set[int] | None = None) -> AlertRecord:
    alert = await world.post(areas=(HECHUAN, WULONG))
    await world.dispatcher()._plan_all()
    await world.send(alert, ids)
    return alert


async def test_fewer_areas_with_the_same_words_are_a_correction(world: World) -> None:
    alert = await sent_to_both(world)
    update = await world.post(MsgType.UPDATE, alert, areas=(HECHUAN,), state=AlertState.RECEIVED, expires_in=3500)
    said = await judged(world, update)
    assert said is not None
    assert alert.identifier in said


@pytest.mark.parametrize(
    ("called", "pure"),
    [("合川区", True), ("合川", False), ("全城立即撤离", False), ("合川区钓鱼城街道", False)],
)
async def test_what_an_area_is_called_is_the_originals_or_the_divisions_name(
    world: World, called: str, pure: bool
) -> None:
    alert = await sent_to_both(world)
    areas = (geocode_area(called, ["500117000000"]),)
    update = await world.post(MsgType.UPDATE, alert, areas=areas, state=AlertState.RECEIVED, expires_in=3500)
    assert (await judged(world, update) is not None) is pure


async def test_a_township_may_be_named_with_its_district(world: World) -> None:
    alert = await sent_to_both(world)
    township = regions().get("500117001000")
    for called in (township.name_zh, f"合川区{township.name_zh}"):
        areas = (geocode_area(called, ["500117001000"]),)
        update = await world.post(MsgType.UPDATE, alert, areas=areas, state=AlertState.RECEIVED, expires_in=3500)
        assert await judged(world, update) is not None


async def test_whoever_would_be_warned_anew_makes_it_more_than_a_correction(world: World) -> None:
    alert = await sent_to_both(world, {1, 2, 5, 6})
    update = await world.post(MsgType.UPDATE, alert, areas=(HECHUAN,), state=AlertState.RECEIVED, expires_in=3500)
    assert await judged(world, update) is None


async def test_a_higher_level_or_a_longer_time_is_no_correction(world: World) -> None:
    alert = await world.post(areas=(HECHUAN, WULONG), level=Level.ORANGE)
    await world.dispatcher()._plan_all()
    await world.send(alert)
    higher = await world.post(
        MsgType.UPDATE, alert, areas=(HECHUAN,), level=Level.RED, state=AlertState.RECEIVED, expires_in=3500
    )
    longer = await world.post(
        MsgType.UPDATE, alert, areas=(HECHUAN,), level=Level.ORANGE, state=AlertState.RECEIVED, expires_in=7200
    )
    assert await judged(world, higher) is None
    assert await judged(world, longer) is None


async def test_an_update_of_what_was_not_sent_yet_is_no_correction(world: World) -> None:
    alert = await world.post(areas=(HECHUAN, WULONG), state=AlertState.AWAITING_RELEASE)
    update = await world.post(MsgType.UPDATE, alert, areas=(HECHUAN,), state=AlertState.RECEIVED, expires_in=3500)
    assert await judged(world, update) is None


async def test_only_an_update_can_be_a_correction(world: World) -> None:
    alert = await sent_to_both(world)
    again = await world.post(areas=(HECHUAN,), state=AlertState.RECEIVED)
    cancel = await world.post(MsgType.CANCEL, alert, state=AlertState.RECEIVED)
    assert await judged(world, again) is None
    assert await judged(world, cancel) is None
