"""The far ends of a demo: simulators as processes of their own, with logs on disk that outlive the broker."""

from __future__ import annotations

import asyncio
import json
import os
import sys
from pathlib import Path

from broker.demo.setup import Layout
from broker.demo.warden import end_leftover
from broker.errors import FenghuoError
from broker.settings import Settings
from broker.types import ChannelName

_MODULES = {
    ChannelName.SMS: "channels.sms.simulator",
    ChannelName.BROADCAST: "channels.broadcast.simulator",
    ChannelName.APP: "channels.app.simulator",
    ChannelName.SIGNAGE: "channels.signage.simulator",
}
_LINGER_S = 60
"""How long the far ends outlive a killed demo, so that another start may find them still answering."""


class FarEnd:
    """One running simulator."""

    def __init__(self, channel: ChannelName, process: asyncio.subprocess.Process, pidfile: Path) -> None:
        self.channel = channel
        self._process = process
        self._pidfile = pidfile

    async def ready(self, timeout: float = 90.0) -> None:
        """Wait for its word that it is ready. Raises FenghuoError if it ends or stays silent."""
        assert self._process.stdout is not None
        try:
            line = await asyncio.wait_for(self._process.stdout.readline(), timeout)
            if json.loads(line or b"{}").get("ready"):
                return
        except (TimeoutError, json.JSONDecodeError):
            pass
        raise FenghuoError(
            f"the simulated {self.channel} far end did not start; see its log beside the demo's data"
        )

    async def stop(self) -> None:
        """End it and wait until it has written everything."""
        if self._process.returncode is None:
            self._process.terminate()
            try:
                await asyncio.wait_for(self._process.wait(), 15)
            except TimeoutError:
                self._process.kill()
                await self._process.wait()
        self._pidfile.unlink(missing_ok=True)


def log_of(layout: Layout, channel: ChannelName) -> Path:
    """What reached this far end, as JSON lines."""
    return layout.logs / f"{channel}.jsonl"


async def start(layout: Layout, settings: Settings, channel: ChannelName) -> FarEnd:
    """Start a simulator for a channel of the demo, after ending the one that an earlier demo may have left."""
    pidfile = layout.logs / f"{channel}.pid"
    await end_leftover(pidfile, _MODULES[channel])
    arguments = [
        *("--log", str(log_of(layout, channel))),
        *("--parent", str(os.getpid()), "--linger", str(_LINGER_S)),
        *_arguments(layout, settings, channel),
    ]
    with (layout.logs / f"{channel}.stderr").open("ab") as errors:
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", _MODULES[channel], *arguments),
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            stderr=errors,
            start_new_session=True,
        )
    pidfile.write_text(str(process.pid))
    return FarEnd(channel, process, pidfile)


def _arguments(layout: Layout, settings: Settings, channel: ChannelName) -> list[str]:
    channels, accounts = settings.channels, layout.accounts
    assert channels.sms is not None
    assert channels.broadcast is not None
    assert channels.app is not None
    assert channels.signage is not None
    match channel:
        case ChannelName.SMS:
            return [
                *("--port", str(channels.sms.port), "--system-id", channels.sms.system_id),
                *("--password-file", str(channels.sms.password_file)),
                *("--undeliverable", "0.01", "--latency-ms", "5", "--receipt-delay-ms", "1500"),
            ]
        case ChannelName.BROADCAST:
            return [
                *("--terminals", str(accounts / "terminals.csv")),
                *("--mqtt", channels.broadcast.url.removeprefix("mqtt://")),
                *("--keys", str(accounts / "trusted-keys"), "--play-ms", "3000"),
            ]
        case ChannelName.APP:
            url = f"http://{channels.app.host}:{channels.app.port}"
            return ["--devices", str(accounts / "app.csv"), "--url", url, "--held", "2000"]
        case ChannelName.SIGNAGE:
            url = f"http://{channels.signage.host}:{channels.signage.port}"
            return ["--screens", str(accounts / "signage.csv"), "--url", url]
