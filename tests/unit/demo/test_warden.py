"""What a killed demo leaves behind is ended, and nobody else's process ever is."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from broker.demo import warden

SLEEPER = "import time; time.sleep(120)"


@pytest.fixture
def sleeper() -> Iterator[subprocess.Popen[bytes]]:
    """A process that would stay; its command line holds the word mosquitto-of-tests."""
    process = subprocess.Popen([sys.executable, "-c", SLEEPER, "mosquitto-of-tests"])
    yield process
    process.kill()
    process.wait()


async def test_a_process_of_an_earlier_demo_is_ended(tmp_path: Path, sleeper: subprocess.Popen[bytes]) -> None:
    pidfile = tmp_path / "pid"
    pidfile.write_text(str(sleeper.pid))

    ending = asyncio.create_task(warden.end_leftover(pidfile, "mosquitto-of-tests"))
    assert await asyncio.to_thread(sleeper.wait, 30) == -signal.SIGTERM
    await asyncio.wait_for(ending, 30)


@pytest.mark.parametrize("pid", ["", "nonsense", "999999999"])
async def test_a_note_that_leads_nowhere_is_passed_over(tmp_path: Path, pid: str) -> None:
    (tmp_path / "pid").write_text(pid)

    await warden.end_leftover(tmp_path / "pid", "mosquitto")
    await warden.end_leftover(tmp_path / "none", "mosquitto")


async def test_a_process_that_got_the_same_number_is_left_alone(
    tmp_path: Path, sleeper: subprocess.Popen[bytes]
) -> None:
    (tmp_path / "pid").write_text(str(sleeper.pid))

    await warden.end_leftover(tmp_path / "pid", "something-else")

    assert sleeper.poll() is None


def a_parent(pid: int, mark: str) -> subprocess.Popen[bytes]:
    """A process that starts a warden over `pid` and then stays."""
    work = (
        "import asyncio, time; from broker.demo import warden\n"
        f"async def main():\n    process = await warden.start({pid}, {mark!r})\n"
        "    print(process.pid, flush=True); time.sleep(120)\n"
        "asyncio.run(main())"
    )
    return subprocess.Popen([sys.executable, "-c", work], stdout=subprocess.PIPE, cwd=Path(__file__).parents[3])


def runs(pid: int) -> bool:
    try:
        return " Z " not in Path(f"/proc/{pid}/stat").read_text()
    except OSError:
        return False


def test_when_the_demo_is_killed_its_server_is_ended_and_the_warden_goes_too(
    sleeper: subprocess.Popen[bytes],
) -> None:
    parent = a_parent(sleeper.pid, "mosquitto-of-tests")
    assert parent.stdout is not None
    watcher = int(parent.stdout.readline())
    time.sleep(1.2)
    assert sleeper.poll() is None

    parent.kill()
    parent.communicate()

    assert sleeper.wait(60) == -signal.SIGTERM
    deadline = time.monotonic() + 60
    while runs(watcher) and time.monotonic() < deadline:
        time.sleep(0.1)
    assert not runs(watcher)


def test_when_the_server_ends_first_the_warden_ends_by_itself(sleeper: subprocess.Popen[bytes]) -> None:
    sleeper.kill()
    sleeper.wait()

    warden.watch(os.getppid(), sleeper.pid, "mosquitto-of-tests")
