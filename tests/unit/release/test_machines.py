"""Sensors go out without a person only within every limit; each one that fails is named."""

from __future__ import annotations

import asyncio
import math
from collections.abc import AsyncIterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from functools import lru_cache
from itertools import count

import pytest
import shapely
from hypothesis import given
from hypothesis import strategies as st

from broker.cap.compose import circle_area, compose, geocode_area, polygon_area, reference_to
from broker.cap.level import Level
from broker.cap.model import Alert, Area, MsgType, NamedValue, Status
from broker.cap.xml import to_xml
from broker.clock import now_ms
from broker.geo.events import EventCatalogue
from broker.geo.shapes import EARTH_RADIUS_KM, Circle
from broker.intake import tokens
from broker.intake.accept import Intake
from broker.intake.authority import Authority, rim
from broker.intake.departments import Bounds, Department, Departments, MachineLimits, ReleaseMode
from broker.intake.tokens import Scope
from broker.release.machines import Machines, area_km2
from broker.release.release import Release
from broker.store.contract import Store
from broker.store.records import AlertRecord, TokenRecord
from broker.store.sql import open_store
from broker.types import AlertState, Realm
from tests.support.places import ROOT, districts, regions

NOW = datetime.now(UTC).replace(microsecond=0) - timedelta(minutes=1)
SENDER = "quake@example.org"
MACHINE = tokens.new("gauges", (Scope.POST, Scope.MACHINE))[1]
DRILL = tokens.new("gauges", (Scope.POST, Scope.MACHINE), realm=Realm.DRILL)[1]
PERSON = tokens.new("gauges")[1]
LIMITS = MachineLimits(
    events=("11A*",),
    levels=("Red", "Orange"),
    max_area_km2=400,
    max_districts=1,
    max_per_hour=3,
    parameters={"stage_m": Bounds(min=180, max=200), "rise_m": Bounds(min=0.5)},
)
GOOD = (NamedValue("stage_m", "193.5"), NamedValue("rise_m", "2"))
IN_HECHUAN = circle_area("合川", 30.05, 106.3, 5)
_numbers = count(1)


def a_department(mode: ReleaseMode = ReleaseMode.MACHINE, machine: MachineLimits | None = LIMITS) -> Department:
    return Department(
        id="gauges",
        name_zh="水文站",
        name_en="Gauges",
        senders=(SENDER,),
        events=("11*",),
        regions=("50",),
        levels=("Red", "Orange", "Yellow", "Blue"),
        release=dict.fromkeys(("Red", "Orange", "Yellow", "Blue"), mode),
        machine=machine,
    )


@pytest.fixture
async def store() -> AsyncIterator[Store]:
    store = open_store("sqlite:///:memory:")
    await store.start()
    for each in (MACHINE, DRILL, PERSON):
        await store.add_token(each)
    yield store
    await store.close()


@lru_cache
def authority() -> Authority:
    return Authority(regions(), districts(), EventCatalogue.load(ROOT / "config/events.yaml"))


def a_release(store: Store, department: Department | None = None) -> Release:
    known = Departments((department or a_department(),))
    return Release(store, known, machines=Machines(store, regions(), districts()))


def an_alert(
    *areas: Area,
    event: str = "11A51",
    level: Level = Level.RED,
    parameters: tuple[NamedValue, ...] = GOOD,
    msg_type: MsgType = MsgType.ALERT,
    of: Alert | None = None,
    status: Status = Status.ACTUAL,
) -> Alert:
    alert = compose(
        f"m-{next(_numbers)}",
        SENDER,
        NOW,
        event,
        "山洪",
        level,
        "山洪红色预警",
        "水位快速上涨。",
        "立即转移。",
        areas=areas or [IN_HECHUAN],
        expires=NOW + timedelta(hours=3),
        msg_type=msg_type,
        status=status,
        references=[] if of is None else [reference_to(of)],
    )
    return replace(alert, infos=tuple(replace(info, parameters=parameters) for info in alert.infos))


async def posted(store: Store, alert: Alert, token: TokenRecord = MACHINE) -> AlertRecord:
    intake = Intake(store, Departments((a_department(),)), authority())
    return await intake.accept(to_xml(alert), "application/cap+xml", token)


async def why(store: Store, record: AlertRecord) -> str:
    return (await store.alert_events(record.id))[-1].why


async def test_what_a_machine_posts_within_its_limits_goes_at_once_and_the_history_says_so(store: Store) -> None:
    record = await posted(store, an_alert())
    assert await a_release(store).admit(record) is AlertState.RELEASED
    assert await why(store, record) == "posted by a machine, within the department's limits for machines"


async def test_a_listing_without_bodies_is_enough_to_judge_it(store: Store) -> None:
    record = await posted(store, an_alert())
    assert await a_release(store).admit(replace(record, body=b"")) is AlertState.RELEASED


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"event": "11B03"}, "machines may warn of 11A*, not of 11B03"),
        ({"level": Level.YELLOW}, "machines may give Red, Orange, not Yellow"),
        ({"parameters": GOOD[:1]}, "info 1: the parameter rise_m is missing"),
        ({"parameters": (GOOD[0], NamedValue("rise_m", "0.4"))}, "info 1: rise_m is 0.4, less than 0.5"),
        ({"parameters": (NamedValue("stage_m", "999"), GOOD[1])}, "info 1: stage_m is 999, more than 200"),
        ({"parameters": (NamedValue("stage_m", "NaN"), GOOD[1])}, "info 1: the parameter stage_m is 'NaN', not a"),
        ({"parameters": (NamedValue("stage_m", "1e9"), GOOD[1])}, "info 1: the parameter stage_m is '1e9', not a"),
        ({"parameters": (*GOOD, NamedValue("stage_m", "500"))}, "info 1: stage_m is 500, more than 200"),
    ],
)
async def test_beyond_a_limit_it_waits_and_the_limit_is_named(
    store: Store, changes: dict[str, object], said: str
) -> None:
    record = await posted(store, an_alert(**changes))  # type: ignore[arg-type]
    assert await a_release(store).admit(record) is AlertState.AWAITING_RELEASE
    assert said in await why(store, record)


@pytest.mark.parametrize(
    ("areas", "said"),
    [
        ([circle_area("合川", 30.05, 106.3, 12)], "its area is 45"),
        ([geocode_area("合川", ["500117"])], "its area is 2,3"),
        ([geocode_area("钓鱼城街道", ["500117001000"])], "its area is 2,3"),
        ([geocode_area("重庆市", ["500000000000"])], "it reaches into"),
        ([IN_HECHUAN, circle_area("武隆", 29.35, 107.7, 1)], "it reaches into 2 districts, more than 1"),
    ],
)
async def test_an_area_too_large_for_a_gauge_waits(store: Store, areas: list[Area], said: str) -> None:
    record = await posted(store, an_alert(*areas))
    assert await a_release(store).admit(record) is AlertState.AWAITING_RELEASE
    assert said in await why(store, record)


@pytest.mark.parametrize(
    "areas",
    [
        [circle_area("合川", 30.05, 106.3, 0.01)],
        [IN_HECHUAN, IN_HECHUAN, circle_area("合川", 30.06, 106.31, 5)],
        [polygon_area("合川", [(30.0, 106.2), (30.0, 106.35), (30.1, 106.35), (30.1, 106.2)])],
    ],
)
async def test_ground_that_is_drawn_twice_counts_once(store: Store, areas: list[Area]) -> None:
    record = await posted(store, an_alert(*areas))
    assert await a_release(store).admit(record) is AlertState.RELEASED


async def test_every_limit_that_fails_is_named(store: Store) -> None:
    record = await posted(
        store, an_alert(geocode_area("重庆市", ["500000000000"]), event="11B03", level=Level.BLUE, parameters=())
    )
    assert await a_release(store).admit(record) is AlertState.AWAITING_RELEASE
    said = await why(store, record)
    for part in ("11B03", "Blue", "km²", "districts", "stage_m", "rise_m"):
        assert part in said


async def test_what_a_person_posts_waits_at_a_level_for_machines(store: Store) -> None:
    record = await posted(store, an_alert(), PERSON)
    assert await a_release(store).admit(record) is AlertState.AWAITING_RELEASE
    assert "no machine posted" in await why(store, record)


@pytest.mark.parametrize(
    ("mode", "machine", "state"),
    [
        (ReleaseMode.NONE, LIMITS, AlertState.RELEASED),
        (ReleaseMode.NONE, None, AlertState.AWAITING_RELEASE),
        (ReleaseMode.SECOND_PERSON, LIMITS, AlertState.AWAITING_RELEASE),
        (ReleaseMode.SECOND_PERSON, None, AlertState.AWAITING_RELEASE),
    ],
)
async def test_a_machine_is_held_to_limits_also_where_people_are_free(
    store: Store, mode: ReleaseMode, machine: MachineLimits | None, state: AlertState
) -> None:
    record = await posted(store, an_alert())
    assert await a_release(store, a_department(mode, machine)).admit(record) is state
    implausible = await posted(store, an_alert(parameters=()))
    held = await a_release(store, a_department(mode, machine)).admit(implausible)
    assert held is AlertState.AWAITING_RELEASE


async def test_where_machines_cannot_be_judged_their_alerts_wait(store: Store) -> None:
    record = await posted(store, an_alert())
    release = Release(store, Departments((a_department(),)))
    assert await release.admit(record) is AlertState.AWAITING_RELEASE


# ── how many ──────────────────────────────────────────────────────────────────────────────────────────


async def test_a_machine_that_repeats_itself_all_night_is_stopped_by_its_rate(store: Store) -> None:
    release = a_release(store)
    states = [await release.admit(await posted(store, an_alert())) for _ in range(5)]
    assert states == [AlertState.RELEASED] * 3 + [AlertState.AWAITING_RELEASE] * 2
    person = await posted(store, an_alert(), PERSON)
    assert await release.admit(person) is AlertState.AWAITING_RELEASE


async def test_what_people_post_and_what_was_longer_ago_does_not_count(store: Store) -> None:
    release = a_release(store)
    for _ in range(4):
        await posted(store, an_alert(), PERSON)
        await posted(store, an_alert(status=Status.EXERCISE), DRILL)
    for number in range(4):
        kept = await store.alert((await posted(store, an_alert(), PERSON)).id)
        old = replace(
            kept,
            id=f"0{number}",
            identifier=f"old-{number}",
            digest=bytes([number]) * 32,
            received=now_ms() - 3_700_000,
            author=MACHINE.id,
        )
        await store.add_alert(old, (await store.alert_events(kept.id))[0])
    assert await release.admit(await posted(store, an_alert())) is AlertState.RELEASED


async def test_of_many_at_once_never_more_than_the_limit_go_out(store: Store) -> None:
    async def one() -> AlertState:
        return await a_release(store).admit(await posted(store, an_alert()))

    states = await asyncio.gather(*(one() for _ in range(12)))
    assert sum(state is AlertState.RELEASED for state in states) <= 3
    assert set(states) <= {AlertState.RELEASED, AlertState.AWAITING_RELEASE}


# ── what machines may follow ──────────────────────────────────────────────────────────────────────────


async def test_a_machine_updates_what_a_machine_posted_and_never_what_a_person_did(store: Store) -> None:
    release = a_release(store)
    ours, theirs = an_alert(), an_alert()
    await posted(store, ours, PERSON)
    await posted(store, theirs, MACHINE)
    good = await posted(store, an_alert(msg_type=MsgType.UPDATE, of=theirs))
    assert await release.admit(good) is AlertState.RELEASED
    for of, said in ((ours, "which a person posted"), (an_alert(), "which was not posted")):
        record = await posted(store, an_alert(msg_type=MsgType.UPDATE, of=of))
        assert await release.admit(record) is AlertState.AWAITING_RELEASE
        assert said in await why(store, record)


async def test_a_machine_does_not_correct_what_a_person_posted(store: Store) -> None:
    async def pure(alert: AlertRecord) -> str | None:
        return f"the same words as {alert.identifier}"

    release = replace(a_release(store), corrections=pure)
    ours, theirs = an_alert(), an_alert()
    await posted(store, ours, PERSON)
    await posted(store, theirs, MACHINE)
    wrong = await posted(store, an_alert(msg_type=MsgType.UPDATE, of=ours))
    assert await release.admit(wrong) is AlertState.AWAITING_RELEASE
    right = await posted(store, an_alert(msg_type=MsgType.UPDATE, of=theirs, parameters=()))
    assert await release.admit(right) is AlertState.RELEASED


# ── areas ─────────────────────────────────────────────────────────────────────────────────────────────


@given(st.floats(-60, 60), st.floats(-170, 170), st.floats(1, 300))
def test_the_area_of_a_circle_is_that_of_its_cap_on_the_sphere(lat: float, lon: float, radius: float) -> None:
    cap = 2 * math.pi * EARTH_RADIUS_KM**2 * (1 - math.cos(radius / EARTH_RADIUS_KM))
    assert area_km2(rim(Circle(lat, lon, radius))) == pytest.approx(cap, rel=0.002)


def test_a_degree_square_is_as_large_as_the_sphere_says() -> None:
    strip = EARTH_RADIUS_KM**2 * math.radians(1) * (math.sin(math.radians(31)) - math.sin(math.radians(30)))
    assert area_km2(shapely.box(106, 30, 107, 31)) == pytest.approx(strip, rel=1e-9)
