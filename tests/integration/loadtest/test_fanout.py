"""The scenarios run from end to end; how fast they are is nobody's business here."""

from __future__ import annotations

import asyncio
import json
import sys
from asyncio.subprocess import PIPE
from pathlib import Path
from typing import Any

import asyncpg
import pytest

from broker.store.sql import open_store
from broker.types import ChannelName
from loadtest import machine, plots, report, servers
from loadtest.fanout import SCENARIO
from loadtest.scenario import LoadTestError, Result, Scenario, Variant
from loadtest.world import fill, lay_out, red_alert
from tests.support import postgres, rabbitmq

ROOT = Path(__file__).parents[3]


@pytest.fixture(scope="session")
def amqp(tmp_path_factory: pytest.TempPathFactory) -> Any:
    with rabbitmq.shared_server(tmp_path_factory.getbasetemp().parent / "rabbitmq") as url:
        yield url


@pytest.fixture(scope="session")
def database() -> Any:
    with postgres.server() as url, postgres.scratch_database(url) as scratch:
        yield scratch


async def loadtest(*arguments: str) -> tuple[int, str, str]:
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "loadtest", *arguments), stdout=PIPE, stderr=PIPE, cwd=ROOT
    )
    try:
        output, errors = await asyncio.wait_for(process.communicate(), 110)
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
    assert process.returncode is not None
    return process.returncode, output.decode(), errors.decode()


def check(result: dict[str, Any], form: str, processes: int) -> None:
    assert list(result) == ["scenario", "measured", "control", "ratio", "machine"]
    measured, control = result["measured"], result["control"]
    assert (result["scenario"], measured["form"], control["form"]) == ("fanout", form, form)
    assert (measured["recipients"], control["recipients"]) == (20_000, 300)
    assert len(measured["rounds"]) == 2
    assert measured["processes"] == len(measured["peak_memory_mb"]) == processes
    assert all(memory > 10 for memory in measured["peak_memory_mb"].values())
    assert 0 < measured["p50_s"] <= measured["p99_s"] <= max(own["seconds"] for own in measured["rounds"])
    speeds = measured["recipients_per_s"], control["recipients_per_s"]
    assert result["ratio"] == pytest.approx(speeds[0] / speeds[1], abs=0.06)


async def test_embedded_fanout_ends_with_one_object_whose_figures_agree() -> None:
    options = ("--recipients", "20000", "--sample", "300", "--rounds", "2", "--embedded", "--json")
    code, output, errors = await loadtest("fanout", *options)
    assert code == 0, errors
    result = json.loads(output.splitlines()[-1])
    check(result, "embedded", processes=1)
    assert list(report.lines(Result(**result)))


async def test_fanout_on_servers_has_a_process_for_each_role_and_leaves_nothing_behind(
    amqp: str, database: str
) -> None:
    options = ("--recipients", "20000", "--sample", "300", "--rounds", "2", "--json")
    code, output, errors = await loadtest("fanout", *options, "--amqp", amqp, "--database", database)
    assert code == 0, errors
    result = json.loads(output.splitlines()[-1])
    check(result, "production", processes=5)
    assert set(result["machine"]) >= {"postgresql", "rabbitmq", "cpu", "cores"}
    for table, column, name in (
        ("pg_tables", "tablename", "fenghuo_control%"),
        ("pg_database", "datname", "fenghuo_load%"),
    ):
        statement = f"DO $$ BEGIN ASSERT (SELECT count(*) FROM {table} WHERE {column} LIKE '{name}') = 0; END $$"
        await asyncio.to_thread(postgres.run_sql, database, statement)


async def test_private_servers_answer_and_are_gone_afterwards() -> None:
    async with servers.postgres() as url:
        connection = await asyncpg.connect(url)
        assert await connection.fetchval("SELECT 1") == 1
        await connection.close()
    with pytest.raises(OSError):
        await asyncpg.connect(url)
    async with servers.rabbitmq() as url:
        assert await servers.rabbit_version(url)
    with pytest.raises(OSError):
        await servers.rabbit_version(url)


async def test_a_number_that_is_none_is_misuse() -> None:
    code, output, errors = await loadtest("fanout", "--recipients", "0")
    assert (code, output) == (2, "")
    assert "is not a number from 1 up" in errors


async def test_the_made_up_registry_holds_as_many_as_were_asked_for_each_with_an_address(tmp_path: Path) -> None:
    world = lay_out(tmp_path / "world", store=None, transport=None, prefix=None)
    store = open_store(world.settings.store)
    await store.start()
    try:
        filled = await fill(world, store, 5_000)
        pages = [page async for page in store.pages(ChannelName.SMS)]
    finally:
        await store.close()
    assert sum(len(page) for page in pages) == 5_000
    assert all(page.addresses for page in pages)
    assert filled.token not in repr(filled)
    assert filled.password not in repr(filled)
    assert red_alert(0) != red_alert(1)


def a_result(speed: float) -> Result:
    measured = {"recipients_per_s": speed, "peak_memory_mb": {"embedded": 200.5}, "rounds": []}
    return Result("fanout", measured, {"recipients_per_s": 900.0}, speed / 900, machine.describe(rabbitmq="3.10"))


def test_a_plot_shows_both_arms_and_the_longer_bar_is_the_faster() -> None:
    made = a_result(1_500_000.0)
    drawn = plots.side_by_side([("A & B", made.measured, made.control)])
    assert "A &amp; B" in drawn
    assert "1,500,000/s" in drawn
    assert "900/s" in drawn
    widths = [float(part.split('width="')[1].split('"')[0]) for part in drawn.splitlines() if "<rect x=" in part]
    assert widths[0] > widths[1]


def test_the_report_is_made_of_kept_numbers_when_nothing_is_measured_anew(tmp_path: Path) -> None:
    folder = tmp_path / "benchmarks"
    folder.mkdir()
    (folder / "fanout-embedded.json").write_text(a_result(1_200_000.0).json())
    assert report.write([SCENARIO], tmp_path, only=[]) == 0
    page = (tmp_path / "benchmarks.md").read_text()
    assert "| recipients_per_s | 1,200,000.0 | 900.0 |" in page
    assert "rabbitmq 3.10" in page
    assert "benchmarks/fanout.svg" in page
    assert (folder / "fanout.svg").read_text().startswith("<svg")
    with pytest.raises(LoadTestError, match="no variant"):
        report.write([SCENARIO], tmp_path, only=["fanuot"])


def test_every_variant_of_the_report_is_a_command_that_is_understood() -> None:
    import argparse

    for scenario in (SCENARIO,):
        assert isinstance(scenario, Scenario)
        for variant in scenario.variants:
            assert isinstance(variant, Variant)
            parser = argparse.ArgumentParser()
            scenario.add_arguments(parser)
            assert parser.parse_args(variant.arguments).recipients >= 1_000_000
