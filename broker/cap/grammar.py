"""The content model of CAP 1.2: which elements, in which order, how many, and what each may hold."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from enum import Enum, StrEnum, auto

from broker.cap import model


class Kind(Enum):
    """What an element holds."""

    TEXT = auto()
    TIME = auto()
    LANGUAGE = auto()
    URI = auto()
    INTEGER = auto()
    DECIMAL = auto()
    CHOICE = auto()
    GROUP = auto()


@dataclass(frozen=True, slots=True)
class Element:
    """One element of the content model; `order` gives a group's members their position, `allowed` the choices."""

    name: str
    kind: Kind = Kind.TEXT
    required: bool = False
    many: bool = False
    members: tuple[Element, ...] = ()
    clause: str = ""
    order: dict[str, int] = field(default_factory=dict)
    allowed: tuple[str, ...] = ()

    def member(self, name: str) -> Element | None:
        """The member of that name; None when the group has none."""
        position = self.order.get(name)
        return None if position is None else self.members[position]


def _group(name: str, clause: str, *members: Element, required: bool = False, many: bool = True) -> Element:
    order = {member.name: position for position, member in enumerate(members)}
    return Element(name, Kind.GROUP, required, many, members=members, clause=clause, order=order)


def _choice(name: str, choices: type[StrEnum], *, required: bool = True, many: bool = False) -> Element:
    allowed = tuple(choice.value for choice in choices)
    return Element(name, Kind.CHOICE, required, many, allowed=allowed)


def _named(name: str, clause: str) -> Element:
    return _group(name, clause, Element("valueName", required=True), Element("value", required=True))


ALERT_CLAUSE = "3.2.1"
INFO_CLAUSE = "3.2.2"
RESOURCE_CLAUSE = "3.2.3"
AREA_CLAUSE = "3.2.4"

RESOURCE = _group(
    "resource",
    RESOURCE_CLAUSE,
    Element("resourceDesc", required=True),
    Element("mimeType", required=True),
    Element("size", Kind.INTEGER),
    Element("uri", Kind.URI),
    Element("derefUri"),
    Element("digest"),
)

AREA = _group(
    "area",
    AREA_CLAUSE,
    Element("areaDesc", required=True),
    Element("polygon", many=True),
    Element("circle", many=True),
    _named("geocode", AREA_CLAUSE),
    Element("altitude", Kind.DECIMAL),
    Element("ceiling", Kind.DECIMAL),
)

INFO = _group(
    "info",
    INFO_CLAUSE,
    Element("language", Kind.LANGUAGE),
    _choice("category", model.Category, many=True),
    Element("event", required=True),
    _choice("responseType", model.ResponseType, required=False, many=True),
    _choice("urgency", model.Urgency),
    _choice("severity", model.Severity),
    _choice("certainty", model.Certainty),
    Element("audience"),
    _named("eventCode", INFO_CLAUSE),
    Element("effective", Kind.TIME),
    Element("onset", Kind.TIME),
    Element("expires", Kind.TIME),
    Element("senderName"),
    Element("headline"),
    Element("description"),
    Element("instruction"),
    Element("web", Kind.URI),
    Element("contact"),
    _named("parameter", INFO_CLAUSE),
    RESOURCE,
    AREA,
)

ALERT = _group(
    "alert",
    ALERT_CLAUSE,
    Element("identifier", required=True),
    Element("sender", required=True),
    Element("sent", Kind.TIME, required=True),
    _choice("status", model.Status),
    _choice("msgType", model.MsgType),
    Element("source"),
    _choice("scope", model.Scope),
    Element("restriction"),
    Element("addresses"),
    Element("code", many=True),
    Element("note"),
    Element("references"),
    Element("incidents"),
    INFO,
    required=True,
    many=False,
)


def groups() -> tuple[Element, ...]:
    """Every group of the content model, outermost first."""
    found = [ALERT]
    for group in found:
        found.extend(member for member in group.members if member.kind is Kind.GROUP)
    return tuple(found)


def relaxed(element: Element, optional: frozenset[str]) -> Element:
    """The same content model with the elements of these names optional, wherever they stand."""
    members = tuple(relaxed(member, optional) for member in element.members)
    return replace(element, members=members, required=element.required and element.name not in optional)
