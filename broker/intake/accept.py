"""Acceptance: bytes in, a durable alert out, or every reason why not."""

from __future__ import annotations

import hashlib
import re
import secrets
from collections.abc import Callable, Iterator, Sequence
from typing import Final, Literal

from broker import logs
from broker.cap.document import read
from broker.cap.findings import Posture
from broker.cap.limits import Limits
from broker.cap.model import Alert, MsgType, Status
from broker.clock import from_ms, now_ms, to_ms
from broker.errors import Conflict, InputRefused, Problem
from broker.intake import references, signals
from broker.intake.authority import Authority
from broker.intake.departments import Departments
from broker.intake.describing import described, expires_of
from broker.intake.expiry import Expiry
from broker.intake.signatures import SignatureCheck
from broker.intake.tokens import STATUSES, Scope
from broker.store.contract import Store
from broker.store.records import AlertEvent, AlertRecord, TokenRecord
from broker.types import AlertState

_DAY_MS: Final = 86_400_000
_OLDEST_MS: Final = references.LATE_MS
_LONGEST_MS: Final = 31 * _DAY_MS
_MEDIA_TYPES: dict[str, Literal["xml", "json"]] = {
    "application/cap+xml": "xml",
    "application/xml": "xml",
    "application/json": "json",
    "application/cap+json": "json",
}
_LONGEST_CONTENT_TYPE: Final = 200
_ID: Final = re.compile(r"[0-9a-f]{21}", re.ASCII)


FirstMove = Callable[[AlertRecord, TokenRecord], AlertEvent | None]
"""An accepted alert's first move, made in the transaction that keeps it; None if it is to be made later."""


class Intake:
    """Accepts alerts from departments."""

    def __init__(
        self,
        store: Store,
        departments: Departments,
        authority: Authority,
        *,
        expiry: Expiry | None = None,
        signatures: SignatureCheck | None = None,
        first_move: FirstMove | None = None,
        accepted: Callable[[AlertRecord], None] | None = None,
        max_bytes: int = 512 * 1024,
    ) -> None:
        """`first_move` decides where an alert stands once it is kept, where that can be said at once; `accepted`
        hears of every alert that is kept for the first time."""
        self._store = store
        self._first_move = first_move
        self._accepted = accepted
        self._departments = departments
        self._authority = authority
        self._expiry = expiry or Expiry()
        self._signatures = signatures
        self.max_bytes = max_bytes
        self._limits = Limits(max_bytes=max_bytes)
        self._log = logs.get(role="intake")

    async def accept(self, body: bytes, content_type: str, token: TokenRecord) -> AlertRecord:
        """Keep the alert durably and return its record; the same bytes again return the same record.

        Raises InputRefused (415, 413, 400, 403 or 422, with every problem) and Conflict (same identity, other
        bytes).
        """
        form = form_of(content_type)
        if len(body) > self.max_bytes:
            problem = Problem("body", "body.size", f"more than {self.max_bytes} bytes")
            raise InputRefused([problem], status=413)
        digest = hashlib.sha256(body).digest()
        try:
            return await self._accept(body, digest, form, content_type, token)
        except InputRefused:
            # A repeated post may come after the alert has expired, or after what it refers to has moved on.
            known = await self._store.alert_by_digest(digest)
            if known is None or known.department != token.department:
                raise
            if wrong := realm_problems(Status(known.status), token):
                raise InputRefused(wrong, status=403) from None
            return known

    async def _accept(
        self, body: bytes, digest: bytes, form: Literal["xml", "json"], content_type: str, token: TokenRecord
    ) -> AlertRecord:
        received = now_ms()
        alert, signed = self._understood(body, form, received)
        department = self._departments.get(token.department)
        named = await references.resolve(alert, self._store)
        denied, unclear = self._authority.problems(alert, department)
        denied = realm_problems(alert.status, token) + denied
        if self._signatures is not None:
            denied += self._signatures.problems(body, form, department, received, signed=signed)
        for wrong, odd in (
            references.problems(alert, named, department),
            await self._machines(alert, named, token),
        ):
            denied, unclear = denied + wrong, unclear + odd
        unclear += [*signals.problems(alert), *_untimely(alert, received)]
        if unclear or denied:
            raise InputRefused(denied + unclear, status=403 if denied and not unclear else 422)
        record = self._record(alert, body, digest, content_type, received, token, named)
        event = AlertEvent(record.id, received, AlertState.RECEIVED, token.id, "posted by the department")
        moved = None if self._first_move is None else self._first_move(record, token)
        kept = await self._store.add_alert(record, event, references.records(record.id, named), moved=moved)
        if kept.digest != record.digest:
            raise Conflict(
                f"an alert with this identity ({alert.sender}, {alert.identifier}, {alert.sent.text}) "
                "was accepted with other content"
            )
        if kept.id == record.id:
            self._log.info("alert_accepted", alert=record.id, department=token.department, level=record.level)
            if self._accepted is not None:
                self._accepted(kept)
        return kept

    def _understood(self, body: bytes, form: Literal["xml", "json"], received: int) -> tuple[Alert, bool]:
        """The message, and whether it has a signature; in a valid one that stands in its place only."""
        reading = read(body, form, limits=self._limits, posture=Posture.STRICT, now=from_ms(received))
        if reading.alert is not None and reading.valid:
            return reading.alert, reading.signatures > 0
        problems = [
            Problem(
                f"{finding.place} (line {finding.line})" if finding.line else finding.place,
                finding.rule,
                finding.message,
                finding.value,
            )
            for finding in reading.errors
        ]
        raise InputRefused(problems, status=400 if reading.version is None and form == "xml" else 422)

    async def _machines(
        self, alert: Alert, named: Sequence[references.Named], token: TokenRecord
    ) -> tuple[list[Problem], list[Problem]]:
        """A machine takes back only what a machine of its department has posted."""
        if Scope.MACHINE not in token.scopes or alert.msg_type is not MsgType.CANCEL:
            return [], []
        machines = {each.id for each in await self._store.tokens() if Scope.MACHINE in each.scopes}
        message = "a machine may cancel only what a machine has posted; a person must do this"
        denied = [
            Problem("/alert/references", "authority.machine", message, each.reference.text)
            for each in named
            if each.target is None or each.target.author not in machines
        ]
        return denied, []

    def _record(
        self,
        alert: Alert,
        body: bytes,
        digest: bytes,
        content_type: str,
        received: int,
        token: TokenRecord,
        named: Sequence[references.Named],
    ) -> AlertRecord:
        told = described(alert, [each.target for each in named if each.target is not None])
        return AlertRecord(
            id=new_id(received),
            sender=alert.sender,
            identifier=alert.identifier,
            sent=to_ms(alert.sent.instant),
            department=token.department,
            status=str(alert.status),
            msg_type=str(alert.msg_type),
            level=told.level,
            event=told.event,
            headline=told.headline,
            content_type=content_type,
            digest=digest,
            body=body,
            received=received,
            expires=expires_of(alert, self._expiry, received, told.expires),
            state=AlertState.RECEIVED,
            author=token.id,
            scope=str(alert.scope),
        )


def form_of(content_type: str) -> Literal["xml", "json"]:
    """The form that a Content-Type names. Raises InputRefused (415).

    The whole header is kept and given back with the original bytes, so it must be short and plain.
    """
    media_type = content_type.partition(";")[0].strip().lower()
    plain = content_type.isascii() and content_type.isprintable() and len(content_type) <= _LONGEST_CONTENT_TYPE
    if plain and media_type in _MEDIA_TYPES:
        return _MEDIA_TYPES[media_type]
    message = f"send CAP 1.2 as {', '.join(_MEDIA_TYPES)}"
    problem = Problem("header/Content-Type", "media-type", message, media_type[:100] or None)
    raise InputRefused([problem], status=415)


def realm_problems(status: Status, token: TokenRecord) -> list[Problem]:
    """Live and drill are kept apart by credentials, never by a word in the message alone."""
    if status in STATUSES[token.realm]:
        return []
    allowed = ", ".join(STATUSES[token.realm])
    message = f"a token of the realm {token.realm} posts {allowed}, not {status}"
    return [Problem("/alert/status", "authority.realm", message, str(status))]


def _untimely(alert: Alert, received: int) -> Iterator[Problem]:
    """Times that no fresh warning has: a message out of an archive, or one that would stand for months."""
    sent = to_ms(alert.sent.instant)
    if sent < received - _OLDEST_MS:
        message = f"sent more than {_OLDEST_MS // _DAY_MS} day ago: a new message has a new time"
        yield Problem("/alert/sent", "intake.sent.old", message, alert.sent.text)
    if sent > received + references.EARLY_MS:
        message = "sent more than an hour from now: is a clock wrong?"
        yield Problem("/alert/sent", "intake.sent.future", message, alert.sent.text)
    for number, info in enumerate(alert.infos, 1):
        if info.expires is not None and to_ms(info.expires.instant) > max(sent, received) + _LONGEST_MS:
            message = f"a warning may stand for {_LONGEST_MS // _DAY_MS} days at most"
            yield Problem(f"/alert/info[{number}]/expires", "intake.expires.far", message, info.expires.text)


def new_id(at: int) -> str:
    """An id that sorts by time: 11 hexadecimal digits of milliseconds, 10 random ones."""
    return f"{at:011x}{secrets.token_hex(5)}"


def is_id(text: str) -> bool:
    """Whether `text` has the form of an id that `new_id` gives."""
    return _ID.fullmatch(text) is not None
