"""The demo's world: people, loudspeakers, apps and screens spread over the villages by population, from a seed.

Everything about the recipients is made up. Phone numbers start with 861000, which no operator assigns, so
that nobody is reached by mistake whatever the SMS channel is connected to.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from broker.audience.recipients import RecipientColumns
from broker.geo.regions import Regions
from broker.types import ChannelName, Kind

SEED = 20210720
_JITTER_DEGREES = 0.008
"""People live around their village's place, within some 900 m (one standard deviation)."""
_PHONES_PER_HOLDER = 1.3
_ID_BASE = {
    ChannelName.SMS: 1,
    ChannelName.BROADCAST: 100_000_000,
    ChannelName.APP: 200_000_000,
    ChannelName.SIGNAGE: 300_000_000,
}
_DUTY_SHARE = 0.02
_TRAINING_SHARE = 0.002
_ENGLISH_SHARE = 0.01
DUTY_GROUP = "责任人"
PUBLIC_GROUP = "公众"


@dataclass(frozen=True, slots=True)
class Size:
    """How many recipients of each channel."""

    phones: int = 100_000
    loudspeakers: int = 2_000
    installations: int = 20_000
    screens: int = 500

    def of(self, channel: ChannelName) -> int:
        """The number for a channel."""
        return {
            ChannelName.SMS: self.phones,
            ChannelName.BROADCAST: self.loudspeakers,
            ChannelName.APP: self.installations,
            ChannelName.SIGNAGE: self.screens,
        }[channel]


@dataclass(frozen=True, slots=True)
class Names:
    """The registry's own numbers for groups and languages (`Registry.names`)."""

    groups: Mapping[str, int]
    languages: Mapping[str, int]


def build(
    regions: Regions, size: Size, names: Names, seed: int = SEED
) -> Iterator[tuple[ChannelName, RecipientColumns]]:
    """The world, channel by channel; the same seed gives the same world."""
    villages = _Villages(regions)
    for number, channel in enumerate(ChannelName):
        rng = np.random.default_rng([seed, number])
        yield channel, _channel(channel, size.of(channel), villages, names, rng)


class _Villages:
    """All villages of today, with the share of the city's people that each is taken to have."""

    def __init__(self, regions: Regions) -> None:
        villages = [region for region in regions if region.level == "village" and region.valid_to is None]
        self.codes = np.array([village.number for village in villages], np.int64)
        self.lon = np.array([village.lon for village in villages])
        self.lat = np.array([village.lat for village in villages])
        districts = regions.districts_of(self.codes)
        people = {
            int(district.prefix): district.population or 0
            for district in regions
            if district.level == "district" and district.valid_to is None
        }
        found, index, count = np.unique(districts, return_inverse=True, return_counts=True)
        weight = np.array([people.get(int(code), 0) for code in found]) / count
        self.share = weight[index] / weight[index].sum()

    def draw(self, n: int, rng: np.random.Generator) -> NDArray[np.int64]:
        return np.sort(rng.choice(len(self.codes), n, p=self.share))

    def spread(self, n: int, rng: np.random.Generator) -> NDArray[np.int64]:
        """Two loudspeakers for each of n/2 villages chosen evenly over the land, not by people."""
        chosen = rng.choice(len(self.codes), (n + 1) // 2, replace=False)
        return np.sort(np.repeat(chosen, 2)[:n])


def _channel(
    channel: ChannelName, n: int, villages: _Villages, names: Names, rng: np.random.Generator
) -> RecipientColumns:
    fixed = channel in (ChannelName.BROADCAST, ChannelName.SIGNAGE)
    where = villages.spread(n, rng) if channel is ChannelName.BROADCAST else villages.draw(n, rng)
    jitter = _JITTER_DEGREES / (4 if fixed else 1)
    kinds = np.full(n, Kind.PUBLIC, np.uint8)
    chance = rng.random(n)
    if not fixed:
        kinds[chance < _DUTY_SHARE + _TRAINING_SHARE] = Kind.DUTY
    kinds[chance < _TRAINING_SHARE] = Kind.TRAINING
    base = _ID_BASE[channel]
    ids = np.arange(base, base + n, dtype=np.uint32)
    people = channel in (ChannelName.SMS, ChannelName.APP)
    holders = ((ids - base) / _PHONES_PER_HOLDER).astype(np.uint32) + 1 if people else ids
    groups = np.full(n, 1 << names.groups[PUBLIC_GROUP], np.uint64)
    groups[kinds == Kind.DUTY] = 1 << names.groups[DUTY_GROUP]
    english = people & (rng.random(n) < _ENGLISH_SHARE)
    return RecipientColumns(
        ids=ids,
        holders=holders,
        lon=np.round(villages.lon[where] + rng.normal(0, jitter, n), 6),
        lat=np.round(villages.lat[where] + rng.normal(0, jitter, n), 6),
        regions=villages.codes[where],
        kinds=kinds,
        groups=groups,
        languages=np.where(english, names.languages["en"], names.languages["zh-CN"]).astype(np.uint8),
        addresses=_addresses(channel, n, villages.codes[where]),
    )


def _addresses(channel: ChannelName, n: int, regions: NDArray[np.int64]) -> NDArray[np.bytes_]:
    match channel:
        case ChannelName.SMS:
            texts = [f"86100{number:08d}" for number in range(n)]
        case ChannelName.BROADCAST:
            texts = list(_ebrids(regions))
        case ChannelName.APP:
            texts = [f"a{number:08d}" for number in range(n)]
        case ChannelName.SIGNAGE:
            texts = [f"s{number:06d}" for number in range(n)]
    return np.array([text.encode() for text in texts], dtype=np.bytes_)


def _ebrids(regions: NDArray[np.int64]) -> Iterator[str]:
    """23 digits: level 6 (village), region, type 0314 (loudspeaker system), 01, subtype 04 (terminal), number."""
    former, number = 0, 0
    for region in regions.tolist():
        number = number + 1 if region == former else 1
        former = region
        yield f"6{region:012d}03140104{number:02d}"
