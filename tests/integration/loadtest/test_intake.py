"""The scenario `intake` from end to end; how fast it is is nobody's business here."""

from __future__ import annotations

import asyncio
import json
import sys
from asyncio.subprocess import PIPE
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import pytest
from aiohttp import web

from broker.api.server import Server
from broker.cap.document import read
from loadtest import plots, report
from loadtest.client import Client, request
from loadtest.intake import SCENARIO
from loadtest.messages import Messages
from loadtest.scenario import LoadTestError, Result, parts
from tests.support import postgres, rabbitmq

ROOT = Path(__file__).parents[3]


@pytest.fixture(scope="session")
def amqp(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with rabbitmq.shared_server(tmp_path_factory.getbasetemp().parent / "rabbitmq") as url:
        yield url


@pytest.fixture(scope="session")
def database() -> Iterator[str]:
    with postgres.server() as url, postgres.scratch_database(url) as scratch:
        yield scratch


async def test_intake_ends_with_one_object_that_counts_only_what_is_in_the_stores(amqp: str, database: str) -> None:
    options = (
        "--connections",
        "4",
        "--seconds",
        "1",
        "--rounds",
        "2",
        "--signed",
        "90",
        "--amqp",
        amqp,
        "--database",
        database,
    )
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "loadtest", "intake", "--json", *options), stdout=PIPE, stderr=PIPE, cwd=ROOT
    )
    try:
        output, errors = await asyncio.wait_for(process.communicate(), 110)
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
    assert process.returncode == 0, errors.decode()
    result = json.loads(output.splitlines()[-1])
    assert {"scenario", "measured", "control", "ratio", "machine", "sqlite", "signed"} <= set(result)
    assert result["scenario"] == "intake"
    assert set(result["machine"]) >= {"postgresql", "rabbitmq", "cpu", "cores"}
    again = Result.of(output.decode())
    assert json.loads(again.json()) == result
    for title, part in parts(again):
        measured, control = part["measured"], part["control"]
        assert measured["store"] == ("sqlite" if title == "sqlite" else "postgresql")
        assert len(measured["rounds"]) == len(control["rounds"]) == 2
        assert 0 < measured["accepted"] == measured["found_in_store"]
        assert 0 < measured["p50_ms"] <= measured["p99_ms"]
        assert measured["peak_memory_mb"] > 10
        assert part["ratio"] == pytest.approx(measured["accepts_per_s"] / control["accepts_per_s"], abs=0.0006)
    assert any("sqlite: ratio" in line for line in report.lines(again))
    drawn = plots.side_by_side([("own", again.measured, again.control)], SCENARIO.figure)
    assert "Accepts per second" in drawn
    statement = (
        "DO $$ BEGIN ASSERT (SELECT count(*) FROM pg_database WHERE datname LIKE 'fenghuo_load%') = 0; END $$"
    )
    await asyncio.to_thread(postgres.run_sql, database, statement)


def test_messages_are_valid_and_no_two_are_alike() -> None:
    now = datetime.now(UTC)
    messages = Messages(now)
    assert len(messages.departments) == 4
    bodies, identities = set(), set()
    shapes: set[str] = set()
    for number in range(24):
        department, body = messages.message(number)
        assert department in messages.departments
        assert messages.message(number) == (department, body)
        reading = read(body, "xml", now=now)
        assert reading.valid, reading.errors
        assert reading.alert is not None
        bodies.add(body)
        identities.add(reading.alert.identity)
        areas = [area for info in reading.alert.infos for area in info.areas]
        shapes |= {polygon.text for area in areas for polygon in area.polygons}
        shapes |= {circle.text for area in areas for circle in area.circles}
    assert len(bodies) == len(identities) == 24
    assert len(shapes) == 12


async def served(status: int) -> Server:
    async def answer(request: web.Request) -> web.Response:
        await request.read()
        return web.json_response({"echo": "x" * 3000}, status=status)

    app = web.Application()
    app.router.add_post("/v1/alerts", answer)
    server = Server(app, "127.0.0.1", 0)
    await server.start()
    return server


async def test_the_client_counts_every_answer_that_came() -> None:
    server = await served(202)
    client = Client(server.url, 3)
    await client.open()
    try:
        posts = ((number, request(client.host, "/v1/alerts", b"<a/>", token="t")) for number in range(1_000_000))
        slice_ = await client.run(posts, 0.3)
    finally:
        await client.close()
        await server.close()
    assert sorted(slice_.answered) == list(range(len(slice_.answered)))
    assert len(slice_.latencies) == len(slice_.answered) > 3
    assert slice_.per_second > 0


async def test_any_answer_but_202_ends_the_measurement() -> None:
    server = await served(422)
    client = Client(server.url, 2)
    await client.open()
    try:
        posts = ((number, request(client.host, "/v1/alerts", b"<a/>", token="t")) for number in range(1_000_000))
        with pytest.raises(LoadTestError, match="422"):
            await client.run(posts, 5)
    finally:
        await client.close()
        await server.close()
