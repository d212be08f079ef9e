"""Takes apart whatever alerts come in."""

from __future__ import annotations

from typing import Final

from broker.cap.collector import Collector
from broker.cap.findings import Posture
from broker.cap.limits import Limits
from broker.cap.wrapping.atom import is_atom, read_atom
from broker.cap.wrapping.cutting import Cutter
from broker.cap.wrapping.edxl import is_edxl, read_edxl
from broker.cap.wrapping.items import Unwrapped, Wrapped
from broker.cap.wrapping.rss import is_rss, read_rss
from broker.cap.wrapping.rules import RULES
from broker.cap.wrapping.workbench import Workbench, local, topmost_alerts
from broker.cap.xml import safe_document

FEED_LIMITS: Final = Limits(max_bytes=16 * 1024 * 1024, max_depth=24, max_elements=200_000)
"""How much of a wrapping is looked at; each alert in it is then held to the limits of one message."""


def unwrap(
    data: bytes,
    *,
    limits: Limits = FEED_LIMITS,
    posture: Posture = Posture.LENIENT,
    base: str | None = None,
) -> Unwrapped:
    """Every alert and every link to one in a document, in order; whatever the bytes are, it never raises.

    Read are Atom (RFC 4287), RSS 2.0 and 1.0, EDXL-DE 1.0 and 2.0, and lists of alerts under any other element.
    A plain alert, JSON, and bytes that cannot be taken apart come back whole as one item, for reading them
    says what is wrong. Size, encoding, document type declaration, depth and number of elements are looked at
    before anything else, as for an alert. `base` is the address of the document, for links that need one.
    """
    whole = Wrapped("", 1, data, exact=True)
    if data[:64].lstrip()[:1] in (b"{", b"["):
        return Unwrapped("json", (whole,), ())
    document = safe_document(data, limits)
    root = document.root
    if root is None or local(root) == "alert":
        return Unwrapped("alert", (whole,), ())
    bench = Workbench(Collector(posture, limits.max_findings, RULES), Cutter(document), base)
    if is_atom(root):
        form = "atom"
        read_atom(root, bench)
    elif is_rss(root):
        form = "rss"
        read_rss(root, bench)
    elif is_edxl(root):
        form = "edxl-de"
        read_edxl(root, bench)
    else:
        alerts = topmost_alerts(root)
        if not alerts:
            return Unwrapped("alert", (whole,), ())
        form = "list"
        bench.find(root, "wrap.list", f"{local(root)} is no wrapping of a standard; each alert is taken by itself")
        for alert in alerts:
            bench.take(alert)
    bench.take_strays(root)
    return Unwrapped(form, tuple(bench.items), tuple(bench.report.result()))
