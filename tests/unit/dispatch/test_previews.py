"""Previews: what a person saw is what is sent, or the release is refused with everything that changed."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import replace

import pytest

from broker.cap.compose import geocode_area
from broker.cap.model import MsgType, Status
from broker.clock import now_ms
from broker.dispatch.previews import PreviewSettings
from broker.errors import InputRefused
from broker.store.records import AlertEvent, AlertRecord, PreviewRecord, TokenRecord
from broker.store.sql import open_store
from broker.types import AlertState, ChannelName, Kind, Phase
from tests.support.chains import HECHUAN, PLANNER, WULONG, World
from tests.support.places import Person

SMS, APP = ChannelName.SMS, ChannelName.APP
IN_WULONG = 500156001001
PEOPLE = [*(Person(n) for n in range(1, 5)), Person(5, region=IN_WULONG), Person(20, APP)]
TOKEN = TokenRecord("second", "geology", b"", (), 0, None, None)
WAITING = AlertState.AWAITING_RELEASE


@pytest.fixture
async def world() -> AsyncIterator[World]:
    store = open_store("sqlite:///:memory:")
    await store.start()
    made = World(store)
    await made.register(PEOPLE)
    yield made
    await store.close()


async def release(world: World, alert: AlertRecord, preview: PreviewRecord) -> None:
    event = AlertEvent(alert.id, now_ms(), AlertState.RELEASED, "second", "released")
    assert await world.store.move_alert(alert.id, (WAITING,), event, preview=preview.id)


async def refusal(
    world: World, alert: AlertRecord, preview: str, settings: PreviewSettings | None = None
) -> dict[str, str]:
    """The differences for which a release is refused: rule → sentence."""
    with pytest.raises(InputRefused) as refused:
        await world.previews(settings).check(await world.store.alert(alert.id), preview)
    assert refused.value.status == 409
    return {problem.rule: problem.message for problem in refused.value.problems}


async def holds(world: World, alert: AlertRecord, preview: str, settings: PreviewSettings | None = None) -> bool:
    """Whether a release by this preview is let through."""
    await world.previews(settings).check(await world.store.alert(alert.id), preview)
    return True


async def test_a_preview_shows_who_gets_what_where_and_how_fast(world: World) -> None:
    alert = await world.post(areas=(HECHUAN, WULONG), state=WAITING)
    preview = await world.previews().make(alert, TOKEN)
    shown = preview.content["shown"]
    assert isinstance(shown, dict)
    assert shown["channels"] == {"sms": 5, "app": 1}
    assert shown["recipients"] == 6
    assert shown["districts"] == [
        {"district": "500117", "channels": {"sms": 4, "app": 1}},
        {"district": "500156", "channels": {"sms": 1}},
    ]
    (sms, app) = shown["renditions"]
    assert (sms["channel"], sms["recipients"], app["channel"], app["recipients"]) == ("sms", 5, "app", 1)
    assert "滑坡" in sms["content"]["text"]
    assert sms["parts"] >= 1
    assert shown["segments"][0]["rules"]
    assert set(shown["minutes_to_90"]) == {"sms", "app"}
    assert preview.valid_until - preview.made == 900_000
    assert await world.state(alert) is WAITING


async def test_a_preview_holds_while_nothing_changes_and_twice_the_same_is_one(world: World) -> None:
    alert = await world.post(state=WAITING)
    first = await world.previews().make(alert, TOKEN)
    second = await world.previews().make(alert, TOKEN)
    assert first.id == second.id
    assert await holds(world, alert, first.id)


async def test_a_release_is_refused_when_the_audience_grew_or_shrank_and_says_by_how_many(world: World) -> None:
    alert = await world.post(state=WAITING)
    preview = await world.previews().make(alert, TOKEN)
    moved = [replace(person, region=IN_WULONG) if person.id in (1, 2) else person for person in PEOPLE]
    await world.register([*moved, Person(6)])
    differences = await refusal(world, alert, preview.id)
    assert differences == {"release.changed.audience": "sms: 1 recipients more, 2 fewer than in the preview"}
    assert await holds(world, alert, preview.id, PreviewSettings(tolerance=3))
    assert await refusal(world, alert, preview.id, PreviewSettings(tolerance=2)) == differences


async def test_a_release_is_refused_when_the_policies_or_templates_changed(world: World) -> None:
    alert = await world.post(state=WAITING)
    preview = await world.previews().make(alert, TOKEN)
    changed = World(world.store, replace(PLANNER, version="second"))
    assert set(await refusal(changed, alert, preview.id)) == {"release.changed.version"}


@pytest.mark.parametrize("expiry", [True, False])
async def test_a_preview_that_is_over_or_of_another_alert_or_made_up_lets_nothing_out(
    world: World, expiry: bool
) -> None:
    alert, other = await world.post(state=WAITING), await world.post(state=WAITING)
    preview = await world.previews().make(alert, TOKEN)
    if expiry:
        await world.store.add_preview(replace(preview, valid_until=now_ms() - 1))
        assert set(await refusal(world, alert, preview.id)) == {"release.preview.expired"}
    else:
        assert set(await refusal(world, other, preview.id)) == {"release.preview.unknown"}
        assert set(await refusal(world, alert, "0" * 64)) == {"release.preview.unknown"}


async def test_what_cannot_be_sent_has_no_preview_and_says_why(world: World) -> None:
    alert = await world.post(areas=(geocode_area("某地", ["509999000000"]),), state=WAITING)
    with pytest.raises(InputRefused) as refused:
        await world.previews().make(alert, TOKEN)
    assert refused.value.status == 422
    assert any("509999000000" in problem.message for problem in refused.value.problems)


async def test_exactly_the_frozen_audience_is_sent_in_the_frozen_words(world: World) -> None:
    alert = await world.post(state=WAITING)
    preview = await world.previews().make(alert, TOKEN)
    await release(world, alert, preview)
    # Between release and planning somebody joins and somebody moves away: neither changes what was released.
    await world.register([*(replace(p, region=IN_WULONG) if p.id == 1 else p for p in PEOPLE), Person(9)])
    await world.dispatcher()._plan_all()
    assert await world.told(alert) == {Phase.WARNING: {SMS: [1, 2, 3, 4], APP: [20]}}
    sent = {rendition.channel: rendition.content for rendition in await world.store.renditions(alert.id)}
    shown = preview.content["shown"]
    assert isinstance(shown, dict)
    assert sent == {ChannelName(each["channel"]): each["content"] for each in shown["renditions"]}


async def test_who_left_the_registry_since_is_left_out_and_the_others_are_sent_it(world: World) -> None:
    alert = await world.post(state=WAITING)
    preview = await world.previews().make(alert, TOKEN)
    await release(world, alert, preview)
    await world.register(person for person in PEOPLE if person.id != 2)
    await world.dispatcher()._plan_all()
    assert await world.told(alert) == {Phase.WARNING: {SMS: [1, 3, 4], APP: [20]}}


async def test_the_preview_of_an_update_shows_whom_it_no_longer_concerns_and_they_are_told(world: World) -> None:
    dispatcher = world.dispatcher()
    alert = await world.post(areas=(HECHUAN, WULONG))
    await dispatcher._plan_all()
    await world.send(alert, {1, 5})
    update = await world.post(MsgType.UPDATE, alert, state=WAITING)
    preview = await world.previews().make(update, TOKEN)
    shown = preview.content["shown"]
    assert isinstance(shown, dict)
    assert shown["no_longer_concerned"] == 1
    assert {each["phase"] for each in shown["renditions"]} == {"warning", "update", "clear"}
    # One more is found to have been reached: who is told that it is over is no matter of release.
    await world.send(alert, {5, 1})
    assert await holds(world, update, preview.id)
    await release(world, update, preview)
    await dispatcher._plan_all()
    assert await world.told(update) == {
        Phase.UPDATE: {SMS: [1]},
        Phase.WARNING: {SMS: [2, 3, 4], APP: [20]},
        Phase.CLEAR: {SMS: [5]},
    }


async def test_the_preview_of_an_exercise_counts_nobody_of_the_public(world: World) -> None:
    await world.register([*PEOPLE, Person(30, kind=Kind.DUTY), Person(31, kind=Kind.TRAINING)])
    alert = await world.post(state=WAITING, status=Status.EXERCISE)
    preview = await world.previews().make(alert, TOKEN)
    shown = preview.content["shown"]
    assert isinstance(shown, dict)
    assert shown["channels"] == {"sms": 2}
    assert all("演练" in str(each["content"]) for each in shown["renditions"])
