"""Writing recipients in bulk: columns into sealed pages, merged with what the pages hold already."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields

import numpy as np
from numpy.typing import NDArray

from broker.audience.pages import PAGE_IDS
from broker.ledger.arrays import Recipients
from broker.sealing import Addresses, Keyring, page_context
from broker.store.contract import Registry
from broker.store.records import RecipientPage
from broker.types import ChannelName


@dataclass(frozen=True, slots=True)
class RecipientColumns:
    """Recipients of one channel as parallel columns, in any order of ids.

    `groups` and `languages` are in the registry's own numbers (`Registry.names`).
    """

    ids: Recipients
    holders: NDArray[np.uint32]
    lon: NDArray[np.float64]
    """Degrees WGS-84; NaN where there is no place."""
    lat: NDArray[np.float64]
    regions: NDArray[np.int64]
    kinds: NDArray[np.uint8]
    groups: NDArray[np.uint64]
    languages: NDArray[np.uint8]
    addresses: Addresses

    def __post_init__(self) -> None:
        """Refuse what would put one person's address to another's place."""
        lengths = {len(getattr(self, field.name)) for field in fields(self)}
        if len(lengths) != 1:
            raise ValueError("the columns of recipients must have one length")
        if len(np.unique(self.ids)) != len(self.ids):
            raise ValueError("ids of recipients must be different")

    def __len__(self) -> int:
        """How many recipients."""
        return len(self.ids)

    def take(self, where: NDArray[np.intp] | NDArray[np.bool_]) -> RecipientColumns:
        """Some of the rows, in the order of `where`."""
        return RecipientColumns(*(getattr(self, field.name)[where] for field in fields(self)))

    @classmethod
    def join(cls, one: RecipientColumns, other: RecipientColumns) -> RecipientColumns:
        """The rows of both."""
        pairs = ((getattr(one, field.name), getattr(other, field.name)) for field in fields(cls))
        return cls(*(np.concatenate(pair) for pair in pairs))


@dataclass(frozen=True, slots=True)
class Written:
    """How many recipients were new and how many replaced what was there under their id."""

    added: int
    replaced: int


async def write_recipients(
    store: Registry, keyring: Keyring, channel: ChannelName, columns: RecipientColumns
) -> Written:
    """Add or replace the recipients of one channel in one transaction."""
    return await write_all(store, keyring, {channel: columns})


async def write_all(store: Registry, keyring: Keyring, channels: Mapping[ChannelName, RecipientColumns]) -> Written:
    """Add or replace recipients of several channels in one transaction.

    Pages are read, merged and written back, so that two writers at once would undo each other: there is one
    importer at a time. Raises SealError when a page that must be merged does not open.
    """
    pages: list[RecipientPage] = []
    added = replaced = 0
    empty = await store.registry_version() == 0
    for channel, columns in channels.items():
        ordered = columns.take(np.argsort(columns.ids))
        numbers = ordered.ids // PAGE_IDS
        edges = np.flatnonzero(np.diff(numbers)) + 1
        for where in np.split(np.arange(len(ordered)), edges):
            if not len(where):
                continue
            rows = ordered.take(where)
            number = int(numbers[where[0]])
            page = None if empty else await store.page(channel, number)
            if page is not None:
                kept = opened(page, keyring)
                kept = kept.take(~np.isin(kept.ids, rows.ids))
                replaced += len(page) - len(kept)
                added -= len(page) - len(kept)
                rows = RecipientColumns.join(kept, rows)
                rows = rows.take(np.argsort(rows.ids))
            added += len(where)
            pages.append(sealed_page(channel, number, rows, keyring))
    if pages:
        await store.put_pages(pages)
    return Written(added, replaced)


def sealed_page(channel: ChannelName, number: int, rows: RecipientColumns, keyring: Keyring) -> RecipientPage:
    """A registry page of rows sorted by id, their addresses sealed."""
    return RecipientPage(
        channel=channel,
        number=number,
        ids=rows.ids.astype(np.uint32),
        holders=rows.holders.astype(np.uint32),
        lon=rows.lon.astype(np.float64),
        lat=rows.lat.astype(np.float64),
        regions=rows.regions.astype(np.int64),
        kinds=rows.kinds.astype(np.uint8),
        groups=rows.groups.astype(np.uint64),
        languages=rows.languages.astype(np.uint8),
        addresses=keyring.seal(rows.addresses, page_context(channel, number)),
    )


def opened(page: RecipientPage, keyring: Keyring) -> RecipientColumns:
    """The rows of a page with their addresses. Raises SealError."""
    return RecipientColumns(
        page.ids,
        page.holders,
        page.lon,
        page.lat,
        page.regions,
        page.kinds,
        page.groups,
        page.languages,
        keyring.open(page.addresses, page_context(page.channel, page.number)),
    )
