"""Times of the national format: a space where CAP has its T, always with an offset, in Beijing time."""

from __future__ import annotations

import re
from datetime import datetime, timedelta

from broker.cap import values
from broker.cap.collector import Collector
from broker.cap.profiles.national.identifiers import BEIJING
from broker.cap.tree import Node

_TIME = re.compile(r"([0-9]{4}-[0-9]{2}-[0-9]{2})([ T])([0-9]{2}:[0-9]{2}:[0-9]{2})([+-][0-9]{2}:[0-9]{2})?")
_FORM = "must be yyyy-MM-dd HH:mm:ss+08:00"


def read_time(node: Node, report: Collector) -> str | None:
    """The time of a node as CAP writes it; None, and a finding, when it is not told without a doubt."""
    text = values.collapse(node.text)
    match = _TIME.fullmatch(text)
    if match is None:
        report.at(node, "national.time.format", f"{node.name} {_FORM}")
        return None
    date, separator, clock, offset = match.groups()
    if offset is None:
        report.at(node, "national.time.offset", f"{node.name} has no offset, and none is assumed: {_FORM}")
        return None
    instant = values.parse_time(f"{date}T{clock}{offset}")
    if instant is None:
        report.at(node, "national.time.format", f"{node.name} {_FORM}, a date and time that exist")
        return None
    if separator == "T":
        report.at(node, "national.time.separator", f"{node.name} has a T between date and time")
    if instant.utcoffset() != timedelta(hours=8):
        report.at(node, "national.time.zone", f"{node.name} is not in Beijing time")
    return f"{date}T{clock}{offset}"


def write_time(moment: datetime) -> str:
    """An aware moment as the national format writes it."""
    return moment.astimezone(BEIJING).isoformat(sep=" ", timespec="seconds")
