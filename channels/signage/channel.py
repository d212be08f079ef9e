"""The signage channel's HTTP interface.

A screen proves itself by `Authorization: Bearer <token>` (channels.mailbox.tokens); its id is in the path.
Errors are problem details (RFC 9457).

`GET /v1/screens/{id}/playlist` — {"screen": id, "items": [{id, alert, alert_id, phase, replaces, level, event,
    event_name, language, sender_name, expires, exercise, headline, line, crawl, colour}]}: what is in force,
    warnings before exercises, dangers before all-clears, then the gravest level, then the newest; `expires` in UTC
    milliseconds, `colour` as #rrggbb. What is withdrawn, or replaced by another item, is not there. Has an
    ETag; `If-None-Match` is answered with 304 while nothing changed (RFC 9110 §13.1.2). The `Date` header is
    the clock to judge `expires` by.
`GET /v1/screens/{id}/events` — server-sent events: `changed` when the stream opens and whenever the playlist
    may have changed; comments are heartbeats.
`POST /v1/screens/{id}/reports` — a JSON list of {"id": "<item id>", "state": "held" | "shown"}. 202 when all are
    taken; 422 lists what is wrong and takes none. A screen that starts anew reports again.
`GET /kiosk/{id}#token=…` — the page that turns a browser into a screen; the token never leaves the browser but as
    the Authorization header.
"""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import ClassVar, Final

from aiohttp import web

from broker.clock import now_ms
from broker.ledger.state import DELIVERED, PRESENTED
from broker.store.records import RenditionRecord
from broker.types import ChannelName
from channels.mailbox.boxes import Entry, HeldBatch, Words
from channels.mailbox.channel import MailboxChannel
from channels.mailbox.problems import problem
from channels.mailbox.streams import Stream
from channels.mailbox.tokens import is_device_id
from channels.signage.item import signage_words
from channels.signage.settings import SignageSettings

_PAGES: Final = Path(__file__).parent / "pages"
_STATIC: Final = {"kiosk.js": "text/javascript", "kiosk.css": "text/css"}
_CHANGED: Final = b"event: changed\ndata: {}\n\n"
_PAGE_HEADERS: Final = {
    "Content-Security-Policy": (
        "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; img-src 'self' data:; "
        "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    ),
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cache-Control": "no-cache",
}


class SignageChannel(MailboxChannel):
    """Playlists of screens, and the page that shows them."""

    name = ChannelName.SIGNAGE
    states: ClassVar = {"held": DELIVERED, "shown": PRESENTED}

    def __init__(self, settings: SignageSettings) -> None:
        super().__init__(settings)
        self._files = {name: (_PAGES / name).read_bytes() for name in ("kiosk.html", *_STATIC)}

    def routes(self) -> list[web.RouteDef]:
        """See the module."""
        return [
            web.get("/v1/screens/{id}/playlist", self._playlist, allow_head=False),
            web.get("/v1/screens/{id}/events", self._events, allow_head=False),
            web.post("/v1/screens/{id}/reports", self._reports),
            web.get("/kiosk/static/{name}", self._static),
            web.get("/kiosk/{id}", self._kiosk),
        ]

    def words(self, rendition: RenditionRecord) -> Words:
        """See channels.signage.item."""
        return signage_words(rendition)

    def announce(self, held: HeldBatch, fresh: list[tuple[str, int]]) -> None:  # noqa: ARG002 - they fetch it
        """Tell the screens that follow; they fetch what changed."""
        self.announce_loss({device for device, _ in fresh})

    def announce_loss(self, devices: set[str]) -> None:
        """Tell the screens that follow; they fetch what is left."""
        for device in devices:
            stream = self._streams.get(device)
            if stream is not None:
                stream.write(_CHANGED)

    def announce_withdrawal(self, alert: str, devices: set[str]) -> None:  # noqa: ARG002 - they fetch what is left
        """As for what has expired."""
        self.announce_loss(devices)

    async def _playlist(self, request: web.Request) -> web.StreamResponse:
        screen = request.match_info["id"]
        if not self.admits(request, screen):
            return self.unauthorized()
        entries = sorted(self._boxes.entries(screen, now_ms()), key=_order)
        items = b",".join(entry.message() for entry in entries)
        body = b'{"screen":"%b","items":[%b]}' % (screen.encode(), items)
        tag = hashlib.blake2b(body, digest_size=12).hexdigest()
        headers = {"ETag": f'"{tag}"', "Cache-Control": "private, no-cache"}
        wanted = request.headers.get("If-None-Match", "")
        if wanted.strip() == "*" or tag in {
            part.strip().removeprefix("W/").strip('"') for part in wanted.split(",")
        }:
            return web.Response(status=304, headers=headers)
        return web.Response(body=body, content_type="application/json", headers=headers)

    async def _events(self, request: web.Request) -> web.StreamResponse:
        screen = request.match_info["id"]
        if not self.admits(request, screen):
            return self.unauthorized()
        return await self._streams.hold(request, screen, 0, _opening)

    async def _reports(self, request: web.Request) -> web.StreamResponse:
        screen = request.match_info["id"]
        if not self.admits(request, screen):
            return self.unauthorized()
        return await self.take_reports(request, screen)

    async def _kiosk(self, request: web.Request) -> web.StreamResponse:
        # The page holds nothing of the screen: whoever lacks the token sees an empty frame.
        if not is_device_id(request.match_info["id"]):
            return problem(404)
        return web.Response(
            body=self._files["kiosk.html"], content_type="text/html", charset="utf-8", headers=_PAGE_HEADERS
        )

    async def _static(self, request: web.Request) -> web.StreamResponse:
        name = request.match_info["name"]
        kind = _STATIC.get(name)
        if kind is None:
            return problem(404)
        return web.Response(body=self._files[name], content_type=kind, charset="utf-8", headers=_PAGE_HEADERS)


def _opening(_stream: Stream) -> bytes:
    """A screen that connects may have missed a change."""
    return _CHANGED


def _order(entry: Entry) -> tuple[tuple[bool, int], int]:
    """Warnings before exercises, the gravest level, the newest."""
    return entry.held.words.order, -entry.held.batch
