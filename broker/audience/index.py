"""The registry in memory, column by column: selects everybody on some ground exactly, without asking the store.

Addresses are not here: they stay sealed in the store's pages until a batch needs them.
"""

from __future__ import annotations

import asyncio
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from broker.audience.area import Ground
from broker.ledger.arrays import Recipients
from broker.store.contract import Registry
from broker.store.records import RecipientPage
from broker.types import CHANNELS, ChannelName, Kind

Mask = NDArray[np.bool_]
Positions = NDArray[np.int64]
Scalar = TypeVar("Scalar", bound=np.generic)


@dataclass(frozen=True, slots=True)
class Columns:
    """The recipients of one channel, sorted by id; all columns run in parallel.

    A recipient's division is a position in the short table of divisions that occur, so that a geocode is
    decided once for each division and not once for each recipient.
    """

    ids: Recipients
    holders: NDArray[np.uint32]
    lon: NDArray[np.float64]
    lat: NDArray[np.float64]
    division_table: NDArray[np.int64]
    """12-digit codes that occur, ascending."""
    divisions: NDArray[np.uint16] | NDArray[np.uint32]
    """Position in `division_table`."""
    kinds: NDArray[np.uint8]
    groups: NDArray[np.uint64]
    languages: NDArray[np.uint8]

    def __len__(self) -> int:
        """How many recipients."""
        return len(self.ids)

    @classmethod
    def of(cls, pages: Sequence[RecipientPage]) -> Columns:
        """Join pages of one channel, in whatever order they come."""
        ordered = sorted(pages, key=lambda page: page.number)
        table, divisions = np.unique(_join([page.regions for page in ordered], np.int64), return_inverse=True)
        return cls(
            ids=_join([page.ids for page in ordered], np.uint32),
            holders=_join([page.holders for page in ordered], np.uint32),
            lon=_join([page.lon for page in ordered], np.float64),
            lat=_join([page.lat for page in ordered], np.float64),
            division_table=table,
            divisions=_narrow(divisions, len(table)),
            kinds=_join([page.kinds for page in ordered], np.uint8),
            groups=_join([page.groups for page in ordered], np.uint64),
            languages=_join([page.languages for page in ordered], np.uint8),
        )

    def inside(self, ground: Ground) -> Mask:
        """Which recipients stand on the ground. Those without a place are found by their division only."""
        inside: Mask = ground.divisions.mask(self.division_table)[self.divisions]
        if ground.polygons or ground.circles:
            inside = inside | ground.shape_mask(self.lon, self.lat)
        return inside

    def regions(self, where: Mask | Positions) -> NDArray[np.int64]:
        """The 12-digit division codes of some recipients."""
        found: NDArray[np.int64] = self.division_table[self.divisions[where]]
        return found

    def positions_of(self, ids: Recipients) -> Positions:
        """Where these ids (ascending) stand; those that are not there are left out."""
        where = np.searchsorted(self.ids, ids)
        known = where < len(self.ids)
        known[known] = self.ids[where[known]] == ids[known]
        found: Positions = where[known].astype(np.int64)
        return found

    def of_kinds(self, kinds: Iterable[Kind]) -> Mask:
        """Which recipients are of one of these kinds."""
        wanted = np.zeros(256, np.bool_)
        wanted[[int(kind) for kind in kinds]] = True
        found: Mask = wanted[self.kinds]
        return found

    def of_languages(self, languages: Iterable[int]) -> Mask:
        """Which recipients have one of these languages."""
        wanted = np.zeros(256, np.bool_)
        wanted[list(languages)] = True
        found: Mask = wanted[self.languages]
        return found

    def in_groups(self, bits: int) -> Mask:
        """Which recipients are in at least one group of the mask; nobody is in an empty mask."""
        found: Mask = (self.groups & np.uint64(bits)) != 0
        return found


@dataclass(frozen=True, slots=True)
class AudienceIndex:
    """All recipients at one version of the registry."""

    version: int
    channels: dict[ChannelName, Columns]
    group_names: dict[str, int]
    language_names: dict[str, int]

    @classmethod
    async def load(cls, store: Registry) -> AudienceIndex:
        """Read the whole registry.

        The version is asked first: whatever changes while reading makes the next look see a newer one.
        """
        version = await store.registry_version()
        groups = await store.names("group")
        languages = await store.names("language")
        pages: dict[ChannelName, list[RecipientPage]] = {channel: [] for channel in CHANNELS}
        async for page in store.pages():
            pages[page.channel].append(page)
        channels = {channel: Columns.of(found) for channel, found in pages.items()}
        return cls(version, channels, groups, languages)

    @classmethod
    def of(
        cls,
        pages: Iterable[RecipientPage],
        *,
        groups: dict[str, int] | None = None,
        languages: dict[str, int] | None = None,
        version: int = 0,
    ) -> AudienceIndex:
        """An index over pages at hand."""
        everything = list(pages)
        channels = {c: Columns.of([page for page in everything if page.channel is c]) for c in CHANNELS}
        return cls(version, channels, groups or {}, languages or {})

    def __len__(self) -> int:
        """How many recipients on all channels."""
        return sum(len(columns) for columns in self.channels.values())

    def select(
        self,
        channel: ChannelName,
        ground: Ground,
        kinds: Collection[Kind],
        groups_mask: int | None = None,
        languages: Collection[str] | None = None,
    ) -> Positions:
        """Positions (ascending, hence by id) of the channel's recipients on the ground.

        `groups_mask` and `languages` are filters only where they are given: an empty mask or collection
        selects nobody, and a language that no recipient has selects nobody either.
        """
        columns = self.channels[channel]
        mask = columns.inside(ground) & columns.of_kinds(kinds)
        if groups_mask is not None:
            mask &= columns.in_groups(groups_mask)
        if languages is not None:
            known = [self.language_names[name] for name in languages if name in self.language_names]
            mask &= columns.of_languages(known)
        return np.flatnonzero(mask).astype(np.int64)

    def groups_mask(self, names: Iterable[str]) -> int:
        """The bits of some groups; names that the registry does not know have none."""
        return sum(1 << self.group_names[name] for name in set(names) if name in self.group_names)


class LiveIndex:
    """The index of a store, read again whenever the registry has changed."""

    def __init__(self, store: Registry) -> None:
        self._store = store
        self._index: AudienceIndex | None = None
        self._lock = asyncio.Lock()

    async def current(self) -> AudienceIndex:
        """The index at the registry's present version; one caller at a time reads, the others wait for it."""
        async with self._lock:
            version = await self._store.registry_version()
            if self._index is None or self._index.version != version:
                self._index = await AudienceIndex.load(self._store)
            return self._index


def _join(columns: list[NDArray[Scalar]], dtype: type[Scalar]) -> NDArray[Scalar]:
    if not columns:
        return np.zeros(0, dtype)
    return np.concatenate([np.asarray(column, dtype) for column in columns])


def _narrow(positions: NDArray[np.intp], n: int) -> NDArray[np.uint16] | NDArray[np.uint32]:
    return positions.astype(np.uint16) if n <= 1 << 16 else positions.astype(np.uint32)
