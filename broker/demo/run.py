"""The main job, from an empty folder to the proof: lay out, start, post, watch, compare."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import shutil
import signal
import sys
from contextlib import AsyncExitStack
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

import aiohttp
from rich.console import Console

from broker import logs
from broker.app import App, all_roles, alone
from broker.clock import now_ms
from broker.dashboard.accounts import new_person
from broker.demo import farends, show, warden
from broker.demo.alerts import DemoAlert, day
from broker.demo.proof import Proof, Prover
from broker.demo.servers import Corner
from broker.demo.setup import ROOT, Layout, Where, fill, lay_out, logins
from broker.demo.world import Size
from broker.errors import FenghuoError
from broker.intake import tokens
from broker.mqtt.mosquitto import Mosquitto
from broker.sealing import Keyring
from broker.settings import Settings
from broker.store.contract import Store
from broker.store.sql import open_store
from broker.types import CHANNELS, AlertState, ChannelName

_ENDS: Final = (
    AlertState.COMPLETED,
    AlertState.REJECTED,
    AlertState.CANCELLED,
    AlertState.EXPIRED,
    AlertState.STOPPED,
)
_QUIET_S = 3.0
"""The ledger must stand still for so long before the proof: a loudspeaker plays for two seconds."""
_START_S = 60.0


@dataclass(frozen=True, slots=True)
class Options:
    """What the command line says."""

    folder: Path
    once: bool
    json: bool
    where: Where
    size: Size
    timeout: float


class Demo:
    """One demo."""

    def __init__(self, options: Options, console: Console) -> None:
        self.options = options
        self.console = console
        self.layout = Layout(options.folder)
        self._stack = AsyncExitStack()
        self._tokens: dict[str, str] = {}

    async def run(self) -> int:
        """0 if everything agrees (and, unless `once`, after Ctrl-C)."""
        stop = asyncio.Event()
        loop = asyncio.get_running_loop()
        for number in (signal.SIGINT, signal.SIGTERM):
            loop.add_signal_handler(number, stop.set)
        work = asyncio.create_task(self._run(stop), name="demo")
        stopping = asyncio.create_task(stop.wait(), name="stop")
        try:
            await asyncio.wait({work, stopping}, return_when=asyncio.FIRST_COMPLETED)
            if not work.done():
                self.console.print("[dim]stopping …[/]")
                # Once the results are shown Ctrl-C is the ordinary end; before that it cuts the work short.
                await asyncio.wait({work}, timeout=1)
                work.cancel()
            return await work
        except asyncio.CancelledError:
            return 130
        finally:
            stopping.cancel()
            await self._stack.aclose()

    async def _run(self, stop: asyncio.Event) -> int:
        say = self.console.print
        # Beside the folder, which is removed when its demo has ended: never under a demo that still runs.
        folder = self.layout.folder
        self._stack.enter_context(alone(folder.parent / f".{folder.name}.lock"))
        if self.layout.finished.exists():
            shutil.rmtree(self.layout.folder)
        resumed = self.layout.config.exists()
        where = self.options.where
        corner = None
        if where.store is not None and where.transport is not None:
            corner = Corner.of(self.layout.corner)
            await corner.open(where.store)
            # First in, so last out: when every role has let go.
            self._stack.push_async_callback(self._leave, corner, where.store, where.transport)
        settings = lay_out(self.layout, where, corner)
        say(f"[bold]Fenghuo 烽火[/]  a Chongqing day, data in {show.path(self.layout.folder)}")
        if resumed:
            say("an earlier demo here did not end: going on with its data")
        store = open_store(settings.store)
        await store.start()
        self._stack.push_async_callback(store.close)
        size = self.options.size
        say(
            f"filling the registry: {size.phones:,} phones, {size.loudspeakers:,} loudspeakers, "
            f"{size.installations:,} app installations, {size.screens:,} screens …"
        )
        await fill(self.layout, settings, store, size)
        password = await new_person(store, "demo", "operator", replace=True)
        alerts = self._alerts()
        for alert in alerts:
            token, record = tokens.new(alert.department, days=1)
            await store.add_token(record)
            self._tokens[alert.department] = token
        say("starting the broker and the far ends …")
        url, dashboard = await self._start(settings)
        say(f"dashboard: [bold]{dashboard}[/]  sign in as [bold]demo[/] with [bold]{password}[/]")
        posted = [(await self._post(url, alert), alert.title) for alert in alerts]
        await show.watch(self.console, store, posted, self._ended(store, [alert for alert, _ in posted]))
        await self._quiet(store)
        say("comparing the ledger with a count by hand and with the far ends' own logs …")
        proof = await Prover(self.layout, store, Keyring.load(settings.address_keys)).prove(posted)
        show.result(self.console, proof)
        if self.options.json:
            print(json.dumps(as_json(proof), ensure_ascii=False), flush=True)  # noqa: T201
        if not self.options.once:
            show.next_steps(self.console, url, dashboard, password, self.layout)
            await stop.wait()
        if proof.good:
            # Only now: until here a killed demo must find everything again, also what others posted to it.
            self.layout.finished.touch()
        return 0 if proof.good else 1

    async def _leave(self, corner: Corner, database: str, amqp: str) -> None:
        """Leave the lent servers as they were, once the demo has come to its end."""
        if self.layout.finished.exists():
            await corner.remove(database, amqp, shards=1)

    def _alerts(self) -> list[DemoAlert]:
        """The day's alerts; kept as files, so that a second start posts the very same bytes."""
        folder = self.layout.alerts
        kept = folder / "alerts.json"
        if kept.exists():
            return [
                DemoAlert(
                    entry["department"], entry["identifier"], entry["title"], (folder / entry["file"]).read_bytes()
                )
                for entry in json.loads(kept.read_text())
            ]
        alerts = list(day(datetime.now(UTC)))
        entries = []
        for alert in alerts:
            name = f"{alert.identifier}.xml"
            (folder / name).write_bytes(alert.body)
            entries.append(
                {"department": alert.department, "identifier": alert.identifier, "title": alert.title, "file": name}
            )
        part = kept.with_suffix(".part")
        part.write_text(json.dumps(entries, ensure_ascii=False, indent=1))
        part.replace(kept)
        return alerts

    # -- starting ------------------------------------------------------------------------------------------

    async def _start(self, settings: Settings) -> tuple[str, str]:
        """Start everything; the addresses of the API and of the dashboard."""
        ends = {channel: await farends.start(self.layout, settings, channel) for channel in CHANNELS}
        for end in ends.values():
            self._stack.push_async_callback(end.stop)
        # The message centre waits for nobody, and a channel that finds it absent tries again ever more seldom.
        await ends.pop(ChannelName.SMS).ready()
        if self.options.where.production:
            addresses = await self._start_processes(settings)
        else:
            app = App(settings, all_roles(settings))
            await app.start()
            self._stack.push_async_callback(app.close)
            assert app.server is not None
            addresses = (app.server.url, app.server.url)
        await asyncio.gather(*(end.ready() for end in ends.values()))
        return addresses

    async def _start_processes(self, settings: Settings) -> tuple[str, str]:
        assert settings.channels.broadcast is not None
        mosquitto = Mosquitto(self.layout.mosquitto, port=int(settings.channels.broadcast.url.rpartition(":")[2]))
        # One that a killed demo left must let go of the sessions and queues in its folder first.
        await warden.end_leftover(self.layout.mosquitto_pid, str(self.layout.mosquitto))
        mosquitto.configure(logins(self.layout))
        await mosquitto.start()
        self._stack.push_async_callback(mosquitto.stop)
        assert mosquitto.pid is not None
        self.layout.mosquitto_pid.write_text(str(mosquitto.pid))
        watching = await warden.start(mosquitto.pid, str(self.layout.mosquitto))
        # Ends by itself once Mosquitto has been stopped, which comes first.
        self._stack.push_async_callback(watching.wait)
        self._stack.push_async_callback(mosquitto.stop)
        for role in all_roles(settings):
            await self._start_role(role)
        urls = [f"http://{listen.host}:{listen.port}" for listen in (settings.listen, settings.dashboard)]
        for url in urls:
            await self._answering(f"{url}/-/ready")
        return urls[0], urls[1]

    async def _start_role(self, role: str) -> None:
        name = role.replace(":", "-")
        with (self.layout.logs / f"role-{name}.log").open("ab") as errors:
            process = await asyncio.create_subprocess_exec(
                *(sys.executable, "-m", "broker.cli", "run", role, "--config", str(self.layout.config)),
                *("--parent", str(os.getpid())),
                cwd=ROOT,
                stdin=asyncio.subprocess.DEVNULL,
                stdout=errors,
                stderr=errors,
                start_new_session=True,
            )

        async def end() -> None:
            if process.returncode is None:
                process.terminate()
                with contextlib.suppress(TimeoutError):
                    await asyncio.wait_for(process.wait(), 20)
                    return
                process.kill()
                await process.wait()

        self._stack.push_async_callback(end)

    async def _answering(self, url: str) -> None:
        deadline = asyncio.get_running_loop().time() + _START_S
        async with aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=5)) as session:
            while asyncio.get_running_loop().time() < deadline:
                with contextlib.suppress(aiohttp.ClientError, TimeoutError):
                    async with session.get(url) as answer:
                        if answer.status == 200:
                            return
                await asyncio.sleep(0.2)
        raise FenghuoError(f"{url} did not answer; see the logs in {self.layout.logs}")

    # -- posting and waiting -------------------------------------------------------------------------------

    async def _post(self, url: str, alert: DemoAlert) -> str:
        headers = {
            "Authorization": f"Bearer {self._tokens[alert.department]}",
            "Content-Type": "application/cap+xml",
        }
        async with (
            aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=30)) as session,
            session.post(f"{url}/v1/alerts", data=alert.body, headers=headers) as answer,
        ):
            text = await answer.text()
            if answer.status != 202:
                raise FenghuoError(f"{alert.title} was refused with {answer.status}: {text}")
            return str(json.loads(text)["id"])

    def _ended(self, store: Store, alerts: list[str]) -> show.Ended:
        deadline = now_ms() + 1000 * self.options.timeout

        async def ended() -> bool:
            states = [(await store.alert(alert)).state for alert in alerts]
            return all(state in _ENDS for state in states) or now_ms() > deadline

        return ended

    async def _quiet(self, store: Store) -> None:
        """Wait until nothing comes in any more: presentation follows delivery."""
        version, since = await store.ledger_version(), now_ms()
        while now_ms() - since < 1000 * _QUIET_S:
            await asyncio.sleep(0.25)
            now = await store.ledger_version()
            if now != version:
                version, since = now, now_ms()


def as_json(proof: Proof) -> dict[str, object]:
    """The results as one JSON object."""
    return {
        "alerts": [
            {
                "identifier": alert.record.identifier,
                "level": alert.record.level,
                "headline": alert.record.headline,
                "state": str(alert.record.state),
                "channels": {str(name): result.as_dict() for name, result in alert.channels.items()},
            }
            for alert in proof.alerts
        ],
        "repeats": proof.repeats,
        "disagreements": proof.disagreements,
    }


async def run(options: Options) -> int:
    """Run a demo with its messages on standard error when JSON is asked for."""
    console = Console(stderr=options.json, highlight=False)
    logs.configure("error", pretty=True)
    return await Demo(options, console).run()
