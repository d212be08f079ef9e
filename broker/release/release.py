"""Release 签发: nothing goes out without it; where a department's rules ask, by a second person."""

from __future__ import annotations

from dataclasses import dataclass

from broker import logs
from broker.clock import now_ms
from broker.errors import Conflict, NotAllowed
from broker.intake.departments import Departments, ReleaseMode
from broker.release.states import allowed_from
from broker.store.contract import Store
from broker.store.records import AlertEvent, AlertRecord, TokenRecord
from broker.types import AlertState


@dataclass(frozen=True, slots=True)
class Release:
    """Decides whether an accepted alert goes at once or waits, and lets it go."""

    store: Store
    departments: Departments

    async def admit(self, alert: AlertRecord) -> AlertState:
        """Take a received alert on: released at once, or waiting for a second person; safe to repeat."""
        department = self.departments.get(alert.department)
        if department.release_mode(alert.level) is ReleaseMode.NONE:
            state, why = AlertState.RELEASED, "the department's rules ask for no second person at this level"
        else:
            state, why = AlertState.AWAITING_RELEASE, "the department's rules ask for a second person"
        event = AlertEvent(alert.id, now_ms(), state, "fenghuo", why)
        await self.store.move_alert(alert.id, (AlertState.RECEIVED,), event)
        return (await self.store.alert(alert.id)).state

    async def release(self, alert_id: str, token: TokenRecord) -> AlertRecord:
        """A second person lets the alert go. Raises NotFound, NotAllowed (the author, or another department),
        Conflict (not waiting)."""
        alert = await self.store.alert(alert_id)
        if token.department != alert.department:
            raise NotAllowed("only the department that posted an alert may release it")
        if token.id == alert.author:
            raise NotAllowed("the author of an alert may not release it: a second person must")
        event = AlertEvent(alert_id, now_ms(), AlertState.RELEASED, token.id, "released by a second person")
        if alert.expires <= event.at:
            raise Conflict("the alert has expired")
        waiting = (AlertState.AWAITING_RELEASE,)
        assert set(waiting) <= set(allowed_from(AlertState.RELEASED))
        if not await self.store.move_alert(alert_id, waiting, event):
            raise Conflict(f"the alert is {(await self.store.alert(alert_id)).state}, not awaiting release")
        logs.get(role="release").info("alert_released", alert=alert_id, who=token.id)
        return await self.store.alert(alert_id)
