"""The log and the life of a simulated far end."""

from __future__ import annotations

import argparse
import asyncio
import json
import subprocess
import sys
from pathlib import Path

import pytest

from channels.simulating import EventLog, add_common_arguments

_PROGRAM = """
import argparse, asyncio
from channels.simulating import add_common_arguments, run_until_stopped
parser = argparse.ArgumentParser()
add_common_arguments(parser)
asyncio.run(run_until_stopped(parser.parse_args(), {"port": 7}))
"""


def test_what_is_written_is_read_back_in_order(tmp_path: Path) -> None:
    path = tmp_path / "events.jsonl"
    log = EventLog(path)
    log.write("8610001", '暴雨"红色\n预警', "received", at=5, ids="a,b")
    log.write_many(["8610002", 'x"y'], "m", "failed", "UNDELIV", 6)
    log.close()
    assert list(EventLog.read(path)) == [
        {"at": 5, "event": "received", "address": "8610001", "message": '暴雨"红色\n预警', "ids": "a,b"},
        {"at": 6, "event": "failed", "address": "8610002", "message": "m", "reason": "UNDELIV"},
        {"at": 6, "event": "failed", "address": 'x"y', "message": "m", "reason": "UNDELIV"},
    ]


def test_a_line_that_a_killed_process_left_unfinished_is_neither_read_nor_kept(tmp_path: Path) -> None:
    path = tmp_path / "events.jsonl"
    log = EventLog(path)
    log.write("1", "m", "received", at=1)
    log.close()
    path.write_bytes(path.read_bytes() + b'{"at":2,"event":"rec')
    assert [event["at"] for event in EventLog.read(path)] == [1]
    log = EventLog(path)
    log.write("3", "m", "received", at=3)
    log.close()
    assert [event["at"] for event in EventLog.read(path)] == [1, 3]


def test_a_broken_line_in_the_middle_is_named_not_skipped(tmp_path: Path) -> None:
    path = tmp_path / "events.jsonl"
    path.write_text('{"at":1}\nnonsense\n{"at":2}\n')
    with pytest.raises(ValueError, match="jsonl:2"):
        list(EventLog.read(path))


def test_a_file_that_is_no_log_is_left_alone(tmp_path: Path) -> None:
    path = tmp_path / "notes.txt"
    path.write_text("no newline here")
    with pytest.raises(ValueError, match=r"notes\.txt"):
        EventLog(path)
    assert path.read_text() == "no newline here"


def test_an_event_that_nobody_knows_is_refused(tmp_path: Path) -> None:
    log = EventLog(tmp_path / "events.jsonl")
    with pytest.raises(ValueError, match="arrived"):
        log.write("1", "m", "arrived")
    log.close()


async def test_lines_reach_the_file_without_being_asked(tmp_path: Path) -> None:
    path = tmp_path / "events.jsonl"
    log = EventLog(path)
    log.write("1", "m", "received")
    while not path.stat().st_size:
        await asyncio.sleep(0.01)
    assert [event["address"] for event in EventLog.read(path)] == ["1"]
    log.close()


def test_no_log_file_reads_as_no_events(tmp_path: Path) -> None:
    assert list(EventLog.read(tmp_path / "none")) == []


def test_the_common_options_have_defaults() -> None:
    parser = argparse.ArgumentParser()
    add_common_arguments(parser)
    args = parser.parse_args([])
    assert (args.port, args.log, args.seed, args.parent) == (0, None, 0, None)


def test_a_simulator_says_that_it_is_ready_and_ends_well_when_told() -> None:
    with subprocess.Popen([sys.executable, "-c", _PROGRAM], stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert json.loads(process.stdout.readline()) == {"ready": True, "port": 7}
        process.terminate()
        assert process.stdout.read() == ""
        assert process.wait(10) == 0


def test_a_simulator_ends_after_the_process_it_was_started_for() -> None:
    with subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE) as parent:
        arguments = [sys.executable, "-c", _PROGRAM, "--parent", str(parent.pid), "--linger", "0"]
        with subprocess.Popen(arguments, stdout=subprocess.PIPE, text=True) as process:
            assert process.stdout is not None
            process.stdout.readline()
            assert process.poll() is None
            parent.kill()
            assert process.wait(10) == 0
