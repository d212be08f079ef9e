"""The store as a whole: it starts, holds what it confirmed, says what is wrong, and others may stand beside it."""

from __future__ import annotations

import asyncio
import stat
from dataclasses import replace
from pathlib import Path

import pytest
import sqlalchemy as sa
from alembic.autogenerate import compare_metadata
from alembic.runtime.migration import MigrationContext
from sqlalchemy.ext.asyncio import create_async_engine

from broker.errors import ClaimLost, ConfigError, StoreError
from broker.ledger.state import DELIVERED
from broker.store.contract import Store
from broker.store.schema import metadata
from broker.store.sql import open_store
from broker.types import AlertState
from tests.support import store_process
from tests.support.postgres import PrivateServer, scratch_database
from tests.support.storing import T0, a_plan, add, an_alert, an_event, planned, reports


def _async_url(url: str) -> str:
    return url.replace("sqlite:", "sqlite+aiosqlite:").replace("postgresql:", "postgresql+asyncpg:")


async def test_the_migrations_build_exactly_the_tables_of_the_schema(store: Store, store_url: str) -> None:
    engine = create_async_engine(_async_url(store_url))

    def differences(connection: sa.Connection) -> list[object]:
        return list(compare_metadata(MigrationContext.configure(connection), metadata))

    async with engine.connect() as connection:
        assert await connection.run_sync(differences) == []
    await engine.dispose()


async def test_starting_on_current_tables_changes_nothing(store: Store, store_url: str) -> None:
    await add(store, an_alert("A1"))
    first = await store.reserve_batches(7)
    await store.close()
    again = open_store(store_url)
    await again.start()
    assert (await again.alert("A1")).identifier == "A1"
    assert await again.reserve_batches(1) == first + 7
    await again.close()


async def test_tables_of_a_newer_version_are_refused(store: Store, store_url: str) -> None:
    await store.close()
    engine = create_async_engine(_async_url(store_url))
    async with engine.begin() as connection:
        await connection.execute(sa.text("UPDATE alembic_version SET version_num = 'r9999'"))
    await engine.dispose()
    older = open_store(store_url)
    with pytest.raises(StoreError, match="r9999"):
        await older.start()
    await older.close()


async def test_processes_that_start_at_once_on_an_empty_database_do_not_collide(
    store_url: str, tmp_path: Path
) -> None:
    go = tmp_path / "go"
    processes = [store_process.launch("add", store_url, go) for _ in range(2)]
    try:
        while not (ready := go.with_suffix(".ready")).exists() or len(ready.read_text()) < len(processes):
            assert [process.poll() for process in processes] == [None, None]
            await asyncio.sleep(0.02)
        go.touch()
        assert [await asyncio.to_thread(process.wait, 60) for process in processes] == [0, 0]
    finally:
        for process in processes:
            process.kill()
            process.wait()
    store = open_store(store_url)
    await store.start()
    assert [alert.id for alert in await store.alerts()] == ["A2", "A1"]
    await store.close()


async def test_two_stores_of_one_process_can_start_at_once(store_url: str) -> None:
    stores = [open_store(store_url) for _ in range(2)]
    await asyncio.gather(*(store.start() for store in stores))
    await add(stores[0], an_alert("A1"))
    assert (await stores[1].alert("A1")).id == "A1"
    for store in stores:
        await store.close()


async def test_ping_writes(store: Store) -> None:
    await store.ping()
    await store.ping()


async def test_a_store_in_memory_works_over_all_its_connections() -> None:
    store = open_store("sqlite:///:memory:")
    await store.start()
    plan = await planned(store, (3, 4))
    pages, counters, recount = await asyncio.gather(
        store.batch_ids(alert=plan.alert), store.counters(plan.alert), store.recount(plan.alert)
    )
    assert pages == [batch.id for batch in plan.batches]
    assert counters == recount
    await store.ping()
    await store.close()


@pytest.mark.parametrize(
    "url", ["mysql://u:secret@h/d", "sqlite://", "nothing", "postgresql+psycopg://u:secret@h/d"]
)
def test_a_url_of_no_known_store_is_refused_without_repeating_its_password(url: str) -> None:
    with pytest.raises(ConfigError) as refused:
        open_store(url)
    assert "secret" not in str(refused.value)


async def test_a_write_goes_on_to_its_commit_when_the_caller_is_cancelled(store: Store, store_url: str) -> None:
    caller = asyncio.ensure_future(add(store, an_alert("A1")))
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    caller.cancel()
    with pytest.raises(asyncio.CancelledError):
        await caller
    await store.close()
    again = open_store(store_url)
    await again.start()
    assert (await again.alert("A1")).id == "A1"
    await again.close()


async def test_errors_of_the_driver_come_as_store_errors_with_their_cause_and_without_values(store: Store) -> None:
    await add(store, an_alert("A1"))
    with pytest.raises(StoreError) as failed:
        await add(store, an_alert("A1", sender="other@example.org", body=b"138-secret"))
    assert failed.value.__cause__ is not None
    assert "secret" not in str(failed.value)
    await add(store, an_alert("A2"))  # the failure left no transaction open


async def test_of_many_writes_at_once_those_that_fail_take_nothing_else_with_them(store: Store) -> None:
    plan = await planned(store, (5, 5))
    good, bad = (batch.id for batch in plan.batches)
    claim = await store.claim(good, 1, "w", 600_000)
    await add(store, an_alert("A0"))
    assert claim is not None
    missing_rendition = await a_plan(store, (3,))
    broken = replace(missing_rendition, renditions=())
    writes = [
        *(add(store, an_alert(f"A{i}")) for i in range(1, 20)),
        *(add(store, an_alert("A0", sender=f"other{i}")) for i in range(5)),
        store.commit_plan(broken, an_event(broken.alert, AlertState.PLANNED)),
        store.merge([reports(good, (0, DELIVERED, T0)), reports(bad, (99, DELIVERED, T0))]),
        store.merge([reports(good, (1, DELIVERED, T0))]),
        store.mark(claim, low=1, high=2, lease_ms=600_000),
        store.mark(replace(claim, owner="other"), low=3, high=4, lease_ms=600_000),
    ]
    outcomes = await asyncio.gather(*writes, return_exceptions=True)
    assert [type(outcome) for outcome in outcomes[19:]] == [
        *[StoreError] * 6,
        IndexError,
        type(None),
        type(None),
        ClaimLost,
    ]
    assert {alert.id for alert in await store.alerts()} == {f"A{i}" for i in range(20)} | {plan.alert, broken.alert}
    assert (await store.alert(broken.alert)).state is AlertState.RELEASED
    assert await store.batch_ids(alert=broken.alert) == []
    assert (await store.ledger_row(good)).states.tolist() == [0, DELIVERED, 0, 0, 0]
    await store.release_claims()
    taken = await store.claim(good, 1, "w", 600_000)
    assert taken is not None
    assert (taken.low, taken.high) == (1, 2)


async def test_a_file_that_cannot_be_made_is_a_store_error(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    impossible = open_store(f"sqlite:///{tmp_path / 'file' / 'store.db'}")
    with pytest.raises(StoreError):
        await impossible.start()
    await impossible.close()


async def test_the_folder_of_the_file_is_made_for_its_owner_only(tmp_path: Path) -> None:
    store = open_store(f"sqlite:///{tmp_path / 'new' / 'store.db'}")
    await store.start()
    await store.close()
    assert (tmp_path / "new").stat().st_mode & 0o077 == 0


async def test_a_file_that_is_no_database_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "store.db"
    path.write_bytes(b"these are not the pages of a database" * 100)
    store = open_store(f"sqlite:///{path}")
    with pytest.raises(StoreError, match="not a database"):
        await store.start()
    await store.close()


async def test_what_was_confirmed_outlives_a_kill_of_the_process(store_url: str, tmp_path: Path) -> None:
    told = tmp_path / "told"
    process = store_process.launch("merge", store_url, told)
    try:
        while not told.exists() or len(told.read_text().splitlines()) < 10:
            assert process.poll() is None
            await asyncio.sleep(0.01)
    finally:
        process.kill()
        process.wait()
    alert, rounds = told.read_text().splitlines()[-1].split()
    store = open_store(store_url)
    await store.start()
    (counters,) = await store.counters(alert)
    assert counters.counts[0] == store_process.ROUND * store_process.ROUNDS
    # What was told of is there; the round that was under way at the kill is there whole or not at all.
    delivered = counters.counts[2]
    assert delivered in (store_process.ROUND * int(rounds), store_process.ROUND * (int(rounds) + 1))
    assert await store.recount(alert) == [counters]
    await store.close()


async def test_postgresql_goes_on_after_its_server_crashed_and_came_back() -> None:
    server = PrivateServer()
    try:
        await asyncio.to_thread(server.start)
        store = open_store(server.url)
        await store.start()
        await add(store, an_alert("A1", state=AlertState.RELEASED))
        server.kill()
        with pytest.raises(StoreError):
            await store.ping()
        await asyncio.to_thread(server.start)
        await store.ping()
        assert (await store.alert("A1")).state is AlertState.RELEASED
        await store.close()
    finally:
        await asyncio.to_thread(server.remove)


def test_a_scratch_database_is_gone_afterwards(postgres_server: str) -> None:
    with scratch_database(postgres_server) as url:
        asyncio.run(_ping(url))
    with pytest.raises(StoreError):
        asyncio.run(_ping(url))


async def _ping(url: str) -> None:
    store = open_store(url)
    try:
        await store.start()
        await store.ping()
    finally:
        await store.close()


async def test_the_file_of_a_store_is_for_its_owner_only(tmp_path: Path) -> None:
    path = tmp_path / "store.db"
    store = open_store(f"sqlite:///{path}")
    await store.start()
    await add(store, an_alert("A1"))
    assert [stat.S_IMODE(each.stat().st_mode) for each in tmp_path.iterdir()] == [0o600] * 3
    await store.close()
