"""The dispatcher: released alerts become plans, the gravest first, each once, and what cannot be is stopped."""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import AsyncIterator, Callable
from dataclasses import replace
from datetime import timedelta
from typing import Any, cast

import numpy as np
import pytest
from structlog.testing import capture_logs

from broker.audience.policies import load_policies
from broker.cap.compose import compose, geocode_area
from broker.cap.level import Level
from broker.cap.model import Area, Status
from broker.cap.xml import to_xml
from broker.clock import from_ms, now_ms
from broker.dispatch.dispatcher import Dispatcher
from broker.dispatch.planner import Planner
from broker.dispatch.relay import Relay
from broker.errors import StoreError
from broker.intake.accept import new_id
from broker.metrics import Metrics
from broker.rendition.templates import TemplateSet
from broker.sealing import Keyring, batch_context
from broker.store.contract import Store
from broker.store.records import AlertRecord, BatchRecord
from broker.store.sql import open_store
from broker.transport.embedded import EmbeddedTransport
from broker.types import AlertState, ChannelName, Kind
from tests.support.places import GROUPS, KEYRING, LANGUAGES, ROOT, Person, districts, pages, regions
from tests.support.storing import add
from tests.support.through import Through
from tests.support.waiting import eventually

PLANNER = Planner(load_policies(ROOT / "policies"), TemplateSet.load(ROOT / "templates"), regions(), districts())
HECHUAN = geocode_area("合川区", ["500117000000"])
PEOPLE = [
    *(Person(i) for i in range(1, 6)),
    Person(6, kind=Kind.DUTY),
    Person(7, kind=Kind.TRAINING),
    Person(8, region=500156001001),  # another district
    Person(9, ChannelName.APP),
]


@pytest.fixture
async def store() -> AsyncIterator[Store]:
    store = open_store("sqlite:///:memory:")
    await store.start()
    await register(store, PEOPLE)
    yield store
    await store.close()


async def register(store: Store, people: list[Person]) -> None:
    await store.add_names("language", LANGUAGES)
    await store.add_names("group", GROUPS)
    await store.put_pages(pages(people))


async def released(
    store: Store,
    level: Level = Level.RED,
    area: Area = HECHUAN,
    *,
    status: Status = Status.ACTUAL,
    expires_in: int = 3600,
    age_ms: int = 0,
    body: bytes | None = None,
) -> AlertRecord:
    """An alert that may go out, as the intake would have kept it."""
    sent = from_ms(now_ms() - 60_000 - age_ms)
    record_id = new_id(now_ms() - age_ms)
    alert = compose(
        record_id,
        "cq-geo@warning.example",
        sent,
        "11D01",
        "滑坡",
        level,
        "滑坡预警",
        "斜坡出现变形。",
        "远离陡坡。",
        areas=[area],
        expires=from_ms(now_ms()) + timedelta(seconds=expires_in),
        sender_name="地质中心",
        status=status,
    )
    data = to_xml(alert) if body is None else body
    record = AlertRecord(
        id=record_id,
        sender=alert.sender,
        identifier=alert.identifier,
        sent=now_ms() - 60_000 - age_ms,
        department="geology",
        status=status.value,
        msg_type="Alert",
        level=str(level),
        event="11D01",
        headline="",
        content_type="application/cap+xml",
        digest=hashlib.sha256(data).digest(),
        body=data,
        received=now_ms() - age_ms,
        expires=now_ms() + 1000 * expires_in,
        state=AlertState.RELEASED,
        author="t",
    )
    return await add(store, record)


class Asked:
    """The real planner, remembering which alerts it was asked to plan; `on` may step in before."""

    def __init__(self, on: Callable[[AlertRecord], None] | None = None) -> None:
        self.levels: list[str | None] = []
        self._on = on

    def plan(self, record: AlertRecord, *args: Any, **kwargs: Any) -> Any:
        self.levels.append(record.level)
        if self._on is not None:
            self._on(record)
        return PLANNER.plan(record, *args, **kwargs)


def a_dispatcher(store: Any, planner: Any = PLANNER, keyring: Keyring = KEYRING, **how: Any) -> Dispatcher:
    metrics = Metrics()
    relay = Relay(store, EmbeddedTransport(), metrics)
    return Dispatcher(store, relay, metrics, planner, keyring, **how)


async def batches(store: Store, alert: AlertRecord) -> list[BatchRecord]:
    return await store.batches(await store.batch_ids(alert=alert.id))


async def planned_ids(store: Store, alert: AlertRecord) -> dict[ChannelName, list[int]]:
    found: dict[ChannelName, list[int]] = {}
    for batch in await batches(store, alert):
        found.setdefault(batch.channel, []).extend(batch.recipients.tolist())
    return found


async def test_a_released_alert_becomes_batches_whose_addresses_are_their_recipients(store: Store) -> None:
    alert = await released(store)
    await a_dispatcher(store)._plan_all()
    assert (await store.alert(alert.id)).state is AlertState.PLANNED
    assert await planned_ids(store, alert) == {ChannelName.SMS: [1, 2, 3, 4, 5, 6], ChannelName.APP: [9]}
    for batch in await batches(store, alert):
        opened = KEYRING.open(batch.addresses, batch_context(batch.id))
        assert opened.tolist() == [Person(int(each)).address.encode() for each in batch.recipients]
        assert batch.expires <= alert.expires
    assert {work.batch for work in await store.unpublished(10)} == set(await store.batch_ids(alert=alert.id))
    event = (await store.alert_events(alert.id))[-1]
    assert event.state is AlertState.PLANNED
    assert "batches for" in event.why


async def test_the_gravest_alert_is_planned_first_then_the_oldest(store: Store) -> None:
    blue = await released(store, Level.BLUE, age_ms=9_000)
    late = await released(store, Level.RED, age_ms=1_000)
    early = await released(store, Level.RED, age_ms=5_000)
    yellow = await released(store, Level.YELLOW, age_ms=8_000)
    dispatcher = a_dispatcher(store)
    assert [alert.id for alert in await dispatcher._released()] == [early.id, late.id, yellow.id, blue.id]
    planner = Asked()
    await a_dispatcher(store, planner)._plan_all()
    assert planner.levels == ["Red", "Red", "Yellow", "Blue"]


async def test_a_red_alert_that_comes_while_blue_ones_are_planned_goes_before_the_rest(store: Store) -> None:
    for age in range(4):
        await released(store, Level.BLUE, age_ms=1000 * age)
    loop = asyncio.get_running_loop()

    def first_time(record: AlertRecord) -> None:
        if len(planner.levels) == 1:
            asyncio.run_coroutine_threadsafe(released(store, Level.RED), loop).result(20)

    planner = Asked(first_time)
    await a_dispatcher(store, planner)._plan_all()
    assert planner.levels == ["Blue", "Red", "Blue", "Blue", "Blue"]


async def test_an_area_that_cannot_be_resolved_stops_the_alert_with_its_reason(store: Store) -> None:
    alert = await released(store, area=geocode_area("某地", ["509999000000"]))
    dispatcher = a_dispatcher(store)
    await dispatcher._plan_all()
    found = await store.alert(alert.id)
    assert found.state is AlertState.STOPPED
    assert found.reason is not None
    assert "509999000000" in found.reason
    assert await batches(store, alert) == []
    assert (await store.alert_events(alert.id))[-1].why == found.reason


async def test_an_exercise_reaches_duty_and_training_and_nobody_of_the_public(store: Store) -> None:
    alert = await released(store, status=Status.EXERCISE)
    await a_dispatcher(store)._plan_all()
    assert (await store.alert(alert.id)).state is AlertState.PLANNED
    assert await planned_ids(store, alert) == {ChannelName.SMS: [6, 7]}
    for rendition in await store.renditions(alert.id):
        assert "演练" in str(rendition.content)


async def test_a_test_reaches_training_only(store: Store) -> None:
    alert = await released(store, status=Status.TEST)
    await a_dispatcher(store)._plan_all()
    assert await planned_ids(store, alert) == {ChannelName.SMS: [7]}


async def test_what_expired_before_it_was_planned_is_expired_and_not_sent(store: Store) -> None:
    alert = await released(store, expires_in=-1)
    await a_dispatcher(store)._plan_all()
    assert (await store.alert(alert.id)).state is AlertState.EXPIRED
    assert await batches(store, alert) == []


async def test_an_alert_that_reaches_nobody_is_planned_and_says_so(store: Store) -> None:
    alert = await released(store, area=geocode_area("巫山县", ["500237000000"]))
    await a_dispatcher(store)._plan_all()
    assert (await store.alert(alert.id)).state is AlertState.PLANNED
    assert "nobody" in (await store.alert_events(alert.id))[-1].why


async def test_two_dispatchers_plan_an_alert_once(store: Store) -> None:
    alerts = [await released(store, age_ms=1000 * age) for age in range(3)]
    dispatchers = [a_dispatcher(store) for _ in range(3)]
    with capture_logs() as log:
        await asyncio.gather(*(dispatcher._plan_all() for dispatcher in dispatchers))
    for alert in alerts:
        assert await planned_ids(store, alert) == {ChannelName.SMS: [1, 2, 3, 4, 5, 6], ChannelName.APP: [9]}
        states = [event.state for event in await store.alert_events(alert.id)]
        assert states.count(AlertState.PLANNED) == 1
        assert sum(line["event"] == "alert_planned" and line["alert"] == alert.id for line in log) == 1
    counted = [
        dispatcher._metrics.registry.get_sample_value("fenghuo_recipients_planned_total", {"channel": "sms"})
        for dispatcher in dispatchers
    ]
    assert sum(n or 0 for n in counted) == 18


async def test_a_registry_that_changes_between_choosing_and_sealing_is_looked_at_again(store: Store) -> None:
    loop = asyncio.get_running_loop()
    moved = [replace(person, id=person.id + 10) if person.id in (1, 2) else person for person in PEOPLE]

    def change(_record: AlertRecord) -> None:
        if len(planner.levels) == 1:
            asyncio.run_coroutine_threadsafe(store.put_pages(pages(moved)), loop).result(20)

    planner = Asked(change)
    dispatcher = a_dispatcher(store, planner)
    alert = await released(store)
    await dispatcher.start()
    # The first draft is frozen against pages that are other ones by then.
    await dispatcher._plan_all()
    assert len(planner.levels) == 2
    assert (await planned_ids(store, alert))[ChannelName.SMS] == [3, 4, 5, 6, 11, 12]
    for batch in await batches(store, alert):
        opened = KEYRING.open(batch.addresses, batch_context(batch.id))
        assert opened.tolist() == [Person(int(each)).address.encode() for each in batch.recipients]


async def test_a_registry_that_never_rests_postpones_the_alert_and_does_not_stop_it(store: Store) -> None:
    loop = asyncio.get_running_loop()

    def change(_record: AlertRecord) -> None:
        shift = 10 * len(planner.levels)
        people = [replace(person, id=person.id + shift) for person in PEOPLE]
        asyncio.run_coroutine_threadsafe(store.put_pages(pages(people)), loop).result(20)

    planner = Asked(change)
    alert = await released(store)
    dispatcher = a_dispatcher(store, planner)
    await dispatcher._plan_all()
    assert len(planner.levels) == 3
    assert (await store.alert(alert.id)).state is AlertState.RELEASED
    assert await batches(store, alert) == []
    await a_dispatcher(store)._plan_all()
    assert (await store.alert(alert.id)).state is AlertState.PLANNED


async def test_addresses_that_cannot_be_opened_stop_the_alert(store: Store) -> None:
    alert = await released(store)
    await a_dispatcher(store, keyring=Keyring({"other": b"x" * 32}))._plan_all()
    found = await store.alert(alert.id)
    assert found.state is AlertState.STOPPED
    assert "addresses cannot be opened" in (found.reason or "")


async def test_accepted_bytes_that_cannot_be_read_stop_the_alert(store: Store) -> None:
    alert = await released(store, body=b"<alert>")
    await a_dispatcher(store)._plan_all()
    assert (await store.alert(alert.id)).state is AlertState.STOPPED


async def test_a_fault_of_ours_with_one_alert_does_not_keep_the_next_one(store: Store) -> None:
    bad, good = await released(store, Level.RED), await released(store, Level.BLUE)

    def burst(record: AlertRecord) -> None:
        if record.id == bad.id:
            raise RuntimeError("a fault of ours")

    with capture_logs() as log:
        await a_dispatcher(store, Asked(burst))._plan_all()
    assert [line["alert"] for line in log if line["event"] == "planning_failed"] == [bad.id]
    found = await store.alert(bad.id)
    assert found.state is AlertState.STOPPED
    assert "fault of ours" in (found.reason or "")
    assert (await store.alert(good.id)).state is AlertState.PLANNED


async def test_a_store_that_fails_for_a_while_only_delays_the_plan(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("broker.dispatch.dispatcher._PAUSE_S", 0.001)
    failed: set[str] = set()

    async def told(point: str, _args: Any, _kwargs: Any) -> None:
        if point.endswith(":before") and point not in failed:
            failed.add(point)
            raise StoreError("the database is away")

    methods = ("alerts", "alert", "reserve_batches", "commit_plan")
    dispatcher = a_dispatcher(cast("Store", Through(store, told, *methods)), interval=0.001)
    alert = await released(store)
    running = asyncio.create_task(dispatcher.run())

    async def is_planned() -> bool:
        return (await store.alert(alert.id)).state is AlertState.PLANNED

    await eventually(is_planned)
    running.cancel()
    await asyncio.gather(running, return_exceptions=True)
    assert failed == {f"{method}:before" for method in methods}
    assert (await planned_ids(store, alert))[ChannelName.SMS] == [1, 2, 3, 4, 5, 6]


async def test_being_woken_is_enough_to_plan_at_once(store: Store) -> None:
    looked = asyncio.Event()

    async def told(point: str, _args: Any, _kwargs: Any) -> None:
        if point == "alerts:after":
            looked.set()

    dispatcher = a_dispatcher(cast("Store", Through(store, told, "alerts")), interval=3600.0)
    running = asyncio.create_task(dispatcher.run())
    await eventually(looked.is_set)
    alert = await released(store)
    dispatcher.wake()

    async def is_planned() -> bool:
        return (await store.alert(alert.id)).state is AlertState.PLANNED

    await eventually(is_planned)
    running.cancel()
    await asyncio.gather(running, return_exceptions=True)


async def test_the_planned_ledger_rows_are_fresh_and_counted(store: Store) -> None:
    alert = await released(store)
    await a_dispatcher(store)._plan_all()
    assert await store.counters(alert.id) == await store.recount(alert.id)
    for batch in await batches(store, alert):
        row = await store.ledger_row(batch.id)
        assert not np.any(row.states)
        assert len(row) == len(batch)
