"""Warnings without end: the demo departments' own, each with an identifier, a time and a shape of its own."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta
from typing import Final

from broker.demo.alerts import day
from loadtest.world import DEPARTMENT, red_alert

_SPREAD: Final = 3600
"""Seconds over which the times of sending are spread, so that none lies in the future and none is old."""
_IDENTIFIER: Final = re.compile(rb"(<identifier>)[^<]+(?=</identifier>)")
_SENT: Final = re.compile(rb"(<sent>)[^<]+(?=</sent>)")
_SHAPE: Final = re.compile(rb"(<polygon>\S+ [0-9]+\.[0-9]+(?=,)|<circle>\S+ [0-9]+(?=</circle>))")
"""Up to a place at which more digits make another shape of nearly the same size."""


class Messages:
    """The messages of one run, by number: a number is always the same message, and no two are alike.

    A polygon and a circle differ from message to message too, so that nothing that is kept of one helps with
    the next. Codes of regions come again and again, as they do in life.
    """

    def __init__(self, now: datetime, *, copies: str = "") -> None:
        """Composed at `now` (aware); `copies` tells the identifiers of several runs on one store apart."""
        self._began = now.astimezone(UTC).replace(microsecond=0)
        self._copies = copies.encode()
        written = [(alert.department, alert.body) for alert in day(self._began)]
        self._forms = [(name, _form(body)) for name, body in [*written, (DEPARTMENT, red_alert(0))]]

    @property
    def departments(self) -> tuple[str, ...]:
        """Whose messages these are."""
        return tuple(dict.fromkeys(department for department, _ in self._forms))

    def message(self, number: int) -> tuple[str, bytes]:
        """(department, body) of the message of a number from 0 up."""
        department, form = self._forms[number % len(self._forms)]
        sent = self._began - timedelta(seconds=1 + number % _SPREAD)
        values = {
            b"identifier": b"%s%s-%d" % (department.encode(), self._copies, number),
            b"sent": sent.strftime("%Y-%m-%dT%H:%M:%S-00:00").encode(),
            b"digits": b"%05d" % (number % 100_000),
        }
        return department, form % values


def _form(body: bytes) -> bytes:
    """A message as a form to fill in."""
    form = body.replace(b"%", b"%%")
    form = _IDENTIFIER.sub(rb"\1%(identifier)s", form)
    form = _SENT.sub(rb"\1%(sent)s", form)
    return _SHAPE.sub(
        lambda found: found[1] + (b"." if found[1].startswith(b"<circle>") else b"") + b"%(digits)s", form
    )
