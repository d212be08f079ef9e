"""The CAP of an alert as the public gets it: signed, by its department or by us."""

from __future__ import annotations

import asyncio
import hashlib
from collections import OrderedDict
from dataclasses import dataclass, field
from typing import Final

from broker import logs
from broker.cap.document import read
from broker.cap.findings import Posture
from broker.cap.xml import parse_xml, to_xml
from broker.errors import InputRefused, NotFound
from broker.signing.sign import Signer
from broker.store.contract import Store

_KEPT: Final = 256


@dataclass(frozen=True, slots=True)
class Published:
    """The bytes, and what tells one version of them from another."""

    body: bytes = field(repr=False)
    etag: str
    """Weak (RFC 9110, 8.8.1): our signatures differ each time they are made, and mean the same."""


class Publishing:
    """Serves what went to the public, and nothing else."""

    def __init__(self, store: Store, signer: Signer | None) -> None:
        self._store = store
        self._signer = signer
        self._kept: OrderedDict[str, Published] = OrderedDict()
        self._log = logs.get(role="feeds")

    async def cap(self, alert: str) -> tuple[Published, int]:
        """The XML of a published alert, and since when it is public (UTC milliseconds). Raises NotFound."""
        listed = await self._store.published(alert=alert, limit=1)
        if not listed:
            raise NotFound("no such alert")
        (brief,) = listed
        kept = self._kept.get(alert)
        if kept is None:
            record = await self._store.alert(alert)
            form = "json" if "json" in record.content_type else "xml"
            body = await asyncio.to_thread(self._public, record.body, form == "json", alert)
            key = self._signer.certificate.fingerprint if self._signer is not None else ""
            kept = Published(body, hashlib.sha256(record.digest + key.encode()).hexdigest()[:32])
            self._kept[alert] = kept
            while len(self._kept) > _KEPT:
                self._kept.popitem(last=False)
        return kept, brief.planned or brief.released or brief.received

    def _public(self, body: bytes, json: bool, alert: str) -> bytes:
        """The department's bytes where they are signed; else signed by us, rewritten only where that needs it."""
        if not json and parse_xml(body).signatures:
            return body
        written = _as_xml(body, alert, json=json) if json else body
        if self._signer is None:
            return written
        try:
            return self._signer.sign(written)
        except InputRefused as error:
            # An encoding or an end that no signature can be put into: the same message in our own words' order.
            self._log.info("published_rewritten", alert=alert, reason=str(error))
            return self._signer.sign(_as_xml(body, alert, json=json))


def _as_xml(body: bytes, alert: str, *, json: bool) -> bytes:
    understood = read(body, "json" if json else "xml", posture=Posture.LENIENT).alert
    if understood is None:
        raise NotFound(f"the alert {alert} cannot be written as XML")
    return to_xml(understood)
