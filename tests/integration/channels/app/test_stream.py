from __future__ import annotations

import asyncio
import contextlib
import json
import resource
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import aiohttp
import numpy as np
import pytest

from broker.clock import now_ms
from broker.errors import ChannelError
from broker.ledger.state import Rank, Reason, rank_of, reason_of
from broker.types import ChannelName
from channels.mailbox.client import EventStream, Origin, SentEvent, parse_events
from tests.support.mailbox import Rig, a_batch, running
from tests.support.mailbox_server import window_of

APP = ChannelName.APP


@pytest.fixture
async def rig(tmp_path: Path) -> AsyncIterator[Rig]:
    async with running(APP, tmp_path) as started:
        yield started


@contextlib.asynccontextmanager
async def following(rig: Rig, device: str, last: int | None = None) -> AsyncIterator[asyncio.Queue[SentEvent]]:
    origin = Origin("127.0.0.1", rig.channel.port)
    events: asyncio.Queue[SentEvent] = asyncio.Queue()
    fields = [f"{name}: {value}" for name, value in rig.headers(device).items()]
    if last is not None:
        fields.append(f"Last-Event-ID: {last}")
    request = origin.head("GET", "/v1/stream", *fields) + b"\r\n"
    stream = await EventStream.open(origin, request, events.put_nowait)
    try:
        yield events
    finally:
        stream.close()
        await stream.ended


async def catch_up(rig: Rig, device: str, last: int | None = None) -> list[SentEvent]:
    headers = rig.headers(device) | ({} if last is None else {"Last-Event-ID": str(last)})
    async with rig.session.get("/v1/stream?once=1", headers=headers) as answer:
        assert answer.status == 200
        assert answer.content_type == "text/event-stream"
        return parse_events(await answer.read())[0]


async def post(rig: Rig, device: str, reports: Any, **headers: str) -> tuple[int, Any]:
    data = reports if isinstance(reports, bytes) else json.dumps(reports).encode()
    sent = rig.headers(device) | {"Content-Type": "application/json"} | headers
    async with rig.session.post("/v1/receipts", data=data, headers=sent) as answer:
        if answer.status >= 400:
            assert answer.content_type == "application/problem+json"
            return answer.status, await answer.json(content_type=None)
        return answer.status, await answer.read()


def identifiers(events: list[SentEvent]) -> list[str]:
    return [json.loads(event.data)["id"] for event in events]


async def test_a_message_reaches_the_stream_of_its_device_with_all_its_members(rig: Rig) -> None:
    async with following(rig, "a1") as mine, following(rig, "a2") as other:
        outcomes = await rig.send(a_batch(5, ["a0", "a1"], channel=APP))
        event = await asyncio.wait_for(mine.get(), 5)
        assert (event.name, event.identifier) == ("alert", "5")
        message = json.loads(event.data)
        assert message["id"] == "5:1"
        assert (message["title"], message["level"], message["exercise"]) == ("暴雨红色预警", "Red", False)
        assert set(message) >= {"alert", "body", "instruction", "event_name", "language", "sender_name", "expires"}
        assert other.empty()
    assert [rank_of(int(state)) for state in outcomes.states] == [Rank.SENT, Rank.SENT]


async def test_who_comes_later_catches_up_and_leaves(rig: Rig) -> None:
    await rig.send(a_batch(5, ["a1"], channel=APP))
    await rig.send(a_batch(9, ["a2", "a1"], channel=APP))
    events = await catch_up(rig, "a1")
    assert identifiers(events) == ["5:0", "9:1"]
    assert [event.identifier for event in events] == ["5", "9"]
    assert await catch_up(rig, "a3") == []


async def test_what_was_seen_and_reported_is_not_given_again_but_what_was_not_reported_is(rig: Rig) -> None:
    for batch in (5, 9, 12):
        await rig.send(a_batch(batch, ["a1"], channel=APP))
    assert await post(rig, "a1", [{"id": "5:0", "state": "delivered"}, {"id": "12:0", "state": "tapped"}]) == (
        202,
        b"",
    )
    events = await catch_up(rig, "a1", last=9)
    assert identifiers(events) == ["9:0", "12:0"]
    assert [event.identifier for event in events] == [None, "12"], "the event id never falls"
    assert identifiers(await catch_up(rig, "a1", last=12)) == ["9:0"]


async def test_a_batch_that_comes_late_does_not_lower_the_event_id(rig: Rig) -> None:
    async with following(rig, "a1") as events:
        await rig.send(a_batch(9, ["a1"], channel=APP))
        await rig.send(a_batch(5, ["a1"], channel=APP))
        assert [(await asyncio.wait_for(events.get(), 5)).identifier for _ in range(2)] == ["9", None]


async def test_a_window_sent_again_is_not_told_again(rig: Rig) -> None:
    batch = a_batch(5, ["a1", "a2"], channel=APP)
    async with following(rig, "a1") as events:
        await rig.send(batch)
        await rig.send(batch, attempt=2)
        await rig.send(a_batch(6, ["a1"], channel=APP))
        got = [await asyncio.wait_for(events.get(), 5) for _ in range(2)]
        assert identifiers(got) == ["5:0", "6:0"]
        assert events.empty()


async def test_receipts_become_evidence_by_the_batch(rig: Rig) -> None:
    await rig.send(a_batch(5, ["a1", "a2"], channel=APP))
    for device, ordinal, state in (("a1", 0, "delivered"), ("a2", 1, "displayed"), ("a1", 0, "tapped")):
        assert (await post(rig, device, [{"id": f"5:{ordinal}", "state": state}]))[0] == 202
    await rig.until(3)
    assert sorted(rig.evidence) == [(5, 0, 1), (5, 0, 3), (5, 1, 2)]


async def test_a_receipt_for_another_devices_message_is_refused_and_nothing_of_the_post_is_taken(rig: Rig) -> None:
    await rig.send(a_batch(5, ["a1", "a2"], channel=APP))
    reports = [
        {"id": "5:0", "state": "delivered"},
        {"id": "5:1", "state": "delivered"},
        {"id": "77:0", "state": "tapped"},
    ]
    status, answer = await post(rig, "a1", reports)
    assert status == 422
    assert [(error["place"], error["rule"]) for error in answer["errors"]] == [
        ("/1/id", "report.foreign"),
        ("/2/id", "report.foreign"),
    ]
    assert (await post(rig, "a1", reports[:1]))[0] == 202
    await rig.until(1)
    assert rig.evidence == [(5, 0, 1)]


async def test_a_late_receipt_for_a_batch_out_of_the_mailboxes_is_checked_against_the_store(rig: Rig) -> None:
    rig.world.batches[3] = a_batch(3, ["a1"], channel=APP, expires=now_ms() - 1)
    assert (await post(rig, "a1", [{"id": "3:0", "state": "displayed"}]))[0] == 202
    assert (await post(rig, "a2", [{"id": "3:0", "state": "displayed"}]))[0] == 422
    assert (await post(rig, "a1", [{"id": "3:1", "state": "displayed"}]))[0] == 422
    await rig.until(1)
    assert rig.evidence == [(3, 0, 2)]


@pytest.mark.parametrize("path", ["/v1/stream", "/v1/stream?once=1", "/v1/receipts"])
async def test_a_wrong_token_is_refused_everywhere(rig: Rig, path: str) -> None:
    wrong: list[dict[str, str]] = [
        {},
        {"Installation": "a1"},
        {"Authorization": rig.headers("a1")["Authorization"]},
        {"Installation": "a2", "Authorization": rig.headers("a1")["Authorization"]},
        {"Installation": "a1", "Authorization": rig.headers("a1")["Authorization"] + "A"},
    ]
    for headers in wrong:
        method = "POST" if path.endswith("receipts") else "GET"
        async with rig.session.request(method, path, headers=headers) as answer:
            assert answer.status == 401
            assert answer.headers["WWW-Authenticate"].startswith("Bearer")
            assert (await answer.json(content_type=None))["errors"][0]["rule"] == "device.token"


@pytest.mark.parametrize(
    ("body", "headers", "status"),
    [
        (b"", {}, 400),
        (b"{", {}, 400),
        (b"\x00\xff", {}, 400),
        (b"[" * 60_000, {}, 400),
        (b'["\\ud800", {"\\ud800": 1}]', {}, 422),
        (b"null", {}, 422),
        (b'[{"id":"1:1"}]', {}, 422),
        (b"[" + b" " * 70_000 + b"]", {}, 413),
        (b"[]", {"Content-Type": "text/plain"}, 415),
        (b"[]", {"Content-Type": ";;;"}, 415),
        (b"\x1f\x8b\x00\x00", {"Content-Encoding": "gzip"}, 415),
        (json.dumps([{"id": "1:1", "state": "delivered"}] * 1_001).encode(), {}, 422),
    ],
)
async def test_malformed_posts_are_refused_and_never_break_the_server(
    rig: Rig, body: bytes, headers: dict[str, str], status: int
) -> None:
    assert (await post(rig, "a1", body, **headers))[0] == status
    assert await catch_up(rig, "a1") == []


async def test_a_malformed_last_event_id_is_refused(rig: Rig) -> None:
    for value in ("x", "-1", "9" * 20, "１"):
        headers = rig.headers("a1") | {"Last-Event-ID": value}
        async with rig.session.get("/v1/stream", headers=headers) as answer:
            assert answer.status == 400


async def test_pages_that_do_not_exist_answer_as_problems(rig: Rig) -> None:
    async with rig.session.get("/v1/nothing") as answer:
        assert (answer.status, answer.content_type) == (404, "application/problem+json")
    async with rig.session.delete("/v1/stream") as answer:
        assert (answer.status, answer.headers["Allow"]) == (405, "GET")


async def test_expired_messages_are_not_given_out(rig: Rig) -> None:
    await rig.send(a_batch(5, ["a1"], channel=APP, expires=now_ms() + 300))
    assert identifiers(await catch_up(rig, "a1")) == ["5:0"]
    await asyncio.sleep(0.35)
    assert await catch_up(rig, "a1") == []


async def test_a_window_that_is_stopped_expired_or_unfit_is_not_put_into_mailboxes(rig: Rig) -> None:
    batch = a_batch(5, ["a1", "a2"], channel=APP)
    stopped = await rig.channel.send(window_of(batch), batch.rendition, lambda: True)
    assert {(rank_of(int(state)), reason_of(int(state))) for state in stopped.states} == {
        (Rank.WITHHELD, Reason.STOPPED)
    }
    expired = await rig.send(a_batch(6, ["a1"], channel=APP, expires=now_ms()))
    assert rank_of(int(expired.states[0])) == Rank.EXPIRED
    unfit = await rig.send(a_batch(7, ["a1"], channel=APP, level="Purple"))
    assert reason_of(int(unfit.states[0])) == Reason.REJECTED
    assert await catch_up(rig, "a1") == []


async def test_an_address_that_names_no_installation_fails_alone(rig: Rig) -> None:
    outcomes = await rig.send(a_batch(5, ["a1", "no such", "a2"], channel=APP), attempt=3)
    assert [reason_of(int(state)) for state in outcomes.states] == [
        Reason.NONE,
        Reason.INVALID_ADDRESS,
        Reason.NONE,
    ]
    assert identifiers(await catch_up(rig, "a2")) == ["5:2"]


async def test_open_batches_are_put_back_at_start_and_expired_ones_are_not(tmp_path: Path) -> None:
    batches = [
        a_batch(5, ["a1", "a2"], channel=APP),
        a_batch(6, ["a1"], channel=APP, expires=now_ms() - 1),
        a_batch(7, ["a1"], channel=APP, level=None),
        a_batch(8, ["a2"], channel=APP),
    ]
    async with running(APP, tmp_path, batches) as rig:
        rig.world.open.append(99)
        assert identifiers(await catch_up(rig, "a1")) == ["5:0"]
        assert identifiers(await catch_up(rig, "a2", last=8)) == ["5:1", "8:0"], "no receipt is remembered"
        assert rig.channel.healthy
    assert not rig.channel.healthy


FIRST, SECOND = "urn:oid:2.49.0.0.156.1", "urn:oid:2.49.0.0.156.2"


def withdrawals(events: list[SentEvent]) -> list[dict[str, list[str]]]:
    assert {event.identifier for event in events if event.name == "withdrawn"} <= {None}
    return [json.loads(event.data) for event in events if event.name == "withdrawn"]


async def test_withdrawing_an_alert_empties_the_mailboxes(rig: Rig) -> None:
    await rig.send(a_batch(5, ["a1"], channel=APP))
    await rig.channel.withdraw(FIRST)
    assert await catch_up(rig, "a1") == []


async def test_who_follows_is_told_at_once_what_of_theirs_is_over_and_keeps_its_place(rig: Rig) -> None:
    async with following(rig, "a1") as mine, following(rig, "a2") as other:
        await rig.send(a_batch(5, ["a0", "a1"], channel=APP))
        await rig.send(a_batch(6, ["a2", "a1"], channel=APP, alert=SECOND))
        assert [(await asyncio.wait_for(mine.get(), 5)).identifier for _ in range(2)] == ["5", "6"]
        assert (await asyncio.wait_for(other.get(), 5)).identifier == "6"
        assert await post(rig, "a1", [{"id": "6:1", "state": "delivered"}]) == (202, b"")
        for _ in range(2):
            await rig.channel.withdraw(FIRST)
        await rig.channel.withdraw(SECOND)
        events = [await asyncio.wait_for(mine.get(), 5) for _ in range(2)]
        assert withdrawals(events) == [
            {"ids": ["5:1"], "unreported": ["5:1"]},
            {"ids": ["6:1"], "unreported": []},
        ]
        assert withdrawals([await asyncio.wait_for(other.get(), 5)]) == [{"ids": ["6:0"], "unreported": ["6:0"]}]
        await rig.send(a_batch(9, ["a1"], channel=APP, alert="urn:3"))
        assert (await asyncio.wait_for(mine.get(), 5)).identifier == "9"
        assert mine.empty()
        assert other.empty()


async def test_who_was_away_is_told_at_every_return_what_it_may_have_until_that_expires(rig: Rig) -> None:
    await rig.send(a_batch(5, ["a1", "a2"], channel=APP))
    await rig.send(a_batch(7, ["a1"], channel=APP, expires=now_ms() + 1_500))
    await rig.send(a_batch(8, ["a1", "a2"], channel=APP, alert=SECOND))
    assert await post(rig, "a1", [{"id": "5:0", "state": "displayed"}]) == (202, b"")
    await rig.channel.withdraw(FIRST)
    for _ in range(2):
        events = await catch_up(rig, "a1", last=7)
        assert identifiers([event for event in events if event.name == "alert"]) == ["8:0"]
        assert [event.identifier for event in events if event.name == "alert"] == ["8"]
        assert withdrawals(events) in (
            [{"ids": ["5:0", "7:0"], "unreported": ["7:0"]}],
            [{"ids": ["5:0"], "unreported": []}],
        )
    async with following(rig, "a1", last=8) as stream:
        assert withdrawals([await asyncio.wait_for(stream.get(), 5)])[0]["ids"][0] == "5:0"
    # Who was never given it has nothing to hide.
    assert [event.name for event in await catch_up(rig, "a2")] == ["alert"]
    async with asyncio.timeout(20):
        while withdrawals(await catch_up(rig, "a1", last=8)) != [{"ids": ["5:0"], "unreported": []}]:
            await asyncio.sleep(0.05)


async def test_evidence_of_what_was_withdrawn_is_still_taken(rig: Rig) -> None:
    await rig.send(a_batch(5, ["a1", "a2"], channel=APP))
    await rig.channel.withdraw(FIRST)
    assert await post(rig, "a2", [{"id": "5:1", "state": "displayed"}]) == (202, b"")
    assert (await post(rig, "a2", [{"id": "5:0", "state": "displayed"}]))[0] == 422
    await rig.until(1)
    assert rig.evidence == [(5, 1, 2)]


async def test_what_was_over_before_the_start_is_put_back_as_withdrawn(tmp_path: Path) -> None:
    batches = [a_batch(5, ["a1"], channel=APP), a_batch(6, ["a1"], channel=APP, alert=SECOND)]
    async with running(APP, tmp_path, batches, over=[5]) as rig:
        events = await catch_up(rig, "a1", last=5)
        assert withdrawals(events) == [{"ids": ["5:0"], "unreported": ["5:0"]}]
        assert identifiers([event for event in events if event.name == "alert"]) == ["6:0"]
        assert [event.name for event in await catch_up(rig, "a1")] == ["alert"]


async def test_a_message_tells_what_it_is_and_what_it_takes_the_place_of(rig: Rig) -> None:
    await rig.send(a_batch(5, ["a1"], channel=APP))
    await rig.send(a_batch(6, ["a1"], channel=APP, alert=SECOND, phase="update", replaces=[FIRST]))
    (event,) = await catch_up(rig, "a1")
    message = json.loads(event.data)
    assert (message["id"], message["alert_id"], message["phase"]) == ("6:0", SECOND, "update")
    assert message["replaces"] == [FIRST]
    for wrong in ({"phase": "over"}, {"replaces": FIRST}, {"replaces": [1]}):
        refused = await rig.send(a_batch(7, ["a1"], channel=APP, alert="urn:3", **wrong))
        assert reason_of(int(refused.states[0])) == Reason.REJECTED


async def test_the_newest_stream_of_a_device_takes_over(rig: Rig) -> None:
    async with following(rig, "a1") as first, following(rig, "a1") as second:
        await rig.send(a_batch(5, ["a1"], channel=APP))
        assert identifiers([await asyncio.wait_for(second.get(), 5)]) == ["5:0"]
        assert first.empty()
        assert rig.channel.held_streams == 1


async def test_a_stream_ends_when_its_device_goes_and_heartbeats_come_meanwhile(tmp_path: Path) -> None:
    async with running(APP, tmp_path, heartbeat_seconds=0.05) as rig:
        answer = await rig.session.get("/v1/stream", headers=rig.headers("a1"))
        assert await answer.content.readuntil(b"\n\n") == b"retry: 2000\n\n"
        assert await answer.content.readuntil(b"\n\n") == b":\n\n"
        assert rig.channel.held_streams == 1
        answer.close()
        async with asyncio.timeout(5):
            while rig.channel.held_streams:
                await asyncio.sleep(0.01)


async def test_more_streams_than_allowed_are_told_to_come_back(tmp_path: Path) -> None:
    async with running(APP, tmp_path, max_streams=1) as rig, following(rig, "a1"):
        async with rig.session.get("/v1/stream", headers=rig.headers("a2")) as answer:
            assert (answer.status, answer.headers["Retry-After"]) == (503, "5")
        assert await catch_up(rig, "a2") == []


async def test_a_device_that_does_not_read_is_dropped_and_holds_nobody_up(tmp_path: Path) -> None:
    async with running(APP, tmp_path, max_backlog_bytes=4_096) as rig:
        reader, writer = await asyncio.open_connection("127.0.0.1", rig.channel.port, limit=1_024)
        fields = [f"{name}: {value}" for name, value in rig.headers("a1").items()]
        writer.write(Origin("127.0.0.1", rig.channel.port).head("GET", "/v1/stream", *fields) + b"\r\n")
        await reader.readuntil(b"retry: 2000\n\n")
        for batch in range(1, 400):
            await rig.send(a_batch(batch, ["a1"], channel=APP, body="雨" * 20_000))
            if not rig.channel.held_streams:
                break
        assert rig.channel.held_streams == 0
        writer.close()
        with contextlib.suppress(ConnectionError):
            await writer.wait_closed()
        assert len(await catch_up(rig, "a1")) == batch


async def test_closing_gives_out_the_evidence_that_is_still_held(tmp_path: Path) -> None:
    async with running(APP, tmp_path, flush_seconds=60.0) as rig:
        await rig.send(a_batch(5, ["a1"], channel=APP))
        assert (await post(rig, "a1", [{"id": "5:0", "state": "tapped"}]))[0] == 202
        assert rig.evidence == []
    assert rig.evidence == [(5, 0, 3)]


async def test_many_receipts_are_flushed_before_their_time(tmp_path: Path) -> None:
    async with running(APP, tmp_path, flush_seconds=60.0, flush_reports=10) as rig:
        await rig.send(a_batch(5, [f"a{index}" for index in range(10)], channel=APP))
        for index in range(10):
            await post(rig, f"a{index}", [{"id": f"5:{index}", "state": "delivered"}])
        await rig.until(10)
        assert rig.flushes == 1


async def test_the_channel_says_why_it_cannot_start(tmp_path: Path, rig: Rig) -> None:
    with pytest.raises(ChannelError, match="cannot listen"):
        async with running(APP, tmp_path, port=rig.channel.port):
            pass


async def test_two_thousand_held_streams_are_all_told(rig: Rig) -> None:
    streams = 2_000
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    if hard != resource.RLIM_INFINITY and hard < 2 * streams + 500:
        pytest.skip(f"the hard limit of {hard} open files is too low for both ends of {streams} streams")
    devices = [f"a{index:08d}" for index in range(streams)]
    told: dict[str, list[SentEvent]] = {device: [] for device in devices}
    origin = Origin("127.0.0.1", rig.channel.port)
    gate = asyncio.Semaphore(100)

    async def follow(device: str) -> EventStream:
        fields = [f"{name}: {value}" for name, value in rig.headers(device).items()]
        async with gate:
            return await EventStream.open(
                origin, origin.head("GET", "/v1/stream", *fields) + b"\r\n", told[device].append
            )

    open_streams = await asyncio.gather(*map(follow, devices))
    assert rig.channel.held_streams == streams
    outcomes = await rig.send(a_batch(5, devices, channel=APP))
    assert np.unique(outcomes.states).tolist() == [int(outcomes.states[0])]
    async with asyncio.timeout(20):
        while not all(told.values()):
            await asyncio.sleep(0.01)
    assert [identifiers(told[device]) for device in devices] == [[f"5:{index}"] for index in range(streams)]
    for stream in open_streams:
        stream.close()
    await asyncio.gather(*(stream.ended for stream in open_streams))


async def test_a_plain_http_client_can_follow_too(rig: Rig) -> None:
    async with (
        aiohttp.ClientSession() as session,
        session.get(f"{rig.channel.url}/v1/stream", headers=rig.headers("a1")) as answer,
    ):
        assert answer.headers["Cache-Control"] == "no-store"
        await rig.send(a_batch(5, ["a1"], channel=APP))
        await answer.content.readuntil(b"\n\n")
        assert (await answer.content.readuntil(b"\n\n")).startswith(b"id: 5\nevent: alert\ndata: {")
