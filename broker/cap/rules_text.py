"""Rules of the texts that people read: nothing of a template may be left in them."""

from __future__ import annotations

import re

from broker.cap.context import Context
from broker.cap.tree import Node

_TEXTS = ("event", "audience", "senderName", "headline", "description", "instruction", "contact")

_PLACEHOLDER = re.compile(
    r"\{\{[^{}]{0,80}\}\}|\$\{[^{}]{0,80}\}|<%[^%]{0,80}%>|%\([A-Za-z_][A-Za-z0-9_]{0,40}\)[sd]"
    r"|\{[A-Za-z_][A-Za-z0-9_.]{0,40}\}"
    r"|(?i:\[(?:insert|enter|fill in|your|placeholder|tbd)\b[^\]]{0,80}\]|\blorem ipsum\b)"
    r"|\bX{4,}\b|[X×Ｘ]{2,}(?=[省市区县镇乡村年月日时])|[〔【[](?:待填|填写|请填)[^〕】\]]{0,40}[〕】\]]"
)
"""What templates write where a value is to come: Jinja, shell, ASP and Python forms, and those of people."""


_BEGINS = re.compile(r"[{$<%\[X×Ｘ〔【]")
"""What every placeholder begins with, but for the one that is a word."""


def check_texts(node: Node, context: Context) -> None:
    """Report what a template left behind in the texts of an info and its areas."""
    for name in _TEXTS:
        child = node.first(name)
        if child is not None:
            _text(child, context)
    for area in node.all("area"):
        child = area.first("areaDesc")
        if child is not None:
            _text(child, context)


def _text(node: Node, context: Context) -> None:
    text = node.text
    if _BEGINS.search(text) is None and "ipsum" not in text.casefold():
        return  # as nearly every text, at a tenth of the cost
    found = _PLACEHOLDER.search(text)
    if found is not None:
        message = f"{node.name} holds what looks like the placeholder of a template"
        context.report.at(node, "cap.text.placeholder", message, found[0])
