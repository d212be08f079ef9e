"""Questions that several profiles ask of a message's tree."""

from __future__ import annotations

from collections.abc import Callable, Hashable

from broker.cap import values
from broker.cap.collector import Collector
from broker.cap.tree import Node

ABOUT_EARLIER = ("Update", "Cancel")
"""Message types that change what an earlier message said."""


def plain(node: Node | None) -> str:
    """The text of a node without white space around it; empty without a node."""
    return "" if node is None else values.collapse(node.text)


def text_of(node: Node, name: str) -> str:
    """The text of the first child of that name without white space around it; empty without one."""
    return plain(node.first(name))


def named(node: Node, name: str, value_name: str) -> list[Node]:
    """The eventCodes, parameters or geocodes of a node that bear a valueName."""
    return [child for child in node.all(name) if text_of(child, "valueName") == value_name]


def value_node(item: Node) -> Node:
    """Where the value of an eventCode, parameter or geocode stands; the item itself when it has none."""
    return item.first("value") or item


def language_of(info: Node) -> str:
    """The language that an info declares, in lower case; en-US when it declares none (CAP 1.2, 3.2.2)."""
    return (text_of(info, "language") or "en-US").casefold()


def speaks(info: Node, language: str) -> bool:
    """Whether an info is in a language: `en` is met by en-CA, `zh-CN` only by itself or a variety of it."""
    own, wanted = language_of(info), language.casefold()
    return own == wanted or own.startswith(f"{wanted}-")


def categories(info: Node) -> Hashable:
    """The set of an info's categories."""
    return frozenset(plain(node) for node in info.all("category"))


def event_codes(info: Node) -> Hashable:
    """The set of an info's event codes, each with its code system."""
    return frozenset((text_of(node, "valueName"), text_of(node, "value")) for node in info.all("eventCode"))


def report_differing(
    root: Node, report: Collector, rule: str, what: str, value: Callable[[Node], Hashable]
) -> None:
    """Report every info whose `value` is not that of the first info."""
    infos = root.all("info")
    if not infos:
        return
    first = value(infos[0])
    for info in infos[1:]:
        if value(info) != first:
            message = f"{what} differs from that of the first info"
            report.at(info.first(what) or info, rule, message, "" if info.first(what) is None else None)
