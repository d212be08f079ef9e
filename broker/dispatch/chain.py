"""The chain of an alert: what it refers to, what refers to it, and on, both ways."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass

from broker.cap.model import MsgType
from broker.store.contract import Alerts
from broker.store.records import AlertRecord

WARNS = (MsgType.ALERT, MsgType.UPDATE)


@dataclass(frozen=True, slots=True)
class Chain:
    """The messages about one warning, of one department and one status: a drill never touches a live warning.

    References may name the first message, the previous one or several (CAP 1.2, 3.2.1 `references`; practice
    differs), so a chain is whatever they connect.
    """

    warnings: tuple[AlertRecord, ...]
    """Alert and Update messages, the oldest `sent` first."""
    cancels: tuple[AlertRecord, ...]
    """Cancel messages that refer to one of them, the oldest first."""

    def before(self, record: AlertRecord) -> tuple[AlertRecord, ...]:
        """The warnings that `record` takes the place of: for a Cancel all, for an Update the older ones."""
        if record.msg_type == MsgType.CANCEL:
            return self.warnings
        if record.msg_type != MsgType.UPDATE:
            return ()
        return tuple(warning for warning in self.warnings if age(warning) < age(record))

    def after(self, record: AlertRecord) -> tuple[AlertRecord, ...]:
        """The warnings that are newer than `record`."""
        return tuple(warning for warning in self.warnings if age(warning) > age(record))


def age(record: AlertRecord) -> tuple[int, str]:
    """Orders the messages of a chain: by `sent`, and by arrival where a sender wrote several in one second."""
    return record.sent, record.id


async def chain_of(store: Alerts, record: AlertRecord) -> Chain:
    """The chain that `record` belongs to, itself included if it warns. Raises StoreError."""
    warnings: dict[str, AlertRecord] = {}
    cancels: dict[str, AlertRecord] = {}
    seen = {record.id}
    waiting = deque([record])
    while waiting:
        each = waiting.popleft()
        if each.msg_type in WARNS:
            warnings[each.id] = each
            linked = await store.referring(each.id)
        elif each.msg_type == MsgType.CANCEL and each is not record:
            # A Cancel may name warnings that have nothing else in common: it ends them, it does not join them.
            cancels[each.id] = each
            continue
        else:
            linked = []
        for reference in await store.references(each.id):
            if reference.target is not None and reference.target not in seen:
                linked.append(await store.alert(reference.target))
        for other in linked:
            same = other.department == record.department and other.status == record.status
            if same and other.id not in seen:
                seen.add(other.id)
                waiting.append(other)
    return Chain(tuple(sorted(warnings.values(), key=age)), tuple(sorted(cancels.values(), key=age)))
