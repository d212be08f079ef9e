"""The registry as CSV again, and in numbers."""

from __future__ import annotations

import csv
from collections import Counter
from dataclasses import asdict, dataclass
from typing import TextIO

import numpy as np

from broker.audience.index import AudienceIndex
from broker.audience.recipients import opened
from broker.audience.table import COLUMNS
from broker.geo.regions import Regions
from broker.sealing import Keyring, masked
from broker.store.contract import Registry
from broker.types import ChannelName, Kind


async def export_csv(store: Registry, keyring: Keyring, out: TextIO, *, mask: bool = False) -> int:
    """Write every recipient as CSV that can be imported again; how many.

    With `mask` addresses are shown as people may see them, and the result cannot be imported. Raises
    SealError when a page does not open.
    """
    groups = {bit: name for name, bit in (await store.names("group")).items()}
    languages = {number: name for name, number in (await store.names("language")).items()}
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow(COLUMNS)
    written = 0
    combined: dict[int, str] = {}
    async for page in store.pages():
        rows = opened(page, keyring)
        for bits in np.unique(rows.groups).tolist():
            if bits not in combined:
                combined[bits] = "|".join(name for bit, name in sorted(groups.items()) if bits >> bit & 1)
        texts = [address.decode("ascii") for address in rows.addresses.tolist()]
        columns = (
            rows.ids.tolist(),
            [str(page.channel)] * len(rows),
            [masked(text) for text in texts] if mask else texts,
            rows.holders.tolist(),
            [Kind(kind).name.lower() for kind in rows.kinds.tolist()],
            [f"{region:012d}" for region in rows.regions.tolist()],
            [_degrees(value) for value in rows.lon.tolist()],
            [_degrees(value) for value in rows.lat.tolist()],
            [combined[bits] for bits in rows.groups.tolist()],
            [languages.get(number, "") for number in rows.languages.tolist()],
        )
        writer.writerows(zip(*columns, strict=True))
        written += len(rows)
    return written


@dataclass(frozen=True, slots=True)
class ChannelStats:
    """One channel's recipients in numbers."""

    recipients: int
    holders: int
    """Different people, households and places."""
    without_place: int
    kinds: dict[str, int]
    groups: dict[str, int]
    languages: dict[str, int]
    districts: dict[str, int]
    """By six digits of the district; those whom no district holds stand under 000000."""

    def as_dict(self) -> dict[str, object]:
        """For JSON."""
        return asdict(self)


def stats(index: AudienceIndex, regions: Regions) -> dict[ChannelName, ChannelStats]:
    """Every channel in numbers."""
    found: dict[ChannelName, ChannelStats] = {}
    for channel, columns in index.channels.items():
        by_division = np.bincount(columns.divisions, minlength=len(columns.division_table))
        districts: Counter[str] = Counter()
        held = regions.districts_of(columns.division_table).tolist()
        for district, n in zip(held, by_division.tolist(), strict=True):
            districts[f"{district:06d}"] += n
        found[channel] = ChannelStats(
            recipients=len(columns),
            holders=len(np.unique(columns.holders)),
            without_place=int(np.count_nonzero(np.isnan(columns.lon))),
            kinds={kind.name.lower(): int(np.count_nonzero(columns.of_kinds([kind]))) for kind in Kind},
            groups={
                name: int(np.count_nonzero(columns.in_groups(1 << bit))) for name, bit in index.group_names.items()
            },
            languages={
                name: int(np.count_nonzero(columns.of_languages([number])))
                for name, number in index.language_names.items()
            },
            districts=dict(sorted(districts.items())),
        )
    return found


def _degrees(value: float) -> str:
    """The shortest text that reads back as the same number, without exponent; empty for no place."""
    return "" if np.isnan(value) else np.format_float_positional(value, trim="0")
