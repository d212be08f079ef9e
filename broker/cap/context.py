"""What the rules of lint are given besides the tree."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from broker.cap import values
from broker.cap.collector import Collector
from broker.cap.limits import Limits
from broker.cap.tree import Node


@dataclass(frozen=True, slots=True)
class Context:
    """The report to write to, the present time, the limits, and the message's own sent and msgType if readable."""

    report: Collector
    now: datetime
    sent: datetime | None
    msg_type: str | None
    limits: Limits

    @property
    def warns(self) -> bool:
        """Whether the message is an Alert or Update, which say something to the public themselves."""
        return self.msg_type in ("Alert", "Update")

    def skip(self, node: Node, check: str, why: str) -> None:
        """Report that a check could not run, so that its silence is not taken for its consent."""
        self.report.at(node, "cap.check.skipped", f"{check} not checked: {why}", "")


def time_at(node: Node, name: str) -> datetime | None:
    """The instant of the first child of that name; None when absent or not a time."""
    text = node.value(name)
    return None if text is None else values.parse_time(values.collapse(text))


def report_repeated(context: Context, nodes: list[Node], rule: str, keys: list[str], what: str) -> None:
    """Report every node whose key an earlier one had."""
    seen: set[str] = set()
    for node, key in zip(nodes, keys, strict=True):
        if key in seen:
            context.report.at(node, rule, f"{what} {key} is given more than once", key)
        seen.add(key)
