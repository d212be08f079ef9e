"""The chain of an alert: what it refers to, what refers to it, and on, both ways."""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass, field

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
    links: Mapping[str, frozenset[str]] = field(default_factory=dict)
    """Which messages each of them names in its `references`, by our ids."""

    def before(self, record: AlertRecord) -> tuple[AlertRecord, ...]:
        """The warnings that `record` takes the place of: for a Cancel all, for an Update the older ones."""
        if record.msg_type == MsgType.CANCEL:
            return self.warnings
        if record.msg_type != MsgType.UPDATE:
            return ()
        return tuple(warning for warning in self.warnings if self.is_older(warning, record))

    def after(self, record: AlertRecord) -> tuple[AlertRecord, ...]:
        """The warnings that are newer than `record`."""
        return tuple(warning for warning in self.warnings if self.is_older(record, warning))

    def is_older(self, one: AlertRecord, other: AlertRecord) -> bool:
        """Whether `one` came before `other`: what a message refers to came before it, whatever the clocks say."""
        if one.id == other.id:
            return False
        if one.id in self._named(other.id):
            return True
        return other.id not in self._named(one.id) and age(one) < age(other)

    def _named(self, alert: str) -> frozenset[str]:
        """Everything that a message refers to, directly or through others."""
        found: set[str] = set()
        waiting = [alert]
        while waiting:
            new = self.links.get(waiting.pop(), frozenset()) - found
            found |= new
            waiting += new
        return frozenset(found)


def age(record: AlertRecord) -> tuple[int, str]:
    """Orders the messages of a chain: by `sent`, and by arrival where a sender wrote several in one second."""
    return record.sent, record.id


async def chain_of(store: Alerts, record: AlertRecord) -> Chain:
    """The chain that `record` belongs to, itself included if it warns. Raises StoreError."""
    warnings: dict[str, AlertRecord] = {}
    cancels: dict[str, AlertRecord] = {}
    links: dict[str, frozenset[str]] = {}
    seen = {record.id}
    waiting = deque([record])
    while waiting:
        each = waiting.popleft()
        if each.msg_type in WARNS:
            warnings[each.id] = each
            linked = await store.referring(each.id)
        elif each.msg_type == MsgType.CANCEL and each is not record:
            cancels[each.id] = each
            linked = []
        else:
            linked = []
        named = {each.target for each in await store.references(each.id) if each.target is not None}
        links[each.id] = frozenset(named)
        if each.id in cancels:
            # A Cancel may name warnings that have nothing else in common: it ends them, it does not join them.
            continue
        linked += [await store.alert(target) for target in sorted(named - seen)]
        for other in linked:
            same = other.department == record.department and other.status == record.status
            if same and other.id not in seen:
                seen.add(other.id)
                waiting.append(other)
    return Chain(tuple(sorted(warnings.values(), key=age)), tuple(sorted(cancels.values(), key=age)), links)
