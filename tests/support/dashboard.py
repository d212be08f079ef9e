"""A dashboard on a real store and a real server, and a ledger to show on it."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path

import aiohttp
import numpy as np
from aiohttp import web

from broker.api import problems
from broker.api.health import Health
from broker.api.server import Server
from broker.clock import now_ms
from broker.dashboard.accounts import new_person
from broker.dashboard.pages import Dashboard
from broker.dashboard.sessions import Sessions
from broker.demo import alerts as demo_alerts
from broker.geo.events import EventCatalogue
from broker.intake.departments import Departments
from broker.ledger.arrays import COUNT_NAMES, Receipts
from broker.metrics import Metrics
from broker.store.contract import Store
from broker.store.records import AlertEvent, AlertRecord, Plan
from broker.types import CHANNELS, AlertState, ChannelName
from tests.support.storing import a_plan, an_alert

CONFIG = Path(__file__).parents[2] / "config"
DISTRICTS = CONFIG / "regions" / "districts.geojson"


@dataclass
class Running:
    """A server with a dashboard, and somebody who may sign in."""

    dashboard: Dashboard
    server: Server
    name: str
    password: str

    @property
    def url(self) -> str:
        """Its base address."""
        return self.server.url


@asynccontextmanager
async def running(
    store: Store,
    *,
    port: int = 0,
    sessions: Sessions | None = None,
    person: tuple[str, str] | None = None,
    interval: float = 0.05,
    beat: float = 15.0,
) -> AsyncIterator[Running]:
    """A dashboard beside the health routes, as the broker mounts them. `person` is one that exists already."""
    metrics = Metrics()
    dashboard = Dashboard(
        store,
        DISTRICTS,
        metrics,
        events=EventCatalogue.load(CONFIG / "events.yaml"),
        departments=Departments.load(CONFIG / "departments.yaml"),
        sessions=sessions,
        interval=interval,
        beat=beat,
    )
    await dashboard.start()
    app = web.Application(middlewares=[problems.middleware])
    app.add_routes(Health(store, None, metrics, shards=1).routes())
    dashboard.mount(app)
    if person is None:
        person = ("duty", await new_person(store, "duty", "operator"))
    server = Server(app, "127.0.0.1", port)
    await server.start()
    try:
        yield Running(dashboard, server, *person)
    finally:
        await server.close()


async def csrf_of(client: aiohttp.ClientSession, url: str) -> str:
    """The token in the sign-in form."""
    async with client.get(f"{url}/sign-in") as answer:
        found = re.search(r'name="csrf" value="([0-9a-zA-Z_-]+)"', await answer.text())
    assert found is not None
    return found[1]


async def post_sign_in(
    client: aiohttp.ClientSession, url: str, name: str, password: str, **more: str
) -> aiohttp.ClientResponse:
    """Fill the form in and post it, following no redirect."""
    fields = {"csrf": await csrf_of(client, url), "name": name, "password": password} | more
    return await client.post(f"{url}/sign-in", data=fields, allow_redirects=False)


@asynccontextmanager
async def signed_in(run: Running) -> AsyncIterator[aiohttp.ClientSession]:
    """A client that has signed in."""
    # The test's server is an address, not a name, and cookies are for names unless one says so.
    async with aiohttp.ClientSession(cookie_jar=aiohttp.CookieJar(unsafe=True)) as client:
        answer = await post_sign_in(client, run.url, run.name, run.password)
        assert answer.status == 303, await answer.text()
        yield client


class Ledgered:
    """Alerts of the demo, put into a store and moved along by hand."""

    def __init__(self, store: Store) -> None:
        self.store = store
        self.plans: dict[str, Plan] = {}

    async def post(
        self, which: int = 0, *, name: str, status: str = "Actual", headline: str | None = None, ago: float = 0.0
    ) -> AlertRecord:
        """Accept and release the demo's alert number `which`, `ago` seconds before now, under the id `name`."""
        demo = list(demo_alerts.day(datetime.now(UTC)))[which]
        event, level, department = (
            ("11B03", "Red", "met-hechuan"),
            ("11A51", "Orange", "hydrology"),
            ("11D01", "Yellow", "geology"),
        )[which]
        received = now_ms() - round(ago * 1000)
        title = re.search(r"<headline>(.*?)</headline>", demo.body.decode())
        assert title is not None
        record = replace(
            an_alert(name, sent=received - 1000, body=demo.body, received=received, state=AlertState.RELEASED),
            identifier=f"{demo.identifier}-{name}",
            department=department,
            status=status,
            level=level,
            event=event,
            headline=headline or title[1],
            expires=received + 6 * 3_600_000,
            released=received + 40,
        )
        if headline is not None:
            record = replace(record, body=b"")
        await self.store.add_alert(record, AlertEvent(name, received, AlertState.RECEIVED, department, "accepted"))
        return record

    async def plan(
        self,
        alert: AlertRecord,
        sizes: Sequence[int] = (400, 60, 120, 12),
        districts: Sequence[int] = (500117,),
        channels: Sequence[ChannelName] = CHANNELS,
    ) -> Plan:
        """Plan one batch for each size, going round channels and districts, and start sending."""
        at = alert.received + 100
        plan = await a_plan(
            self.store, tuple(sizes), alert=alert.id, channels=tuple(channels), districts=tuple(districts), at=at
        )
        event = AlertEvent(alert.id, at, AlertState.PLANNED, "dispatcher", f"{len(sizes)} batches")
        assert await self.store.commit_plan(plan, event)
        await self.move(alert.id, AlertState.SENDING, at + 50)
        self.plans[alert.id] = plan
        return plan

    async def move(self, alert: str, state: AlertState, at: int | None = None) -> None:
        """Move an alert on from wherever it is."""
        event = AlertEvent(alert, now_ms() if at is None else at, state, "tracker", "")
        assert await self.store.move_alert(alert, list(AlertState), event)

    async def report(self, batch: int, count: int, state: int, *, first: int = 0, at: int | None = None) -> None:
        """Receipts of the same state for `count` recipients from ordinal `first` on."""
        ordinals = np.arange(first, first + count, dtype=np.uint16)
        when = now_ms() if at is None else at
        await self.store.merge([Receipts.uniform(batch, ordinals, state, when)])

    async def totals(self, alert: str) -> dict[str, dict[str, int]]:
        """The store's counters by channel."""
        totals: dict[str, dict[str, int]] = {}
        for row in await self.store.counters(alert):
            mine = totals.setdefault(str(row.channel), dict.fromkeys(COUNT_NAMES, 0))
            for name, n in zip(COUNT_NAMES, row.counts, strict=True):
                mine[name] += n
        return totals
