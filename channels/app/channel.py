"""The app channel's HTTP interface.

Every request names its installation and proves it: `Installation: <id>` and `Authorization: Bearer <token>`
(channels.mailbox.tokens). Errors are problem details (RFC 9457).

`GET /v1/stream` — server-sent events, held open. Each message is an event `alert` whose data is a JSON object
    {id, alert, alert_id, phase, replaces, level, event, event_name, language, sender_name, expires, exercise,
    title, body, instruction, link}; `expires` in UTC milliseconds; `phase` is warning, update, clear or cancel;
    messages whose `alert_id` stands in `replaces` are no longer displayed. The event id is a number that never
    falls within a stream; a device that returns sends the last one as `Last-Event-ID` and is given what came
    after it, and what came before and was not reported on. A message may come twice: its `id` tells, and whoever is
    given a message again reports again what became of it. Expired messages are not given. Comments are heartbeats.
    An event `withdrawn`, {"ids": [...], "unreported": [...]}, names messages by `id` that are over and are no
    longer displayed; those that are also `unreported` are reported again. It has no event id and comes at every
    return until the messages have expired; ids that a device does not have mean nothing to it.
`GET /v1/stream?once=1` — the same backlog as an ordinary answer: catch up and leave.
`POST /v1/receipts` — a JSON list of {"id": "<message id>", "state": "delivered" | "displayed" | "tapped"}.
    202 when all are taken; 422 lists what is wrong and takes none: leave out what is listed and post the rest.
    Anything but 2xx and 4xx, or no answer: keep the reports and post them again.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable
from typing import ClassVar, Final

from aiohttp import web

from broker.clock import now_ms
from broker.errors import Problem
from broker.ledger.state import ACKNOWLEDGED, DELIVERED, PRESENTED
from broker.store.records import RenditionRecord
from broker.types import ChannelName
from channels.app.message import app_words
from channels.app.settings import AppSettings
from channels.mailbox.boxes import Entry, HeldBatch, Words
from channels.mailbox.channel import MailboxChannel
from channels.mailbox.problems import problem
from channels.mailbox.streams import HEADERS, NOTHING, Stream

_EVENT_ID: Final = re.compile(r"[0-9]{1,19}", re.ASCII)


class AppChannel(MailboxChannel):
    """Mailboxes of app installations behind a stream of server-sent events."""

    name = ChannelName.APP
    states: ClassVar = {"delivered": DELIVERED, "displayed": PRESENTED, "tapped": ACKNOWLEDGED}

    def __init__(self, settings: AppSettings) -> None:
        super().__init__(settings)

    def routes(self) -> list[web.RouteDef]:
        """See the module."""
        return [
            web.get("/v1/stream", self._stream, allow_head=False),
            web.post("/v1/receipts", self._receipts),
        ]

    def words(self, rendition: RenditionRecord) -> Words:
        """See channels.app.message."""
        return app_words(rendition)

    def announce(self, held: HeldBatch, fresh: list[tuple[str, int]]) -> None:
        """Write the message to the streams of those who hold one."""
        for device, ordinal in fresh:
            stream = self._streams.get(device)
            if stream is not None:
                events, stream.last = _events((Entry(held, ordinal),), stream.last)
                stream.write(events)

    def announce_loss(self, devices: set[str]) -> None:
        """Nothing: a message carries its own expiry, and the installation keeps to it."""

    def announce_withdrawal(self, alert: str, devices: set[str]) -> None:
        """Name the messages to those who hold a stream; the others are told when they return."""
        now = now_ms()
        for device in devices:
            stream = self._streams.get(device)
            if stream is not None:
                entries = self._boxes.withdrawn(device, now)
                stream.write(_withdrawal([entry for entry in entries if entry.held.words.alert == alert]))

    async def _stream(self, request: web.Request) -> web.StreamResponse:
        device = request.headers.get("Installation", "")
        if not self.admits(request, device):
            return self.unauthorized()
        given = request.headers.get("Last-Event-ID", "0")
        if not _EVENT_ID.fullmatch(given):
            return problem(400, [Problem("Last-Event-ID", "stream.event_id", "a whole number is expected")])
        last = int(given)
        if request.query_string == "once=1":
            events, _ = _events(self._backlog(device, last), last)
            return web.Response(body=self._taken_back(device, last) + events or NOTHING, headers=HEADERS)

        def opening(stream: Stream) -> bytes:
            events, stream.last = _events(self._backlog(device, last), last)
            return self._taken_back(device, last) + events

        return await self._streams.hold(request, device, last, opening)

    async def _receipts(self, request: web.Request) -> web.StreamResponse:
        device = request.headers.get("Installation", "")
        if not self.admits(request, device):
            return self.unauthorized()
        return await self.take_reports(request, device)

    def _backlog(self, device: str, last: int) -> list[Entry]:
        entries = self._boxes.entries(device, now_ms())
        return [entry for entry in entries if entry.held.batch > last or not entry.arrival]

    def _taken_back(self, device: str, last: int) -> bytes:
        """What the device may have and must hide; nobody knows whether it was told before."""
        entries = self._boxes.withdrawn(device, now_ms())
        return _withdrawal([entry for entry in entries if entry.held.batch <= last or entry.arrival])


def _events(entries: Iterable[Entry], last: int) -> tuple[bytes, int]:
    """Entries as events, and the highest event id then given.

    A batch below `last` goes without an id, so that a device's Last-Event-ID never falls.
    """
    events = b""
    for entry in entries:
        if entry.held.batch > last:
            last = entry.held.batch
            events += b"id: %d\n" % last
        events += b"event: alert\ndata: %b\n\n" % entry.message()
    return events, last


def _withdrawal(entries: list[Entry]) -> bytes:
    """Entries as one event `withdrawn`; nothing for none."""
    if not entries:
        return b""
    data = {
        "ids": [entry.identifier for entry in entries],
        "unreported": [entry.identifier for entry in entries if not entry.arrival],
    }
    return b"event: withdrawn\ndata: %b\n\n" % json.dumps(data, separators=(",", ":")).encode()
