"""The four channels, each with its simulated far end as a process, behind one face; and a desk that treats them
as the worker does: real ledger rows, kept far-end ids, evidence that is durable only when more is asked for."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import sys
from abc import ABC, abstractmethod
from asyncio.subprocess import PIPE, Process
from collections import Counter
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Any, ClassVar

import aiohttp
import numpy as np
from numpy.typing import NDArray

from broker.clock import now_ms
from broker.errors import NotFound
from broker.ledger.arrays import LedgerRow, Receipts
from broker.ledger.state import ARRIVAL_SHIFT, Arrival
from broker.ports import free_port
from broker.sealing import pack
from broker.store.records import RenditionRecord
from broker.types import ChannelName, Lane
from channels.app.channel import AppChannel
from channels.app.settings import AppSettings
from channels.broadcast.channel import BroadcastChannel
from channels.broadcast.keys import SigningKey
from channels.broadcast.message import message_key
from channels.broadcast.provision import broadcaster_login, new_terminals, save_terminals
from channels.broadcast.settings import BroadcastSettings
from channels.channel import BatchContent, Channel, ChannelContext, Outcomes, Stopped, Window
from channels.mailbox.settings import MailboxSettings
from channels.mailbox.tokens import device_token
from channels.signage.channel import SignageChannel
from channels.signage.settings import SignageSettings
from channels.simulating import EventLog
from channels.sms.channel import SmsChannel
from channels.sms.settings import SmsSettings
from channels.sms.simulator import PASSWORD_VARIABLE
from tests.support.mailbox import SECRET, a_content
from tests.support.mosquitto import EmbeddedProcess

ROOT = Path(__file__).parents[2]
ALERT = "a1"


def words(batch: int, expires: int, **changed: Any) -> dict[str, Any]:
    """A rendition's content that all four channels understand, different for each batch."""
    text = f"合川区暴雨红色预警第{batch}批：请立即转移避险。"
    return a_content(expires=expires, text=text, speech=text, plays=1, **changed)


class Stage(ABC):
    """One channel and its far end, which can be taken away and brought back."""

    name: ClassVar[ChannelName]
    dials: ClassVar[bool]
    """Whether the channel goes to its far end; the others wait for devices to come."""
    presents: ClassVar[bool] = True
    copies: ClassVar[bool] = False
    """Whether a message sent twice reaches the recipient twice."""
    wrong_address: ClassVar[str]

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.log = folder / "far-end.jsonl"
        self.port = free_port()
        """Where the far end listens, or the channel itself if its devices come to it."""
        self.alerts: dict[int, str] = {}
        """The alert of each batch that is not of ALERT."""
        self._simulator: Process | None = None

    @property
    @abstractmethod
    def addresses(self) -> list[str]:
        """The recipients that the far end knows."""

    @property
    @abstractmethod
    def secrets(self) -> list[str]:
        """What must never be shown."""

    @abstractmethod
    def channel(self, port: int | None = None) -> Channel:
        """The channel, not started; `port` is where it finds its far end if not at its own place."""

    @abstractmethod
    def misconfigured(self) -> Channel:
        """The channel with a secret that does not fit."""

    @abstractmethod
    def message(self, batch: int, ordinal: int) -> str:
        """What the far end's log calls a message."""

    @abstractmethod
    async def provoke(self, desk: Desk) -> None:
        """Do to a running channel what a stranger would do."""

    async def up(self, *options: str) -> None:
        """Bring the far end up, with more options for the simulator."""
        await self._simulate(*options)

    async def down(self) -> None:
        """Take the far end away at once."""
        await self._end(signal.SIGKILL)

    async def devices_leave(self) -> None:
        """Take away only what the recipients hold in their hands, where that is not all there is."""
        await self.down()

    async def close(self) -> None:
        """End what runs."""
        await self._end(signal.SIGTERM)

    def logged(self, event: str, batch: int, ordinals: Sequence[int], addresses: Sequence[str]) -> Counter[str]:
        """How often `event` stands in the far end's log for messages of a batch, by address.

        `addresses` are those of `ordinals`, in order: an address that another ordinal has is not counted.
        """
        wanted = {(own, self.message(batch, ordinal)) for ordinal, own in zip(ordinals, addresses, strict=True)}
        return Counter(
            str(line["address"])
            for line in EventLog.read(self.log)
            if line["event"] == event and (line["address"], line["message"]) in wanted
        )

    @abstractmethod
    def _command(self) -> list[str]:
        """The simulator's module and options."""

    async def _simulate(self, *options: str) -> None:
        assert self._simulator is None, "the far end is up already"
        module, *fixed = self._command()
        errors = self.folder / "far-end.stderr"
        with errors.open("ab") as stderr:
            process = self._simulator = await asyncio.create_subprocess_exec(
                *(sys.executable, "-m", module, "--log", str(self.log), "--parent", str(os.getpid())),
                *fixed,
                *options,
                cwd=ROOT,
                env={**os.environ, **self._environment()},
                stdout=PIPE,
                stderr=stderr,
            )
        assert process.stdout is not None
        ready = json.loads(await asyncio.wait_for(process.stdout.readline(), 60) or b"{}")
        assert ready.get("ready"), errors.read_text()

    def _environment(self) -> dict[str, str]:
        return {}

    async def _end(self, number: signal.Signals) -> None:
        process, self._simulator = self._simulator, None
        if process is not None:
            with suppress(ProcessLookupError):
                process.send_signal(number)
            await asyncio.wait_for(process.communicate(), 30)


class SmsStage(Stage):
    """A simulated SMSC."""

    name = ChannelName.SMS
    dials = True
    presents = False
    copies = True
    wrong_address = "8610 00"
    _password = "geheim12"

    @property
    def addresses(self) -> list[str]:
        return [f"861000{n:07d}" for n in range(40)]

    @property
    def secrets(self) -> list[str]:
        return [self._password]

    def channel(self, port: int | None = None) -> Channel:
        return self._make(port or self.port, self._password)

    def misconfigured(self) -> Channel:
        return self._make(self.port, "falsch99")

    def message(self, batch: int, ordinal: int) -> str:
        return str(words(batch, 0)["text"])

    async def provoke(self, desk: Desk) -> None:
        """Nobody but the SMSC speaks to the channel."""

    def _make(self, port: int, password: str) -> Channel:
        quick = {"reconnect_min_s": 0.05, "reconnect_max_s": 0.2, "window": 16}
        return SmsChannel(SmsSettings.model_validate({"port": port, "password": password, **quick}))

    def _command(self) -> list[str]:
        return ["channels.sms.simulator", "--port", str(self.port)]

    def _environment(self) -> dict[str, str]:
        return {PASSWORD_VARIABLE: self._password}


class BroadcastStage(Stage):
    """Five villages of eight loudspeakers each, and an MQTT server."""

    name = ChannelName.BROADCAST
    dials = True
    wrong_address = "6500117100000"

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        self._rows = new_terminals(f"65001171{n // 8:05d}03140104{n % 8:02d}" for n in range(40))
        self._login = broadcaster_login("fenghuo-broadcast")
        key = SigningKey.generate("city-1")
        key.save(folder / "signing.pem")
        SigningKey.generate("city-1").save(folder / "stranger.pem")
        (folder / "trusted").write_text(key.public_line() + "\n")
        (folder / "password").write_text(self._login.password + "\n")
        (folder / "wrong").write_text("falsch-" + self._login.password[::-1] + "\n")
        save_terminals(folder / "terminals.csv", self._rows)
        self._server = EmbeddedProcess(folder / "mqtt", [self._login, *(row.login for row in self._rows)])
        self.port = self._server.port
        self._serving = False

    @property
    def addresses(self) -> list[str]:
        return [row.ebrid for row in self._rows]

    @property
    def secrets(self) -> list[str]:
        keys = [line for line in (self.folder / "signing.pem").read_text().splitlines() if "---" not in line]
        passwords = [self._login.password, self._login.password[::-1], *(row.password for row in self._rows)]
        return [*passwords, *keys]

    def channel(self, port: int | None = None) -> Channel:
        return self._make(port or self.port)

    def misconfigured(self) -> Channel:
        return self._make(self.port, password_file=self.folder / "wrong")

    def message(self, batch: int, ordinal: int) -> str:
        return message_key(self.alerts.get(batch, ALERT), batch)

    async def up(self, *options: str) -> None:
        """Server and terminals."""
        if not self._serving:
            await self._server.start()
            self._serving = True
        await self._simulate(*options)

    async def down(self) -> None:
        """Server and terminals."""
        await self.devices_leave()
        await self._stop_server()

    async def devices_leave(self) -> None:
        """The terminals lose their power; the server keeps what comes for them."""
        await self._end(signal.SIGTERM)

    async def close(self) -> None:
        await super().close()
        await self._stop_server()

    async def provoke(self, desk: Desk) -> None:
        """Somebody has got hold of the account and signs with a key of his own."""
        stranger = self._make(self.port, signing_key=self.folder / "stranger.pem")
        await stranger.start(desk.context())
        content = desk.batch(99)
        outcomes = await stranger.send(desk.window(content), content.rendition, lambda: False)
        assert outcomes.states.all()
        await asyncio.sleep(0.3)
        await stranger.close()

    async def _stop_server(self) -> None:
        if self._serving:
            await self._server.stop()
            self._serving = False

    def _make(self, port: int, **changed: Path) -> Channel:
        settings = {
            "url": f"mqtt://127.0.0.1:{port}",
            "password_file": self.folder / "password",
            "signing_key": self.folder / "signing.pem",
            "key_id": "city-1",
            "reconnect_seconds": 0.3,
            **changed,
        }
        return BroadcastChannel(BroadcastSettings.model_validate(settings))

    def _command(self) -> list[str]:
        files = ["--terminals", str(self.folder / "terminals.csv"), "--keys", str(self.folder / "trusted")]
        return ["channels.broadcast.simulator", *files, "--mqtt", f"127.0.0.1:{self.port}", "--play-ms", "50"]


class MailboxStage(Stage):
    """Devices that come to the channel."""

    dials = False
    wrong_address = "no device"
    presented: ClassVar[str]
    """What its devices call a message that they present."""
    slow: ClassVar[tuple[str, str]]
    """Options of a simulator whose devices present nothing for long."""

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        self.tokens = {own: device_token(SECRET, str(self.name), own) for own in self.addresses}
        (folder / "secret").write_bytes(SECRET)
        (folder / "short").write_bytes(SECRET[:20])
        rows = [f"{own},{token}\n" for own, token in self.tokens.items()]
        (folder / "devices.csv").write_text("id,token\n" + "".join(rows))

    @property
    def secrets(self) -> list[str]:
        return [SECRET[:20].decode(), *self.tokens.values()]

    def channel(self, port: int | None = None) -> Channel:
        return self._make(self.folder / "secret")

    def misconfigured(self) -> Channel:
        return self._make(self.folder / "short")

    def message(self, batch: int, ordinal: int) -> str:
        return f"{batch}:{ordinal}"

    async def provoke(self, desk: Desk) -> None:
        """One device tries another's name, a message of another, and nonsense."""
        one, other = self.addresses[:2]
        async with aiohttp.ClientSession(f"http://127.0.0.1:{self.port}") as session:
            for device, token, body, status in (
                (one, self.tokens[other], "[]", 401),
                (one, self.tokens[one], '[{"id": "98:0", "state": "delivered"}]', 422),
                (one, self.tokens[one], f'["{one}"', 400),
            ):
                headers = {"Authorization": f"Bearer {token}", "Content-Type": "application/json"}
                place = self._reports(device)
                async with session.post(place, data=body, headers={**headers, "Installation": device}) as answer:
                    assert answer.status == status

    async def report(self, batch: int, ordinal: int, device: str) -> int:
        """Say for a device that it presented a message; the status of the answer."""
        body = json.dumps([{"id": f"{batch}:{ordinal}", "state": self.presented}])
        headers = {"Authorization": f"Bearer {self.tokens[device]}", "Content-Type": "application/json"}
        async with aiohttp.ClientSession(f"http://127.0.0.1:{self.port}") as session:
            place = self._reports(device)
            async with session.post(place, data=body, headers={**headers, "Installation": device}) as answer:
                return answer.status

    @abstractmethod
    def _make(self, secret: Path) -> Channel: ...

    @abstractmethod
    def _reports(self, device: str) -> str: ...

    def _settings(self, kind: type[MailboxSettings], secret: Path) -> Any:
        return kind(secret_file=secret, port=self.port, flush_seconds=0.02)


class AppStage(MailboxStage):
    """App installations, half of which hold their stream."""

    name = ChannelName.APP
    presented = "displayed"
    slow = ("--display-ms", "600000")

    @property
    def addresses(self) -> list[str]:
        return [f"a{n:08d}" for n in range(40)]

    def _make(self, secret: Path) -> Channel:
        return AppChannel(self._settings(AppSettings, secret))

    def _reports(self, device: str) -> str:
        return "/v1/receipts"

    def _command(self) -> list[str]:
        place = ["--devices", str(self.folder / "devices.csv"), "--url", f"http://127.0.0.1:{self.port}"]
        manners = ["--held", "20", "--cycle-rate", "200", "--display-ms", "50", "--tap-ms", "20"]
        return ["channels.app.simulator", *place, *manners]


class SignageStage(MailboxStage):
    """Screens."""

    name = ChannelName.SIGNAGE
    presented = "shown"
    slow = ("--show-ms", "600000")

    @property
    def addresses(self) -> list[str]:
        return [f"s{n:06d}" for n in range(40)]

    def _make(self, secret: Path) -> Channel:
        return SignageChannel(self._settings(SignageSettings, secret))

    def _reports(self, device: str) -> str:
        return f"/v1/screens/{device}/reports"

    def _command(self) -> list[str]:
        place = ["--screens", str(self.folder / "devices.csv"), "--url", f"http://127.0.0.1:{self.port}"]
        return ["channels.signage.simulator", *place, "--show-ms", "50"]


STAGES: dict[ChannelName, type[Stage]] = {
    ChannelName.SMS: SmsStage,
    ChannelName.BROADCAST: BroadcastStage,
    ChannelName.APP: AppStage,
    ChannelName.SIGNAGE: SignageStage,
}


class Desk:
    """What the worker and the ledger do around a channel, over as many lives of the channel as a test wants."""

    def __init__(self, stage: Stage) -> None:
        self.stage = stage
        self.batches: dict[int, BatchContent] = {}
        self.ledgers: dict[int, LedgerRow] = {}
        self.over: set[str] = set()
        """Alerts that are cancelled or superseded."""
        self.kept: list[tuple[int, NDArray[np.uint16], NDArray[np.bytes_]]] = []
        self.pieces: list[Receipts] = []
        """Everything that any life of the channel gave, durable or not."""

    def batch(
        self,
        number: int,
        addresses: Sequence[str] | None = None,
        *,
        expires_in: float = 600,
        alert: str = ALERT,
        **changed: Any,
    ) -> BatchContent:
        """A batch for some addresses (all, if none are given), open in the store from now on."""
        chosen = list(self.stage.addresses if addresses is None else addresses)
        expires = now_ms() + int(1000 * expires_in)
        content = words(number, expires, **changed)
        rendition = RenditionRecord(number, alert, 0, self.stage.name, "zh-CN", "default", content)
        recipients = np.arange(1, len(chosen) + 1, dtype=np.uint32)
        self.stage.alerts[number] = alert
        self.batches[number] = BatchContent(
            alert, number, Lane.URGENT, expires, recipients, pack(chosen), rendition
        )
        self.ledgers[number] = LedgerRow.fresh(number, len(chosen), now_ms())
        return self.batches[number]

    def window(
        self,
        content: BatchContent,
        ordinals: Sequence[int] | None = None,
        *,
        attempt: int = 1,
        lane: Lane = Lane.URGENT,
    ) -> Window:
        """Some recipients of a batch, or all."""
        chosen = np.array(range(len(content.addresses)) if ordinals is None else ordinals, np.uint16)
        return Window(
            content.alert,
            content.batch,
            attempt,
            lane,
            500117,
            content.expires,
            chosen,
            content.recipients[chosen],
            content.addresses[chosen],
        )

    async def send(
        self,
        channel: Channel,
        content: BatchContent,
        ordinals: Sequence[int] | None = None,
        *,
        attempt: int = 1,
        lane: Lane = Lane.URGENT,
        stop: Stopped | None = None,
    ) -> Outcomes:
        """Send as the worker does: it stops at expiry, keeps the ids and records the outcomes."""
        window = self.window(content, ordinals, attempt=attempt, lane=lane)
        outcomes = await channel.send(window, content.rendition, stop or (lambda: content.expires <= now_ms()))
        assert len(outcomes.states) == len(outcomes.at) == len(window)
        if outcomes.far_ids is not None and outcomes.far_ordinals is not None:
            self.kept.append((content.batch, outcomes.far_ordinals, outcomes.far_ids))
        self.ledgers[content.batch].merge(
            Receipts(content.batch, window.ordinals, outcomes.states, outcomes.at.astype(np.int64))
        )
        return outcomes

    @asynccontextmanager
    async def running(self, *, port: int | None = None, stuck: bool = False) -> AsyncIterator[Channel]:
        """A life of the channel. With `stuck`, its consumer takes one piece of evidence and dies of it."""
        channel = self.stage.channel(port)
        await channel.start(self.context())
        listener = asyncio.create_task(self._listen(channel, stuck=stuck))
        try:
            yield channel
        finally:
            if stuck:
                listener.cancel()
                await asyncio.gather(listener, return_exceptions=True)
            await asyncio.wait_for(channel.close(), 20)
            if not stuck:
                await asyncio.wait_for(listener, 10)

    def reached(self, batch: int, arrival: Arrival) -> set[int]:
        """Ordinals that the ledger has at `arrival` or beyond."""
        return set(np.flatnonzero(self.ledgers[batch].states >> ARRIVAL_SHIFT >= arrival).tolist())

    def counts(self, batch: int) -> dict[str, int]:
        """The ledger's counters of a batch."""
        names = ("planned", "sent", "delivered", "presented", "acknowledged", "failed")
        return dict(zip(names, self.ledgers[batch].counts().tolist(), strict=False))

    async def until(self, satisfied: Callable[[], bool], within: float = 40.0) -> None:
        """Wait for something to come true."""
        async with asyncio.timeout(within):
            while not satisfied():
                await asyncio.sleep(0.02)

    def context(self) -> ChannelContext:
        """What the channel may ask."""
        return ChannelContext(self._batch, self._open, self._far_ids, self._arrivals, self._over)

    async def _listen(self, channel: Channel, *, stuck: bool) -> None:
        async for receipts in channel.listen():
            self.pieces.append(receipts)
            if stuck:
                await asyncio.Event().wait()
            self.ledgers[receipts.batch].merge(receipts)

    async def _batch(self, batch: int) -> BatchContent:
        try:
            return self.batches[batch]
        except KeyError:
            raise NotFound(f"no batch {batch}") from None

    async def _open(self) -> list[int]:
        return sorted(number for number, own in self.batches.items() if own.alert not in self.over)

    async def _over(self) -> list[int]:
        return sorted(number for number, own in self.batches.items() if own.alert in self.over)

    async def _far_ids(self, batches: list[int]) -> list[tuple[int, NDArray[np.uint16], NDArray[np.bytes_]]]:
        return [own for own in self.kept if own[0] in batches]

    async def _arrivals(self, batch: int) -> NDArray[np.uint8]:
        if batch not in self.ledgers:
            raise NotFound(f"no batch {batch}")
        return (self.ledgers[batch].states >> ARRIVAL_SHIFT).astype(np.uint8)
