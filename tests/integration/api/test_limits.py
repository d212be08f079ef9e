"""A department has its share; a Cancel is never put off; memory and connections are bounded whoever sends."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from broker.api import bodies
from broker.api.bodies import Bodies
from broker.api.rates import RateLimit
from broker.cap import read, to_xml
from broker.cap.followup import cancel_of
from tests.support.broker import Answer, Api, alert_xml, running_api
from tests.support.waiting import eventually

SLOW = RateLimit(per_minute=1, burst=3)


async def exhaust(api: Api) -> list[Answer]:
    """Use the whole share of posts."""
    return [await api.post(alert_xml(f"n-{number}")) for number in range(SLOW.burst)]


async def test_who_has_used_up_the_share_is_told_when_to_come_again(tmp_path: Path) -> None:
    async with running_api(tmp_path, rate=SLOW) as api:
        answers = await exhaust(api)
        assert [answer.status for answer in answers] == [202] * SLOW.burst
        assert [answer.headers["RateLimit-Remaining"] for answer in answers] == ["2", "1", "0"]

        refused = await api.post(alert_xml("one more"))

        assert (refused.status, refused.json()["code"]) == (429, "rate-limited")
        assert 1 <= int(refused.headers["Retry-After"]) <= 60
        assert refused.headers["RateLimit-Limit"] == "3"
        assert refused.headers["RateLimit-Remaining"] == "0"
        assert b'reason="rate_limited"' in (await api.call("GET", "/metrics", department=None)).body
        assert len(await api.store.alerts()) == SLOW.burst


async def test_shares_are_of_departments_and_reading_does_not_use_up_posting(tmp_path: Path) -> None:
    async with running_api(tmp_path, rate=SLOW) as api:
        await exhaust(api)

        assert (await api.call("GET", "/v1/alerts")).status == 200
        ring = "29.3,107.6 29.3,107.8 29.4,107.8 29.4,107.6 29.3,107.6"
        other = alert_xml("wulong", sender="wulong-met@warning.example").replace(
            "30.0,106.2 30.0,106.4 30.1,106.4 30.1,106.2 30.0,106.2", ring
        )
        assert (await api.post(other, department="met-wulong")).status == 202
        reads = [await api.call("GET", "/v1/alerts") for _ in range(3)]
        assert [answer.status for answer in reads] == [200, 200, 429]
        assert (await api.call("GET", "/-/ready", department=None)).status == 200


@pytest.mark.parametrize("encoding", ["utf-8", "utf-16"])
async def test_a_cancel_goes_through_when_the_share_is_used_up(tmp_path: Path, encoding: str) -> None:
    async with running_api(tmp_path, rate=SLOW) as api:
        first, *_ = await exhaust(api)
        alert = read(alert_xml("n-0").encode(), "xml").alert
        assert alert is not None
        cancel = to_xml(cancel_of(alert, identifier="taken-back", sent=alert.sent.instant, note="in error"))
        body = cancel.decode().replace("UTF-8", encoding.upper()).encode(encoding)

        posted = await api.post(body)
        token = await api.token("met-hechuan")
        by_command = await api.act(first.json()["id"], "cancel", {"reason": "again"}, token)

        assert (posted.status, by_command.status) == (202, 202), (posted.body, by_command.body)
        assert (await api.post(alert_xml("one more"))).status == 429
        assert (await api.post(b"<alert><msgType>Cancel</msgType>")).status == 429


async def test_more_bodies_than_memory_is_meant_for_are_put_off_and_nothing_stays_held(tmp_path: Path) -> None:
    held = Bodies(most=40_000)
    async with running_api(tmp_path, bodies=held) as api:
        token = await api.token("met-hechuan")
        head = (
            f"POST /v1/alerts HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {token}\r\n"
            "Content-Type: application/cap+xml\r\nContent-Length: 60000\r\n\r\n"
        ).encode()
        writers = []
        for _ in range(3):
            _, writer = await asyncio.open_connection("127.0.0.1", api.server.port)
            writer.write(head + b" " * 12_000)
            writers.append(writer)
        await eventually(lambda: held.held == 36_000)

        refused = await api.post(b" " * 12_000)

        assert (refused.status, refused.json()["code"]) == (503, "unavailable")
        assert int(refused.headers["Retry-After"]) > 0
        for writer in writers:
            writer.transport.abort()
        await eventually(lambda: held.held == 0)
        assert (await api.post(alert_xml())).status == 202
        assert held.held == 0


async def test_many_slow_senders_are_all_refused_and_the_others_are_served_meanwhile(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(bodies, "BODY_SECONDS", 2.0)
    async with running_api(tmp_path) as api:
        head = (
            f"POST /v1/alerts HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {await api.token('met-hechuan')}\r\n"
            "Content-Type: application/cap+xml\r\nContent-Length: 1000\r\nConnection: close\r\n\r\n<alert"
        )
        slow = [asyncio.create_task(api.raw(head.encode())) for _ in range(150)]

        assert (await api.post(alert_xml())).status == 202

        answers = await asyncio.gather(*slow)
        assert {answer.status for answer in answers} == {408}
        assert {answer.json()["code"] for answer in answers} == {"too-slow"}
        assert len(await api.store.alerts()) == 1


@pytest.mark.parametrize("begun", [b"", b"POST /v1/alerts HTTP/1.1\r\nHost: x\r\nX-Slow: a"])
async def test_a_connection_that_never_sends_its_request_is_closed(tmp_path: Path, begun: bytes) -> None:
    async with running_api(tmp_path, head_seconds=0.5) as api:
        reader, writer = await asyncio.open_connection("127.0.0.1", api.server.port)
        writer.write(begun)
        try:
            async with asyncio.timeout(30):
                assert await reader.read() == b""
        finally:
            writer.close()
        assert (await api.call("GET", "/-/healthy", department=None)).status == 200


async def test_fifty_posts_of_one_alert_at_once_make_one(api: Api) -> None:
    answers = await asyncio.gather(*(api.post(alert_xml()) for _ in range(50)))

    assert {answer.status for answer in answers} == {202}
    assert len({answer.body for answer in answers}) == 1
    [alert] = await api.store.alerts()
    assert len(await api.store.alert_events(alert.id)) == 2
