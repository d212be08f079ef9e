"""kill -9 while departments post: whatever was answered 202 is in the store, whole, and nothing is there in part.

Posts come on many connections at once, so that the kill falls into transactions that several alerts share.
"""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import Iterator
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path

import pytest

from broker.intake import tokens
from broker.store.contract import Store
from broker.store.records import AlertRecord
from broker.store.sql import open_store
from broker.types import AlertState
from loadtest.client import Client, Slice, request
from loadtest.messages import Messages
from loadtest.processes import Child
from loadtest.scenario import LoadTestError
from loadtest.world import World, lay_out
from tests.support import postgres

CONNECTIONS = 16
BEFORE_THE_KILL = (1, 60, 150)
"""How many were answered when the process is killed; it is started anew each time, on the same data."""
LONG = 120.0


@pytest.fixture(params=["sqlite", "postgresql"])
def database(request: pytest.FixtureRequest) -> Iterator[str | None]:
    """None is the embedded store."""
    if request.param == "sqlite":
        yield None
        return
    with postgres.server() as server, postgres.scratch_database(server) as url:
        yield url


async def posts(world: World, messages: Messages, made: dict[str, str], first: int, enough: int) -> Slice:
    """Start the broker, post from many connections, and kill it once `enough` were answered."""
    child = await Child.start(
        "broker", "loadtest.role", "--config", str(world.config), errors=world.config.with_suffix(".log")
    )
    client = Client(child.ready["url"], CONNECTIONS)
    answered = Slice()

    def requests() -> Iterator[tuple[int, bytes]]:
        number = first
        while True:
            department, body = messages.message(number)
            yield number, request(client.host, "/v1/alerts", body, token=made[department])
            number += 1

    posting: asyncio.Task[Slice] | None = None
    try:
        await client.open()
        posting = asyncio.create_task(client.run(requests(), LONG, into=answered))
        async with asyncio.timeout(LONG):
            while len(answered.answered) < enough and not posting.done():
                await asyncio.sleep(0)
    finally:
        await child.kill()
        if posting is not None:
            with suppress(LoadTestError):
                await posting
        await client.close()
    assert len(answered.answered) >= enough
    return answered


async def everything(store: Store) -> dict[bytes, AlertRecord]:
    """All alerts by the digest that stands in the store."""
    found: dict[bytes, AlertRecord] = {}
    before = None
    while page := await store.alerts(limit=1_000, before=before):
        before = page[-1].id
        found |= {alert.digest: alert for alert in page}
    return found


@pytest.mark.timeout(400)
async def test_whatever_was_answered_202_is_in_the_store_after_kill_9(tmp_path: Path, database: str | None) -> None:
    world = lay_out(tmp_path / "world", store=database, transport=None, prefix=None)
    messages, made = Messages(datetime.now(UTC)), {}
    store = open_store(world.settings.store)
    await store.start()
    for department in messages.departments:
        made[department], record = tokens.new(department, days=1)
        await store.add_token(record)
    await store.close()

    promised: set[int] = set()
    for turn, enough in enumerate(BEFORE_THE_KILL):
        answered = await posts(world, messages, made, 100_000 * turn, enough)
        promised |= set(answered.answered)

        await store.start()
        try:
            found = await everything(store)
            digests = {hashlib.sha256(messages.message(number)[1]).digest() for number in promised}
            assert digests <= set(found)
            for alert in found.values():
                # The posts that were under way may be there or not, but whole: bytes, history, first move.
                whole = await store.alert(alert.id)
                assert hashlib.sha256(whole.body).digest() == alert.digest
                states = [event.state for event in await store.alert_events(alert.id)]
                assert states[0] is AlertState.RECEIVED
                assert len(states) >= 2
                assert alert.state is not AlertState.RECEIVED
        finally:
            await store.close()
    assert len(promised) >= sum(BEFORE_THE_KILL)
