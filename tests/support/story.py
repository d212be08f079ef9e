"""A small city as whole processes: `fenghuo serve`, the simulated far ends of all channels, and what each heard.

The far ends keep logs of their own; what they say is compared with the ledger and with the registry of the test.
"""

from __future__ import annotations

import asyncio
import contextlib
import csv
import io
import itertools
import json
import os
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta, timezone
from functools import partial
from pathlib import Path
from typing import Any

import aiohttp
import yaml

from broker.cap.build import alert_of
from broker.cap.compose import Translation, compose, geocode_area, reference_to
from broker.cap.level import Level
from broker.cap.model import Alert, Area, MsgType, Scope, Status
from broker.cap.xml import parse_xml, to_xml
from broker.cli import main
from broker.ledger.arrays import NEVER, Milestone
from broker.mqtt.access import Account, Accounts, Login
from broker.mqtt.client import Connection, Server, connect
from broker.mqtt.wire import Connect, Publish
from broker.settings import Settings
from broker.store.contract import Store
from broker.store.sql import open_store
from broker.types import CHANNELS, AlertState, ChannelName, Phase
from channels.broadcast.ids import MESSAGE_FILTER, REPORT_FILTER
from channels.broadcast.keys import SigningKey
from channels.mailbox.client import parse_events
from tests.support.processes import PATIENCE, ROOT, Broker, Command, a_configuration, far_end_lines, start

BEIJING = timezone(timedelta(hours=8))
SENDERS = {
    "met-hechuan": "hechuan-met@warning.example",
    "met-wulong": "wulong-met@warning.example",
    "met-wushan": "wushan-met@warning.example",
}
LISTENER = Login("listener", "l" * 43, (MESSAGE_FILTER, REPORT_FILTER))
ENDS = (
    AlertState.COMPLETED,
    AlertState.CANCELLED,
    AlertState.SUPERSEDED,
    AlertState.EXPIRED,
    AlertState.STOPPED,
    AlertState.REJECTED,
)
BEGAN = datetime.now(UTC).replace(microsecond=0) - timedelta(minutes=30)
_seconds = itertools.count(1)

Heard = dict[tuple[ChannelName, Phase], list[str]]
"""Addresses in the order of a far end's log, by channel and by what they were told."""


@dataclass(frozen=True)
class Person:
    """One recipient as a row of the registry."""

    id: int
    channel: ChannelName
    village: str
    kind: str = "public"
    language: str = "zh-CN"

    @property
    def address(self) -> str:
        match self.channel:
            case ChannelName.SMS:
                return f"861000{self.id:08d}"
            case ChannelName.BROADCAST:
                return f"6{self.village}03140104{self.id % 100:02d}"
            case ChannelName.APP:
                return f"a{self.id:06d}"
            case ChannelName.SIGNAGE:
                return f"s{self.id:06d}"


def write_registry(path: Path, people: Iterable[Person]) -> Path:
    """As `fenghuo registry import` reads it."""
    with path.open("w", newline="") as file:
        rows = csv.writer(file)
        rows.writerow(("id", "channel", "address", "holder", "kind", "region", "lon", "lat", "groups", "language"))
        for one in people:
            rows.writerow(
                (one.id, one.channel, one.address, one.id, one.kind, one.village, "", "", "", one.language)
            )
    return path


@dataclass(frozen=True)
class Credential:
    """A token and the id by which history names it."""

    id: str
    secret: str = field(repr=False)


@dataclass(frozen=True)
class Answer:
    """What the API said."""

    status: int
    body: Any

    @property
    def rules(self) -> list[str]:
        return [problem["rule"] for problem in self.body.get("problems") or []]


def message(
    identifier: str,
    areas: Sequence[Area] = (),
    *,
    department: str = "met-hechuan",
    level: Level = Level.RED,
    status: Status = Status.ACTUAL,
    scope: Scope = Scope.PUBLIC,
    msg_type: MsgType = MsgType.ALERT,
    about: Sequence[Alert] = (),
    description: str = "过去3小时降雨量已达100毫米以上。",
    english: bool = False,
    note: str | None = None,
) -> Alert:
    """A message as a forecaster writes it, each sent a second after the one before; all end at the same time."""
    place = areas[0].area_desc if areas else ""
    translation = Translation(
        "en",
        "Rainstorm",
        "A warning of rainstorm",
        "More than 100 mm of rain fell in 3 hours.",
        "Leave river banks now.",
        "Hechuan Station",
        tuple(f"Place {number} of {identifier}" for number, _ in enumerate(areas)),
    )
    made = compose(
        identifier,
        SENDERS[department],
        (BEGAN + timedelta(seconds=next(_seconds))).astimezone(BEIJING),
        "11B03",
        "暴雨",
        level,
        f"{place}暴雨预警",
        description,
        "立即离开河边和陡坡，转移到高处。",
        areas=areas or [geocode_area("合川区", ["500117000000"])],
        expires=(BEGAN + timedelta(hours=6)).astimezone(BEIJING),
        sender_name="合川区气象台",
        translations=[translation] if english else [],
        status=status,
        msg_type=msg_type,
        scope=scope,
        note=note,
        references=[reference_to(each) for each in about],
    )
    return replace(
        made,
        infos=made.infos if msg_type in (MsgType.ALERT, MsgType.UPDATE) else (),
        restriction="仅限责任人" if scope is Scope.RESTRICTED else None,
        addresses="duty@warning.example" if scope is Scope.PRIVATE else None,
    )


async def eventually(check: Callable[[], Awaitable[Any] | Any], what: str, timeout: float = PATIENCE) -> Any:
    """What `check` gives as soon as it is true."""
    deadline = time.monotonic() + timeout
    while True:
        found = check()
        if isinstance(found, Awaitable):
            found = await found
        if found:
            return found
        assert time.monotonic() < deadline, f"never came true: {what}"
        await asyncio.sleep(0.05)


def fenghuo(*arguments: str) -> str:
    """Run a command of ours in this process, for what only sets the scene; everything it says."""
    said = io.StringIO()
    with contextlib.redirect_stdout(said), contextlib.redirect_stderr(io.StringIO()) as beside:
        code = main(arguments)
    assert code == 0, said.getvalue() + beside.getvalue()
    return said.getvalue()


@dataclass
class Stage:
    """A broker, its far ends, and those who use and watch them."""

    folder: Path
    broker: Broker
    settings: Settings
    store: Store
    session: aiohttp.ClientSession
    people: dict[int, Person]

    # -- departments ---------------------------------------------------------------------------------------

    async def credential(self, department: str, *options: str) -> Credential:
        """A new token of a department."""
        before = {token.id for token in await self.store.tokens()}
        config = ("--config", str(self.broker.config))
        secret = (await asyncio.to_thread(fenghuo, "department", "token", department, *options, *config)).strip()
        (made,) = [token.id for token in await self.store.tokens() if token.id not in before]
        return Credential(made, secret)

    async def ask(
        self, method: str, path: str, who: Credential, body: Mapping[str, Any] | bytes | None = None
    ) -> Answer:
        """One request to the API: bytes are a CAP message, a mapping is JSON."""
        headers = {"Authorization": f"Bearer {who.secret}"}
        if body is not None:
            headers["Content-Type"] = "application/cap+xml" if isinstance(body, bytes) else "application/json"
        data = body if isinstance(body, bytes) or body is None else json.dumps(body).encode()
        async with self.session.request(method, self.broker.url + path, headers=headers, data=data) as answer:
            return Answer(answer.status, json.loads(await answer.read() or b"{}"))

    async def post(self, alert: Alert, who: Credential) -> str:
        """Post a message that is accepted; its id here."""
        answer = await self.ask("POST", "/v1/alerts", who, to_xml(alert))
        assert answer.status == 202, answer.body
        return str(answer.body["id"])

    async def look(self, alert: str, who: Credential) -> dict[str, Any]:
        """Everything that the API tells of an alert."""
        answer = await self.ask("GET", f"/v1/alerts/{alert}", who)
        assert answer.status == 200, answer.body
        told: dict[str, Any] = answer.body
        return told

    async def preview(self, alert: str, who: Credential) -> dict[str, Any]:
        """A fresh preview."""
        answer = await self.ask("POST", f"/v1/alerts/{alert}/preview", who)
        assert answer.status == 201, answer.body
        shown: dict[str, Any] = answer.body
        return shown

    async def release(self, alert: str, who: Credential, preview: str) -> Answer:
        """Ask for the release of what a preview showed."""
        return await self.ask("POST", f"/v1/alerts/{alert}/release", who, {"preview": preview})

    async def released(self, alert: str, who: Credential) -> None:
        """Look at it and let it go."""
        shown = await self.preview(alert, who)
        answer = await self.release(alert, who, shown["preview"])
        assert answer.status == 200, answer.body

    async def message_of(self, alert: str) -> Alert:
        """The CAP message behind an id."""
        root = parse_xml((await self.store.alert(alert)).body).root
        assert root is not None
        found = alert_of(root)
        assert found is not None
        return found

    # -- states --------------------------------------------------------------------------------------------

    async def until_state(self, alert: str, *states: AlertState) -> AlertState:
        """Wait until an alert is in one of `states`."""

        async def there() -> AlertState | None:
            state = (await self.store.alert(alert)).state
            return state if state in states else None

        found: AlertState = await eventually(there, f"{alert} is {', '.join(states)}")
        return found

    # -- far ends ------------------------------------------------------------------------------------------

    async def keys(self, alert: str) -> dict[tuple[ChannelName, str], Phase]:
        """What tells the messages of an alert at the far ends, and what each says."""
        renditions = {each.id: each for each in await self.store.renditions(alert)}
        phases = {number: Phase(str(each.content["phase"])) for number, each in renditions.items()}
        found = {
            (ChannelName.SMS, str(each.content["text"])): phases[number]
            for number, each in renditions.items()
            if each.channel is ChannelName.SMS
        }
        for batch in await self.store.batches(await self.store.batch_ids(alert=alert)):
            if batch.channel is not ChannelName.SMS:
                found[batch.channel, str(batch.id)] = phases[batch.rendition]
        return found

    async def heard(self, alert: str, event: str = "received") -> Heard:
        """Who, by the far ends' own logs, had an `event` with a message of `alert`."""
        keys = await self.keys(alert)
        found: Heard = {}
        for channel in CHANNELS:
            for line in far_end_lines(self.folder, channel):
                phase = keys.get((channel, key_of(channel, line["message"]))) if line["event"] == event else None
                if phase is not None:
                    found.setdefault((channel, phase), []).append(line["address"])
        return found

    async def who(self, alert: str, event: str = "received", phase: Phase | None = None) -> set[str]:
        """The addresses of `heard`, on all channels, of one phase or of all."""
        return {
            address
            for (_, told), addresses in (await self.heard(alert, event)).items()
            for address in addresses
            if phase in (None, told)
        }

    async def until_heard(self, alert: str, addresses: set[str], phase: Phase, event: str = "received") -> None:
        """Wait until all these were told that."""

        async def all_of_them() -> bool:
            return addresses <= await self.who(alert, event, phase)

        await eventually(all_of_them, f"{event} by all, {phase} of {alert}")

    async def sent(self, alert: str) -> set[str]:
        """The addresses of those who were sent a message of `alert` or possibly were, by the ledger."""
        found = set()
        for batch in await self.store.batches(await self.store.batch_ids(alert=alert)):
            row = await self.store.ledger_row(batch.id)
            ids = batch.recipients[row.times[Milestone.SENT] != NEVER]
            found |= {self.people[number].address for number in ids.tolist()}
        return found

    def lines(self, channel: ChannelName) -> list[dict[str, Any]]:
        """A far end's log."""
        return list(far_end_lines(self.folder, channel))

    # -- what a device can see ------------------------------------------------------------------------------

    async def playlist(self, screen: Person) -> list[dict[str, Any]]:
        """What a screen is to show now."""
        channel = self.settings.channels.signage
        assert channel is not None
        url = f"http://127.0.0.1:{channel.port}/v1/screens/{screen.address}/playlist"
        async with self.session.get(url, headers=self._device(screen)) as answer:
            assert answer.status == 200
            items: list[dict[str, Any]] = (await answer.json())["items"]
            return items

    async def messages(self, app: Person) -> list[dict[str, Any]]:
        """What an installation that has forgotten everything is given."""
        channel = self.settings.channels.app
        assert channel is not None
        url = f"http://127.0.0.1:{channel.port}/v1/stream?once=1"
        headers = {**self._device(app), "Installation": app.address}
        async with self.session.get(url, headers=headers) as answer:
            assert answer.status == 200
            events, _ = parse_events(await answer.read())
        return [json.loads(event.data) for event in events if event.name == "alert"]

    def _device(self, device: Person) -> dict[str, str]:
        with (self.folder / f"{device.channel}.csv").open(newline="") as rows:
            tokens = {row["id"]: row["token"] for row in csv.DictReader(rows)}
        return {"Authorization": f"Bearer {tokens[device.address]}"}


def key_of(channel: ChannelName, told: str) -> str:
    """The text of a short message, else the batch in what a far end calls a message."""
    if channel is ChannelName.SMS:
        return told
    return told.rpartition("/")[2] if channel is ChannelName.BROADCAST else told.partition(":")[0]


# -- beside the loudspeakers ----------------------------------------------------------------------------------


@dataclass
class _Ear:
    take: Callable[[Publish], None]

    def received(self, connection: Connection, message: Publish) -> None:
        self.take(message)
        connection.acknowledge(message.packet_id)

    def lost(self, connection: Connection, why: str) -> None:
        """The broker was stopped or killed, or we have heard enough."""


@asynccontextmanager
async def listening(stage: Stage, topics: str, take: Callable[[Publish], None]) -> AsyncIterator[None]:
    """Hand over what the MQTT server says to the villages, or they to it, until it ends for the first time."""
    broadcast = stage.settings.channels.broadcast
    assert broadcast is not None
    server = Server.parse(broadcast.url.removeprefix("mqtt://"), "url")
    wish = Connect(LISTENER.username, LISTENER.username, LISTENER.password.encode(), True, 600)
    connection = await connect(server, wish, _Ear(take))
    try:
        await connection.subscribe(topics)
        yield
    finally:
        connection.close()


# -- setting the scene ---------------------------------------------------------------------------------------


def _configured(folder: Path, departments: Path | None, changes: Mapping[str, Any], sms_window: int) -> Path:
    files = {"files": {"departments": str(departments)}} if departments else {}
    path = a_configuration(folder, rate=None, **files, **changes)
    config = yaml.safe_load(path.read_text())
    config["channels"]["sms"]["recipients_per_window"] = sms_window
    path.write_text(yaml.safe_dump(config, allow_unicode=True))
    return path


def second_person_for(folder: Path, *names: str) -> Path:
    """The departments, of whom these need a second person for everything."""
    config = yaml.safe_load((ROOT / "config/departments.yaml").read_text())
    for department in config["departments"]:
        if department["id"] in names:
            department["release"] = dict.fromkeys(department["release"], "second_person")
    path = folder / "departments.yaml"
    folder.mkdir(parents=True, exist_ok=True)
    path.write_text(yaml.safe_dump(config, allow_unicode=True))
    return path


def _far_ends(folder: Path, settings: Settings, play_ms: int, latency_ms: int) -> dict[str, list[str]]:
    """Options of the simulators."""
    channels = settings.channels
    assert channels.sms is not None
    assert channels.broadcast is not None
    assert channels.app is not None
    assert channels.signage is not None
    return {
        "smsc": [
            *("--port", str(channels.sms.port), "--password-file", str(channels.sms.password_file)),
            *("--latency-ms", str(latency_ms), "--receipt-delay-ms", "20"),
        ],
        "village": [
            *("--terminals", str(folder / "terminals.csv"), "--keys", str(folder / "trusted-keys")),
            *("--mqtt", channels.broadcast.url.removeprefix("mqtt://"), "--play-ms", str(play_ms)),
        ],
        "app": [
            *("--devices", str(folder / "app.csv"), "--url", f"http://127.0.0.1:{channels.app.port}"),
            *("--display-ms", "30", "--tap-share", "0"),
        ],
        "signage": [
            *("--screens", str(folder / "signage.csv"), "--url", f"http://127.0.0.1:{channels.signage.port}"),
            *("--show-ms", "30"),
        ],
    }


_FAR_END_OF = {
    "smsc": ChannelName.SMS,
    "village": ChannelName.BROADCAST,
    "app": ChannelName.APP,
    "signage": ChannelName.SIGNAGE,
}


def _is_ready(end: Command) -> bool:
    return '"ready": true' in end.out.read_text()


async def _ended(command: Command) -> None:
    command.stop()
    try:
        await command.wait(30)
    finally:
        await command.kill()


def _lay_out(folder: Path, config: Path, people: Sequence[Person], later: Sequence[Person]) -> Settings:
    settings = Settings.load(config)
    named = ("--config", str(config))
    fenghuo("keys", "init", *named)
    fenghuo("registry", "import", str(write_registry(folder / "registry.csv", people)), *named)
    fenghuo("device", "terminals", str(folder / "terminals.csv"), *named)
    for channel in (ChannelName.APP, ChannelName.SIGNAGE):
        ids = [one.address for one in (*people, *later) if one.channel is channel]
        (folder / f"{channel}.csv").write_text(fenghuo("device", "token", str(channel), *ids, *named))
    broadcast = settings.channels.broadcast
    assert broadcast is not None
    key = SigningKey.load(broadcast.signing_key, broadcast.key_id)
    (folder / "trusted-keys").write_text(key.public_line() + "\n")
    return settings


@asynccontextmanager
async def staged(
    folder: Path,
    people: Sequence[Person],
    *,
    later: Sequence[Person] = (),
    departments: Path | None = None,
    play_ms: int = 30,
    sms_window: int = 1000,
    sms_latency_ms: int = 1,
    **changes: Any,
) -> AsyncIterator[Stage]:
    """Everything up and connected; `later` have devices but are not in the registry yet."""
    config = _configured(folder, departments, changes, sms_window)
    settings = await asyncio.to_thread(_lay_out, folder, config, people, later)
    assert settings.embedded_mqtt is not None
    accounts = Accounts.load(settings.embedded_mqtt.credentials)
    accounts.add(Account.of(LISTENER))
    accounts.save(settings.embedded_mqtt.credentials)
    async with AsyncExitStack() as stack:
        options = _far_ends(folder, settings, play_ms, sms_latency_ms)

        async def far_end(name: str) -> Command:
            log = folder / "far-ends" / f"{_FAR_END_OF[name]}.jsonl"
            own = ("--log", str(log), "--parent", str(os.getpid()), "--linger", "1")
            end = await start(folder, "simulate", name, *own, *options[name], name=name)
            stack.push_async_callback(_ended, end)
            return end

        # Who finds nobody there tries again ever more seldom: so each comes when its server is there.
        first = await far_end("smsc")
        await eventually(partial(_is_ready, first), f"ready: {first.said}")
        broker = Broker(folder, config, f"http://127.0.0.1:{settings.listen.port}")

        async def stop() -> None:
            if broker.command is not None:
                await _ended(broker.command)

        stack.push_async_callback(stop)
        await broker.start()
        ends = [await far_end(name) for name in ("village", "app", "signage")]
        for end in ends:
            await eventually(partial(_is_ready, end), f"ready: {end.said}")
        store = open_store(settings.store)
        await store.start()
        stack.push_async_callback(store.close)
        session = await stack.enter_async_context(
            aiohttp.ClientSession(
                timeout=aiohttp.ClientTimeout(total=60), connector=aiohttp.TCPConnector(force_close=True)
            )
        )
        everyone = {one.id: one for one in (*people, *later)}
        yield Stage(folder, broker, settings, store, session, everyone)
