"""Every status × scope × message type against one running broker: who is reached, and what they see.

The far ends' own logs tell who received something; what stands on screens, in apps, in short messages and in what
loudspeakers say is read where its people would read it.
"""

from __future__ import annotations

import asyncio
import re
from collections import defaultdict
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from itertools import product
from typing import Any

import pytest
import pytest_asyncio

from broker.cap.compose import geocode_area
from broker.cap.level import Level
from broker.cap.model import Alert, MsgType, Scope, Status
from broker.cap.xml import to_xml
from broker.types import CHANNELS, AlertState, ChannelName, Phase
from channels.broadcast.ids import MESSAGE_FILTER
from channels.broadcast.keys import TrustedKeys
from channels.broadcast.message import BroadcastMessage, unseal
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
)

pytestmark = [pytest.mark.asyncio(loop_scope="module"), pytest.mark.timeout(300)]

Combination = tuple[Status, Scope, MsgType]

COMBINATIONS: list[Combination] = list(product(Status, Scope, MsgType))
WARNS = (MsgType.ALERT, MsgType.UPDATE)
REACHED: dict[tuple[Status, Scope], set[str]] = {
    (Status.ACTUAL, Scope.PUBLIC): {"public", "duty"},
    (Status.ACTUAL, Scope.RESTRICTED): {"duty"},
    (Status.EXERCISE, Scope.PUBLIC): {"duty", "training"},
    (Status.EXERCISE, Scope.RESTRICTED): {"duty", "training"},
    (Status.TEST, Scope.PUBLIC): {"training"},
    (Status.TEST, Scope.RESTRICTED): {"training"},
}
"""The kinds that a warning may reach; all others reach nobody. Said here anew, not taken from the code."""
LIVE, DRILL = (Status.ACTUAL, Status.SYSTEM), (Status.EXERCISE, Status.TEST)
MARKS = {Status.EXERCISE: ("【演练】", "[EXERCISE]"), Status.TEST: ("【测试】", "[TEST]")}
SURFACES = {
    ChannelName.SMS: ("text",),
    ChannelName.BROADCAST: ("title", "text", "speech"),
    ChannelName.APP: ("title", "body", "instruction"),
    ChannelName.SIGNAGE: ("headline", "line", "crawl"),
}
STAYS, LEAVES = "500117001005", "500117002001"
"""Two villages; an Update is for the first only."""


def everyone() -> list[Person]:
    """In both villages every kind on every channel that can have it; phones and apps in both languages."""
    kinds = ("public", "duty", "training")
    rows = [
        *(
            (channel, kind, language)
            for channel, kind, language in product((ChannelName.SMS, ChannelName.APP), kinds, ("zh-CN", "en"))
        ),
        *(
            (channel, kind, "zh-CN")
            for channel, kind in product((ChannelName.BROADCAST, ChannelName.SIGNAGE), ("public", "training"))
        ),
    ]
    return [
        Person(number, channel, village, kind, language)
        for number, (village, (channel, kind, language)) in enumerate(product((STAYS, LEAVES), rows), 1)
    ]


PEOPLE = everyone()
BY_ADDRESS = {one.address: one for one in PEOPLE}
BOTH = [geocode_area(f"合川{name}", [village[:9] + "000"]) for name, village in (("甲", STAYS), ("乙", LEAVES))]


def those(kinds: set[str], *villages: str) -> set[str]:
    return {one.address for one in PEOPLE if one.kind in kinds and one.village in (villages or (STAYS, LEAVES))}


@dataclass
class Outcome:
    """What became of one combination."""

    id: str
    base: str | None
    wrong: Answer | None
    """To the other realm's credential, before; None for a Draft, which both may post."""
    waited: bool
    state: AlertState
    release: Answer | None
    """Of a Draft."""


@dataclass
class Seen:
    """Texts as they stand on the surfaces, by alert and channel."""

    texts: dict[tuple[str, ChannelName], set[tuple[str, str]]] = field(default_factory=lambda: defaultdict(set))

    def note(self, alert: str, channel: ChannelName, language: str, content: dict[str, Any]) -> None:
        for name in SURFACES[channel]:
            self.texts[alert, channel].add((language, str(content[name])))


@dataclass
class Run:
    """All combinations, run through one broker."""

    stage: Stage
    live: Credential
    drill: Credential
    seconds: dict[Credential, Credential]
    loudspeakers: list[BroadcastMessage]
    outcomes: dict[Combination, Outcome] = field(default_factory=dict)
    statuses: dict[str, tuple[Status, Scope]] = field(default_factory=dict)
    seen: Seen = field(default_factory=Seen)

    def right(self, status: Status) -> Credential:
        return self.drill if status in DRILL else self.live


def a_message(combination: Combination, name: str, about: list[Alert]) -> Alert:
    status, scope, msg_type = combination
    mark = f"{name}号"
    # The words change, so that no Update is a mere correction; the place is in every text, so that each is its own.
    areas = [geocode_area(f"{mark}{area.area_desc}", [area.geocodes[0].value]) for area in BOTH]
    return message(
        f"{status}-{scope}-{msg_type}-{name}",
        areas[:1] if msg_type is MsgType.UPDATE else areas,
        level=Level.RED if msg_type is MsgType.UPDATE else Level.ORANGE,
        status=status,
        scope=scope,
        msg_type=msg_type,
        about=about,
        english=True,
        note="已收到" if msg_type in (MsgType.ACK, MsgType.ERROR) else None,
    )


async def sent_out(run: Run, alert: Alert, combination: Combination, base: str | None = None) -> Outcome:
    """Post it with the wrong credential and with the right one, release it if it waits, follow it to its end."""
    stage, status = run.stage, combination[0]
    who, body = run.right(status), to_xml(alert)
    wrong = None
    if status is not Status.DRAFT:
        wrong = await stage.ask("POST", "/v1/alerts", run.drill if who is run.live else run.live, body)
    number = await stage.post(alert, who)
    run.statuses[number] = combination[:2]
    state = await stage.until_state(
        number, AlertState.AWAITING_RELEASE, AlertState.PLANNED, AlertState.SENDING, *ENDS
    )
    waited, release = state is AlertState.AWAITING_RELEASE, None
    if waited:
        shown = await stage.preview(number, run.seconds[who])
        release = await stage.release(number, run.seconds[who], shown["preview"])
        if status is Status.DRAFT:
            return Outcome(number, base, wrong, waited, AlertState.AWAITING_RELEASE, release)
        assert release.status == 200, release.body
    state = await stage.until_state(number, *ENDS)
    return Outcome(number, base, wrong, waited, state, release)


async def look_at_the_devices(run: Run) -> None:
    """What stands on the screens and in the apps now."""
    for one in PEOPLE:
        if one.channel is ChannelName.SIGNAGE:
            for item in await run.stage.playlist(one):
                run.seen.note(item["alert_id"], one.channel, item["language"], item)
        elif one.channel is ChannelName.APP:
            for item in await run.stage.messages(one):
                run.seen.note(item["alert_id"], one.channel, item["language"], item)


async def read_phones_and_loudspeakers(run: Run) -> None:
    keys: dict[str, str] = {}
    for alert in run.statuses:
        keys |= {key: alert for channel, key in await run.stage.keys(alert) if channel is ChannelName.SMS}
    for line in run.stage.lines(ChannelName.SMS):
        if line["event"] == "received":
            language = BY_ADDRESS[line["address"]].language
            run.seen.note(keys[line["message"]], ChannelName.SMS, language, {"text": line["message"]})
    for said in run.loudspeakers:
        content = {"title": said.title, "text": said.description, "speech": said.speech}
        run.seen.note(said.key.rpartition("/")[0], ChannelName.BROADCAST, "zh-CN", content)


async def all_of(run: Run) -> None:
    """First every Alert, and those that Updates and Cancels are about; then what is about them."""
    gate, names = asyncio.Semaphore(6), iter(range(101, 1000))
    bases: dict[Combination, tuple[Alert, str]] = {}

    async def one(combination: Combination, name: int, about: Combination | None) -> None:
        status, scope, msg_type = combination
        first = about is not None and about not in bases
        kind = MsgType.ALERT if first or msg_type is MsgType.ALERT else msg_type
        named = [bases[about][0]] if about is not None and not first else []
        alert = a_message((status, scope, kind), str(name), named)
        base = bases[about][1] if about is not None and not first else None
        async with gate:
            outcome = await sent_out(run, alert, (status, scope, kind), base)
        if first and about is not None:
            bases[about] = (alert, outcome.id)
        else:
            run.outcomes[combination] = outcome
        if msg_type is MsgType.ALERT:
            bases[combination] = (alert, outcome.id)

    alerts = [each for each in COMBINATIONS if each[2] is MsgType.ALERT]
    own = [each for each in COMBINATIONS if each[2] in (MsgType.UPDATE, MsgType.CANCEL)]
    answers = [each for each in COMBINATIONS if each[2] in (MsgType.ACK, MsgType.ERROR)]
    await asyncio.gather(
        *(one(each, next(names), None) for each in alerts), *(one(each, next(names), each) for each in own)
    )
    await look_at_the_devices(run)
    await asyncio.gather(
        *(one(each, next(names), each) for each in own),
        *(one(each, next(names), (each[0], each[1], MsgType.ALERT)) for each in answers),
    )
    await look_at_the_devices(run)
    await read_phones_and_loudspeakers(run)


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def ran(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Run]:
    folder = tmp_path_factory.mktemp("reached")
    departments = second_person_for(folder, "met-hechuan")
    async with staged(folder, PEOPLE, departments=departments) as stage:
        live, drill = await stage.credential("met-hechuan"), await stage.credential("met-hechuan", "--drill")
        seconds = {
            live: await stage.credential("met-hechuan", "--release"),
            drill: await stage.credential("met-hechuan", "--release", "--drill"),
        }
        trusted = TrustedKeys.parse((folder / "trusted-keys").read_text(), "trusted-keys")
        run = Run(stage, live, drill, seconds, [])
        async with listening(
            stage, MESSAGE_FILTER, lambda said: run.loudspeakers.append(unseal(said.payload, trusted))
        ):
            await all_of(run)
            yield run


def expected(combination: Combination) -> dict[Phase, set[str]]:
    """Who is to receive a message of this combination, by what they are told; its base was for both villages."""
    status, scope, msg_type = combination
    kinds = REACHED.get((status, scope), set())
    told: dict[Phase, set[str]] = {}
    if msg_type is MsgType.ALERT:
        told = {Phase.WARNING: those(kinds)}
    elif msg_type is MsgType.UPDATE:
        told = {Phase.UPDATE: those(kinds, STAYS), Phase.CLEAR: those(kinds, LEAVES)}
    elif msg_type is MsgType.CANCEL:
        told = {Phase.CANCEL: those(kinds)}
    return {phase: addresses for phase, addresses in told.items() if addresses}


def named(combination: Combination) -> str:
    return "-".join(combination)


@pytest.mark.parametrize("combination", COMBINATIONS, ids=named)
async def test_it_reaches_exactly_those_whom_it_may_reach(ran: Run, combination: Combination) -> None:
    heard = await ran.stage.heard(ran.outcomes[combination].id)

    told: dict[Phase, set[str]] = defaultdict(set)
    for (_, phase), addresses in heard.items():
        assert len(addresses) == len(set(addresses))
        told[phase] |= set(addresses)
    assert dict(told) == expected(combination)
    kinds = {BY_ADDRESS[address].kind for addresses in told.values() for address in addresses}
    assert "public" not in kinds or combination[:2] == (Status.ACTUAL, Scope.PUBLIC)
    assert await ran.stage.sent(ran.outcomes[combination].id) == set().union(*told.values())


@pytest.mark.parametrize("combination", COMBINATIONS, ids=named)
async def test_it_is_released_only_where_it_may_be_and_a_draft_waits_for_ever(
    ran: Run, combination: Combination
) -> None:
    outcome = ran.outcomes[combination]
    status, _, msg_type = combination

    if status is Status.DRAFT:
        assert outcome.release is not None
        assert outcome.release.status == 409
        record = await ran.stage.store.alert(outcome.id)
        assert (record.state, record.released) == (AlertState.AWAITING_RELEASE, None)
    else:
        assert outcome.waited is (msg_type in WARNS and status is not Status.SYSTEM)
        assert outcome.state is AlertState.COMPLETED


@pytest.mark.parametrize("combination", [each for each in COMBINATIONS if each[0] is not Status.DRAFT], ids=named)
async def test_the_credential_of_the_other_realm_is_refused(ran: Run, combination: Combination) -> None:
    wrong = ran.outcomes[combination].wrong

    assert wrong is not None
    assert wrong.status == 403
    assert wrong.rules == ["authority.realm"]


@pytest.mark.parametrize("msg_type", MsgType, ids=str)
async def test_a_draft_of_a_drill_waits_for_ever_too(ran: Run, msg_type: MsgType) -> None:
    """Either realm may post a Draft: whichever credential it comes by, it is not acted on."""
    about = [await ran.stage.message_of(ran.outcomes[Status.DRAFT, Scope.PUBLIC, MsgType.ALERT].id)]
    alert = a_message((Status.DRAFT, Scope.PUBLIC, msg_type), "稿", [] if msg_type is MsgType.ALERT else about)

    number = await ran.stage.post(alert, ran.drill)

    ran.statuses[number] = (Status.DRAFT, Scope.PUBLIC)
    await ran.stage.until_state(number, AlertState.AWAITING_RELEASE)
    shown = await ran.stage.preview(number, ran.seconds[ran.drill])
    assert (await ran.stage.release(number, ran.seconds[ran.drill], shown["preview"])).status == 409
    assert (await ran.stage.store.alert(number)).state is AlertState.AWAITING_RELEASE
    assert await ran.stage.store.batch_ids(alert=number) == []


@pytest.mark.parametrize("combination", COMBINATIONS, ids=named)
async def test_the_feeds_list_it_only_if_it_is_for_the_public(ran: Run, combination: Combination) -> None:
    status, scope, msg_type = combination
    alert = ran.outcomes[combination].id
    public = (status, scope) == (Status.ACTUAL, Scope.PUBLIC) and msg_type in (*WARNS, MsgType.CANCEL)

    async with ran.stage.session.get(f"{ran.stage.broker.url}/feeds/alerts/{alert}.xml") as answer:
        assert answer.status == (200 if public else 404)
    for language in ("zh-CN", "en"):
        assert (alert in await listed(ran, language)) is public


async def listed(run: Run, language: str) -> set[str]:
    """The ids of all alerts on all pages of a feed."""
    found: set[str] = set()
    path: str | None = f"/feeds/{language}/all.atom"
    while path is not None:
        async with run.stage.session.get(run.stage.broker.url + path) as answer:
            assert answer.status == 200
            text = await answer.text()
        found |= set(re.findall(r"/feeds/alerts/([0-9a-f]{21})\.xml", text))
        following = re.search(r'<link rel="next"[^>]*href="([^"]+)"', text)
        path = following[1].replace("&amp;", "&") if following else None
    return found


async def test_the_feeds_list_nothing_but_what_is_for_the_public(ran: Run) -> None:
    for language in ("zh-CN", "en"):
        found = await listed(ran, language)
        assert found
        assert {ran.statuses[alert] for alert in found} == {(Status.ACTUAL, Scope.PUBLIC)}


@pytest.mark.parametrize(
    ("combination", "channel"),
    [
        (each, channel)
        for each in COMBINATIONS
        for channel in CHANNELS
        if each[0] in MARKS and each[:2] in REACHED and each[2] in (*WARNS, MsgType.CANCEL)
    ],
    ids=lambda value: named(value) if isinstance(value, tuple) else str(value),
)
async def test_every_text_on_every_surface_carries_the_mark(
    ran: Run, combination: Combination, channel: ChannelName
) -> None:
    chinese, other = MARKS[combination[0]]

    texts = ran.seen.texts[ran.outcomes[combination].id, channel]

    assert len(texts) >= len(SURFACES[channel])
    assert {language for language, _ in texts} >= {"zh-CN"}
    if channel in (ChannelName.SMS, ChannelName.APP):
        assert "en" in {language for language, _ in texts}
    for language, text in texts:
        assert text.startswith(chinese if language == "zh-CN" else other), (language, text)


async def test_what_is_real_carries_no_mark_anywhere(ran: Run) -> None:
    real = {
        (alert, channel): texts
        for (alert, channel), texts in ran.seen.texts.items()
        if ran.statuses[alert][0] is Status.ACTUAL
    }
    assert {channel for _, channel in real} == set(CHANNELS)
    for texts in real.values():
        for _, text in texts:
            assert not any(mark in text for marks in MARKS.values() for mark in marks), text


async def test_over_all_no_public_recipient_received_anything_but_what_is_actual_and_public(ran: Run) -> None:
    """By every line of every log, the messages that others are about included; nothing is left unexplained."""
    alert_of: dict[tuple[ChannelName, str], str] = {}
    for record in await ran.stage.store.alerts(limit=1000):
        alert_of |= dict.fromkeys(await ran.stage.keys(record.id), record.id)
    public = 0
    for channel in CHANNELS:
        for line in ran.stage.lines(channel):
            if line["event"] in ("refused", "failed"):
                continue
            status, scope = ran.statuses[alert_of[channel, key_of(channel, line["message"])]]
            kind = BY_ADDRESS[line["address"]].kind
            assert kind in REACHED[status, scope], (channel, status, scope)
            public += kind == "public"
    assert public


# -- messages that are about something of another kind --------------------------------------------------------


@pytest.mark.parametrize("msg_type", [MsgType.UPDATE, MsgType.CANCEL], ids=str)
@pytest.mark.parametrize("status", [Status.EXERCISE, Status.TEST, Status.SYSTEM, Status.DRAFT], ids=str)
async def test_nothing_unreal_may_touch_a_real_warning(ran: Run, status: Status, msg_type: MsgType) -> None:
    about = ran.outcomes[Status.ACTUAL, Scope.PUBLIC, MsgType.ALERT]
    before = await ran.stage.store.alert(about.id)
    real = await ran.stage.message_of(about.id)
    alert = a_message((status, Scope.PUBLIC, msg_type), f"unreal-{status}", [real])

    answer = await ran.stage.ask("POST", "/v1/alerts", ran.right(status), to_xml(alert))

    assert answer.status == 422
    assert "intake.references.status" in answer.rules
    assert (await ran.stage.store.alert(about.id)).state is before.state


@pytest.mark.parametrize("scope", [Scope.RESTRICTED, Scope.PRIVATE], ids=str)
@pytest.mark.parametrize("status", [Status.ACTUAL, Status.EXERCISE], ids=str)
async def test_a_cancel_for_fewer_eyes_still_reaches_everybody_who_had_the_warning(
    ran: Run, status: Status, scope: Scope
) -> None:
    warning = a_message((status, Scope.PUBLIC, MsgType.ALERT), f"{scope}尽", [])
    warned = await sent_out(ran, warning, (status, Scope.PUBLIC, MsgType.ALERT))
    cancel = a_message((status, scope, MsgType.CANCEL), f"{scope}尽", [warning])

    outcome = await sent_out(ran, cancel, (status, Scope.PUBLIC, MsgType.CANCEL), warned.id)

    everybody = those(REACHED[status, Scope.PUBLIC])
    assert await ran.stage.who(warned.id) == everybody

    async def all_told() -> bool:
        return await ran.stage.who(outcome.id, phase=Phase.CANCEL) == everybody

    await eventually(all_told, "everybody who had it is told that it is over")
