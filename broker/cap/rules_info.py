"""Rules of the info element: language, times, links, codes (CAP 1.2, 3.2.2)."""

from __future__ import annotations

from datetime import datetime

from broker.cap import values
from broker.cap.context import Context, report_repeated, time_at
from broker.cap.rules_area import check_area
from broker.cap.rules_resource import check_resource
from broker.cap.rules_text import check_texts
from broker.cap.tree import Node

_TEXTS = ("event", "headline", "description", "instruction")
_HEADLINE_LENGTH = 160


def check_info(node: Node, context: Context) -> None:
    """Report what is wrong with one info, its resources and areas."""
    _language(node, context)
    _times(node, context)
    _headline(node, context)
    check_texts(node, context)
    _codes(node, context)
    _web(node, context)
    areas = node.all("area")
    if context.warns and not areas:
        context.report.at(node, "cap.area.required", "info has no area, so it reaches nobody", "")
    for area in areas:
        check_area(area, context)
    for resource in node.all("resource"):
        check_resource(resource, context)


def _language(node: Node, context: Context) -> None:
    language = node.value("language")
    if language is not None and not values.is_blank(language):
        return
    if language is None:
        context.report.at(node, "cap.language.absent", "info has no language and counts as en-US", "")
    for name in _TEXTS:
        child = node.first(name)
        if child is not None and values.has_han(child.text):
            context.report.at(child, "cap.language.undeclared", f"{name} is Chinese, info counts as en-US")
            return


def _times(node: Node, context: Context) -> None:
    effective, onset, expires = (_time(node, name, context) for name in ("effective", "onset", "expires"))
    for name, instant in (("effective", effective), ("onset", onset)):
        child = node.first(name)
        if child is not None and instant is not None and context.sent is not None and instant < context.sent:
            context.report.at(child, f"cap.{name}.early", f"{name} is before sent")
    child = node.first("expires")
    if child is None:
        if context.warns:
            context.report.at(node, "cap.expires.absent", "info does not say when it expires", "")
        return
    if expires is None:
        return
    for name, instant in (("sent", context.sent), ("effective", effective)):
        if instant is not None and expires <= instant:
            context.report.at(child, "cap.expires.order", f"expires is not after {name}")
    if onset is not None and onset > expires:
        context.report.at(child, "cap.onset.order", "onset is after expires", node.value("onset"))
    if context.warns and expires <= context.now:
        context.report.at(child, "cap.expires.past", "the info has already expired")


def _time(node: Node, name: str, context: Context) -> datetime | None:
    instant = time_at(node, name)
    child = node.first(name)
    if instant is None and child is not None:
        context.skip(child, f"the order of {name} and the other times was", f"{name} cannot be read")
    return instant


def _headline(node: Node, context: Context) -> None:
    headline = node.first("headline")
    if headline is None or values.is_blank(headline.text):
        context.report.at(headline or node, "cap.headline.absent", "info has no headline", "")
    elif len(headline.text) > _HEADLINE_LENGTH:
        message = f"headline has {len(headline.text)} characters, more than {_HEADLINE_LENGTH}"
        context.report.at(headline, "cap.headline.length", message)


def _codes(node: Node, context: Context) -> None:
    for name in ("category", "responseType"):
        items = node.all(name)
        report_repeated(context, items, f"cap.{name}.repeated", [item.text for item in items], name)
    responses = node.all("responseType")
    if len(responses) > 1:
        for response in responses:
            if response.text == "None":
                context.report.at(response, "cap.responseType.none", "None contradicts the other responses")
    for name in ("eventCode", "parameter"):
        items = node.all(name)
        keys = [item.value("valueName") or "" for item in items]
        report_repeated(context, items, f"cap.{name}.repeated", keys, f"{name} valueName")


def _web(node: Node, context: Context) -> None:
    web = node.first("web")
    if web is None or values.is_blank(web.text):
        return
    scheme = values.scheme_of(values.collapse(web.text))
    if scheme is None:
        context.report.at(web, "cap.web.absolute", "web must be a full URI with its scheme")
    elif scheme not in ("http", "https"):
        context.report.at(web, "cap.web.scheme", f"a browser may not open {scheme}:")
