from __future__ import annotations

import asyncio
import sys
from asyncio.subprocess import PIPE
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tests.support.simulated import ROOT, Stage

DEVICES = [f"a{index:08d}" for index in range(60)]
QUICK = ("--held", "20", "--cycle-rate", "400", "--display-ms", "100", "--tap-ms", "50", "--tap-share", "0.5")


@pytest.fixture
async def stage(tmp_path: Path) -> AsyncIterator[Stage]:
    started = Stage("app", DEVICES, tmp_path)
    yield started
    await started.close()


def messages(*batches: list[str]) -> set[tuple[str, str]]:
    return {
        (device, f"{number}:{ordinal}")
        for number, batch in enumerate(batches, 1)
        for ordinal, device in enumerate(batch)
    }


async def test_held_and_visiting_installations_display_every_message_once_and_the_evidence_agrees(
    stage: Stage,
) -> None:
    batches = (DEVICES[:40], DEVICES[10:55])
    stage.plan(*batches)
    await stage.serve("--send")
    simulator = await stage.simulate(*QUICK)
    await stage.until(lambda: len(stage.logged("presented")) == 85)
    await stage.until(lambda: min(stage.arrivals().values(), default=0) >= 2 and len(stage.arrivals()) == 85)
    await stage.until(
        lambda: sum(arrival == 3 for arrival in stage.arrivals().values()) == len(stage.logged("acknowledged"))
    )
    for event in ("received", "delivered", "presented"):
        assert stage.logged(event) == dict.fromkeys(messages(*batches), 1)
    assert 0 < len(stage.logged("acknowledged")) < 85
    simulator.terminate()
    _, errors = await asyncio.wait_for(simulator.communicate(), 10)
    assert simulator.returncode == 0
    assert "open files: limit" in errors.decode()
    assert "holding 20 streams" in errors.decode()


async def test_after_a_killed_server_every_report_is_finished_and_nothing_is_displayed_twice(stage: Stage) -> None:
    batches = (DEVICES[:30], DEVICES[30:])
    stage.plan(*batches)
    await stage.serve()
    await stage.simulate(*QUICK)
    await stage.until(lambda: len(stage.arrivals()) >= 5)
    await stage.kill_server()
    before = stage.arrivals()
    await asyncio.sleep(0.5)
    await stage.serve()
    await stage.until(lambda: len(stage.arrivals()) == 60 and min(stage.arrivals().values()) >= 2)
    assert len(before) <= 60
    for event in ("delivered", "presented"):
        assert stage.logged(event) == dict.fromkeys(messages(*batches), 1)


async def test_a_restarted_simulator_knows_from_its_log_what_it_had(stage: Stage) -> None:
    batches = (DEVICES[:30], DEVICES[30:])
    stage.plan(*batches)
    await stage.serve()
    first = await stage.simulate(*QUICK, "--display-ms", "600")
    await stage.until(lambda: len(stage.logged("received")) >= 20)
    first.kill()
    await first.wait()
    await stage.simulate(*QUICK)
    await stage.until(lambda: len(stage.logged("presented")) == 60)
    await stage.until(lambda: len(stage.arrivals()) == 60 and min(stage.arrivals().values()) >= 2)
    for event in ("delivered", "presented"):
        assert stage.logged(event) == dict.fromkeys(messages(*batches), 1)


async def test_too_low_a_limit_of_open_files_lowers_the_held_streams_and_says_so(stage: Stage) -> None:
    stage.plan()
    await stage.serve()
    command = f"ulimit -n 130 && exec {sys.executable} -m channels.app.simulator --devices devices.csv --url http://127.0.0.1:{stage._port}"
    process = await asyncio.create_subprocess_shell(
        command, cwd=stage._path, env={"PYTHONPATH": str(ROOT)}, stdout=PIPE, stderr=PIPE
    )
    assert process.stdout is not None
    ready = await asyncio.wait_for(process.stdout.readline(), 30)
    assert b'"held": 38' in ready
    process.terminate()
    _, errors = await asyncio.wait_for(process.communicate(), 10)
    assert process.returncode == 0
    assert "limit 130 found" in errors.decode()
    assert (
        "60 streams were asked for: too many for this limit of open files, so only 38 are held" in errors.decode()
    )


async def test_wrong_options_are_listed_and_the_exit_code_is_two(tmp_path: Path) -> None:
    (tmp_path / "devices.csv").write_text("id,token\na1\n")
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "channels.app.simulator", "--devices", str(tmp_path / "devices.csv"), "--url", "http://127.0.0.1:1",
        stdout=PIPE, stderr=PIPE, cwd=ROOT,
    )  # fmt: skip
    output, errors = await asyncio.wait_for(process.communicate(), 20)
    assert (process.returncode, output) == (2, b"")
    assert "devices.csv:2: expected an id and a token, in ASCII [devices.row]" in errors.decode()
