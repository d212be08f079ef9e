"""Ids of the emergency-broadcast system (modelled on GD/J 080/082-2018) and the MQTT topics they lead to."""

from __future__ import annotations

import re
from datetime import timedelta, timezone
from typing import Final

from broker.clock import from_ms

BEIJING: Final = timezone(timedelta(hours=8))
EBRID_LENGTH: Final = 23
EBMID_LENGTH: Final = 35
_EBRID: Final = re.compile(r"[0-9]{23}")
_REPORTS: Final = "fenghuo/report/"
_MESSAGES: Final = "fenghuo/ebm/"
REPORT_FILTER: Final = _REPORTS + "+"
MESSAGE_FILTER: Final = _MESSAGES + "#"


def is_ebrid(text: str) -> bool:
    """Whether this is a resource code: level (1) area (12) type (4) sequence (2) subtype (2) number (2) digits."""
    return _EBRID.fullmatch(text) is not None


def village_of(ebrid: str) -> str:
    """The 12-digit region code in a resource code."""
    return ebrid[1:13]


def ebmid(source: str, when: int, number: int) -> str:
    """A message id of 35 digits: the source's resource code, yyyyMMdd of `when` (UTC ms) in Beijing, four digits.

    Four digits repeat after 10,000; what tells messages apart for terminals is the message's key.
    """
    return f"{source}{from_ms(when).astimezone(BEIJING):%Y%m%d}{number % 10_000:04d}"


def message_topic(village: str) -> str:
    """The topic that all terminals of a village read: by district, township, village."""
    return f"{_MESSAGES}{village[:6]}/{village[:9]}/{village}"


def report_topic(ebrid: str) -> str:
    """The topic that one terminal writes."""
    return _REPORTS + ebrid


def reporter(topic: str) -> str | None:
    """The terminal that a report's topic belongs to; None if it is not such a topic."""
    ebrid = topic.removeprefix(_REPORTS)
    return ebrid if ebrid != topic and is_ebrid(ebrid) else None
