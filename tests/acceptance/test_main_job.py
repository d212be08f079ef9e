"""The main job as a story: departments post, villages receive, and the far ends' own logs agree with the ledger."""

from __future__ import annotations

import asyncio
import json
import shutil
import signal
from collections import Counter
from collections.abc import AsyncIterator, Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import aio_pika
import aiohttp
import asyncpg
import pytest
import pytest_asyncio

from broker.demo.proof import Prover
from broker.demo.servers import Corner
from broker.demo.setup import Layout
from broker.sealing import Keyring
from broker.store.sql import open_store
from broker.transport.topology import FLOOR, topology
from tests.support import processes
from tests.support.processes import (
    SMALL,
    Command,
    counted,
    end_all,
    far_end_lines,
    planned_of,
    relatives,
    result_of,
    start_demo,
    until,
    until_gone,
)

pytestmark = [pytest.mark.asyncio(loop_scope="module"), pytest.mark.timeout(600)]

CHANNELS = ("sms", "broadcast", "app", "signage")
COUNTS = ("planned", "sent", "delivered", "presented", "failed", "expected")
TIMES = ("seconds_to_first", "seconds_to_90", "seconds_to_last")
LONG = 400.0
"""Seconds for a whole demo on a machine that does other things too."""


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def embedded(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Command]:
    """The embedded form, run to its end."""
    data = tmp_path_factory.mktemp("embedded") / "demo"
    command = await start_demo(data, SMALL)
    try:
        await command.wait(LONG)
        yield command
    finally:
        await command.kill()
        end_all(data)


@pytest.fixture
def folder(tmp_path: Path) -> Iterator[Path]:
    """A folder of which no process outlives the test."""
    yield tmp_path / "demo"
    end_all(tmp_path / "demo")


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def killed(
    tmp_path_factory: pytest.TempPathFactory, amqp_server: Callable[[], str], postgres_server: str
) -> AsyncIterator[Command]:
    """The production form, killed while it sends: asked for first and last, since some of it may stay a while."""
    amqp = await asyncio.to_thread(amqp_server)
    data = tmp_path_factory.mktemp("killed") / "demo"
    command = await start_demo(data, SMALL, "--amqp", amqp, "--database", postgres_server)
    try:
        await until(lambda: counted(data, "broadcast", "received") > 0, LONG)
        assert any("mosquitto" in role_of(process) for process in relatives(data))
        await command.kill()
        yield command
    finally:
        await command.kill()
        end_all(data)
        if (data / "corner.json").exists():
            await Corner.of(data / "corner.json").remove(postgres_server, amqp, shards=1)


def assert_proved(command: Command) -> dict[str, Any]:
    """Exit code 0, and a result in which everything agrees."""
    assert command.process.returncode == 0, command.said
    result = result_of(command)
    assert result["disagreements"] == []
    assert len(result["alerts"]) == 3
    for alert in result["alerts"]:
        assert alert["state"] == "completed"
        for channel, numbers in alert["channels"].items():
            where = (alert["level"], channel, numbers)
            assert numbers["planned"] == numbers["expected"], where
            assert numbers["delivered"] + numbers["failed"] == numbers["planned"], where
            assert numbers["presented"] <= numbers["delivered"] <= numbers["sent"] <= numbers["planned"], where
    return result


async def test_roles_and_mqtt_server_end_soon_after_the_demo_was_killed(killed: Command) -> None:
    await until(lambda: not any(role_of(process) for process in relatives(killed.folder)), 60, 0.5)


async def test_it_ends_with_0_and_one_json_object_last_on_standard_output(embedded: Command) -> None:
    result = assert_proved(embedded)

    assert embedded.out.read_text().count("\n") == 1
    assert [alert["level"] for alert in result["alerts"]] == ["Red", "Orange", "Yellow"]
    assert len({alert["identifier"] for alert in result["alerts"]}) == 3
    for alert in result["alerts"]:
        assert tuple(alert["channels"]) == CHANNELS
        for numbers in alert["channels"].values():
            assert set(numbers) == {*COUNTS, *TIMES}
            assert all(isinstance(numbers[name], int) for name in COUNTS)
    assert "暴雨红色" in embedded.errors.read_text()


async def test_every_area_holds_people_and_most_of_them_are_reached_on_every_channel(embedded: Command) -> None:
    for alert in assert_proved(embedded)["alerts"]:
        for channel, numbers in alert["channels"].items():
            assert numbers["planned"] > 0, (alert["level"], channel)
            assert numbers["delivered"] >= 0.9 * numbers["planned"], (alert["level"], channel, numbers)
            if channel != "sms":  # a phone does not say whether anybody looked
                assert numbers["presented"] == numbers["delivered"], (alert["level"], channel, numbers)


async def test_times_are_told_in_order_and_only_where_something_arrived(embedded: Command) -> None:
    for alert in assert_proved(embedded)["alerts"]:
        for numbers in alert["channels"].values():
            first, ninetieth, last = (numbers[name] for name in TIMES)
            assert 0 < first <= last
            assert ninetieth is None or first <= ninetieth <= last
            assert (ninetieth is None) == (numbers["delivered"] < 0.9 * numbers["planned"])


async def test_the_far_ends_hold_exactly_those_messages_and_each_once(embedded: Command) -> None:
    result = assert_proved(embedded)

    for channel in CHANNELS:
        lines = list(far_end_lines(embedded.folder, channel))
        for event, name in (("received", "sent"), ("delivered", "delivered"), ("presented", "presented")):
            told = Counter((line["address"], line["message"]) for line in lines if line["event"] == event)
            total = sum(alert["channels"][channel][name] for alert in result["alerts"])
            assert len(told) == total, (channel, event)
            if event != "delivered":
                assert set(told.values()) <= {1}, (channel, event)
    assert result["repeats"] == 0


@dataclass(frozen=True)
class Forgery:
    """A change of the far ends' logs, and what the proof must say of it."""

    name: str
    channel: str
    forge: Callable[[list[dict[str, Any]]], object]
    said: str


def last(lines: list[dict[str, Any]], event: str) -> dict[str, Any]:
    """The last line of an event."""
    return next(line for line in reversed(lines) if line["event"] == event)


FORGERIES = (
    Forgery("nothing", "sms", lambda lines: None, ""),
    Forgery(
        "a message is missing", "sms", lambda lines: lines.remove(last(lines, "delivered")), "only in the ledger"
    ),
    Forgery(
        "a stranger got one",
        "sms",
        lambda lines: lines.append(last(lines, "received") | {"address": "8610000000000"}),
        "outside the area",
    ),
    Forgery(
        "another text went out",
        "sms",
        lambda lines: lines.append(last(lines, "received") | {"message": "another text"}),
        "no alert explains",
    ),
    Forgery(
        "a terminal played twice", "broadcast", lambda lines: lines.append(last(lines, "presented")), "played twice"
    ),
    Forgery("a screen showed nothing", "signage", lambda lines: lines.remove(last(lines, "presented")), "ledger"),
    Forgery(
        "an app tells of another's delivery",
        "app",
        lambda lines: lines.append(last(lines, "delivered") | {"address": "a99999999"}),
        "only in the far end's log",
    ),
)


@pytest.mark.parametrize("forgery", FORGERIES, ids=lambda forgery: forgery.name)
async def test_the_proof_sees_what_does_not_agree(embedded: Command, tmp_path: Path, forgery: Forgery) -> None:
    """The demo's exit code is worth what its proof is worth."""
    assert_proved(embedded)
    data = tmp_path / "copy"
    shutil.copytree(embedded.folder, data)
    log = data / "far-ends" / f"{forgery.channel}.jsonl"
    lines = list(far_end_lines(data, forgery.channel))
    forgery.forge(lines)
    log.write_text("".join(json.dumps(line, ensure_ascii=False) + "\n" for line in lines))
    store = open_store(f"sqlite:///{data / 'broker' / 'fenghuo.db'}")
    await store.start()
    try:
        alerts = [(alert.id, alert.headline) for alert in await store.alerts()]
        proof = await Prover(Layout(data), store, Keyring.load(data / "keys" / "address.keys")).prove(alerts)
    finally:
        await store.close()

    assert proof.good == (not forgery.said), proof.disagreements
    assert any(forgery.said in line for line in proof.disagreements) or not forgery.said


async def test_no_phone_number_and_no_token_stands_in_what_it_prints_and_logs(embedded: Command) -> None:
    logs = "".join(path.read_text() for path in (embedded.folder / "far-ends").glob("*.stderr"))
    told = embedded.out.read_text() + embedded.errors.read_text() + logs

    assert "861000" not in told
    assert "fh_" not in told


async def test_nothing_it_started_outlives_it(embedded: Command) -> None:
    assert_proved(embedded)

    await until_gone(embedded.folder, 20)


async def test_the_production_form_gives_the_same_counts_and_leaves_the_servers_as_they_were(
    embedded: Command, folder: Path, amqp_server: Callable[[], str], postgres_server: str
) -> None:
    amqp = await asyncio.to_thread(amqp_server)
    databases = await databases_of(postgres_server)

    command = await start_demo(folder, SMALL, "--amqp", amqp, "--database", postgres_server)
    roles: set[str] = set()
    corner = folder / "corner.json"
    ending = asyncio.create_task(command.wait(LONG))
    while not ending.done():
        await asyncio.wait({ending}, timeout=0.5)
        for process in relatives(folder):
            roles |= role_of(process)
    await ending

    result = assert_proved(command)
    assert planned_of(result) == planned_of(assert_proved(embedded))
    # Each role was a process of its own, and Mosquitto another.
    workers = {f"worker:{channel}" for channel in CHANNELS}
    assert {"api", "dispatcher", "tracker", "dashboard", "mosquitto"} | workers <= roles
    name = json.loads(corner.read_text())["name"]
    assert await databases_of(postgres_server) <= databases
    assert await queues_left(amqp, f"{name}.") == []
    await until_gone(folder, 20)


def role_of(process: Any) -> set[str]:
    """The role or server that a process is."""
    try:
        words = process.cmdline()
    except Exception:  # noqa: BLE001 - it may have ended meanwhile, in several ways
        return set()
    if "run" in words:
        return {words[words.index("run") + 1]}
    return {"mosquitto"} if words and words[0].endswith("mosquitto") else set()


async def databases_of(server: str) -> set[str]:
    """The databases of demos on the server."""
    connection = await asyncpg.connect(server)
    try:
        rows = await connection.fetch("SELECT datname FROM pg_database WHERE datname LIKE 'fenghuo_demo_%'")
    finally:
        await connection.close()
    return {row["datname"] for row in rows}


async def queues_left(amqp: str, prefix: str) -> list[str]:
    """Those of a demo's queues that are still there."""
    left = []
    async with await aio_pika.connect(amqp) as connection:
        for spec in topology(1, FLOOR, prefix=prefix):
            async with connection.channel() as channel:
                try:
                    await channel.get_queue(spec.name, ensure=True)
                except aio_pika.exceptions.ChannelNotFoundEntity:
                    continue
                left.append(spec.name)
    return left


async def test_without_once_it_keeps_serving_until_ctrl_c_and_then_leaves_nothing(folder: Path) -> None:
    arguments = ("demo", "--json", "--data", str(folder), "--port", "0", *SMALL.arguments)
    command = await processes.start(folder.parent, *arguments, name="forever")
    try:
        await until(lambda: "Ctrl-C ends it" in command.errors.read_text(), LONG)
        assert result_of(command)["disagreements"] == []
        config = (folder / "fenghuo.yaml").read_text()
        port = int(config.partition("listen:")[2].partition("port:")[2].split()[0])
        async with (
            aiohttp.ClientSession() as session,
            session.get(f"http://127.0.0.1:{port}/-/ready") as answer,
        ):
            assert answer.status == 200
        command.process.send_signal(signal.SIGINT)
        assert await command.wait(60) == 0, command.said
    finally:
        await command.kill()
    await until_gone(folder, 20)


async def test_at_last_no_process_of_the_killed_demo_is_left(killed: Command) -> None:
    """Far ends outlive a killed demo by a minute, so that the next start may find them still answering."""
    await until_gone(killed.folder, 100)
