"""Which Updates are pure corrections: the same words, to some of those who have them, at no higher level.

Such an Update only takes back what was said to some, so it needs no new authority, as a Cancel needs none. The
officer who sees the mistake must not have to find a second person first.
"""

from __future__ import annotations

from dataclasses import dataclass

from broker.cap.followup import same_words
from broker.cap.model import Alert, Area, MsgType
from broker.clock import from_ms
from broker.dispatch.chain import Chain, age, chain_of
from broker.dispatch.proposal import Proposer, Unreadable
from broker.geo.errors import UnknownRegion
from broker.geo.regions import Regions
from broker.store.contract import Store
from broker.store.records import AlertRecord
from broker.types import AlertState, Phase

_OUT = (AlertState.PLANNED, AlertState.SENDING, AlertState.COMPLETED)


@dataclass(frozen=True, slots=True)
class Corrections:
    """Judges Updates by what the ledger says was reached."""

    store: Store
    proposer: Proposer

    async def __call__(self, record: AlertRecord) -> str | None:
        """Why `record` (with its body) is a pure correction, in a sentence; None if it is none.

        Raises StoreError.
        """
        if record.msg_type != MsgType.UPDATE:
            return None
        newest = _newest(record, await chain_of(self.store, record))
        if newest is None:
            return None
        original = await self.store.alert(newest.id)
        try:
            update, corrected = self.proposer.alert_of(record), self.proposer.alert_of(original)
            if same_words(update, corrected, expires=from_ms(original.expires)):
                return None
            proposal = await self.proposer.propose(record)
        except Unreadable:
            return None
        if proposal.draft is None or proposal.stopped or proposal.expired:
            return None
        if not _same_places(update, corrected, self.proposer.regions):
            return None
        if any(rendition.phase is not Phase.UPDATE for rendition in proposal.draft.renditions):
            return None
        return f"a correction of {original.identifier}: the same words, to some of those who have them"


def _same_places(update: Alert, original: Alert, regions: Regions) -> bool:
    """Whether every area is called as the original called one of its own, or by the names of its divisions.

    What an area is called goes out with every text: whoever could choose it freely could say anything by it.
    """
    known = {area.area_desc for info in original.infos for area in info.areas}
    return all(
        area.area_desc in known or area.area_desc in _official(area, regions)
        for info in update.infos
        for area in info.areas
    )


def _official(area: Area, regions: Regions) -> set[str]:
    """What the divisions of an area are called, alone and with their district, in Chinese and English."""
    chinese: tuple[list[str], list[str]] = ([], [])
    english: tuple[list[str], list[str]] = ([], [])
    for code in area.geocodes:
        try:
            division = regions.get(code.value.strip())
            district = regions.district_of(code.value.strip())
        except UnknownRegion:
            return set()
        whole = division.code == district.code
        chinese[0].append(division.name_zh)
        chinese[1].append(division.name_zh if whole else district.name_zh + division.name_zh)
        english[0].append(division.name_en)
        english[1].append(division.name_en if whole else f"{division.name_en}, {district.name_en}")
    if not area.geocodes or area.polygons or area.circles:
        return set()
    return {"、".join(names) for names in chinese} | {
        mark.join(names) for names in english for mark in (", ", "; ")
    }


def _newest(record: AlertRecord, chain: Chain) -> AlertRecord | None:
    """The warning that the Update corrects: the newest that is out, if it is older than the Update."""
    out = [warning for warning in chain.before(record) if warning.state in _OUT]
    return max(out, key=age) if out else None
