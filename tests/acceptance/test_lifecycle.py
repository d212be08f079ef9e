"""The life of a warning as a story: written, previewed, refused, released, narrowed, raised, taken back.

Everything is whole processes and real protocols. Who was told what is read from the far ends' own logs and compared
with the ledger and with the test's own list of recipients.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

import pytest
import pytest_asyncio

from broker.cap.compose import geocode_area
from broker.cap.level import Level
from broker.cap.model import Alert, MsgType
from broker.ledger.arrays import COUNT_NAMES
from broker.mqtt.wire import Publish
from broker.types import CHANNELS, AlertState, ChannelName, Phase
from channels.broadcast.ids import REPORT_FILTER
from channels.broadcast.report import Report, TerminalState
from tests.support.processes import run
from tests.support.story import (
    ENDS,
    Answer,
    Credential,
    Person,
    Stage,
    eventually,
    key_of,
    listening,
    message,
    second_person_for,
    staged,
    write_registry,
)

pytestmark = [pytest.mark.asyncio(loop_scope="module"), pytest.mark.timeout(300)]

NEAR, FAR, ELSEWHERE = "500117001005", "500117002001", "500117003002"
WULONG, WUSHAN = "500156001001", "500237001001"
MANY = 240
"""Phones of a district whose fan-out is cut short: at the pace below it would take some eight seconds."""
PACE = 30.0
WINDOW = 5


def a_village(first: int, village: str) -> list[Person]:
    """Three phones, one of them a duty holder's, two loudspeakers, two apps and a screen."""
    kinds = [
        (ChannelName.SMS, "public"),
        (ChannelName.SMS, "public"),
        (ChannelName.SMS, "duty"),
        (ChannelName.BROADCAST, "public"),
        (ChannelName.BROADCAST, "public"),
        (ChannelName.APP, "public"),
        (ChannelName.APP, "duty"),
        (ChannelName.SIGNAGE, "public"),
    ]
    return [Person(first + n, channel, village, kind) for n, (channel, kind) in enumerate(kinds)]


def a_crowd(first: int, village: str) -> list[Person]:
    """Many phones, and a village around them."""
    return [
        *(Person(first + n, ChannelName.SMS, village) for n in range(MANY)),
        *a_village(first + MANY, village),
    ]


def addresses(people: list[Person]) -> set[str]:
    return {one.address for one in people}


NEAR_PEOPLE, FAR_PEOPLE = a_village(1, NEAR), a_village(20, FAR)
STRANGERS = [*a_village(40, ELSEWHERE), Person(60, ChannelName.SMS, NEAR, "training")]
LATE = [Person(70, ChannelName.SMS, NEAR), Person(71, ChannelName.SMS, NEAR), Person(72, ChannelName.APP, NEAR)]
WULONG_PEOPLE, WUSHAN_PEOPLE = a_crowd(1000, WULONG), a_crowd(2000, WUSHAN)
TOWNS = [geocode_area("合川甲镇", [NEAR[:9] + "000"]), geocode_area("合川乙镇", [FAR[:9] + "000"])]


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def stage(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Stage]:
    """One broker for all tests of this module; each warns a place of its own."""
    folder = tmp_path_factory.mktemp("lifecycle")
    people = [*NEAR_PEOPLE, *FAR_PEOPLE, *STRANGERS, *WULONG_PEOPLE, *WUSHAN_PEOPLE]
    departments = second_person_for(folder, "met-hechuan")
    workers = {"sms": {"per_second": PACE}}
    async with staged(
        folder,
        people,
        later=LATE,
        departments=departments,
        play_ms=600_000,  # a loudspeaker still sounds when it is stopped
        sms_window=WINDOW,
        sms_latency_ms=120,  # so that most of the time a window is on its way
        workers=workers,
    ) as made:
        yield made


@dataclass
class Story:
    """What was done, and what was seen on the way."""

    stage: Stage
    author: Credential
    second: Credential
    warning: Alert
    alert: str
    ids: dict[str, str] = field(default_factory=dict)
    answers: dict[str, Answer] = field(default_factory=dict)
    shown: dict[str, dict[str, Any]] = field(default_factory=dict)
    states: dict[str, AlertState] = field(default_factory=dict)
    sounding: set[tuple[str, str]] = field(default_factory=set)
    """(terminal, key) of what loudspeakers reported to have begun to play."""

    @property
    def concerned(self) -> set[str]:
        """Everybody in the area of the warning when it was released."""
        return addresses([*NEAR_PEOPLE, *FAR_PEOPLE, *LATE])

    @property
    def inside(self) -> set[str]:
        """Those who stay in the area."""
        return addresses([*NEAR_PEOPLE, *LATE])


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def story(stage: Stage) -> AsyncIterator[Story]:
    """The whole story, told once."""
    author, second = await stage.credential("met-hechuan"), await stage.credential("met-hechuan", "--release")
    warning = message("hechuan-1", TOWNS, level=Level.ORANGE)
    told = Story(stage, author, second, warning, await stage.post(warning, author))

    def note(said: Publish) -> None:
        report = Report.decode(said.payload)
        if report.state is TerminalState.PLAYING and report.reference is not None:
            told.sounding.add((said.topic.rpartition("/")[2], report.reference.key))

    async with listening(stage, REPORT_FILTER, note):
        await _released_at_the_second_try(told)
        await _narrowed(told)
        await _raised(told)
        await _taken_back(told)
        yield told


async def _released_at_the_second_try(told: Story) -> None:
    stage, alert = told.stage, told.alert
    told.states["posted"] = await stage.until_state(alert, AlertState.AWAITING_RELEASE)
    told.shown["first"] = await stage.preview(alert, told.second)
    told.answers["by the author"] = await stage.release(alert, told.author, told.shown["first"]["preview"])
    path = write_registry(stage.folder / "late.csv", LATE)
    await run(stage.folder, "registry", "import", str(path), "--config", str(stage.broker.config), name="import")
    told.answers["outdated"] = await stage.release(alert, told.second, told.shown["first"]["preview"])
    assert told.answers["outdated"].status == 409, "it was released although the audience had changed"
    told.states["refused"] = (await stage.store.alert(alert)).state
    told.shown["second"] = await stage.preview(alert, told.second)
    told.answers["released"] = await stage.release(alert, told.second, told.shown["second"]["preview"])
    await stage.until_state(alert, AlertState.COMPLETED)
    await stage.until_heard(alert, told.concerned, Phase.WARNING)


async def _narrowed(told: Story) -> None:
    stage = told.stage
    update = message("hechuan-2", TOWNS[:1], level=Level.ORANGE, msg_type=MsgType.UPDATE, about=[told.warning])
    told.ids["narrowed"] = await stage.post(update, told.author)
    told.states["narrowed"] = await stage.until_state(told.ids["narrowed"], AlertState.COMPLETED)
    await stage.until_heard(told.ids["narrowed"], told.inside, Phase.UPDATE)
    await stage.until_heard(told.ids["narrowed"], told.concerned - told.inside, Phase.CLEAR)


async def _raised(told: Story) -> None:
    stage = told.stage
    update = message("hechuan-3", TOWNS[:1], level=Level.RED, msg_type=MsgType.UPDATE, about=[told.warning])
    told.ids["raised"] = await stage.post(update, told.author)
    told.states["raised"] = await stage.until_state(
        told.ids["raised"], AlertState.AWAITING_RELEASE, AlertState.RELEASED, *ENDS
    )
    told.states["narrowed, while the raise waits"] = (await stage.store.alert(told.ids["narrowed"])).state
    await stage.released(told.ids["raised"], told.second)
    await stage.until_state(told.ids["raised"], AlertState.COMPLETED)
    await stage.until_heard(told.ids["raised"], told.inside, Phase.UPDATE)


async def cancel(stage: Stage, alert: str, who: Credential, reason: str, *, name: str) -> str:
    """The one command; the id of the Cancel that it answers with."""
    with pytest.MonkeyPatch.context() as environment:
        environment.setenv("FENGHUO_TOKEN", who.secret)
        said = await run(
            stage.folder,
            *("alert", "cancel", alert, "--reason", reason, "--url", stage.broker.url),
            name=name,
        )
    return str(json.loads(said)["id"])


async def _taken_back(told: Story) -> None:
    stage = told.stage
    told.ids["cancel"] = await cancel(stage, told.alert, told.author, "雨带已经移出", name="cancel")
    told.states["cancel"] = await stage.until_state(told.ids["cancel"], AlertState.COMPLETED)
    await stage.until_heard(told.ids["cancel"], told.concerned, Phase.CANCEL)


# -- the story -----------------------------------------------------------------------------------------------


async def test_a_warning_waits_for_a_second_person_and_its_author_cannot_release_it(story: Story) -> None:
    assert story.states["posted"] is AlertState.AWAITING_RELEASE
    assert (story.answers["by the author"].status, story.answers["by the author"].body["code"]) == (
        403,
        "not-allowed",
    )


async def test_the_second_person_sees_how_many_will_read_what_before_anything_is_sent(story: Story) -> None:
    first = story.shown["first"]

    assert first["channels"] == Counter(str(one.channel) for one in [*NEAR_PEOPLE, *FAR_PEOPLE])
    assert [each["district"] for each in first["districts"]] == ["500117"]
    assert {each["phase"] for each in first["renditions"]} == {"warning"}
    assert {each["channel"] for each in first["renditions"]} == set(map(str, CHANNELS))
    assert set(first["minutes_to_90"]) == set(map(str, CHANNELS))
    for rendition in first["renditions"]:
        assert "合川甲镇" in json.dumps(rendition["content"], ensure_ascii=False)


async def test_release_is_refused_with_the_difference_by_channel_when_the_audience_changed(story: Story) -> None:
    refused = story.answers["outdated"]

    assert (refused.status, refused.body["code"]) == (409, "preview-outdated")
    assert set(refused.rules) == {"release.changed.audience"}
    assert {each["place"]: each["message"] for each in refused.body["problems"]} == {
        "preview/sms": "sms: 2 recipients more, 0 fewer than in the preview",
        "preview/app": "app: 1 recipients more, 0 fewer than in the preview",
    }
    assert story.states["refused"] is AlertState.AWAITING_RELEASE


async def test_after_a_second_look_everybody_in_the_area_gets_it_and_nobody_else(story: Story) -> None:
    assert story.answers["released"].status == 200
    assert story.shown["second"]["preview"] != story.shown["first"]["preview"]

    assert await story.stage.who(story.alert, "received") == story.concerned
    assert await story.stage.who(story.alert, "delivered") == story.concerned
    assert await story.stage.sent(story.alert) == story.concerned
    heard = await story.stage.heard(story.alert)
    assert {phase for _, phase in heard} == {Phase.WARNING}
    assert all(len(each) == len(set(each)) for each in heard.values())


async def test_an_update_for_fewer_needs_no_second_person_and_tells_the_others_that_it_is_over(
    story: Story,
) -> None:
    update, stage = story.ids["narrowed"], story.stage
    history = (await stage.look(update, story.author))["history"]

    assert story.states["narrowed"] is AlertState.COMPLETED
    assert "awaiting_release" not in [step["state"] for step in history]
    assert any("correction" in step["why"] for step in history)
    assert await stage.who(update, phase=Phase.UPDATE) == story.inside
    assert await stage.who(update, phase=Phase.CLEAR) == story.concerned - story.inside
    assert await stage.who(update, phase=Phase.WARNING) == set()
    assert await stage.sent(update) == story.concerned


async def test_an_update_that_raises_the_level_waits_for_release_and_the_former_stays_in_force(
    story: Story,
) -> None:
    assert story.states["raised"] is AlertState.AWAITING_RELEASE
    assert story.states["narrowed, while the raise waits"] is AlertState.COMPLETED
    assert await story.stage.who(story.ids["raised"], phase=Phase.UPDATE) == story.inside
    assert await story.stage.who(story.ids["raised"], phase=Phase.WARNING) == set()
    assert await story.stage.who(story.ids["raised"]) <= story.concerned
    history = (await story.stage.look(story.ids["raised"], story.author))["history"]
    assert [step["who"] for step in history if step["state"] == "released"] == [story.second.id]


async def test_one_command_takes_it_back_from_exactly_those_who_were_sent_it(story: Story) -> None:
    stage, taken_back = story.stage, story.ids["cancel"]
    warned = set().union(*[await stage.sent(alert) for alert in (story.alert, *warnings_of(story))])

    assert story.states["cancel"] is AlertState.COMPLETED
    assert warned == story.concerned
    assert await stage.who(taken_back) == warned
    assert await stage.sent(taken_back) == warned
    heard = await stage.heard(taken_back)
    assert {phase for _, phase in heard} == {Phase.CANCEL}
    assert all(len(each) == len(set(each)) for each in heard.values())


def warnings_of(story: Story) -> list[str]:
    return [story.ids["narrowed"], story.ids["raised"]]


async def test_loudspeakers_stop_apps_hide_it_and_screens_drop_it(story: Story) -> None:
    """Each of the three messages that warned was withdrawn where it was held, by the time the next was there."""
    stage = story.stage
    for channel in (ChannelName.BROADCAST, ChannelName.APP, ChannelName.SIGNAGE):
        for alert, held in ((story.alert, story.concerned), *((each, story.inside) for each in warnings_of(story))):
            mine = {one.address for one in stage.people.values() if one.channel is channel} & held

            async def gone(alert: str = alert, channel: ChannelName = channel, mine: set[str] = mine) -> bool:
                heard = await stage.heard(alert, "withdrawn")
                found = {a for (where, _), each in heard.items() if where is channel for a in each}
                return mine <= found

            await eventually(gone, f"{alert} is withdrawn on {channel}")
    # It takes ten minutes to play anything, and one thing sounds at a time: that each terminal has begun to say
    # that it is over shows that it stopped saying the rest.
    terminals = {one.address for one in stage.people.values() if one.channel is ChannelName.BROADCAST}

    def saying() -> set[str]:
        return {each for each, key in story.sounding if key.startswith(story.ids["cancel"])}

    await eventually(
        lambda: saying() >= terminals & story.concerned, "every loudspeaker has begun to say that it is over"
    )
    assert not [line for line in stage.lines(ChannelName.BROADCAST) if line["event"] == "presented"]
    for screen in (one for one in (*NEAR_PEOPLE, *FAR_PEOPLE) if one.channel is ChannelName.SIGNAGE):
        assert [item["phase"] for item in await stage.playlist(screen)] == ["cancel"]
    for app in (one for one in (*NEAR_PEOPLE, *FAR_PEOPLE, *LATE) if one.channel is ChannelName.APP):
        assert [each["phase"] for each in await stage.messages(app)] == ["cancel"]


async def test_history_tells_who_when_and_why_for_each_move(story: Story) -> None:
    stage, fenghuo = story.stage, "fenghuo"
    author, second = story.author.id, story.second.id

    told = await stage.look(story.alert, story.author)
    steps = told["history"]

    assert [(step["state"], step["who"]) for step in steps] == [
        ("received", author),
        ("awaiting_release", fenghuo),
        ("released", second),
        ("planned", fenghuo),
        ("sending", fenghuo),
        ("completed", fenghuo),
        ("superseded", author),
        ("cancelled", author),
    ]
    assert all(step["why"] for step in steps)
    times = [datetime.fromisoformat(step["at"]) for step in steps]
    assert times == sorted(times)
    assert "hechuan-2" in steps[6]["why"]
    cancelled = await stage.look(story.ids["cancel"], story.author)
    assert cancelled["identifier"] in steps[7]["why"]
    assert cancelled["history"][0]["who"] == author
    assert (await stage.message_of(story.ids["cancel"])).note == "雨带已经移出"
    assert told["preview"] == story.shown["second"]["preview"]
    assert {each["id"] for each in told["referred_by"]} == {*warnings_of(story), story.ids["cancel"]}


async def test_a_cancel_of_what_still_waits_reaches_nobody_and_it_can_no_longer_be_released(
    story: Story,
) -> None:
    stage = story.stage
    waiting = await stage.post(message("hechuan-4", TOWNS), story.author)
    await stage.until_state(waiting, AlertState.AWAITING_RELEASE)
    shown = await stage.preview(waiting, story.second)

    taken_back = await cancel(stage, waiting, story.author, "误发", name="cancel-waiting")

    assert await stage.until_state(waiting, *ENDS) is AlertState.CANCELLED
    assert await stage.until_state(taken_back, *ENDS) is AlertState.COMPLETED
    assert (await stage.release(waiting, story.second, shown["preview"])).status == 409
    for alert in (waiting, taken_back):
        assert await stage.store.batch_ids(alert=alert) == []
    channels = (await stage.look(taken_back, story.author))["channels"]
    assert sum(each["planned"] for each in channels.values()) == 0


# -- taken back while it goes out ----------------------------------------------------------------------------


def told_by_sms(stage: Stage, texts: set[str]) -> list[str]:
    """Phones that received one of these texts, in the order of the message centre's log."""
    return [
        line["address"]
        for line in stage.lines(ChannelName.SMS)
        if line["event"] == "received" and line["message"] in texts
    ]


async def texts(stage: Stage, alert: str) -> set[str]:
    return {key for channel, key in await stage.keys(alert) if channel is ChannelName.SMS}


async def cut_short(stage: Stage, village: str, identifier: str, department: str) -> tuple[str, str]:
    """A warning to many phones and, when some have it, its Cancel: both ids, as soon as the Cancel is accepted."""
    who = await stage.credential(department)
    areas = [geocode_area(f"{identifier}镇", [village[:6] + "000000"])]
    alert = await stage.post(message(identifier, areas, department=department), who)

    async def under_way() -> bool:
        return len(told_by_sms(stage, await texts(stage, alert))) >= 3 * WINDOW

    await eventually(under_way, "some phones have the warning")
    answer = await stage.ask("POST", f"/v1/alerts/{alert}/cancel", who, {"reason": "误发"})
    assert answer.status == 202, answer.body
    return alert, str(answer.body["id"])


async def counts(stage: Stage, alert: str, channel: ChannelName) -> dict[str, int]:
    rows = [row for row in await stage.store.counters(alert) if row.channel is channel]
    return {name: sum(row.counts[n] for row in rows) for n, name in enumerate(COUNT_NAMES)}


async def until_exact(
    stage: Stage, alert: str, taken_back: str, everybody: set[str]
) -> tuple[list[str], list[str]]:
    """Wait until the Cancel has done its work; the phones that had the warning, and those that had its Cancel."""
    assert await stage.until_state(alert, *ENDS) is AlertState.CANCELLED
    await stage.until_state(taken_back, AlertState.COMPLETED)

    async def settled() -> bool:
        found = [await counts(stage, alert, channel) for channel in CHANNELS]
        if any(each["withheld"] + each["sent"] + each["failed"] < each["planned"] for each in found):
            return False
        return await stage.who(taken_back) == await stage.sent(taken_back) == await stage.sent(alert)

    await eventually(settled, "exactly those who were sent it have its Cancel, the others are withheld")
    await stage.until_state(taken_back, AlertState.COMPLETED)
    sent = await stage.sent(alert)
    assert await stage.who(alert) <= sent < everybody
    assert await stage.who(taken_back) == await stage.sent(taken_back) == sent
    return told_by_sms(stage, await texts(stage, alert)), told_by_sms(stage, await texts(stage, taken_back))


def assert_no_cancel_came_before_its_warning(stage: Stage, warned: set[str], ended: set[str]) -> None:
    """By the order of the message centre's log, for every phone that had both."""
    first: dict[tuple[str, bool], int] = {}
    for number, line in enumerate(stage.lines(ChannelName.SMS)):
        if line["event"] == "received" and line["message"] in warned | ended:
            first.setdefault((line["address"], line["message"] in ended), number)
    both = [address for address, is_end in first if is_end and (address, False) in first]
    assert both
    assert not [address for address in both if first[address, True] < first[address, False]]


async def test_a_cancel_in_the_middle_of_the_fan_out_withholds_the_rest_and_follows_what_went_out(
    stage: Stage,
) -> None:
    alert, taken_back = await cut_short(stage, WULONG, "wulong-1", "met-wulong")

    warned, ended = await until_exact(stage, alert, taken_back, addresses(WULONG_PEOPLE))

    assert len(warned) < MANY
    assert (await counts(stage, alert, ChannelName.SMS))["withheld"] == MANY + 3 - len(warned)
    assert sorted(warned) == sorted(ended)
    assert_no_cancel_came_before_its_warning(stage, await texts(stage, alert), await texts(stage, taken_back))


async def test_a_cancel_that_was_accepted_is_carried_out_exactly_although_the_broker_is_killed_at_once(
    stage: Stage,
) -> None:
    alert, taken_back = await cut_short(stage, WUSHAN, "wushan-1", "met-wushan")
    await stage.broker.kill()
    await stage.broker.start()

    warned, ended = await until_exact(stage, alert, taken_back, addresses(WUSHAN_PEOPLE))

    # What was on its way when it was killed is in doubt, so its readers are told too: at most one window.
    assert set(warned) <= set(ended)
    assert len(set(ended) - set(warned)) <= WINDOW
    assert len(ended) - len(set(ended)) <= WINDOW
    assert (await counts(stage, alert, ChannelName.SMS))["withheld"] == MANY + 3 - len(set(ended))
    assert_no_cancel_came_before_its_warning(stage, await texts(stage, alert), await texts(stage, taken_back))


async def test_nobody_was_told_anything_that_no_alert_explains(stage: Stage, story: Story) -> None:
    keys = set()
    for record in await stage.store.alerts(limit=1000):
        keys |= set(await stage.keys(record.id))
    for channel in CHANNELS:
        for line in stage.lines(channel):
            if line["event"] == "received":
                assert (channel, key_of(channel, line["message"])) in keys
                assert line["address"] not in addresses(STRANGERS)
