"""Between tree and model, both ways; everything that the codecs share."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from enum import StrEnum
from typing import Any, TypeVar

from broker.cap import model, names
from broker.cap.tree import Node

Choice = TypeVar("Choice", bound=StrEnum)


_MEMBERS: dict[type[StrEnum], dict[str, Any]] = {}


class _UnbuildableError(Exception):
    """The tree lacks what a model cannot be without; lint has reported it."""


def alert_of(root: Node) -> model.Alert | None:
    """The alert that a tree holds; None when a required element, a time or a listed value is not good.

    Elements that CAP does not know are left out, and a polygon, circle or number that cannot be read keeps
    its text without a value. Both are findings of lint: look there before using the alert.
    """
    try:
        return _alert(root)
    except _UnbuildableError:
        return None


def _alert(node: Node) -> model.Alert:
    return model.Alert(
        identifier=_text(node, "identifier"),
        sender=_text(node, "sender"),
        sent=_time(_one(node, "sent")),
        status=_choice(_one(node, "status"), model.Status),
        msg_type=_choice(_one(node, "msgType"), model.MsgType),
        source=_optional(node, "source"),
        scope=_choice(_one(node, "scope"), model.Scope),
        restriction=_optional(node, "restriction"),
        addresses=_optional(node, "addresses"),
        codes=tuple(_leaf(child) for child in node.all("code")),
        note=_optional(node, "note"),
        references_text=_optional(node, "references"),
        incidents=_optional(node, "incidents"),
        infos=tuple(_info(child) for child in node.all("info")),
    )


def _info(node: Node) -> model.Info:
    categories = tuple(_choice(child, model.Category) for child in node.all("category"))
    if not categories:
        raise _UnbuildableError
    return model.Info(
        language=_optional(node, "language"),
        categories=categories,
        event=_text(node, "event"),
        response_types=tuple(_choice(child, model.ResponseType) for child in node.all("responseType")),
        urgency=_choice(_one(node, "urgency"), model.Urgency),
        severity=_choice(_one(node, "severity"), model.Severity),
        certainty=_certainty(_one(node, "certainty")),
        audience=_optional(node, "audience"),
        event_codes=_named_values(node, "eventCode"),
        effective=_optional_time(node, "effective"),
        onset=_optional_time(node, "onset"),
        expires=_optional_time(node, "expires"),
        sender_name=_optional(node, "senderName"),
        headline=_optional(node, "headline"),
        description=_optional(node, "description"),
        instruction=_optional(node, "instruction"),
        web=_optional(node, "web"),
        contact=_optional(node, "contact"),
        parameters=_named_values(node, "parameter"),
        resources=tuple(_resource(child) for child in node.all("resource")),
        areas=tuple(_area(child) for child in node.all("area")),
    )


def _resource(node: Node) -> model.Resource:
    size = _optional(node, "size")
    return model.Resource(
        resource_desc=_text(node, "resourceDesc"),
        mime_type=_text(node, "mimeType"),
        size=None if size is None else model.Size.parse(size),
        uri=_optional(node, "uri"),
        deref_uri=_optional(node, "derefUri"),
        digest=_optional(node, "digest"),
    )


def _area(node: Node) -> model.Area:
    altitude, ceiling = _optional(node, "altitude"), _optional(node, "ceiling")
    return model.Area(
        area_desc=_text(node, "areaDesc"),
        polygons=tuple(model.Polygon.parse(_leaf(child)) for child in node.all("polygon")),
        circles=tuple(model.Circle.parse(_leaf(child)) for child in node.all("circle")),
        geocodes=_named_values(node, "geocode"),
        altitude=None if altitude is None else model.Height.parse(altitude),
        ceiling=None if ceiling is None else model.Height.parse(ceiling),
    )


def _named_values(node: Node, name: str) -> tuple[model.NamedValue, ...]:
    return tuple(model.NamedValue(_text(child, "valueName"), _text(child, "value")) for child in node.all(name))


def _one(node: Node, name: str) -> Node:
    child = _at_most_one(node, name)
    if child is None:
        raise _UnbuildableError
    return child


def _at_most_one(node: Node, name: str) -> Node | None:
    found = node.all(name)
    if len(found) > 1:
        raise _UnbuildableError  # taking either would be a guess
    return found[0] if found else None


def _leaf(node: Node) -> str:
    if node.children:
        raise _UnbuildableError
    return node.text


def _text(node: Node, name: str) -> str:
    found = node.all(name)
    if len(found) != 1 or found[0].children:
        raise _UnbuildableError
    return found[0].text


def _optional(node: Node, name: str) -> str | None:
    found = node.all(name)
    return _text(node, name) if found else None


def _time(node: Node) -> model.CapTime:
    try:
        return model.CapTime.parse(_leaf(node))
    except ValueError:
        raise _UnbuildableError from None


def _optional_time(node: Node, name: str) -> model.CapTime | None:
    child = _at_most_one(node, name)
    return None if child is None else _time(child)


def _choice(node: Node, choices: type[Choice]) -> Choice:
    try:
        return _members(choices)[_leaf(node)]
    except KeyError:
        raise _UnbuildableError from None


def _members(choices: type[Choice]) -> Mapping[str, Choice]:
    """The choices by their words; an enum asked for a member by its word takes several times as long."""
    kept: dict[str, Choice] | None = _MEMBERS.get(choices)
    if kept is None:
        kept = _MEMBERS[choices] = {choice.value: choice for choice in choices}
    return kept


def _certainty(node: Node) -> model.Certainty:
    # CAP 1.2, 3.2.2, says itself what the word of CAP 1.0 stands for; lint reports it.
    return model.Certainty.LIKELY if node.text == names.OLD_CERTAINTY else _choice(node, model.Certainty)


def tree_of(alert: model.Alert) -> Node:
    """The tree of an alert, its elements in the order of the standard."""
    root = Node("alert")
    _leaves(
        root,
        ("identifier", alert.identifier),
        ("sender", alert.sender),
        ("sent", alert.sent.text),
        ("status", alert.status.value),
        ("msgType", alert.msg_type.value),
        ("source", alert.source),
        ("scope", alert.scope.value),
        ("restriction", alert.restriction),
        ("addresses", alert.addresses),
        *(("code", code) for code in alert.codes),
        ("note", alert.note),
        ("references", alert.references_text),
        ("incidents", alert.incidents),
    )
    for info in alert.infos:
        _add_info(root, info)
    return root


def _leaves(node: Node, *pairs: tuple[str, str | None]) -> None:
    for name, text in pairs:
        if text is not None:
            Node(name, text, parent=node)


def _add_info(root: Node, info: model.Info) -> None:
    node = Node("info", parent=root)
    _leaves(
        node,
        ("language", info.language),
        *(("category", category.value) for category in info.categories),
        ("event", info.event),
        *(("responseType", response.value) for response in info.response_types),
        ("urgency", info.urgency.value),
        ("severity", info.severity.value),
        ("certainty", info.certainty.value),
        ("audience", info.audience),
    )
    _add_named(node, "eventCode", info.event_codes)
    _leaves(
        node,
        ("effective", None if info.effective is None else info.effective.text),
        ("onset", None if info.onset is None else info.onset.text),
        ("expires", None if info.expires is None else info.expires.text),
        ("senderName", info.sender_name),
        ("headline", info.headline),
        ("description", info.description),
        ("instruction", info.instruction),
        ("web", info.web),
        ("contact", info.contact),
    )
    _add_named(node, "parameter", info.parameters)
    for resource in info.resources:
        _leaves(
            Node("resource", parent=node),
            ("resourceDesc", resource.resource_desc),
            ("mimeType", resource.mime_type),
            ("size", None if resource.size is None else resource.size.text),
            ("uri", resource.uri),
            ("derefUri", resource.deref_uri),
            ("digest", resource.digest),
        )
    for area in info.areas:
        _add_area(node, area)


def _add_area(info: Node, area: model.Area) -> None:
    node = Node("area", parent=info)
    _leaves(
        node,
        ("areaDesc", area.area_desc),
        *(("polygon", polygon.text) for polygon in area.polygons),
        *(("circle", circle.text) for circle in area.circles),
    )
    _add_named(node, "geocode", area.geocodes)
    _leaves(
        node,
        ("altitude", None if area.altitude is None else area.altitude.text),
        ("ceiling", None if area.ceiling is None else area.ceiling.text),
    )


def _add_named(node: Node, name: str, items: Iterable[model.NamedValue]) -> None:
    for item in items:
        _leaves(Node(name, parent=node), ("valueName", item.value_name), ("value", item.value))
