"""Messages of others, out of a feed: understood or refused like our own, and never let go by themselves."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Final, Literal

from broker import logs
from broker.cap.document import NATIONAL, Reading, read
from broker.cap.findings import Finding, Grade, Posture
from broker.cap.limits import Limits
from broker.cap.model import Alert, MsgType, Scope, Status
from broker.cap.xml import to_xml
from broker.clock import from_ms, now_ms, to_ms
from broker.errors import Problem
from broker.intake import references
from broker.intake.accept import new_id
from broker.intake.authority import Authority
from broker.intake.departments import Departments
from broker.intake.describing import described, expires_of
from broker.intake.expiry import Expiry
from broker.signing.certificates import PinnedCertificate
from broker.signing.verify import SignatureState, verify
from broker.store.contract import Store
from broker.store.outside_records import ItemOutcome
from broker.store.records import AlertEvent, AlertRecord
from broker.types import AlertState

AUTHOR_PREFIX: Final = "feed:"
"""Begins the author of every imported message; no token has such an id."""
_HOUSE: Final = "house rule"
_TAKEN: Final = (MsgType.ALERT, MsgType.UPDATE, MsgType.CANCEL)
_OF_OWN: Final = (MsgType.UPDATE, MsgType.CANCEL)
_LONGEST_DAYS: Final = 31
_DAY_MS: Final = 86_400_000
_OURS: Final = "authority.sender"
"""What is asked of a department's own messages and cannot be asked of others'."""
_LONGEST_WHY: Final = 500

FindingDict = dict[str, object]


@dataclass(frozen=True, slots=True)
class Origin:
    """The feed that a message came from, and what its messages are held to."""

    feed: str
    department: str
    """Whose people look at its messages and release them; none may say more than this department may."""
    profile: str | None = None
    """A profile of broker.cap.profiles whose rules hold as well; `national` reads the national format."""
    certificates: tuple[PinnedCertificate, ...] = ()
    """With any, every message must be signed by one of them."""

    @property
    def author(self) -> str:
        """Who stands as author of what comes from here."""
        return AUTHOR_PREFIX + self.feed


@dataclass(frozen=True, slots=True)
class Foreign:
    """What became of one message."""

    outcome: ItemOutcome
    findings: tuple[FindingDict, ...]
    """Everything found in it, as Finding.as_dict gives it; of a refused one, the errors are the reasons."""
    alert: str | None = None
    """Id of the alert that it became (None when only tried), or that was there before."""
    identifier: str | None = None
    sender: str | None = None

    @property
    def reasons(self) -> tuple[str, ...]:
        """The errors as sentences with their rules."""
        errors = (each for each in self.findings if each["severity"] == Grade.ERROR.value)
        return tuple(f"{each['message']} [{each['rule']}]" for each in errors)


class ForeignIntake:
    """Takes on messages of feeds, each waiting for a person."""

    def __init__(
        self,
        store: Store,
        departments: Departments,
        authority: Authority,
        *,
        expiry: Expiry | None = None,
        limits: Limits | None = None,
    ) -> None:
        self._store = store
        self._departments = departments
        self._authority = authority
        self._expiry = expiry or Expiry()
        self._limits = limits or Limits()
        # The national system knows a department by its code, which stands as sender in messages from there.
        self._own = {
            sender: department.id
            for department in departments
            for sender in (*department.senders, department.sender_code)
            if sender is not None
        }
        self._log = logs.get(role="feeds")

    async def accept_foreign(self, body: bytes, origin: Origin, *, keep: bool = True) -> Foreign:
        """Keep `body` as an alert of the origin's department that awaits release, whatever its release table says.

        Whatever the bytes are, it returns what became of them: imported; known, when the broker has the same
        message; or refused with all reasons. Judged in the lenient posture (CAP has what others get wrong), but
        what could not be planned after a person has looked at it is refused: an event or level that we do not know,
        an area that cannot be resolved, a code system of others. With `keep` false nothing is written. Raises
        NotFound for a department that does not exist, ValueError for a profile that does not, StoreError.
        """
        department = self._departments.get(origin.department)
        digest = hashlib.sha256(body).digest()
        known = await self._store.alert_by_digest(digest)
        received = now_ms()
        reading = read(
            body,
            _form(body),
            limits=self._limits,
            posture=Posture.LENIENT,
            now=from_ms(received),
            profile=origin.profile,
        )
        findings: list[FindingDict] = [dict(finding.as_dict()) for finding in reading.findings]
        if known is not None:
            return Foreign(ItemOutcome.KNOWN, tuple(findings), known.id, known.identifier, known.sender)
        alert = reading.alert
        problems: list[Problem] = list(_signature(body, origin, received, self._limits))
        if alert is None or not reading.valid:
            return _refused(reading, findings, problems)
        named = await references.resolve(alert, self._store)
        denied, unclear = self._authority.problems(alert, department)
        problems += self._whose(alert)
        problems += _kind(alert)
        problems += [problem for problem in denied + unclear if problem.rule != _OURS]
        problems += _unplannable(alert)
        problems += _references(alert, named, origin)
        told = described(alert, [each.target for each in named if each.target is not None])
        expires = expires_of(alert, self._expiry, received, told.expires)
        problems += _untimely(alert, expires, received)
        if problems:
            return _refused(reading, findings, problems)
        # The national format is not CAP: what goes on is its CAP, and the pull keeps the bytes as they came.
        own = to_xml(alert) if origin.profile == NATIONAL else body
        record = AlertRecord(
            id=new_id(received),
            sender=alert.sender,
            identifier=alert.identifier,
            sent=to_ms(alert.sent.instant),
            department=department.id,
            status=str(alert.status),
            msg_type=str(alert.msg_type),
            level=told.level,
            event=told.event,
            headline=told.headline,
            content_type=f"application/cap+{_form(own)}",
            digest=hashlib.sha256(own).digest(),
            body=own,
            received=received,
            expires=expires,
            state=AlertState.AWAITING_RELEASE,
            author=origin.author,
            scope=str(alert.scope),
        )
        return await self._kept(record, alert, findings, named, origin, keep=keep)

    async def _kept(
        self,
        record: AlertRecord,
        alert: Alert,
        findings: list[FindingDict],
        named: Sequence[references.Named],
        origin: Origin,
        *,
        keep: bool,
    ) -> Foreign:
        if not keep:
            return Foreign(ItemOutcome.IMPORTED, tuple(findings), None, alert.identifier, alert.sender)
        event = AlertEvent(
            record.id, record.received, AlertState.AWAITING_RELEASE, origin.author, _why(origin, findings)
        )
        kept = await self._store.add_alert(record, event, references.records(record.id, named))
        if kept.id == record.id:
            self._log.info("alert_imported", alert=kept.id, feed=origin.feed, findings=len(findings))
            return Foreign(ItemOutcome.IMPORTED, tuple(findings), kept.id, kept.identifier, kept.sender)
        if kept.digest == record.digest or _same(kept, alert):
            return Foreign(ItemOutcome.KNOWN, tuple(findings), kept.id, kept.identifier, kept.sender)
        message = "a message with the same sender, identifier and sent, but other content, was accepted before"
        conflict = Problem("/alert", "feed.conflict", message, alert.identifier)
        return Foreign(
            ItemOutcome.REFUSED, (*findings, _as_dict(conflict)), kept.id, alert.identifier, alert.sender
        )

    def _whose(self, alert: Alert) -> Iterator[Problem]:
        """Our own departments speak for themselves: nobody speaks in their name through a feed."""
        department = self._own.get(alert.sender)
        if department is not None:
            message = f"this sender is our own department {department}, which posts its messages itself"
            yield Problem("/alert/sender", "feed.sender.own", message, alert.sender)


def _refused(reading: Reading, findings: list[FindingDict], problems: Iterable[Problem]) -> Foreign:
    all_of_them = (*findings, *map(_as_dict, problems))
    return Foreign(ItemOutcome.REFUSED, all_of_them, None, reading.identifier, reading.sender)


def _signature(body: bytes, origin: Origin, received: int, limits: Limits) -> Iterator[Problem]:
    """Where certificates are pinned, a message without a good signature is nobody's."""
    if not origin.certificates:
        return
    verdict = verify(body, origin.certificates, received, limits=limits)
    if verdict.state is not SignatureState.VALID:
        yield from verdict.problems


def _kind(alert: Alert) -> Iterator[Problem]:
    """Only what could go to the public after a person has looked at it is kept for that person."""
    if alert.status is not Status.ACTUAL:
        message = f"status {alert.status} is not taken from feeds; only Actual is"
        yield Problem("/alert/status", "feed.status", message, str(alert.status))
    if alert.scope is not Scope.PUBLIC:
        message = f"scope {alert.scope} is not taken from feeds; only Public is"
        yield Problem("/alert/scope", "feed.scope", message, str(alert.scope))
    if alert.msg_type not in _TAKEN:
        message = f"msgType {alert.msg_type} answers somebody else and warns of nothing"
        yield Problem("/alert/msgType", "feed.msgtype", message, str(alert.msg_type))
    elif alert.msg_type is not MsgType.CANCEL and not alert.infos:
        yield Problem("/alert", "feed.info", "the message warns of nothing: it has no info")


def _unplannable(alert: Alert) -> Iterator[Problem]:
    """What the lenient posture lets pass and planning would stop at."""
    if alert.msg_type not in (MsgType.ALERT, MsgType.UPDATE):
        return
    for number, info in enumerate(alert.infos, 1):
        if not info.areas:
            yield Problem(f"/alert/info[{number}]", "feed.area.none", "the warning names no area")
        for position, area in enumerate(info.areas, 1):
            place = f"/alert/info[{number}]/area[{position}]"
            if area.altitude is not None or area.ceiling is not None:
                message = "the area is limited by height, but the heights of recipients are not known"
                yield Problem(place, "feed.area.height", message)
            for shape in area.polygons:
                if not shape.points:
                    yield Problem(f"{place}/polygon", "feed.area.shape", "cannot be read", shape.text[:60])
            for circle in area.circles:
                if circle.center is None or circle.radius_km is None:
                    yield Problem(f"{place}/circle", "feed.area.shape", "cannot be read", circle.text[:60])


def _references(alert: Alert, named: Sequence[references.Named], origin: Origin) -> Iterator[Problem]:
    """A message of a feed updates and takes back what the same feed has brought, and nothing else."""
    if alert.msg_type not in _OF_OWN:
        return
    if len(alert.references) > references.MOST:
        message = f"{len(alert.references)} references; at most {references.MOST} are taken"
        yield Problem("/alert/references", "intake.references.many", message)
    if not alert.references:
        yield Problem("/alert/references", "feed.references.none", f"an {alert.msg_type} of nothing that is named")
    for each in named:
        if each.reference.sender != alert.sender:
            message = f"{alert.sender} speaks of what {each.reference.sender} has sent"
            yield Problem("/alert/references", "feed.references.sender", message, each.reference.text)
        elif each.target is not None and each.target.author != origin.author:
            message = "the message that it refers to did not come from this feed"
            yield Problem("/alert/references", "feed.references.origin", message, each.reference.text)


def _untimely(alert: Alert, expires: int, received: int) -> Iterator[Problem]:
    sent = to_ms(alert.sent.instant)
    if sent > received + references.EARLY_MS:
        message = "sent more than an hour from now: is a clock wrong?"
        yield Problem("/alert/sent", "intake.sent.future", message, alert.sent.text)
    if alert.msg_type is MsgType.CANCEL:
        if sent < received - references.LATE_MS:
            message = "sent more than a day ago"
            yield Problem("/alert/sent", "intake.sent.old", message, alert.sent.text)
    elif expires <= received:
        message = f"it expired at {from_ms(expires).isoformat(timespec='seconds')}"
        yield Problem("/alert/info/expires", "feed.expired", message)
    if expires > max(sent, received) + _LONGEST_DAYS * _DAY_MS:
        message = f"a warning may stand for {_LONGEST_DAYS} days at most"
        yield Problem("/alert/info/expires", "intake.expires.far", message)


def _same(kept: AlertRecord, alert: Alert) -> bool:
    """Whether a record says what `alert` does: the same message in other bytes, as another feed wraps it."""
    return read(kept.body, _form(kept.body), posture=Posture.LENIENT).alert == alert


def _form(body: bytes) -> Literal["xml", "json"]:
    return "json" if body[:64].lstrip()[:1] == b"{" else "xml"


def _why(origin: Origin, findings: Sequence[FindingDict]) -> str:
    found = ", ".join(
        f"{rule} ({grade})" for rule, grade in dict.fromkeys((f["rule"], f["severity"]) for f in findings)
    )
    text = f"imported from the feed {origin.feed}; a person must release it; "
    text += f"findings: {found}" if found else "nothing was found wrong"
    return text if len(text) <= _LONGEST_WHY else text[: _LONGEST_WHY - 1] + "…"


def _as_dict(problem: Problem) -> FindingDict:
    """A problem in the form of lint's findings, so that a report has one shape."""
    finding = Finding(problem.rule, Grade.ERROR, problem.place, problem.value or "", problem.message, _HOUSE)
    return dict(finding.as_dict())
