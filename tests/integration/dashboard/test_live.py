"""The live stream over a real socket and a real ledger: many viewers, one truth."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from typing import Any

import aiohttp
import pytest

from broker.dashboard.live import Live
from broker.dashboard.sessions import Sessions
from broker.dashboard.views import Names
from broker.errors import StoreError
from broker.ledger.arrays import COUNT_NAMES
from broker.ledger.state import DELIVERED, PRESENTED, Rank, Reason, word
from broker.metrics import Metrics
from broker.store.contract import Store
from broker.store.sql import open_store
from broker.types import AlertState
from tests.support.dashboard import Ledgered, Running, running, signed_in

SENT = word(Rank.SENT, attempt=1)
FAILED = word(Rank.FAILED, attempt=1, reason=Reason.UNDELIVERABLE)
Event = tuple[str, dict[str, Any]]


@pytest.fixture
async def store(tmp_path):
    store = open_store(f"sqlite:///{tmp_path}/fenghuo.db")
    await store.start()
    yield store
    await store.close()


@pytest.fixture
async def run(store: Store):
    async with running(store) as run:
        yield run


class Viewer:
    """Follows the stream and puts the picture together as the page does."""

    def __init__(self, answer: aiohttp.ClientResponse) -> None:
        self._answer = answer
        self.alerts: dict[str, dict[str, Any]] = {}
        self.kinds: list[str] = []
        self.last_id = ""

    async def events(self) -> AsyncIterator[Event]:
        kind, data = "", ""
        async for raw in self._answer.content:
            line = raw.decode().rstrip("\n")
            if line.startswith("id: "):
                self.last_id = line[4:]
            elif line.startswith("event: "):
                kind = line[7:]
            elif line.startswith("data: "):
                data = line[6:]
            elif not line:
                yield kind, json.loads(data)

    async def until(self, wanted: Any) -> None:
        """Take events until `wanted(self)`."""
        async with asyncio.timeout(30):
            async for kind, data in self.events():
                self.take(kind, data)
                if wanted(self):
                    return
        raise AssertionError("the stream ended")

    def take(self, kind: str, data: dict[str, Any]) -> None:
        self.kinds.append(kind)
        if kind == "snapshot":
            self.alerts = {alert["id"]: alert for alert in data["alerts"]}
        if kind == "change":
            for patch in data["alerts"]:
                view = self.alerts.setdefault(patch["id"], {"cells": {}, "curve": {}})
                view.update(patch.get("set", {}))
                for channel, cells in patch.get("cells", {}).items():
                    view["cells"].setdefault(channel, {}).update(cells)
                for channel, curves in patch.get("curve", {}).items():
                    for name, change in curves.items():
                        mine = view["curve"].setdefault(channel, {})
                        mine[name] = mine.get(name, [])[: change["keep"]] + change["points"]
            for alert in data["gone"]:
                del self.alerts[alert]

    def totals(self, alert: str) -> dict[str, dict[str, int]]:
        found: dict[str, dict[str, int]] = {}
        for channel, districts in self.alerts.get(alert, {}).get("cells", {}).items():
            sums = [sum(column) for column in zip(*districts.values(), strict=True)]
            found[channel] = dict(zip(COUNT_NAMES, sums, strict=True))
        return found


async def test_viewers_see_the_same_numbers_as_the_ledger_while_it_grows(store: Store, run: Running):
    ledgered = Ledgered(store)
    alert = await ledgered.post(name="01A")
    plan = await ledgered.plan(alert, sizes=(300, 40, 80, 10, 200, 30, 60, 8), districts=(500117, 500151, 500109))
    async with signed_in(run) as user:
        answers = [await user.get(f"{run.url}/dashboard/events") for _ in range(5)]
        viewers = [Viewer(answer) for answer in answers]
        for viewer in viewers:
            await viewer.until(lambda each: "01A" in each.alerts)

        async def move() -> None:
            for batch in plan.batches:
                half = len(batch) // 2
                await ledgered.report(batch.id, len(batch), SENT)
                await ledgered.report(batch.id, half, DELIVERED)
                await ledgered.report(batch.id, half // 2, PRESENTED)
                await ledgered.report(batch.id, 2, FAILED, first=len(batch) - 2)
            await ledgered.move("01A", AlertState.COMPLETED)

        moving = asyncio.create_task(move())
        for viewer in viewers:
            await viewer.until(
                lambda each: (
                    each.alerts["01A"]["state"] == "completed"
                    and sum(totals["failed"] for totals in each.totals("01A").values()) == 2 * len(plan.batches)
                )
            )
        await moving
        wanted = await ledgered.totals("01A")
        recounted = {}
        for row in await store.recount("01A"):
            recounted[str(row.channel), f"{row.district:06d}"] = list(row.counts)
        for viewer in viewers:
            assert viewer.totals("01A") == wanted
            cells = viewer.alerts["01A"]["cells"]
            assert {(c, d): counts for c, each in cells.items() for d, counts in each.items()} == recounted
            assert "change" in viewer.kinds
            for channel, curves in viewer.alerts["01A"]["curve"].items():
                assert curves["delivered"][-1][1] == wanted[channel]["delivered"]
                assert curves["sent"][-1][1] == wanted[channel]["sent"]
        for answer in answers:
            answer.close()


async def test_who_comes_back_gets_the_whole_picture_whatever_was_missed(store: Store, run: Running):
    ledgered = Ledgered(store)
    async with signed_in(run) as user:
        async with user.get(f"{run.url}/dashboard/events") as answer:
            viewer = Viewer(answer)
            await viewer.until(lambda each: "snapshot" in each.kinds)
            assert viewer.alerts == {}
        alert = await ledgered.post(name="01A")
        plan = await ledgered.plan(alert, sizes=(50,))
        await ledgered.report(plan.batches[0].id, 50, DELIVERED)
        headers = {"Last-Event-ID": viewer.last_id}
        async with user.get(f"{run.url}/dashboard/events", headers=headers) as answer:
            again = Viewer(answer)
            await again.until(lambda each: each.totals("01A").get("sms", {}).get("delivered") == 50)
            assert again.kinds[:2] == ["beat", "snapshot"]
            assert again.last_id
            assert again.last_id != viewer.last_id


async def test_a_headline_made_of_markup_travels_as_data_and_not_as_page(store: Store, run: Running):
    evil = "</script><script>alert('1')</script>\"'&\u2028\n\nevent: beat"
    await Ledgered(store).post(name="01A", headline=evil)
    async with signed_in(run) as user:
        async with user.get(f"{run.url}/dashboard/events") as answer:
            assert answer.headers["Content-Type"].startswith("text/event-stream")
            viewer = Viewer(answer)
            await viewer.until(lambda each: each.alerts)
            assert viewer.alerts["01A"]["headline"] == evil
        assert "alert('1')" not in await (await user.get(run.url)).text()


async def test_streams_end_when_their_session_does(store: Store):
    sessions = Sessions()
    async with running(store, sessions=sessions, beat=0.05) as run, signed_in(run) as user:
        async with user.get(f"{run.url}/dashboard/events") as answer:
            viewer = Viewer(answer)
            await viewer.until(lambda each: each.kinds.count("beat") > 2)
            session = next(cookie.value for cookie in user.cookie_jar if cookie.key == "fenghuo_session")
            sessions.end(session)
            async with asyncio.timeout(10):
                async for _ in viewer.events():
                    pass
        assert run.dashboard.live.viewers == 0


async def test_the_store_is_left_alone_while_nobody_watches(store: Store):
    asked = 0

    class Counted:
        def __getattr__(self, name: str) -> Any:
            nonlocal asked
            asked += 1
            return getattr(store, name)

    live = Live(Counted(), Names(), Metrics(), interval=0.01)  # type: ignore[arg-type]
    await asyncio.sleep(0.05)
    assert asked == 0
    frames = live.follow()
    await anext(frames)
    assert asked > 0
    await frames.aclose()
    before = asked
    await asyncio.sleep(0.05)
    assert asked == before
    await live.close()


async def test_a_viewer_who_lags_is_given_the_newest_picture_once(store: Store):
    ledgered = Ledgered(store)
    alert = await ledgered.post(name="01A")
    plan = await ledgered.plan(alert, sizes=(100,))
    live = Live(store, Names(), Metrics(), interval=0.001, beat=5)
    slow, quick = live.follow(), live.follow()
    await anext(slow)
    await anext(quick)
    for ordinal in range(40):
        await ledgered.report(plan.batches[0].id, 1, DELIVERED, first=ordinal)
        await anext(quick)  # each step is seen by the other viewer, so it was published
    frame = (await anext(slow)).decode()
    assert "event: snapshot" in frame
    assert "event: change" not in frame
    data = json.loads(frame.rpartition("data: ")[2])
    assert data["alerts"][0]["cells"]["sms"]["500117"][COUNT_NAMES.index("delivered")] == 40
    await slow.aclose()
    await quick.aclose()
    await live.close()


async def test_everybody_is_sent_the_very_same_bytes(store: Store):
    ledgered = Ledgered(store)
    plan = await ledgered.plan(await ledgered.post(name="01A"), sizes=(100,))
    live = Live(store, Names(), Metrics(), interval=0.01)
    viewers = [live.follow() for _ in range(200)]
    for viewer in viewers:
        await anext(viewer)
    waiting = [asyncio.ensure_future(anext(viewer)) for viewer in viewers]
    await ledgered.report(plan.batches[0].id, 100, DELIVERED)
    frames = await asyncio.gather(*waiting)
    assert len(set(frames)) == 1
    assert b"event: change" in frames[0]
    for viewer in viewers:
        await viewer.aclose()
    assert live.viewers == 0
    await live.close()


async def test_pages_are_told_when_the_ledger_cannot_be_read_and_when_it_can_again(store: Store):
    broken = False

    class Breaking:
        def __getattr__(self, name: str) -> Any:
            if broken and name == "ledger_version":
                raise StoreError("gone")
            return getattr(store, name)

    live = Live(Breaking(), Names(), Metrics(), interval=0.01)  # type: ignore[arg-type]
    frames = live.follow()
    await anext(frames)
    broken = True
    assert b'event: trouble\ndata: {"now":' in (told := await anext(frames))
    assert b'"trouble":true' in told
    broken = False
    assert b'"trouble":false' in await anext(frames)
    await frames.aclose()
    await live.close()


async def test_a_failure_in_the_middle_of_a_look_loses_no_change(store: Store):
    ledgered = Ledgered(store)
    plans = [await ledgered.plan(await ledgered.post(name=name), sizes=(10,)) for name in ("01A", "02B")]
    failing = False

    class Failing:
        def __getattr__(self, name: str) -> Any:
            if failing and name == "curve":

                async def curve(alert: str) -> Any:
                    if alert == "01A":  # alerts are read newest first: 02B has been read by then
                        raise StoreError("gone")
                    return await store.curve(alert)

                return curve
            return getattr(store, name)

    live = Live(Failing(), Names(), Metrics(), interval=0.01)  # type: ignore[arg-type]
    frames = live.follow()
    await anext(frames)
    failing = True
    for plan in plans:
        await ledgered.report(plan.batches[0].id, 10, DELIVERED)
    assert b'"trouble":true' in await anext(frames)
    failing = False
    told = ""
    async with asyncio.timeout(20):
        while not ('"01A"' in told and '"02B"' in told):
            told += (await anext(frames)).decode()
    await frames.aclose()
    await live.close()


async def test_late_receipts_of_a_finished_alert_are_still_shown(store: Store, run: Running):
    ledgered = Ledgered(store)
    plan = await ledgered.plan(await ledgered.post(name="01A"), sizes=(20,))
    await ledgered.move("01A", AlertState.COMPLETED)
    async with signed_in(run) as user, user.get(f"{run.url}/dashboard/events") as answer:
        viewer = Viewer(answer)
        await viewer.until(lambda each: "01A" in each.alerts)
        await ledgered.report(plan.batches[0].id, 20, PRESENTED)
        await viewer.until(lambda each: each.totals("01A")["sms"]["presented"] == 20)
