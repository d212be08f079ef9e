"""`/feeds`: the public's way to our alerts, without a token. Atom by language and level, CAP by alert."""

from __future__ import annotations

import asyncio
import hashlib
import json
import re
import time
from collections import OrderedDict
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from email.utils import format_datetime
from typing import Final

from aiohttp import ETag, web

from broker.clock import from_ms, now_ms
from broker.errors import InputRefused, NotFound, Problem
from broker.feeds import atom
from broker.feeds.atom import Shown
from broker.feeds.entries import Entries
from broker.feeds.publishing import Publishing
from broker.feeds.settings import PublicFeeds
from broker.intake.accept import is_id
from broker.signing.sign import Signer
from broker.store.contract import Store
from broker.store.records import AlertRecord

PAGE: Final = 50
"""Entries on a page."""
SCANNED: Final = 500
"""Alerts that are looked at for one page; a page of a rare language may be short, and has a next one."""
_RUN: Final = 100
_LEVELS: Final = {"red": "Red", "orange": "Orange", "yellow": "Yellow", "blue": "Blue", "all": None}
_LANGUAGE: Final = re.compile(r"[A-Za-z]{2,3}(-[A-Za-z0-9]{1,8}){0,4}", re.ASCII)
_BEFORE: Final = re.compile(r"([0-9]{1,15})-([0-9a-f]{21})", re.ASCII)
_KEPT_PAGES: Final = 512
_KEPT_RUNS: Final = 64
_SETTLED_S: Final = 3


@dataclass(frozen=True, slots=True)
class _Page:
    made: float
    """On the monotonic clock."""
    etag: str
    changed: int
    """UTC milliseconds; 0 where there are no entries."""
    body: bytes = field(repr=False)


class FeedRoutes:
    """What `/feeds` answers; the calls are declared in broker.api.published."""

    def __init__(
        self,
        store: Store,
        signer: Signer | None,
        settings: PublicFeeds | None = None,
        *,
        fresh_s: float = 1.0,
    ) -> None:
        """A page is made anew when it is older than `fresh_s` seconds, from entries that are kept."""
        self._store = store
        self._settings = settings or PublicFeeds()
        self._entries = Entries(store)
        self._publishing = Publishing(store, signer)
        self._fresh_s = fresh_s
        self._pages: OrderedDict[tuple[str, str | None, str], _Page] = OrderedDict()
        self._runs: OrderedDict[tuple[int, str] | None, tuple[float, list[AlertRecord]]] = OrderedDict()
        self._making = asyncio.Lock()

    async def index(self, request: web.Request) -> web.StreamResponse:
        """Which feeds there are: every language that the newest published alerts hold, every level."""
        languages: dict[str, str] = {}
        for record in (await self._run(None))[:_RUN]:
            entry = await self._entries.of(record)
            languages |= entry.tags if entry is not None else {}
        base = self._settings.public_url or ""
        body = {
            "languages": [languages[tag] for tag in sorted(languages)],
            "levels": list(_LEVELS),
            "feeds": [
                {"language": languages[tag], "level": level, "url": f"{base}/feeds/{languages[tag]}/{level}.atom"}
                for tag in sorted(languages)
                for level in _LEVELS
            ],
        }
        written = json.dumps(body, ensure_ascii=False).encode()
        headers = {"Cache-Control": "public, max-age=60"}
        answer = web.Response(body=written, content_type="application/json", charset="utf-8", headers=headers)
        return _unchanged(request, hashlib.sha256(written).hexdigest()[:32], 0, answer)

    async def feed(self, request: web.Request) -> web.StreamResponse:
        """A page of Atom, newest first; 304 when the reader has it. Raises NotFound, InputRefused (400)."""
        language = request.match_info["language"]
        level = request.match_info.get("level", "all").lower()
        if not _LANGUAGE.fullmatch(language) or level not in _LEVELS:
            raise NotFound("no such feed: /feeds/LANGUAGE/LEVEL.atom, LEVEL is " + ", ".join(_LEVELS))
        page = await self._page(language, _LEVELS[level], request.path, request.query.get("before"))
        headers = {"Cache-Control": f"public, max-age={max(5, round(self._fresh_s))}"}
        answer = web.Response(body=page.body, content_type=atom.MEDIA_TYPE, charset="utf-8", headers=headers)
        return _unchanged(request, page.etag, page.changed, answer)

    async def cap(self, request: web.Request) -> web.StreamResponse:
        """The CAP of one published alert, signed. Raises NotFound for any other."""
        alert = request.match_info["id"]
        if not is_id(alert):
            raise NotFound("no such alert")
        published, since = await self._publishing.cap(alert)
        answer = web.Response(
            body=published.body, content_type=atom.CAP_TYPE, headers={"Cache-Control": "public, max-age=300"}
        )
        return _unchanged(request, published.etag, since, answer, weak=True)

    async def _page(self, language: str, level: str | None, path: str, before: str | None) -> _Page:
        start = _start(before)
        key = (path, level, before or "")
        kept = self._pages.get(key)
        if kept is None or kept.made + self._fresh_s < time.monotonic():
            # One at a time: a crowd that asks for the same page costs one look into the store.
            async with self._making:
                kept = self._pages.get(key)
                if kept is None or kept.made + self._fresh_s < time.monotonic():
                    kept = await self._made(language, level, path, start)
                    self._pages[key] = kept
                    self._pages.move_to_end(key)
                    while len(self._pages) > _KEPT_PAGES:
                        self._pages.popitem(last=False)
        return kept

    async def _made(self, language: str, level: str | None, path: str, start: tuple[int, str] | None) -> _Page:
        made = time.monotonic()
        wanted = language.casefold()
        shown: list[Shown] = []
        looked_at, last = 0, start
        more = True
        while more and len(shown) < PAGE and looked_at < SCANNED:
            run = await self._run(last)
            more = len(run) == _RUN
            for record in run:
                looked_at, last = looked_at + 1, (record.released or 0, record.id)
                entry = await self._entries.of(record)
                if entry is not None and entry.in_feed(wanted, level):
                    shown.append(Shown(entry, record.released or 0, _visible(record)))
                if len(shown) == PAGE:
                    more = more or record is not run[-1]
                    break
        following = f"{path}?before={last[0]}-{last[1]}" if more and last is not None else None
        body = await asyncio.to_thread(
            atom.feed,
            self._settings,
            language=language,
            level=level,
            path=path,
            following=following,
            shown=shown,
        )
        changed = max((each.visible for each in shown), default=0)
        return _Page(made, hashlib.sha256(body).hexdigest()[:32], changed, body)

    async def _run(self, before: tuple[int, str] | None) -> list[AlertRecord]:
        """Some published alerts, as fresh as pages are: feeds of all languages and levels share them."""
        kept = self._runs.get(before)
        if kept is None or kept[0] + self._fresh_s < time.monotonic():
            made = time.monotonic()
            kept = (made, await self._store.published(limit=_RUN, before=before))
            self._runs[before] = kept
            self._runs.move_to_end(before)
            while len(self._runs) > _KEPT_RUNS:
                self._runs.popitem(last=False)
        return kept[1]


def _visible(record: AlertRecord) -> int:
    """When an alert went out, UTC milliseconds."""
    return record.planned or record.released or record.received


def _start(before: str | None) -> tuple[int, str] | None:
    """Where a page begins. Raises InputRefused (400)."""
    if before is None:
        return None
    found = _BEFORE.fullmatch(before)
    if found is None:
        message = "take the address of the next page from the page before it"
        raise InputRefused([Problem("query/before", "query.before", message, before[:60])], status=400)
    return int(found[1]), found[2]


def _unchanged(
    request: web.Request, etag: str, changed: int, answer: web.Response, *, weak: bool = False
) -> web.StreamResponse:
    """`answer` with its validators, or 304 for a reader who has it (RFC 9110, 13.1)."""
    answer.etag = ETag(etag, is_weak=weak)
    modified: datetime | None = None
    if changed:
        modified = from_ms(changed).replace(microsecond=0)
        # Within the second something else may still change: a reader who asks by the date alone must get that too,
        # so for a moment the date that is told is one that does not suffice.
        settled = changed <= now_ms() - 1000 * _SETTLED_S
        told = modified if settled else modified - timedelta(seconds=1)
        answer.headers["Last-Modified"] = format_datetime(told, usegmt=True)
    given = request.if_none_match
    if given is not None:
        same = any(each.value in (etag, "*") for each in given)
    else:
        since = request.if_modified_since
        same = since is not None and modified is not None and modified <= since
    if not same:
        return answer
    headers = {
        name: answer.headers[name] for name in ("ETag", "Last-Modified", "Cache-Control") if name in answer.headers
    }
    return web.Response(status=304, headers=headers)
