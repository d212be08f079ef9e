"""The real divisions of the city and registry pages over them, for tests of targeting and planning."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path

import numpy as np

from broker.audience.pages import PAGE_IDS
from broker.audience.recipients import RecipientColumns, sealed_page
from broker.geo.districts import Districts
from broker.geo.regions import Regions
from broker.sealing import Keyring
from broker.store.records import RecipientPage
from broker.types import ChannelName, Kind

ROOT = Path(__file__).parents[2]
KEYRING = Keyring({"test": b"k" * 32})
LANGUAGES = {"zh-CN": 0, "en": 1, "fr": 2}
GROUPS = {"schools": 0, "duty-village": 1}


@lru_cache
def regions() -> Regions:
    return Regions.load(ROOT / "config/regions/divisions.csv")


@lru_cache
def districts() -> Districts:
    return Districts.load(ROOT / "config/regions/districts.geojson")


@dataclass(frozen=True)
class Person:
    """One recipient as a row."""

    id: int
    channel: ChannelName = ChannelName.SMS
    lon: float = float("nan")
    lat: float = float("nan")
    region: int = 500117001005
    kind: Kind = Kind.PUBLIC
    language: str = "zh-CN"
    groups: frozenset[str] = field(default_factory=frozenset)

    @property
    def address(self) -> str:
        return f"861000{self.id:08d}"


def columns(people: Iterable[Person]) -> RecipientColumns:
    rows = sorted(people, key=lambda person: person.id)
    return RecipientColumns(
        ids=np.array([row.id for row in rows], np.uint32),
        holders=np.array([row.id // 2 for row in rows], np.uint32),
        lon=np.array([row.lon for row in rows], np.float64),
        lat=np.array([row.lat for row in rows], np.float64),
        regions=np.array([row.region for row in rows], np.int64),
        kinds=np.array([row.kind for row in rows], np.uint8),
        groups=np.array([sum(1 << GROUPS[name] for name in row.groups) for row in rows], np.uint64),
        languages=np.array([LANGUAGES[row.language] for row in rows], np.uint8),
        addresses=np.array([row.address.encode() for row in rows], np.bytes_),
    )


def pages(people: Iterable[Person]) -> list[RecipientPage]:
    by_page: dict[tuple[ChannelName, int], list[Person]] = {}
    for person in people:
        by_page.setdefault((person.channel, person.id // PAGE_IDS), []).append(person)
    return [sealed_page(channel, number, columns(rows), KEYRING) for (channel, number), rows in by_page.items()]
