from __future__ import annotations

import asyncio
import dataclasses
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from broker.clock import now_ms
from broker.ledger.state import Rank, rank_of
from broker.types import ChannelName
from tests.support.mailbox import Rig, a_batch, running

SIGNAGE = ChannelName.SIGNAGE
CHANGED = b"event: changed\ndata: {}\n\n"


@pytest.fixture
async def rig(tmp_path: Path) -> AsyncIterator[Rig]:
    async with running(SIGNAGE, tmp_path) as started:
        yield started


async def playlist(rig: Rig, screen: str) -> list[dict[str, Any]]:
    async with rig.session.get(f"/v1/screens/{screen}/playlist", headers=rig.headers(screen)) as answer:
        assert answer.status == 200
        found = await answer.json()
        assert found["screen"] == screen
        items: list[dict[str, Any]] = found["items"]
        return items


async def test_a_playlist_is_sorted_by_gravity_and_then_the_newest(rig: Rig) -> None:
    for batch, level, exercise in (
        (4, "Blue", False),
        (5, "Red", True),
        (6, "Red", False),
        (7, "Orange", False),
        (8, "Red", False),
    ):
        await rig.send(a_batch(batch, ["s0", "s1"], channel=SIGNAGE, level=level, exercise=exercise))
    assert [item["id"] for item in await playlist(rig, "s1")] == ["8:1", "6:1", "7:1", "4:1", "5:1"]
    assert await playlist(rig, "s2") == []


async def test_an_unchanged_playlist_is_not_sent_again(rig: Rig) -> None:
    await rig.send(a_batch(4, ["s1"], channel=SIGNAGE))
    url, headers = "/v1/screens/s1/playlist", rig.headers("s1")
    async with rig.session.get(url, headers=headers) as answer:
        tag = answer.headers["ETag"]
        assert "Date" in answer.headers
    for value in (tag, f'"other", W/{tag}', "*"):
        async with rig.session.get(url, headers=headers | {"If-None-Match": value}) as answer:
            assert (answer.status, answer.headers["ETag"], await answer.read()) == (304, tag, b"")
    await rig.send(a_batch(5, ["s1"], channel=SIGNAGE))
    async with rig.session.get(url, headers=headers | {"If-None-Match": tag}) as answer:
        assert answer.status == 200
        assert answer.headers["ETag"] != tag


async def test_screens_are_told_of_what_comes_and_of_what_lapses(rig: Rig) -> None:
    async with rig.session.get("/v1/screens/s1/events", headers=rig.headers("s1")) as answer:
        await answer.content.readuntil(b"\n\n")
        assert await answer.content.readuntil(b"\n\n") == CHANGED, "who connects may have missed something"
        await rig.send(a_batch(4, ["s2"], channel=SIGNAGE))
        await rig.send(a_batch(5, ["s1"], channel=SIGNAGE, expires=now_ms() + 700))
        assert await answer.content.readuntil(b"\n\n") == CHANGED
        assert [item["id"] for item in await playlist(rig, "s1")] == ["5:0"]
        assert await asyncio.wait_for(answer.content.readuntil(b"\n\n"), 10) == CHANGED
        assert await playlist(rig, "s1") == []


async def test_a_withdrawn_alert_leaves_the_screens_at_once(rig: Rig) -> None:
    await rig.send(a_batch(4, ["s1"], channel=SIGNAGE))
    async with rig.session.get("/v1/screens/s1/events", headers=rig.headers("s1")) as answer:
        for _ in range(2):
            await answer.content.readuntil(b"\n\n")
        await rig.channel.withdraw("urn:oid:2.49.0.0.156.1")
        assert await answer.content.readuntil(b"\n\n") == CHANGED
    assert await playlist(rig, "s1") == []


async def test_reports_of_a_screen_become_evidence_and_those_of_another_do_not(rig: Rig) -> None:
    await rig.send(a_batch(4, ["s1", "s2"], channel=SIGNAGE))
    for screen, reports, status in (
        ("s1", [{"id": "4:0", "state": "held"}], 202),
        ("s1", [{"id": "4:0", "state": "shown"}], 202),
        ("s1", [{"id": "4:1", "state": "shown"}], 422),
        ("s2", [{"id": "4:1", "state": "tapped"}], 422),
    ):
        url = f"/v1/screens/{screen}/reports"
        async with rig.session.post(url, json=reports, headers=rig.headers(screen)) as answer:
            assert answer.status == status
    await rig.until(2)
    assert sorted(rig.evidence) == [(4, 0, 1), (4, 0, 2)]


@pytest.mark.parametrize(("method", "page"), [("GET", "playlist"), ("GET", "events"), ("POST", "reports")])
async def test_a_screen_cannot_use_anothers_pages(rig: Rig, method: str, page: str) -> None:
    for headers in ({}, rig.headers("s2")):
        async with rig.session.request(method, f"/v1/screens/s1/{page}", headers=headers) as answer:
            assert (answer.status, answer.content_type) == (401, "application/problem+json")


async def test_the_kiosk_page_carries_a_strict_policy_and_nothing_inline(rig: Rig) -> None:
    async with rig.session.get("/kiosk/s1") as answer:
        page = await answer.text()
        policy = answer.headers["Content-Security-Policy"]
    assert "default-src 'none'" in policy
    assert "unsafe" not in policy
    assert "<style" not in page
    assert "style=" not in page
    assert "onclick" not in page
    for name, kind in (("kiosk.js", "text/javascript"), ("kiosk.css", "text/css")):
        assert f"/kiosk/static/{name}" in page
        async with rig.session.get(f"/kiosk/static/{name}") as answer:
            assert (answer.status, answer.content_type) == (200, kind)


@pytest.mark.parametrize(
    "path",
    ["/kiosk/static/none.js", "/kiosk/static/..%2f..%2fchannel.py", "/kiosk/a%20b", "/kiosk/static/kiosk.html"],
)
async def test_no_other_file_is_served(rig: Rig, path: str) -> None:
    async with aiohttp.ClientSession() as session, session.get(f"{rig.channel.url}{path}") as answer:
        assert answer.status == 404


async def test_open_batches_are_on_the_playlist_after_a_restart(tmp_path: Path) -> None:
    async with running(SIGNAGE, tmp_path, [a_batch(4, ["s1"], channel=SIGNAGE)]) as rig:
        assert [item["id"] for item in await playlist(rig, "s1")] == ["4:0"]


async def test_an_all_clear_is_on_the_playlist_as_long_as_its_words_say_and_below_every_danger(rig: Rig) -> None:
    await rig.send(a_batch(4, ["s1"], channel=SIGNAGE, alert="urn:2", level="Blue"))
    clear = a_batch(5, ["s1"], channel=SIGNAGE, alert="c1", phase="cancel", expires=now_ms() + 2_000)
    longer = dataclasses.replace(clear, expires=now_ms() + 3_600_000)
    await rig.send(longer)
    assert [item["id"] for item in await playlist(rig, "s1")] == ["4:0", "5:0"]
    async with asyncio.timeout(20):
        while [item["id"] for item in await playlist(rig, "s1")] != ["4:0"]:
            await asyncio.sleep(0.05)
    late = await rig.send(dataclasses.replace(longer, batch=6))
    assert {rank_of(int(state)) for state in late.states} == {Rank.EXPIRED}
