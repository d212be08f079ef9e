"""kill -9 of the embedded demo in mid-fan-out, then the same command on the same data: nothing is lost.

The far ends run apart and keep their logs, so what they heard before the kill is counted too.
"""

from __future__ import annotations

import shutil
import sqlite3
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path

import pytest

from tests.support.processes import (
    Command,
    Size,
    counted,
    end_all,
    far_end_lines,
    result_of,
    start_demo,
    until,
    until_gone,
)

WORLD = Size(phones=250_000, loudspeakers=2_000, installations=2_000, screens=300)
"""So large that a red warning needs many windows, and a kill falls between them."""
LONG = 200.0


@pytest.fixture
def data(tmp_path: Path) -> Iterator[Path]:
    """A demo's folder, of which no process outlives the test."""
    yield tmp_path / "demo"
    end_all(tmp_path / "demo")


def rows(data: Path, query: str) -> list[tuple[int, ...]]:
    """What the broker's database says, read from a copy: the original is evidence. Empty before there is one."""
    copy = data.parent / "copy"
    shutil.rmtree(copy, ignore_errors=True)
    copy.mkdir()
    for path in (data / "broker").glob("fenghuo.db*"):
        if not path.name.endswith("-shm"):
            shutil.copy(path, copy)
    if not (copy / "fenghuo.db").exists():
        return []
    with closing(sqlite3.connect(copy / "fenghuo.db")) as database:
        return database.execute(query).fetchall()


def accepted(data: Path) -> int:
    """How many alerts are kept."""
    with closing(sqlite3.connect(f"file:{data}/broker/fenghuo.db?mode=ro", uri=True, timeout=30)) as database:
        try:
            return int(database.execute("SELECT count(*) FROM alerts").fetchone()[0])
        except sqlite3.OperationalError:
            return 0


def total(data: Path, event: str) -> int:
    """Events of a kind that the message centre has logged."""
    return counted(data, "sms", event)


async def kill_when(data: Path, moment: Callable[[], bool], *, name: str) -> None:
    """Start the demo, wait for the moment, kill it."""
    command = await start_demo(data, WORLD, name=name)
    try:
        await until(lambda: moment() or command.process.returncode is not None, LONG, 0.005)
        assert command.process.returncode is None, command.said
    finally:
        await command.kill()


async def finish(data: Path) -> Command:
    """Start it again and let it come to its end."""
    command = await start_demo(data, WORLD, name="again")
    try:
        await command.wait(LONG)
    finally:
        await command.kill()
    return command


def in_doubt(data: Path) -> int:
    """Recipients in the windows that were marked and not known to be done: one window for each open claim."""
    found = rows(data, "SELECT low, high FROM work WHERE closed_at IS NULL AND high > low")
    return sum(high - low for low, high in found)


def assert_whole(command: Command, *, repeats: int) -> None:
    """Exit code 0, everybody final, the logs agree, and no more came twice than was in doubt."""
    assert command.process.returncode == 0, command.said
    assert "going on with its data" in command.errors.read_text()
    result = result_of(command)
    assert result["disagreements"] == []
    assert result["repeats"] <= repeats
    assert len(result["alerts"]) == 3
    for alert in result["alerts"]:
        for channel, numbers in alert["channels"].items():
            assert numbers["planned"] == numbers["expected"], (alert["level"], channel)
            assert numbers["delivered"] + numbers["failed"] == numbers["planned"], (alert["level"], channel)
    for event in ("received", "presented"):
        told = Counter(
            (line["address"], line["message"])
            for line in far_end_lines(command.folder, "broadcast")
            if line["event"] == event
        )
        planned = sum(alert["channels"]["broadcast"]["planned"] for alert in result["alerts"])
        assert len(told) == planned
        if event == "presented":
            assert set(told.values()) == {1}


@pytest.mark.timeout(500)
async def test_killed_right_after_the_first_post_was_accepted_it_finishes(data: Path) -> None:
    await kill_when(data, lambda: (data / "broker/fenghuo.db").exists() and accepted(data) > 0, name="first")
    assert 0 < rows(data, "SELECT count(*) FROM alerts")[0][0] <= 3
    assert total(data, "delivered") == 0
    repeats = in_doubt(data)

    assert_whole(await finish(data), repeats=repeats)
    await until_gone(data, 20)


@pytest.mark.timeout(500)
async def test_killed_while_windows_go_out_it_repeats_no_more_than_those_in_doubt(data: Path) -> None:
    await kill_when(data, lambda: total(data, "received") > 0, name="first")
    [(batches, recipients)] = rows(data, "SELECT count(*), sum(size) FROM ledger WHERE channel = 'sms'")
    assert batches > 1
    assert 0 < total(data, "received") < recipients
    repeats = in_doubt(data)
    assert repeats > 0

    command = await finish(data)

    assert_whole(command, repeats=repeats)
    sent = Counter(
        (line["address"], line["message"]) for line in far_end_lines(data, "sms") if line["event"] == "received"
    )
    assert set(sent.values()) <= {1, 2}
    assert result_of(command)["repeats"] >= sum(count - 1 for count in sent.values())


@pytest.mark.timeout(500)
async def test_killed_again_and_again_while_receipts_come_it_still_finishes(data: Path) -> None:
    repeats = 0
    await kill_when(data, lambda: total(data, "delivered") > 0, name="first")
    repeats += in_doubt(data)
    heard = total(data, "delivered")
    await kill_when(data, lambda: total(data, "delivered") > heard, name="second")
    repeats += in_doubt(data)

    assert_whole(await finish(data), repeats=repeats)
