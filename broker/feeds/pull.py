"""One pull of one feed: fetch it, take it apart, look at what is new, keep what waits and what was refused."""

from __future__ import annotations

import asyncio
import hashlib
import random
from dataclasses import dataclass, field, replace
from typing import Final, Literal

from broker import logs
from broker.cap.document import read
from broker.cap.limits import Limits
from broker.cap.wrapping.items import Unwrapped, Wrapped
from broker.cap.wrapping.unwrap import FEED_LIMITS, unwrap
from broker.clock import now_ms
from broker.errors import ConfigError, FenghuoError, Problem, StoreError
from broker.feeds.fetch import Fetcher, FetchError
from broker.feeds.settings import FeedSource
from broker.intake.foreign import Foreign, ForeignIntake, Origin
from broker.signing.certificates import PinnedCertificate, read_certificates
from broker.store.contract import Store
from broker.store.outside_records import FeedItem, FeedRecord, ItemOutcome
from broker.webaddress import shown

LEASE_MS: Final = 600_000
"""Longer than any pull: its own time is bounded by `_SECONDS`."""
_SECONDS: Final = 300.0
_TOGETHER: Final = 4
_MOST_TRIES: Final = 5
"""Pulls in which an entry may not be fetched before it is refused."""
_KEPT_BYTES: Final = 256 * 1024
"""Refused messages up to this size are kept for people to look at."""
_FORGET_MS: Final = 30 * 86_400_000
_LONGEST_WAIT_S: Final = 3_600.0


class PullError(FenghuoError):
    """The feed could not be pulled."""


@dataclass(frozen=True, slots=True)
class PullReport:
    """What a pull found."""

    feed: str
    shown: str
    unchanged: bool = False
    """The server said that nothing changed."""
    listed: int = 0
    """Entries in the feed."""
    items: tuple[FeedItem, ...] = ()
    """Those that are new, or that could not be fetched before."""
    findings: tuple[dict[str, object], ...] = ()
    """What is wrong with the wrapping."""
    error: str | None = None

    def count(self, outcome: ItemOutcome) -> int:
        """How many of the items."""
        return sum(item.outcome is outcome for item in self.items)


@dataclass(slots=True)
class _Finding:
    """What a pull gathers."""

    record: FeedRecord
    unchanged: bool = False
    etag: str | None = None
    last_modified: str | None = None
    listed: int = 0
    complete: bool = True
    """Whether every entry was taken: only then may the server be asked whether anything changed."""
    items: list[FeedItem] = field(default_factory=list)
    findings: tuple[dict[str, object], ...] = ()


class Pull:
    """Pulls one feed."""

    def __init__(
        self, store: Store, foreign: ForeignIntake, source: FeedSource, *, limits: Limits | None = None
    ) -> None:
        """Reads the feed's certificates. Raises ConfigError with what is wrong with them."""
        self._store = store
        self._foreign = foreign
        self._source = source
        self._limits = limits or Limits()
        self._shown = shown(source.url)
        self._origin = Origin(source.name, source.department, source.profile, _certificates(source))
        self._log = logs.get(role="feeds")

    async def run(self, owner: str, *, due: bool = True) -> PullReport | None:
        """Pull and keep what was found; None if another process is at it or (with `due`) it is not time yet.

        A feed that fails is a report with `error`, and its next try is later each time. Raises StoreError.
        """
        now = now_ms()
        record = await self._store.claim_feed(
            self._source.name, self._shown, owner, now=now, lease_ms=LEASE_MS, due=due
        )
        if record is None:
            return None
        finding = _Finding(record)
        error: str | None = None
        wait: float | None = None
        try:
            async with asyncio.timeout(_SECONDS):
                await self._pull(finding, keep=True)
        except (FetchError, PullError) as failed:
            error, wait = str(failed), getattr(failed, "retry_after_s", None)
        except TimeoutError:
            error = f"the pull took longer than {_SECONDS:g} seconds"
        except BaseException:
            # Let go at once: the next process need not wait for the lease.
            await self._let_go(finding.record)
            raise
        await self._close(finding, error, wait)
        return self._report(finding, error)

    async def dry_run(self) -> PullReport:
        """The same without keeping anything."""
        finding = _Finding(FeedRecord(self._source.name, self._shown))
        try:
            async with asyncio.timeout(_SECONDS):
                await self._pull(finding, keep=False)
        except (FetchError, PullError) as failed:
            return self._report(finding, str(failed))
        except TimeoutError:
            return self._report(finding, f"the pull took longer than {_SECONDS:g} seconds")
        return self._report(finding, None)

    async def _pull(self, finding: _Finding, *, keep: bool) -> None:
        record = finding.record
        async with Fetcher(allow_private=self._source.allow_private, connections=_TOGETHER) as fetcher:
            fetched = await fetcher.get(
                self._source.url,
                max_bytes=FEED_LIMITS.max_bytes,
                etag=record.etag,
                last_modified=record.last_modified,
            )
            if fetched.body is None:
                finding.unchanged, finding.listed = True, record.listed
                finding.etag, finding.last_modified = record.etag, record.last_modified
                return
            finding.etag, finding.last_modified = fetched.etag, fetched.last_modified
            unwrapped = await asyncio.to_thread(unwrap, fetched.body, base=fetched.url)
            if unwrapped.form in ("alert", "json"):
                self._refuse_what_is_no_feed(unwrapped)
            finding.findings = tuple(dict(each.as_dict()) for each in unwrapped.findings)
            entries = {_key(each): each for each in unwrapped.items}
            finding.listed = len(entries)
            await self._look(entries, fetcher, finding, keep=keep)

    def _refuse_what_is_no_feed(self, unwrapped: Unwrapped) -> None:
        """A document that names no message at all is an outage of the feed, not a message to refuse."""
        data = unwrapped.items[0].data or b""
        form: Literal["xml", "json"] = "json" if unwrapped.form == "json" else "xml"
        reading = read(data, form, limits=self._limits, profile=self._source.profile)
        if reading.alert is None and reading.identifier is None and not reading.signatures:
            first = next(iter(reading.errors), None)
            why = f": {first.message} ({first.place})" if first is not None else ""
            raise PullError(f"neither a feed nor an alert{why}")

    async def _look(self, entries: dict[str, Wrapped], fetcher: Fetcher, finding: _Finding, *, keep: bool) -> None:
        known = await self._store.items_by_key(self._source.name, list(entries))
        if keep and known:
            await self._store.touch_items(self._source.name, list(known), now_ms())
        fresh = [
            (key, entry)
            for key, entry in entries.items()
            if key not in known or known[key].outcome is ItemOutcome.WAITING
        ]
        # Feeds list the newest first: of too many those count. Of these the oldest goes first, so that an Update
        # finds what it refers to.
        finding.complete = len(fresh) <= self._source.max_items
        fresh = list(reversed(fresh[: self._source.max_items]))
        for start in range(0, len(fresh), _TOGETHER):
            some = fresh[start : start + _TOGETHER]
            bodies = await asyncio.gather(*(self._body(entry, fetcher) for _, entry in some))
            for (key, entry), body in zip(some, bodies, strict=True):
                item = await self._item(key, entry, body, known.get(key), keep=keep)
                finding.items.append(item)
                if keep:
                    await self._store.put_items([item])

    async def _body(self, entry: Wrapped, fetcher: Fetcher) -> bytes | FetchError | Problem:
        """The message's bytes, from the entry itself or from where it links to."""
        if entry.data is not None:
            return entry.data
        if entry.link is None:
            return Problem(entry.place, "feed.entry", "the entry holds neither a message nor a link to one")
        try:
            fetched = await fetcher.get(entry.link.href, max_bytes=self._limits.max_bytes)
        except FetchError as error:
            return error
        assert fetched.body is not None
        inside = await asyncio.to_thread(unwrap, fetched.body, base=fetched.url)
        alerts = inside.alerts
        if len(alerts) == 1:
            return alerts[0].data or b""
        message = f"the link leads to {len(alerts)} messages in a wrapping of form {inside.form}; one is expected"
        return Problem(shown(entry.link.href), "feed.entry", message)

    async def _item(
        self, key: str, entry: Wrapped, body: bytes | FetchError | Problem, before: FeedItem | None, *, keep: bool
    ) -> FeedItem:
        now = now_ms()
        place = shown(entry.link.href) if entry.data is None and entry.link is not None else entry.place
        item = FeedItem(
            self._source.name,
            key,
            place,
            ItemOutcome.REFUSED,
            first_seen=now if before is None else before.first_seen,
            last_seen=now,
            tries=1 if before is None else before.tries + 1,
        )
        if isinstance(body, FetchError):
            waits = body.passing and item.tries < _MOST_TRIES
            outcome = ItemOutcome.WAITING if waits else ItemOutcome.REFUSED
            return replace(item, outcome=outcome, findings=(_finding("feed.fetch", place, str(body)),))
        if isinstance(body, Problem):
            return replace(item, findings=(_finding(body.rule, body.place, body.message),))
        found: Foreign = await self._foreign.accept_foreign(body, self._origin, keep=keep)
        keeps_body = found.outcome is ItemOutcome.REFUSED or self._source.profile == "national"
        return replace(
            item,
            outcome=found.outcome,
            identifier=found.identifier,
            sender=found.sender,
            digest=hashlib.sha256(body).digest(),
            alert=found.alert,
            findings=found.findings,
            body=body if keeps_body and len(body) <= _KEPT_BYTES else None,
        )

    async def _close(self, finding: _Finding, error: str | None, retry_after_s: float | None) -> None:
        now, record = now_ms(), finding.record
        counts = self._report(finding, error)
        record = replace(
            record,
            tried=now,
            error=error,
            seen=record.seen + sum(item.tries == 1 for item in finding.items),
            imported=record.imported + counts.count(ItemOutcome.IMPORTED),
            refused=record.refused + counts.count(ItemOutcome.REFUSED),
        )
        if error is None:
            # While anything is left to fetch, the next answer must bring the feed again.
            asks = finding.complete and not counts.count(ItemOutcome.WAITING)
            record = replace(
                record,
                succeeded=now,
                failures=0,
                listed=finding.listed,
                next_try=now + round(1000 * self._source.every_seconds),
                etag=finding.etag if asks else None,
                last_modified=finding.last_modified if asks else None,
            )
            await self._store.forget_items(record.name, now - _FORGET_MS)
            self._log.info(
                "feed_pulled",
                feed=record.name,
                listed=record.listed,
                **{str(o): counts.count(o) for o in ItemOutcome},
            )
        else:
            failures = record.failures + 1
            wait = max(self._backoff(failures), retry_after_s or 0.0)
            record = replace(record, failures=failures, next_try=now + round(1000 * wait))
            self._log.warning("feed_failed", feed=record.name, failures=failures, reason=error)
        await self._store.close_feed(record)

    async def _let_go(self, record: FeedRecord) -> None:
        try:
            await asyncio.shield(self._store.close_feed(record))
        except StoreError as failed:
            self._log.warning("feed_not_let_go", feed=self._source.name, reason=str(failed))

    def _backoff(self, failures: int) -> float:
        """Seconds until the next try: doubling up to an hour, scattered so that feeds do not fall into step."""
        every = self._source.every_seconds
        longest = max(every, _LONGEST_WAIT_S)
        return float(min(every * 2 ** min(failures - 1, 16), longest)) * random.uniform(0.9, 1.1)

    def _report(self, finding: _Finding, error: str | None) -> PullReport:
        return PullReport(
            self._source.name,
            self._shown,
            finding.unchanged,
            finding.listed,
            tuple(finding.items),
            finding.findings,
            error,
        )


def _certificates(source: FeedSource) -> tuple[PinnedCertificate, ...]:
    found: list[PinnedCertificate] = []
    problems: list[Problem] = []
    for path in source.certificates:
        good, wrong = read_certificates(path)
        found += good
        problems += wrong
    if problems:
        raise ConfigError(problems)
    return tuple(found)


def _key(entry: Wrapped) -> str:
    """What an entry is recognised by: its own bytes, or where it links to together with what the feed calls it and
    when it says that it changed."""
    if entry.data is not None:
        return hashlib.sha256(b"data\0" + entry.data).hexdigest()
    link = entry.link
    words = ("", "", "") if link is None else (link.href, link.id or "", link.updated or "")
    return hashlib.sha256("\0".join(("link", entry.place if link is None else "", *words)).encode()).hexdigest()


def _finding(rule: str, place: str, message: str) -> dict[str, object]:
    return {
        "rule": rule,
        "severity": "error",
        "place": place,
        "line": None,
        "value": "",
        "message": message,
        "clause": "house rule",
    }
