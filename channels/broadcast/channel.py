"""The emergency-broadcast channel: windows become one signed message per village, reports become evidence."""

from __future__ import annotations

import asyncio
import itertools
import time
from collections import Counter, defaultdict, deque
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from broker import logs
from broker.clock import now_ms
from broker.errors import ChannelError, ConfigError, FenghuoError, NotFound, Problem, StoreError
from broker.ledger.arrays import Receipts
from broker.ledger.state import DELIVERED, PRESENTED, Rank, Reason, word
from broker.mqtt.client import Connection, ConnectionRefused, Server
from broker.mqtt.wire import Connect, Publish
from broker.sealing import Addresses
from broker.store.records import RenditionRecord
from broker.types import ChannelName, Phase
from channels.broadcast.ids import (
    EBRID_LENGTH,
    REPORT_FILTER,
    ebmid,
    message_topic,
    reporter,
    village_of,
)
from channels.broadcast.keys import SigningKey
from channels.broadcast.link import Link
from channels.broadcast.message import LANGUAGE_CODES, BroadcastMessage, MsgType, Severity, message_key, seal
from channels.broadcast.report import Report, TerminalState
from channels.broadcast.settings import BroadcastSettings
from channels.channel import BatchContent, ChannelContext, Outcomes, Stopped, Window

_AT_ONCE = 64
"""Villages published between two looks at `stop`."""
_FIRST_CONNECTION_SECONDS = 10.0


@dataclass(frozen=True, slots=True)
class _Evidence:
    """A believed report: where it belongs and what it proves."""

    batch: int
    ordinal: int
    state: int
    at: int


class BroadcastChannel:
    """Implements `channels.channel.Channel`."""

    name = ChannelName.BROADCAST

    def __init__(self, settings: BroadcastSettings) -> None:
        self.window = settings.window
        self.disbelieved: Counter[str] = Counter()
        """Reports that were no evidence, by why not; `alarm:<reason>` counts forgeries that terminals refused."""
        self._settings = settings
        self._context: ChannelContext | None = None
        self._key: SigningKey | None = None
        self._link: Link | None = None
        self._over: set[str] = set()
        self._held: deque[tuple[float, Connection, int]] = deque()
        """(when to acknowledge, connection, packet id) of reports handed on."""
        self._log = logs.get(channel="broadcast")

    @property
    def healthy(self) -> bool:
        """Whether the MQTT server is connected."""
        return self._link is not None and self._link.up

    async def start(self, context: ChannelContext) -> None:
        """Read the key, connect, take reports. Raises ChannelError for a wrong key file or refused account."""
        settings = self._settings
        try:
            server = Server.parse(settings.url, "broadcast.url", authority=str(settings.authority or "") or None)
            self._key = SigningKey.load(settings.signing_key, settings.key_id)
            password = _first_line(settings.password_file)
        except (ConfigError, OSError) as error:
            raise ChannelError(str(error)) from error
        self._context = context
        wish = Connect(settings.username, settings.username, password, False, settings.keepalive_seconds)
        self._link = Link(server, wish, (REPORT_FILTER,), reconnect=settings.reconnect_seconds)
        try:
            await self._link.start(_FIRST_CONNECTION_SECONDS)
        except ConnectionRefused as error:
            await self._link.close()
            raise ChannelError(str(error)) from error

    async def close(self) -> None:
        """End the connection; reports not yet acknowledged come again to whoever resumes the session."""
        if self._link is not None:
            await self._link.close()

    async def send(self, window: Window, rendition: RenditionRecord, stop: Stopped) -> Outcomes:
        """Sign and publish one message per village; `sent` is the server's PUBACK."""
        states = np.full(len(window), word(Rank.WITHHELD, attempt=window.attempt, reason=Reason.STOPPED), np.uint16)
        at = np.full(len(window), now_ms(), np.int64)
        wrong, villages = by_village(window.addresses)
        states[wrong] = word(Rank.FAILED, attempt=window.attempt, reason=Reason.INVALID_ADDRESS)
        for group in _chunks(iter(villages.items()), _AT_ONCE):
            if window.alert in self._over or stop():
                break
            texts = [
                (message_topic(village), self._message(window, rendition, village, members), members)
                for village, members in group
            ]
            await self._publish(texts, window.attempt, states, at)
        return Outcomes(states, at)

    async def withdraw(self, alert: str) -> None:
        """Nothing more of it is published. What the server keeps for terminals that are away cannot be taken out
        of its sessions: they are silenced by the Cancel that comes after it."""
        self._over.add(alert)

    async def listen(self) -> AsyncIterator[Receipts]:
        """Evidence from the terminals' reports, grouped by batch as they come."""
        assert self._link is not None
        link, context = self._link, self._context
        assert context is not None
        while True:
            taken = await self._take(link)
            if not taken:
                return
            now = now_ms()
            found: defaultdict[int, list[_Evidence]] = defaultdict(list)
            for _, message in taken:
                evidence = await self._believe(message, context, now)
                if evidence is not None:
                    found[evidence.batch].append(evidence)
            for batch, items in found.items():
                yield Receipts(
                    batch,
                    np.array([item.ordinal for item in items], np.uint16),
                    np.array([item.state for item in items], np.uint16),
                    np.array([item.at for item in items], np.int64),
                )
            due = time.monotonic() + self._settings.hold_reports_seconds
            self._held.extend((due, connection, message.packet_id) for connection, message in taken)
            self._acknowledge_held()

    async def _take(self, link: Link) -> list[tuple[Connection, Publish]]:
        """Wait for reports, acknowledging meanwhile what has been held long enough."""
        waiting = asyncio.create_task(link.take())
        try:
            while not waiting.done():
                await asyncio.wait({waiting}, timeout=0.2 if self._held else None)
                self._acknowledge_held()
            return waiting.result()
        finally:
            waiting.cancel()

    def _acknowledge_held(self) -> None:
        now = time.monotonic()
        while self._held and self._held[0][0] <= now:
            _, connection, packet_id = self._held.popleft()
            connection.acknowledge(packet_id)

    def _message(
        self, window: Window, rendition: RenditionRecord, village: str, members: NDArray[np.intp]
    ) -> bytes:
        assert self._key is not None
        content, settings, now = rendition.content, self._settings, now_ms()
        text = str(content["text"])
        plays = content.get("plays", 1)
        phase, replaces = Phase(str(content.get("phase", Phase.WARNING))), content.get("replaces", [])
        ends = phase in (Phase.CLEAR, Phase.CANCEL)
        message = BroadcastMessage(
            # The date is that of the alert's end, the only one frozen with the batch: sent again after
            # midnight the message keeps its id.
            ebmid=ebmid(settings.source, window.expires, rendition.id),
            key=message_key(window.alert, window.batch),
            batch=window.batch,
            attempt=window.attempt,
            # What ends a drill stays a drill: a terminal that is not in training need not even look at it.
            msg_type=MsgType.TERMINAL_DRILL
            if content.get("exercise")
            else MsgType.CANCEL
            if ends
            else MsgType.ACTUAL,
            sender_name=str(content["sender_name"]),
            sender_code=settings.source,
            send_time=now,
            event_type=str(content["event"]),
            severity=Severity.of(str(content["level"])),
            start_time=now,
            end_time=window.expires,
            language=LANGUAGE_CODES.get(rendition.language.partition("-")[0].lower(), rendition.language),
            title=str(content.get("title", content.get("event_name", ""))),
            description=text,
            speech=str(content.get("speech", text)),
            plays=plays if isinstance(plays, int) and not ends else 1,
            area_code=village,
            targets={
                window.addresses[member].decode(): int(window.ordinals[member]) for member in members.tolist()
            },
            phase=phase,
            replaces=tuple(map(str, replaces)) if isinstance(replaces, list) else (),
        )
        return seal(message, self._key)

    async def _publish(
        self,
        texts: list[tuple[str, bytes, NDArray[np.intp]]],
        attempt: int,
        states: NDArray[np.uint16],
        at: NDArray[np.int64],
    ) -> None:
        assert self._link is not None
        sent = word(Rank.SENT, attempt=attempt)
        unknown = word(Rank.UNKNOWN, attempt=attempt)
        disconnected = word(Rank.FAILED, attempt=attempt, reason=Reason.DISCONNECTED)
        waiting = set(range(len(texts)))
        settled = asyncio.Event()

        def answer(number: int, state: int) -> None:
            if number not in waiting:
                return  # later than the caller was told "unknown"
            waiting.discard(number)
            states[texts[number][2]] = state
            at[texts[number][2]] = now_ms()
            if not waiting:
                settled.set()

        for number, (topic, envelope, _) in enumerate(texts):

            def done(good: bool, number: int = number) -> None:
                answer(number, sent if good else unknown)

            if not self._link.publish(topic, envelope, done):
                answer(number, disconnected)
        try:
            await asyncio.wait_for(settled.wait(), self._settings.confirm_seconds)
        except TimeoutError:
            self._log.warning("publish_unconfirmed", villages=len(waiting))
            for number in list(waiting):
                answer(number, unknown)

    async def _believe(self, message: Publish, context: ChannelContext, now: int) -> _Evidence | None:
        """What a report proves, if its sender is who the batch says."""
        ebrid = reporter(message.topic)
        try:
            report = Report.decode(message.payload)
        except ValueError:
            self.disbelieved["unreadable"] += 1
            return None
        if ebrid is None:
            self.disbelieved["topic"] += 1
            return None
        reference = report.reference
        if reference is None:
            self.disbelieved[f"alarm:{report.reason}"] += 1
            # The village is enough to know where somebody forges; the whole number is the terminal's address.
            self._log.warning("terminal_refused_unverified", village=village_of(ebrid), reason=report.reason)
            return None
        content = await self._content(reference.batch, context)
        if content is None:
            self.disbelieved["batch"] += 1
            return None
        if (
            reference.ordinal >= len(content.addresses)
            or content.addresses[reference.ordinal] != ebrid.encode()
            or reference.key != message_key(content.alert, content.batch)
        ):
            self.disbelieved["reference"] += 1
            return None
        return _Evidence(reference.batch, reference.ordinal, _proof(report.state, reference.attempt), now)

    async def _content(self, batch: int, context: ChannelContext) -> BatchContent | None:
        while True:
            try:
                return await context.batch(batch)
            except NotFound:
                return None
            except StoreError as error:
                if self._link is None or self._link.closed:
                    return None
                self._log.warning("report_waits_for_store", reason=str(error))
                await asyncio.sleep(0.5)
            except FenghuoError as error:
                self._log.error("report_without_batch", reason=str(error))
                return None


def _proof(state: TerminalState, attempt: int) -> int:
    match state:
        case TerminalState.VERIFIED | TerminalState.PLAYING:
            return DELIVERED
        case TerminalState.PLAYED:
            return PRESENTED
        case TerminalState.REFUSED:
            return word(Rank.FAILED, attempt=attempt, reason=Reason.REFUSED_BY_DEVICE)


def by_village(addresses: Addresses) -> tuple[NDArray[np.bool_], dict[str, NDArray[np.intp]]]:
    """Which addresses are not EBRIDs, and the positions of the others by their village."""
    n = len(addresses)
    padded = addresses.astype(f"S{max(EBRID_LENGTH + 1, addresses.dtype.itemsize)}")
    characters = padded.view(np.uint8).reshape(n, -1)
    digits = (characters >= ord("0")) & (characters <= ord("9"))
    right = digits[:, :EBRID_LENGTH].all(axis=1) & (characters[:, EBRID_LENGTH:] == 0).all(axis=1)
    codes = np.ascontiguousarray(characters[:, 1:13]).view("S12").ravel()
    positions = np.flatnonzero(right)
    order = positions[np.argsort(codes[positions], kind="stable")]
    names, starts = np.unique(codes[order], return_index=True)
    groups = np.split(order, starts[1:])
    return ~right, {name.decode(): group for name, group in zip(names, groups, strict=False)}


def _chunks(
    items: Iterator[tuple[str, NDArray[np.intp]]], size: int
) -> Iterator[list[tuple[str, NDArray[np.intp]]]]:
    while chunk := list(itertools.islice(items, size)):
        yield chunk


def _first_line(path: Path) -> bytes:
    try:
        line = path.read_text().partition("\n")[0].strip()
    except OSError as error:
        rule = "broadcast.password.file"
        raise ConfigError([Problem(str(path), rule, f"cannot be read: {error.strerror}")]) from error
    if not line:
        raise ConfigError([Problem(str(path), "broadcast.password.empty", "no password on the first line")])
    return line.encode()
