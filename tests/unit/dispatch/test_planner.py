"""The planner against an independent count: one recipient at a time, in plain Python."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from broker.audience.index import AudienceIndex
from broker.audience.policies import PolicyFile, PolicySet, load_policies
from broker.cap.compose import Translation, compose, geocode_area, polygon_area
from broker.cap.level import Level
from broker.cap.model import Alert, Area, MsgType, Scope, Status
from broker.dispatch.draft import Draft, Verdict
from broker.dispatch.planner import MAX_BATCH, Planner
from broker.errors import Conflict
from broker.rendition.templates import TemplateSet
from broker.sealing import batch_context
from broker.store.records import AlertRecord, Plan, RecipientPage
from broker.types import CHANNELS, AlertState, ChannelName, Kind, Lane
from tests.support.places import GROUPS, KEYRING, LANGUAGES, ROOT, Person, districts, pages, regions

AT = 1_760_000_000_000
SENT = datetime.fromtimestamp(AT / 1000, UTC)
TEMPLATES = TemplateSet.load(ROOT / "templates")
CHONGQING = load_policies(ROOT / "policies")


def policies(*rules: dict[str, object]) -> PolicySet:
    file = PolicyFile.model_validate({"rules": rules})
    return PolicySet(file.rules, tuple(f"test:{i}" for i in range(len(file.rules))))


def planner(policy: PolicySet = CHONGQING) -> Planner:
    return Planner(policy, TEMPLATES, regions(), districts())


def warning(
    *segments: tuple[Level, Area],
    status: Status = Status.ACTUAL,
    msg_type: MsgType = MsgType.ALERT,
    english: bool = True,
    event: str = "11D01",
) -> Alert:
    """An alert with a segment for each (level, area)."""
    made = [
        compose(
            "T1",
            "cq-geo@warning.example",
            SENT,
            event,
            "滑坡",
            level,
            "滑坡预警",
            "斜坡出现变形。",
            "远离陡坡。",
            areas=[area],
            expires=SENT + timedelta(hours=6),
            sender_name="地质中心",
            status=status,
            msg_type=msg_type,
            translations=[Translation("en", "Landslide", "Landslide warning", "Slopes move.", "Leave.")]
            if english
            else [],
        )
        for level, area in segments
    ]
    return replace(made[0], infos=tuple(info for alert in made for info in alert.infos))


def record(alert: Alert) -> AlertRecord:
    return AlertRecord(
        "A1",
        alert.sender,
        alert.identifier,
        AT,
        "geology",
        alert.status.value,
        alert.msg_type.value,
        "Red",
        "11D01",
        "",
        "",
        b"",
        b"",
        AT,
        AT + 3_600_000,
        AlertState.RELEASED,
        "t",
    )


def index_of(people: list[Person]) -> AudienceIndex:
    return AudienceIndex.of(pages(people), groups=GROUPS, languages=LANGUAGES)


def plan(alert: Alert, people: list[Person], policy: PolicySet = CHONGQING, *, at: int = AT) -> Draft:
    return planner(policy).plan(record(alert), alert, index_of(people), at=at)


def frozen(draft: Draft, people: list[Person]) -> Plan:
    by_key = {(page.channel, page.number): page for page in pages(people)}

    async def source(channel: ChannelName, number: int) -> RecipientPage | None:
        return by_key.get((channel, number))

    return asyncio.run(draft.freeze(1000, 50, source, KEYRING))


HECHUAN = geocode_area("合川区", ["500117000000"])
WULONG = geocode_area("武隆区", ["500156000000"])


# ── the naive count ───────────────────────────────────────────────────────────────────────────────────


@dataclass(frozen=True)
class Box:
    south: float
    west: float
    north: float
    east: float

    @property
    def area(self) -> Area:
        corners = [
            (self.south, self.west),
            (self.south, self.east),
            (self.north, self.east),
            (self.north, self.west),
        ]
        return polygon_area("box", corners)

    def holds(self, person: Person) -> bool:
        return self.south <= person.lat <= self.north and self.west <= person.lon <= self.east


@dataclass(frozen=True)
class Prefix:
    code: str

    @property
    def area(self) -> Area:
        return geocode_area("prefix", [self.code])

    def holds(self, person: Person) -> bool:
        return str(person.region).startswith(self.code)


def naive(people: list[Person], places: list[tuple[Level, Box | Prefix]], status: Status) -> dict[Person, Level]:
    """By chongqing.yaml's rules: everybody once, at the highest level; blue only on apps and screens."""
    order = [Level.RED, Level.ORANGE, Level.YELLOW, Level.BLUE]
    allowed = {
        Status.ACTUAL: {Kind.PUBLIC, Kind.DUTY},
        Status.EXERCISE: {Kind.DUTY, Kind.TRAINING},
        Status.TEST: {Kind.TRAINING},
    }[status]
    found = {}
    for person in people:
        levels = [level for level, place in places if place.holds(person) and person.kind in allowed]
        levels = [
            level
            for level in levels
            if level is not Level.BLUE or person.channel in (ChannelName.APP, ChannelName.SIGNAGE)
        ]
        if levels:
            found[person] = min(levels, key=order.index)
    return found


PLACES = st.one_of(
    st.builds(
        lambda s, w, h, b: Box(s, w, round(s + h, 3), round(w + b, 3)),
        st.sampled_from([29.5, 30.0, 30.1]),
        st.sampled_from([106.3, 106.5, 107.0]),
        st.sampled_from([0.25, 0.5]),
        st.sampled_from([0.25, 0.5]),
    ),
    st.sampled_from(["500117", "500156", "500156101"]).map(Prefix),
)


def person_of(number: int, data: tuple[ChannelName, float, float, int, Kind, str]) -> Person:
    channel, lon, lat, region, kind, language = data
    return Person(number * 1999, channel, lon, lat, region, kind, language)


PEOPLE = st.lists(
    st.tuples(
        st.sampled_from(CHANNELS),
        st.sampled_from([106.25, 106.3, 106.5, 106.75, 107.0, 107.5, float("nan")]),
        st.sampled_from([29.5, 29.75, 30.0, 30.1, 30.35, 30.6]),
        st.sampled_from([500117001005, 500156101005, 500156004001, 500101001001]),
        st.sampled_from(list(Kind)),
        st.sampled_from(list(LANGUAGES)),
    ),
    max_size=40,
).map(lambda rows: [person_of(number, row) for number, row in enumerate(rows)])


@settings(max_examples=120, deadline=None)
@given(
    people=PEOPLE,
    places=st.lists(st.tuples(st.sampled_from(Level), PLACES), min_size=1, max_size=4),
    status=st.sampled_from([Status.ACTUAL, Status.EXERCISE, Status.TEST]),
)
def test_the_plan_reaches_exactly_whom_a_naive_count_finds(
    people: list[Person], places: list[tuple[Level, Box | Prefix]], status: Status
) -> None:
    # Segments of one level and one area are one segment; keep the places different.
    places = list(dict.fromkeys(places))
    alert = warning(*((level, place.area) for level, place in places), status=status)
    draft = plan(alert, people)
    assert not draft.stopped
    made = frozen(draft, people)
    by_id = {person.id: person for person in people}
    words = {rendition.id: rendition for rendition in made.renditions}
    reached: dict[Person, Level] = {}
    for batch in made.batches:
        addresses = KEYRING.open(batch.addresses, batch_context(batch.id)).tolist()
        assert batch.recipients.tolist() == sorted(batch.recipients.tolist())
        for number, address in zip(batch.recipients.tolist(), addresses, strict=True):
            person = by_id[number]
            assert person not in reached, "reached twice"
            assert address.decode() == person.address
            assert person.channel is batch.channel
            assert batch.district == person.region // 10**6
            content = words[batch.rendition].content
            reached[person] = Level(str(content["level"]))
            english = person.language == "en" and person.channel is not ChannelName.BROADCAST
            assert content["language"] == ("en" if english else "zh-CN")
            assert words[batch.rendition].channel is batch.channel
            assert batch.lane is (Lane.URGENT if reached[person] in (Level.RED, Level.ORANGE) else Lane.ROUTINE)
    assert reached == naive(people, places, status)
    if status is not Status.ACTUAL:
        assert all(person.kind is not Kind.PUBLIC for person in reached)
        for rendition in made.renditions:
            mark = {"zh-CN": ("【演练】", "【测试】"), "en": ("[EXERCISE]", "[TEST]")}[rendition.language]
            texts = {"text", "title", "speech", "body", "instruction", "headline", "line", "crawl"}
            for name in texts & rendition.content.keys():
                assert str(rendition.content[name]).startswith(mark[status is Status.TEST])
            assert rendition.content["exercise"] is True


# ── single stories ────────────────────────────────────────────────────────────────────────────────────


def test_who_stands_in_four_colours_is_told_the_highest_once() -> None:
    people = [Person(1, region=500117001005)]
    areas = [geocode_area(f"part {i}", ["500117", "500156"][: 1 + i % 2]) for i in range(4)]
    draft = plan(warning(*zip([Level.BLUE, Level.YELLOW, Level.RED, Level.ORANGE], areas, strict=True)), people)
    assert draft.counts()[ChannelName.SMS] == 1
    assert [rendition.words.content["level"] for rendition in draft.renditions] == ["Red"]


def test_batches_hold_at_most_4096_and_urgent_ones_come_first() -> None:
    people = [Person(i, region=500117001005) for i in range(MAX_BATCH + 10)]
    people += [Person(100_000 + i, region=500156101005) for i in range(3)]
    draft = plan(warning((Level.YELLOW, HECHUAN), (Level.ORANGE, WULONG)), people)
    made = frozen(draft, people)
    assert [(batch.lane, len(batch)) for batch in made.batches] == [
        (Lane.URGENT, 3),
        (Lane.ROUTINE, MAX_BATCH),
        (Lane.ROUTINE, 10),
    ]
    assert [batch.id for batch in made.batches] == [1000, 1001, 1002]
    assert {batch.rendition for batch in made.batches} == {50, 51}
    assert [rendition.id for rendition in made.renditions] == [50, 51]
    assert {batch.round for batch in made.batches} == {1}
    assert {batch.expires for batch in made.batches} == {AT + 6 * 3_600_000}
    assert draft.holders() == len({person.id // 2 for person in people})


def test_a_segment_without_rule_stops_the_whole_alert() -> None:
    red_only = policies(
        {"name": "red", "match": {"levels": ["Red"]}, "audiences": [{"channels": ["sms"], "lane": "urgent"}]}
    )
    people = [Person(1, region=500117001005), Person(2, region=500156101005)]
    draft = plan(warning((Level.RED, HECHUAN), (Level.BLUE, WULONG)), people, red_only)
    assert draft.stopped
    assert draft.batch_count == draft.rendition_count == 0
    assert [outcome.verdict for outcome in draft.outcomes] == [Verdict.PLANNED, Verdict.NO_RULE]
    assert "no policy says what to do with 11D01 Blue" in (draft.reason or "")


def test_an_unresolvable_area_stops_the_whole_alert_and_says_which() -> None:
    people = [Person(1, region=500117001005)]
    draft = plan(warning((Level.RED, HECHUAN), (Level.RED, geocode_area("nowhere", ["500199"]))), people)
    assert draft.stopped
    assert not draft.cuts
    assert "500199" in (draft.reason or "")


@pytest.mark.parametrize(
    ("changes", "verdict"),
    [
        ({"status": Status.SYSTEM}, Verdict.NOT_ADMITTED),
        ({"status": Status.DRAFT}, Verdict.NOT_ADMITTED),
        ({"scope": Scope.RESTRICTED}, Verdict.NOBODY),
        ({"scope": Scope.PRIVATE}, Verdict.NOT_ADMITTED),
        ({"msg_type": MsgType.CANCEL}, Verdict.NOT_A_WARNING),
        ({"msg_type": MsgType.ACK}, Verdict.NOT_A_WARNING),
    ],
)
def test_what_must_reach_nobody_reaches_nobody_and_says_why(changes: dict[str, object], verdict: Verdict) -> None:
    alert = replace(warning((Level.RED, HECHUAN)), **changes)
    draft = plan(alert, [Person(1, kind=kind) for kind in [Kind.PUBLIC]] + [Person(2, kind=Kind.TRAINING)])
    assert not draft.cuts
    assert not draft.stopped
    assert [outcome.verdict for outcome in draft.outcomes] == [verdict]
    assert draft.reason


def test_an_expired_segment_reaches_nobody() -> None:
    draft = plan(warning((Level.RED, HECHUAN)), [Person(1)], at=AT + 6 * 3_600_000)
    assert [outcome.verdict for outcome in draft.outcomes] == [Verdict.EXPIRED]
    assert not draft.cuts


def test_an_area_without_anybody_says_so() -> None:
    draft = plan(warning((Level.RED, WULONG)), [Person(1)])
    assert [outcome.verdict for outcome in draft.outcomes] == [Verdict.NOBODY]
    assert "nobody" in (draft.reason or "")


def test_readers_of_a_language_without_words_fall_back_only_where_the_policy_says_so() -> None:
    people = [Person(1), Person(2, language="en"), Person(3, language="fr")]
    spoken = {"channels": ["sms"], "lane": "urgent", "languages": ["zh-CN", "en"]}
    silent = policies({"name": "all", "audiences": [spoken]})
    told = policies({"name": "all", "audiences": [{**spoken, "fallback": "zh-CN"}]})
    alert = warning((Level.RED, HECHUAN), english=False)
    draft = plan(alert, people, silent)
    assert draft.counts()[ChannelName.SMS] == 1
    assert draft.outcomes[0].unspoken == {ChannelName.SMS: 2}
    assert any("2 recipients" in note.message for note in draft.notes)
    assert plan(alert, people, told).counts()[ChannelName.SMS] == 3
    assert any("not written in en" in note.message for note in plan(alert, people, told).notes)


def test_whom_red_cannot_be_told_is_not_told_blue_instead() -> None:
    policy = policies(
        {
            "name": "red",
            "match": {"levels": ["Red"]},
            "audiences": [{"channels": ["app"], "lane": "urgent", "languages": ["en"]}],
        },
        {"name": "rest", "audiences": [{"channels": ["app"], "lane": "routine"}]},
    )
    people = [Person(1, ChannelName.APP)]
    draft = plan(
        warning((Level.RED, HECHUAN), (Level.BLUE, geocode_area("x", ["500117", "500156"]))), people, policy
    )
    assert draft.counts()[ChannelName.APP] == 0
    assert draft.outcomes[0].unspoken == {ChannelName.APP: 1}


def test_the_first_audience_that_takes_somebody_gives_the_words_and_continue_adds() -> None:
    policy = policies(
        {
            "name": "duty first",
            "match": {"statuses": ["Actual"]},
            "audiences": [{"channels": ["sms"], "kinds": ["duty"], "lane": "urgent"}],
            "continue": True,
        },
        {"name": "everybody", "audiences": [{"channels": ["sms"], "lane": "routine"}]},
        {"name": "never asked", "audiences": [{"channels": ["app"], "lane": "routine"}]},
    )
    people = [Person(1, kind=Kind.DUTY), Person(2), Person(3, ChannelName.APP)]
    draft = plan(warning((Level.RED, HECHUAN)), people, policy)
    made = frozen(draft, people)
    assert [(batch.lane, batch.recipients.tolist()) for batch in made.batches] == [
        (Lane.URGENT, [1]),
        (Lane.ROUTINE, [2]),
    ]
    assert [rule.name for rule in draft.outcomes[0].decision.rules] == ["duty first", "everybody"]


def test_a_policy_that_asks_for_the_public_does_not_get_them_for_a_drill() -> None:
    policy = policies(
        {
            "name": "all",
            "audiences": [{"channels": ["sms"], "kinds": ["public", "training"], "lane": "urgent"}],
        }
    )
    people = [Person(1), Person(2, kind=Kind.DUTY), Person(3, kind=Kind.TRAINING)]
    drill = plan(warning((Level.RED, HECHUAN), status=Status.EXERCISE), people, policy)
    assert [cut.positions.tolist() for cut in drill.cuts] == [[2]]
    real = plan(warning((Level.RED, HECHUAN)), people, policy)
    assert [cut.positions.tolist() for cut in real.cuts] == [[0]]


def test_groups_select_their_members_and_a_group_that_nobody_has_selects_nobody_and_is_noted() -> None:
    def only(group: str) -> PolicySet:
        return policies({"name": "g", "audiences": [{"channels": ["sms"], "groups": [group], "lane": "urgent"}]})

    people = [Person(1, groups=frozenset({"schools"})), Person(2)]
    alert = warning((Level.RED, HECHUAN))
    assert plan(alert, people, only("schools")).counts()[ChannelName.SMS] == 1
    draft = plan(alert, people, only("mines"))
    assert draft.counts()[ChannelName.SMS] == 0
    assert any("mines" in note.message for note in draft.notes)


def test_a_rule_for_a_region_matches_a_shape_by_whom_it_reaches() -> None:
    policy = policies(
        {
            "name": "hechuan",
            "match": {"regions": ["500117"]},
            "audiences": [{"channels": ["sms"], "lane": "urgent"}],
        },
        {"name": "else", "audiences": [{"channels": ["sms"], "lane": "routine"}]},
    )
    box = polygon_area("box", [(30, 106.2), (30, 106.5), (30.3, 106.5), (30.3, 106.2)])
    there = [Person(1, lon=106.3, lat=30.1, region=500117001005)]
    elsewhere = [Person(1, lon=106.3, lat=30.1, region=500156101005)]
    assert plan(warning((Level.RED, box)), there, policy).cuts[0].lane is Lane.URGENT
    assert plan(warning((Level.RED, box)), elsewhere, policy).cuts[0].lane is Lane.ROUTINE
    assert plan(warning((Level.RED, HECHUAN)), there, policy).cuts[0].lane is Lane.URGENT


def test_a_registry_that_changed_under_the_draft_is_a_conflict() -> None:
    people = [Person(1), Person(2)]
    draft = plan(warning((Level.RED, HECHUAN)), people)
    for changed in ([Person(1)], [], [Person(1), Person(2, kind=Kind.TRAINING)], [Person(1), Person(5)]):
        with pytest.raises(Conflict):
            frozen(draft, changed)


def test_loudspeakers_are_told_how_often_to_play() -> None:
    people = [Person(1, ChannelName.BROADCAST)]
    red, yellow = (plan(warning((level, HECHUAN)), people) for level in (Level.RED, Level.YELLOW))
    assert [rendition.words.content["plays"] for rendition in red.renditions] == [3]
    assert [rendition.words.content["plays"] for rendition in yellow.renditions] == [2]


def test_positions_of_cuts_are_disjoint_and_cover_what_is_counted() -> None:
    people = [Person(i, region=500117001005 if i % 3 else 500156101005) for i in range(500)]
    draft = plan(warning((Level.RED, HECHUAN), (Level.YELLOW, WULONG)), people)
    everyone = np.concatenate([cut.positions for cut in draft.cuts])
    assert len(np.unique(everyone)) == len(everyone) == draft.counts()[ChannelName.SMS] == 500
    assert {cut.district for cut in draft.cuts} == {500117, 500156}
