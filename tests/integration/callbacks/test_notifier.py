"""Departments are told of their alerts' states by real requests to real servers, whatever these do."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
import structlog
from aiohttp import web
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.hmac import HMAC
from prometheus_client import CollectorRegistry

from broker.callbacks import registration
from broker.callbacks.notifier import Notifier
from broker.ports import free_port
from broker.sealing import Keyring
from broker.store.contract import Store
from broker.store.outside_records import DeliveryOutcome, DeliveryRecord
from broker.store.records import AlertEvent, AlertRecord
from broker.store.sql import open_store
from broker.types import AlertState
from tests.support.outside import Call, Far, cap, far_end, info, keep, moved, went_out
from tests.support.places import KEYRING
from tests.support.storing import planned
from tests.support.waiting import eventually

S = AlertState
OUT = [S.RECEIVED, S.RELEASED, S.PLANNED]


@pytest.fixture
async def store(tmp_path: Path) -> AsyncIterator[Store]:
    opened = open_store(f"sqlite:///{tmp_path / 'store.db'}")
    await opened.start()
    yield opened
    await opened.close()


async def ok(_request: web.Request) -> web.Response:
    return web.Response(status=204)


async def registered(store: Store, url: str, department: str = "met-hechuan", *states: str) -> tuple[str, str]:
    """(id, secret) of a fresh callback."""
    secret, record = registration.new(department, url, states, KEYRING)
    await store.add_callback(record)
    return record.id, secret


@asynccontextmanager
async def notifying(store: Store, keyring: Keyring = KEYRING, **how: Any) -> AsyncIterator[CollectorRegistry]:
    """A notifier that is in no hurry to give up."""
    registry = CollectorRegistry()
    told = {"poll_s": 0.01, "first_wait_s": 0.01, "timeout_s": 5.0} | how
    task = asyncio.create_task(Notifier(store, keyring, registry, **told).run())
    try:
        yield registry
    finally:
        task.cancel()
        ended = await asyncio.gather(task, return_exceptions=True)
        assert isinstance(ended[0], asyncio.CancelledError), ended


def told(far: Far, path: str = "/hook") -> list[dict[str, Any]]:
    return [json.loads(call.body) for call in far.calls if call.path == path]


def states_of(far: Far, alert: AlertRecord, path: str = "/hook") -> list[str]:
    return [each["state"] for each in told(far, path) if each["alert"] == alert.id]


def signed_by(call: Call, secret: str) -> bool:
    """Whether a request carries the signature that the documentation describes, worked out by another library."""
    mac = HMAC(secret.encode(), hashes.SHA256())
    mac.update(call.headers["Fenghuo-Timestamp"].encode() + b"." + call.body)
    return call.headers["Fenghuo-Signature"] == "v1=" + mac.finalize().hex()


async def outcomes(store: Store, callback: str) -> list[DeliveryOutcome]:
    return [each.outcome for each in reversed(await store.deliveries(callback=callback))]


# ── what is told ──────────────────────────────────────────────────────────────────────────────────────


async def test_every_state_is_told_in_order_and_signed(store: Store) -> None:
    async with far_end(hook=ok) as far:
        callback, secret = await registered(store, far.url("/hook"))
        async with notifying(store) as registry:
            alert = await went_out(store, cap(info(), identifier="one"))
            await eventually(lambda: states_of(far, alert) == OUT)
            await moved(store, alert, S.PLANNED, S.SENDING)
            await moved(store, alert, S.SENDING, S.COMPLETED)
            await eventually(lambda: states_of(far, alert) == [*OUT, S.SENDING, S.COMPLETED])
            await eventually(lambda: _all_delivered(store, callback, 5))
            assert registry.get_sample_value("fenghuo_callback_tries_total", {"outcome": "delivered"}) == 5
    now = time.time()
    for call in far.calls:
        assert signed_by(call, secret)
        assert not signed_by(Call(call.method, call.path, call.headers, call.body + b" "), secret)
        assert not signed_by(call, "fhs_another")
        assert abs(now - int(call.headers["Fenghuo-Timestamp"])) < 300
        assert call.method == "POST"
        assert call.headers["Content-Type"] == "application/json"
        assert call.headers["Fenghuo-Delivery"] == json.loads(call.body)["delivery"]
    first, *_, last = told(far)
    events = await store.alert_events(alert.id)
    assert {key: first[key] for key in ("alert", "identifier", "state", "why")} == {
        "alert": alert.id,
        "identifier": "one",
        "state": "received",
        "why": events[0].why,
    }
    assert last["why"] == "is completed now"
    assert len({each["delivery"] for each in told(far)}) == 5


async def test_the_counts_so_far_are_told(store: Store) -> None:
    async with far_end(hook=ok) as far:
        await registered(store, far.url("/hook"), "meteorology", "planned")
        async with notifying(store):
            await planned(store, (7, 5))
            (only,) = await eventually(lambda: told(far))
    assert only["channels"]["sms"]["planned"] == 12
    assert only["channels"]["sms"]["delivered"] == 0


async def test_a_department_is_told_of_its_own_alerts_and_the_states_it_asked_for(store: Store) -> None:
    async with far_end(hook=ok, other=ok) as far:
        await registered(store, far.url("/hook"), "met-hechuan", "planned", "cancelled")
        await registered(store, far.url("/other"), "geology")
        async with notifying(store):
            mine = await went_out(store, cap(info()))
            theirs = await went_out(store, cap(info()), department="geology")
            await eventually(lambda: states_of(far, theirs, "/other") == OUT)
            await eventually(lambda: states_of(far, mine) == [S.PLANNED])
        assert {each["alert"] for each in told(far)} == {mine.id}
        assert {each["alert"] for each in told(far, "/other")} == {theirs.id}


# ── what receivers do ─────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("status", [302, 400, 404, 410, 429, 500, 503])
async def test_only_success_is_success_and_the_next_state_waits_for_it(store: Store, status: int) -> None:
    refusals = 3

    async def hook(_request: web.Request) -> web.Response:
        nonlocal refusals
        refusals -= 1
        return web.Response(status=status, headers={"Location": "/elsewhere"}) if refusals >= 0 else web.Response()

    async with far_end(hook=hook, elsewhere=ok) as far:
        callback, _ = await registered(store, far.url("/hook"))
        async with notifying(store):
            alert = await went_out(store, cap(info()))
            await eventually(lambda: states_of(far, alert) == [S.RECEIVED] * 3 + OUT)
            await eventually(lambda: _all_delivered(store, callback, 3))
        assert far.count("/elsewhere") == 0
        assert len({each["delivery"] for each in told(far)[:4]}) == 1, "a try again is the same delivery"
    first = (await store.deliveries(callback=callback))[-1]
    assert first.attempts == 4


async def _all_delivered(store: Store, callback: str, n: int) -> bool:
    return await outcomes(store, callback) == [DeliveryOutcome.DELIVERED] * n


async def test_a_receiver_that_is_down_is_told_everything_when_it_is_back(store: Store) -> None:
    port = free_port()
    callback, _ = await registered(store, f"http://127.0.0.1:{port}/hook")
    async with notifying(store):
        alert = await went_out(store, cap(info()))

        async def tried() -> bool:
            return any(each.attempts >= 2 for each in await store.deliveries(callback=callback))

        await eventually(tried)
        async with far_end(port, hook=ok) as far:
            await eventually(lambda: states_of(far, alert) == OUT)


async def test_a_receiver_that_never_answers_delays_no_other(store: Store) -> None:
    async def never(_request: web.Request) -> web.Response:
        await asyncio.Event().wait()
        raise AssertionError

    async with far_end(hook=ok, never=never) as far:
        dead, _ = await registered(store, far.url("/never"))
        await registered(store, far.url("/hook"))
        async with notifying(store, timeout_s=600.0):
            alerts = [await went_out(store, cap(info())) for _ in range(8)]
            await eventually(lambda: all(states_of(far, alert) == OUT for alert in alerts))
            await eventually(lambda: far.count("/never") == 4)
        assert set(await outcomes(store, dead)) == {DeliveryOutcome.WAITING}


async def test_one_alert_that_is_never_taken_keeps_back_itself_only(store: Store) -> None:
    poison: list[str] = []

    async def hook(request: web.Request) -> web.Response:
        return web.Response(status=500 if (await request.json())["alert"] in poison else 200)

    async with far_end(hook=hook) as far:
        await registered(store, far.url("/hook"))
        bad = await keep(store, cap(info()))
        poison.append(bad.id)
        async with notifying(store):
            good = await went_out(store, cap(info()))
            await eventually(lambda: states_of(far, good) == OUT)
            await eventually(lambda: len(states_of(far, bad)) > 2)
        assert set(states_of(far, bad)) == {S.RECEIVED}


async def test_what_nobody_takes_for_long_is_given_up_and_shown(store: Store) -> None:
    async def refuses(_request: web.Request) -> web.Response:
        return web.Response(status=503)

    async with far_end(hook=refuses) as far:
        callback, _ = await registered(store, far.url("/hook?key=topsecret"))
        with structlog.testing.capture_logs() as logged:
            async with notifying(store, give_up_ms=40) as registry:
                await went_out(store, cap(info()))

                async def given_up() -> bool:
                    return await outcomes(store, callback) == [DeliveryOutcome.GIVEN_UP] * 3

                await eventually(given_up)
        assert registry.get_sample_value("fenghuo_callback_tries_total", {"outcome": "given_up"}) == 3
    shown = await store.deliveries(callback=callback, outcomes=(DeliveryOutcome.GIVEN_UP,))
    assert {(each.status, each.error) for each in shown} == {(503, "answered 503")}
    assert [entry for entry in logged if entry["event"] == "callback_given_up"]
    assert "topsecret" not in f"{logged}{shown}{await store.callbacks()}"


async def test_a_huge_answer_is_not_read(store: Store) -> None:
    async def endless(request: web.Request) -> web.StreamResponse:
        answer = web.StreamResponse()
        await answer.prepare(request)
        while True:
            await answer.write(b"x" * 65_536)

    async with far_end(hook=endless) as far:
        callback, _ = await registered(store, far.url("/hook"), "met-hechuan", "planned")
        async with notifying(store):
            await went_out(store, cap(info()))
            await eventually(lambda: _all_delivered(store, callback, 1))
    assert far.count("/hook") == 1


async def test_a_secret_that_cannot_be_opened_is_told_and_the_others_go_on(store: Store) -> None:
    async with far_end(hook=ok, lost=ok) as far:
        secret, record = registration.new("met-hechuan", far.url("/lost"), (), Keyring({"gone": b"g" * 32}))
        await store.add_callback(record)
        await registered(store, far.url("/hook"))
        async with notifying(store):
            alert = await went_out(store, cap(info()))
            await eventually(lambda: states_of(far, alert) == OUT)

            async def tried() -> list[DeliveryRecord]:
                return [each for each in await store.deliveries(callback=record.id) if each.attempts]

            (first,) = await eventually(tried)
        assert far.count("/lost") == 0
        assert "cannot be opened" in (first.error or "")
        assert secret not in (first.error or "")


# ── restarts and several processes ────────────────────────────────────────────────────────────────────


async def test_after_a_restart_it_goes_on_where_it_was(store: Store) -> None:
    async with far_end(hook=ok) as far:
        await registered(store, far.url("/hook"))
        async with notifying(store):
            first = await went_out(store, cap(info()))
            await eventually(lambda: states_of(far, first) == OUT)
        # Nobody tells anybody now; the events are kept.
        await moved(store, first, S.PLANNED, S.COMPLETED)
        second = await went_out(store, cap(info()))
        async with notifying(store):
            await eventually(lambda: states_of(far, second) == OUT)
            await eventually(lambda: states_of(far, first) == [*OUT, S.COMPLETED])


async def test_what_was_being_sent_when_it_was_stopped_is_sent_again(store: Store) -> None:
    hold = asyncio.Event()

    async def hook(_request: web.Request) -> web.Response:
        await hold.wait()
        return web.Response()

    async with far_end(hook=hook) as far:
        await registered(store, far.url("/hook"))
        async with notifying(store):
            alert = await keep(store, cap(info()))
            await eventually(lambda: far.count("/hook") == 1)
        hold.set()
        # The claim of the one that was stopped runs out by its lease; a day later by the clock nobody waits for it.
        (waiting,) = await store.deliveries()
        assert waiting.outcome is DeliveryOutcome.WAITING
        due = await store.due_deliveries(waiting.callback, waiting.next_try + 60_000, limit=10)
        assert [each.id for each in due] == [waiting.id]
    assert states_of(far, alert) == [S.RECEIVED]


async def test_several_processes_tell_each_state_once(store: Store, tmp_path: Path) -> None:
    others = [open_store(f"sqlite:///{tmp_path / 'store.db'}") for _ in range(2)]
    for other in others:
        await other.start()
    async with far_end(hook=ok) as far:
        callback, _ = await registered(store, far.url("/hook"))
        async with notifying(store), notifying(others[0]), notifying(others[1]):
            alerts = [await went_out(store, cap(info())) for _ in range(10)]
            await eventually(lambda: _all_delivered(store, callback, 30))
    for other in others:
        await other.close()
    assert [states_of(far, alert) for alert in alerts] == [OUT] * 10


async def test_a_callback_that_is_removed_is_told_nothing_more(store: Store) -> None:
    async with far_end(hook=ok, other=ok) as far:
        callback, _ = await registered(store, far.url("/hook"))
        await registered(store, far.url("/other"))
        async with notifying(store):
            first = await went_out(store, cap(info()))
            await eventually(lambda: states_of(far, first) == OUT)
            assert await store.remove_callback(callback)
            second = await went_out(store, cap(info()))
            await eventually(lambda: states_of(far, second, "/other") == OUT)
        assert states_of(far, second) == []


async def test_notes_in_the_history_are_told_too(store: Store) -> None:
    async with far_end(hook=ok) as far:
        await registered(store, far.url("/hook"))
        async with notifying(store):
            alert = await went_out(store, cap(info()))
            await store.note_alert(AlertEvent(alert.id, alert.received, S.PLANNED, "x", "acknowledged by the city"))
            await eventually(lambda: len(told(far)) == 4)
    assert told(far)[-1]["why"] == "acknowledged by the city"
