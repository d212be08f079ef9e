"""Release 签发: nothing goes out without it; where a department's rules ask, by a second person.

Lessons that are law here: who wrote a warning does not release it; who releases it has seen what it will do; a
drill's credential never touches what is live; what takes an alarm back needs no new authority.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Final, Protocol

from broker import logs
from broker.cap.document import read
from broker.cap.model import Alert, MsgType, Status
from broker.clock import from_ms, now_ms
from broker.errors import Conflict, InputRefused, NotAllowed, Problem
from broker.intake.accept import form_of
from broker.intake.departments import Department, Departments, ReleaseMode
from broker.intake.tokens import STATUSES, Scope
from broker.release.machines import Machines
from broker.release.states import allowed_from
from broker.store.contract import Store
from broker.store.records import AlertEvent, AlertRecord, TokenRecord
from broker.types import AlertState

LONGEST_REASON: Final = 500
"""Characters of the reason for a rejection."""
_WAITING: Final = (AlertState.AWAITING_RELEASE,)
_ANSWERS: Final = (MsgType.ACK, MsgType.ERROR)

Corrections = Callable[[AlertRecord], Awaitable[str | None]]
"""Says of an Update (with its body) why it is a pure correction that needs no new authority; None if it is not."""


class Guard(Protocol):
    """Judges whether releasing an alert now would do what a preview showed."""

    async def check(self, alert: AlertRecord, preview: str) -> None:
        """Raises InputRefused or Conflict with every difference."""
        ...


@dataclass(frozen=True, slots=True)
class Release:
    """Decides whether an accepted message goes at once or waits; lets it go, or turns it down."""

    store: Store
    departments: Departments
    machines: Machines | None = None
    """Without it, what a machine posts waits for a second person."""
    corrections: Corrections | None = None
    """Without it, no Update counts as a pure correction."""
    guard: Guard | None = None
    """Without it, nobody can release: nothing goes out unseen."""

    async def admit(self, alert: AlertRecord) -> AlertState:
        """Take a received message on: released at once, or waiting for a second person; safe to repeat."""
        state, why = await self._decision(alert)
        event = AlertEvent(alert.id, now_ms(), state, "fenghuo", why)
        await self.store.move_alert(alert.id, (AlertState.RECEIVED,), event)
        return (await self.store.alert(alert.id)).state

    def at_once(self, alert: AlertRecord, token: TokenRecord) -> AlertEvent | None:
        """The first move of what `token` posts, if nothing but the department's rules decides on it.

        It can then be made in the transaction that keeps the alert; None leaves it to `admit`.
        """
        decided = self._by_kind(alert)
        if decided is None and alert.msg_type == MsgType.ALERT and Scope.MACHINE not in token.scopes:
            decided = _by_rules(self.departments.get(alert.department).release_mode(alert.level))
        return None if decided is None else AlertEvent(alert.id, now_ms(), decided[0], "fenghuo", decided[1])

    @staticmethod
    def _by_kind(alert: AlertRecord) -> tuple[AlertState, str] | None:
        """Where a message goes whatever the department's rules are, and why."""
        if alert.status == Status.DRAFT:
            return AlertState.AWAITING_RELEASE, "a Draft is not to be acted on: it stays here, or is rejected"
        if alert.msg_type == MsgType.CANCEL:
            return AlertState.RELEASED, "to take a warning back needs no second person"
        if alert.msg_type in _ANSWERS:
            return AlertState.RELEASED, f"a message of type {alert.msg_type} reaches nobody and is only recorded"
        if alert.status == Status.SYSTEM:
            return AlertState.RELEASED, "a message of status System reaches nobody and is only recorded"
        return None

    async def _decision(self, alert: AlertRecord) -> tuple[AlertState, str]:
        """Where a received message goes, and why."""
        if (decided := self._by_kind(alert)) is not None:
            return decided
        department = self.departments.get(alert.department)
        mode = department.release_mode(alert.level)
        machine = self.machines is not None and await self.machines.posted(alert)
        if alert.msg_type == MsgType.UPDATE and (why := await self._correction(alert, machine=machine)):
            return AlertState.RELEASED, f"a correction, which needs no second person: {why}"
        if machine and mode is not ReleaseMode.SECOND_PERSON:
            return await self._plausible(alert, department)
        return _by_rules(mode)

    async def _correction(self, alert: AlertRecord, *, machine: bool) -> str | None:
        if self.corrections is None:
            return None
        if machine and self.machines is not None and await self.machines.of_references(alert):
            return None  # what a person has warned of is not narrowed by a machine
        return await self.corrections(await self.store.alert(alert.id))

    async def _plausible(self, alert: AlertRecord, department: Department) -> tuple[AlertState, str]:
        assert self.machines is not None
        message = _read(await self.store.alert(alert.id))
        excesses = (
            ["its bytes can no longer be read"]
            if message is None
            else await self.machines.excesses(alert, message, department.machine)
        )
        if excesses:
            return AlertState.AWAITING_RELEASE, f"a machine's message beyond its limits: {'; '.join(excesses)}"
        return AlertState.RELEASED, "posted by a machine, within the department's limits for machines"

    async def release(self, alert_id: str, token: TokenRecord, preview: str | None) -> AlertRecord:
        """A second person lets the alert go, exactly as `preview` showed it.

        Raises NotFound, NotAllowed (the author, another department, a machine, a credential of the other realm),
        Conflict (not waiting, expired, a Draft), InputRefused (no preview, or what it showed has changed).
        """
        alert = await self._own(alert_id, token, "release")
        if token.id == alert.author:
            raise NotAllowed("the author of an alert may not release it: a second person must")
        if alert.status == Status.DRAFT:
            raise Conflict("a Draft is not to be acted on: post the message as Actual or Exercise")
        if alert.state not in _WAITING:
            raise Conflict(f"the alert is {alert.state}, not awaiting release")
        if alert.expires <= now_ms():
            raise Conflict("the alert has expired")
        if not preview:
            message = "name the preview that you have looked at: who will be told what, and how many they are"
            raise InputRefused([Problem("preview", "release.preview.absent", message)])
        if self.guard is None:
            raise Conflict("previews cannot be judged here, so nothing can be released")
        await self.guard.check(alert, preview)
        event = AlertEvent(alert_id, now_ms(), AlertState.RELEASED, token.id, "released by a second person")
        if alert.expires <= event.at:
            raise Conflict("the alert has expired")
        waiting = _WAITING
        assert set(waiting) <= set(allowed_from(AlertState.RELEASED))
        if not await self.store.move_alert(alert_id, waiting, event, preview=preview):
            raise Conflict(f"the alert is {(await self.store.alert(alert_id)).state}, not awaiting release")
        logs.get(role="release").info("alert_released", alert=alert_id, who=token.id, preview=preview)
        return await self.store.alert(alert_id)

    async def reject(self, alert_id: str, token: TokenRecord, reason: str) -> AlertRecord:
        """Turn down an alert that has not gone out; its author may, since that only withdraws it.

        Raises NotFound, NotAllowed (another department, a machine, the other realm), Conflict (it has gone out or
        ended), InputRefused (no reason, or a long one).
        """
        alert = await self._own(alert_id, token, "reject")
        why = " ".join(reason.split())
        if not why or len(why) > LONGEST_REASON:
            message = f"say why in 1 to {LONGEST_REASON} characters: the department must know what to mend"
            raise InputRefused(
                [Problem("reason", "release.reason.absent" if not why else "release.reason.long", message)]
            )
        event = AlertEvent(alert_id, now_ms(), AlertState.REJECTED, token.id, why)
        if not await self.store.move_alert(alert_id, allowed_from(AlertState.REJECTED), event, reason=why):
            state = (await self.store.alert(alert_id)).state
            raise Conflict(f"the alert is {state} and can no longer be rejected: cancel it")
        logs.get(role="release").info("alert_rejected", alert=alert.id, who=token.id)
        return await self.store.alert(alert_id)

    async def _own(self, alert_id: str, token: TokenRecord, act: str) -> AlertRecord:
        """The alert, if this person may decide on it at all."""
        alert = await self.store.alert(alert_id)
        if token.department != alert.department:
            raise NotAllowed(f"only the department that posted an alert may {act} it")
        if Scope.MACHINE in token.scopes:
            raise NotAllowed(f"a machine may not {act} an alert: a person must")
        if alert.status not in STATUSES[token.realm]:
            raise NotAllowed(f"a token of the realm {token.realm} may not {act} what is {alert.status}")
        return alert


def _by_rules(mode: ReleaseMode) -> tuple[AlertState, str]:
    """Where goes what a person has posted."""
    if mode is ReleaseMode.NONE:
        return AlertState.RELEASED, "the department's rules ask for no second person at this level"
    if mode is ReleaseMode.MACHINE:
        return (
            AlertState.AWAITING_RELEASE,
            "the department's rules ask for a second person for what no machine posted",
        )
    return AlertState.AWAITING_RELEASE, "the department's rules ask for a second person"


def _read(record: AlertRecord) -> Alert | None:
    return read(record.body, form_of(record.content_type), now=from_ms(record.received)).alert
