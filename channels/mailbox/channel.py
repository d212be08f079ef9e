"""A channel whose devices come to it: mailboxes behind an HTTP server of its own.

`sent` means that a message lies in the device's mailbox. The mailbox is memory, but what it holds is durable
as the batch in the store, from which it is built anew at start: everybody in a batch whose alert is open gets
it put back. Being told twice is harmless, since devices know messages by their ids; being missed is not. For
the same reason a device that is given a message again reports again what it did with it: evidence that was
taken but not yet durable when the process was killed is then given a second time.

What is withdrawn stays in the mailboxes as such until it expires, over restarts too: devices that were away are
told when they return that what they display is over.
"""

from __future__ import annotations

import asyncio
import contextlib
from abc import ABC, abstractmethod
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from typing import ClassVar, Final

import numpy as np
from aiohttp import web
from pydantic import ValidationError

from broker import logs
from broker.clock import now_ms
from broker.errors import ChannelError, ConfigError, FenghuoError, InputRefused, NotFound, Problem
from broker.ledger.arrays import Receipts, States
from broker.ledger.state import ARRIVAL_SHIFT, Rank, Reason, word
from broker.sealing import Addresses, SealError
from broker.store.records import RenditionRecord
from broker.types import ChannelName
from channels.channel import ChannelContext, Outcomes, Stopped, Window, submitted
from channels.mailbox.boxes import HeldBatch, Mailboxes, Words
from channels.mailbox.evidence import Evidence
from channels.mailbox.files import raise_open_files
from channels.mailbox.problems import as_problems, problem
from channels.mailbox.reports import Report, parse_reports
from channels.mailbox.settings import MailboxSettings
from channels.mailbox.streams import Streams
from channels.mailbox.tokens import Gate, is_device_id, load_secret

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]

_SPARE_FILES: Final = 256
_LISTEN_BACKLOG: Final = 4_096
_SWEEP_SECONDS: Final = 1.0
_ACCEPTED_SECONDS: Final = 0.02


class MailboxChannel(ABC):
    """What the app and the signage channel have in common; see the module for what `sent` means."""

    name: ChannelName
    window: int = 4_096
    states: ClassVar[Mapping[str, int]]
    """State words by the words that this channel's devices report."""

    def __init__(self, settings: MailboxSettings) -> None:
        self._settings = settings
        self._boxes = Mailboxes()
        self._evidence = Evidence(settings.flush_seconds, settings.flush_reports)
        self._streams = Streams(settings.max_streams, settings.max_backlog_bytes, settings.heartbeat_seconds)
        self._gate: Gate | None = None
        self._context: ChannelContext | None = None
        self._runner: web.AppRunner | None = None
        self._sweeper: asyncio.Task[None] | None = None
        self._port = 0
        self._log = logs.get(channel=str(self.name))

    @abstractmethod
    def routes(self) -> list[web.RouteDef]:
        """What the HTTP server answers."""

    @abstractmethod
    def words(self, rendition: RenditionRecord) -> Words:
        """A rendition as devices read it. Raises pydantic's ValidationError if it lacks what they need."""

    @abstractmethod
    def announce(self, held: HeldBatch, fresh: list[tuple[str, int]]) -> None:
        """Tell the held streams of new messages, given as (device, ordinal)."""

    @abstractmethod
    def announce_loss(self, devices: set[str]) -> None:
        """Tell the held streams that something of theirs has expired."""

    @abstractmethod
    def announce_withdrawal(self, alert: str, devices: set[str]) -> None:
        """Tell the held streams that what they have of an alert is over."""

    @property
    def port(self) -> int:
        """TCP port of the HTTP server, once started."""
        return self._port

    @property
    def url(self) -> str:
        """Base URL of the HTTP server, once started."""
        host = f"[{self._settings.host}]" if ":" in self._settings.host else self._settings.host
        return f"http://{host}:{self._port}"

    @property
    def held_streams(self) -> int:
        """How many devices hold a stream open now."""
        return len(self._streams)

    @property
    def healthy(self) -> bool:
        """Whether devices can reach the channel."""
        return self._runner is not None

    async def start(self, context: ChannelContext) -> None:
        """Fill the mailboxes from the store, then open the HTTP server. Raises ChannelError."""
        try:
            self._gate = Gate(load_secret(self._settings.secret_file), self.name)
        except ConfigError as error:
            raise ChannelError(str(error)) from error
        self._context = context
        files = raise_open_files()
        room = files.room(self._settings.max_streams, _SPARE_FILES)
        if room < self._settings.max_streams:
            self._log.warning("streams_limited_by_open_files", open_files=files.used, max_streams=room)
        self._streams = Streams(room, self._settings.max_backlog_bytes, self._settings.heartbeat_seconds)
        await self._rebuild(context)
        application = web.Application(middlewares=[as_problems], client_max_size=self._settings.max_body_bytes)
        application.add_routes(self.routes())
        # A held stream must end when its device goes, hence the cancellation; bodies are never decompressed,
        # since a small one could unpack to any size.
        runner = web.AppRunner(
            application, access_log=None, handler_cancellation=True, auto_decompress=False, shutdown_timeout=2.0
        )
        await runner.setup()
        try:
            site = web.TCPSite(runner, self._settings.host, self._settings.port, backlog=_LISTEN_BACKLOG)
            await site.start()
        except OSError as error:
            await runner.cleanup()
            where = f"{self._settings.host}:{self._settings.port}"
            raise ChannelError(f"cannot listen on {where}: {error.strerror}") from error
        self._port = int(runner.addresses[0][1])
        self._runner = runner
        self._streams.start()
        self._sweeper = asyncio.create_task(self._sweep(), name=f"{self.name} expiry")

    async def close(self) -> None:
        """End the streams and the server; what `listen` holds is given out before it ends."""
        if self._sweeper is not None:
            self._sweeper.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._sweeper
            self._sweeper = None
        await self._streams.close()
        runner, self._runner = self._runner, None
        if runner is not None:
            for site in tuple(runner.sites):
                await site.stop()
            # What was accepted a moment ago is not yet the runner's, and it would leave such a device with a
            # connection on which nobody answers.
            await asyncio.sleep(_ACCEPTED_SECONDS)
            await runner.cleanup()
        self._evidence.close()

    async def send(self, window: Window, rendition: RenditionRecord, stop: Stopped) -> Outcomes:
        """Put a window into the mailboxes and wake the streams; sent at once for all who can be addressed."""
        now = now_ms()
        if stop() or self._boxes.is_over(window.alert):
            return submitted(window, Rank.WITHHELD, Reason.STOPPED, at=now)
        if window.expires <= now:
            return submitted(window, Rank.EXPIRED, Reason.EXPIRED, at=now)
        try:
            words = self.words(rendition)
        except ValidationError as error:
            self._log_unfit(window.batch, error)
            return submitted(window, Rank.FAILED, Reason.REJECTED, at=now)
        if words.expires <= now:
            return submitted(window, Rank.EXPIRED, Reason.EXPIRED, at=now)
        outcomes = submitted(window, at=now)
        self._put(window.batch, window.expires, words, window.ordinals.tolist(), window.addresses, outcomes.states)
        unaddressed = outcomes.states == 0
        if unaddressed.any():
            outcomes.states[unaddressed] = word(Rank.FAILED, attempt=window.attempt, reason=Reason.INVALID_ADDRESS)
        # One window took a few milliseconds; let the devices in before the next.
        await asyncio.sleep(0)
        return outcomes

    def listen(self) -> AsyncIterator[Receipts]:
        """What devices reported, by the batch, a moment after it came in."""
        return self._evidence.listen()

    async def withdraw(self, alert: str) -> None:
        """Take every message of `alert` out of the mailboxes and playlists at once, and tell who follows."""
        self.announce_withdrawal(alert, self._boxes.withdraw(alert))

    def admits(self, request: web.Request, device: str) -> bool:
        """Whether `request` carries the token of `device`."""
        return self._gate is not None and self._gate.admits(device, request.headers.get("Authorization", ""))

    def unauthorized(self) -> web.Response:
        """The answer to a missing or wrong token (RFC 6750 §3)."""
        found = Problem("Authorization", "device.token", "the device and its bearer token do not belong together")
        return problem(401, [found], WWW_Authenticate=f'Bearer realm="{self.name}"')

    async def take_reports(self, request: web.Request, device: str) -> web.Response:
        """Take a post of reports from an authenticated device: all of them, or none with every problem listed.

        202 with no body; 400, 413, 415 or 422 with problem details. What is listed must not be posted again,
        the rest may be.
        """
        if request.content_type != "application/json" or "Content-Encoding" in request.headers:
            return problem(415)
        body = await request.read()
        try:
            reports = parse_reports(body, self.states, self._settings.max_reports)
            disbelieved = await self._disbelieved(reports, device)
        except InputRefused as error:
            return problem(error.status, error.problems)
        except FenghuoError as error:
            self._log.warning("reports_not_checked", error=type(error).__name__)
            return problem(503, None, Retry_After="2")
        if disbelieved:
            return problem(422, disbelieved)
        for report in reports:
            held = self._boxes.held(report.batch)
            if held is not None and report.ordinal < len(held.reported):
                arrival = report.state >> ARRIVAL_SHIFT
                held.reported[report.ordinal] = max(arrival, held.reported[report.ordinal])
        self._evidence.add([(report.batch, report.ordinal, report.state) for report in reports], now_ms())
        return web.Response(status=202)

    async def _disbelieved(self, reports: list[Report], device: str) -> list[Problem]:
        """Problems of reports on messages that are not this device's own."""
        problems = []
        for index, report in enumerate(reports):
            held = self._boxes.held(report.batch)
            known = held.devices[report.ordinal] if held and report.ordinal < len(held.devices) else None
            owner = known if known is not None else await self._recipient(report.batch, report.ordinal)
            if owner != device:
                # One answer for "no such message" and "another's message": neither is this device's business.
                problems.append(Problem(f"/{index}/id", "report.foreign", "this device has no such message"))
        return problems

    async def _recipient(self, batch: int, ordinal: int) -> str | None:
        """The device at `ordinal` of a batch that is not in the mailboxes, as the store has it."""
        assert self._context is not None
        try:
            content = await self._context.batch(batch)
        except (NotFound, SealError):
            return None
        if ordinal >= len(content.addresses):
            return None
        return bytes(content.addresses[ordinal]).decode("ascii", "replace")

    async def _rebuild(self, context: ChannelContext) -> None:
        """Put back whatever is in force, and what was withdrawn and has not expired."""
        now, batches = now_ms(), 0
        # In this order: what is taken back between the two questions stands in both answers, never in none.
        going = await context.open_batches()
        over = set(await context.over_batches())
        for batch in sorted(over.union(going)):
            try:
                content = await context.batch(batch)
                arrivals = await context.arrivals(batch)
            except (NotFound, SealError):
                continue
            if content.expires <= now:
                continue
            try:
                words = self.words(content.rendition)
            except ValidationError as error:
                self._log_unfit(batch, error)
                continue
            if batch in over:
                self._boxes.withdraw(content.alert)
            ordinals = list(range(len(content.addresses)))
            held = self._put(batch, content.expires, words, ordinals, content.addresses, None)
            for ordinal in ordinals:  # without those whose address names no device
                held.reported[ordinal] = int(arrivals[ordinal])
            batches += 1
            await asyncio.sleep(0)
        self._log.info("mailboxes_rebuilt", batches=batches, devices=len(self._boxes))

    def _put(
        self,
        batch: int,
        expires: int,
        words: Words,
        ordinals: list[int],
        addresses: Addresses,
        states: States | None,
    ) -> HeldBatch:
        """Put into mailboxes and announce; an address that names no device is left out and its state zeroed."""
        devices = np.char.decode(addresses, "ascii", "replace").tolist()
        bad = [index for index, device in enumerate(devices) if not is_device_id(device)]
        for index in reversed(bad):
            del ordinals[index], devices[index]
        if states is not None:
            states[bad] = 0
        held, fresh = self._boxes.put(batch, min(expires, words.expires), words, ordinals, devices)
        if not held.withdrawn:
            self.announce(held, fresh)
        return held

    async def _sweep(self) -> None:
        while True:
            await asyncio.sleep(_SWEEP_SECONDS)
            lost = self._boxes.lapse(now_ms())
            if lost:
                self.announce_loss(lost)

    def _log_unfit(self, batch: int, error: ValidationError) -> None:
        missing = [".".join(map(str, found["loc"])) for found in error.errors(include_input=False)]
        self._log.error("rendition_unfit", batch=batch, members=missing)
