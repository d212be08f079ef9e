"""The demo's world: the same from the same seed, nobody real, spread over the land and its people."""

from __future__ import annotations

from dataclasses import fields

import numpy as np
import pytest

from broker.audience.recipients import RecipientColumns
from broker.demo.world import DUTY_GROUP, PUBLIC_GROUP, Names, Size, build
from broker.types import CHANNELS, ChannelName, Kind
from tests.support.places import regions

NAMES = Names(groups={PUBLIC_GROUP: 0, DUTY_GROUP: 3}, languages={"zh-CN": 0, "en": 1})
SIZE = Size(phones=30_000, loudspeakers=501, installations=3_000, screens=200)


@pytest.fixture(scope="module")
def world() -> dict[ChannelName, RecipientColumns]:
    return dict(build(regions(), SIZE, NAMES))


def test_the_same_seed_makes_the_same_world_and_another_another(world: dict[ChannelName, RecipientColumns]) -> None:
    again, other = dict(build(regions(), SIZE, NAMES)), dict(build(regions(), SIZE, NAMES, seed=1))

    for channel in CHANNELS:
        for column in fields(RecipientColumns):
            one, two = getattr(world[channel], column.name), getattr(again[channel], column.name)
            assert np.array_equal(one, two), (channel, column.name)
        assert not np.array_equal(world[channel].regions, other[channel].regions)


def test_every_channel_has_as_many_as_were_asked_for_with_ids_of_their_own(
    world: dict[ChannelName, RecipientColumns],
) -> None:
    assert tuple(world) == CHANNELS
    assert [len(columns.ids) for columns in world.values()] == [30_000, 501, 3_000, 200]
    ids = np.concatenate([columns.ids for columns in world.values()])
    assert len(np.unique(ids)) == len(ids)
    assert all(np.all(np.diff(columns.ids.astype(np.int64)) == 1) for columns in world.values())


def test_no_number_is_one_that_an_operator_assigns(world: dict[ChannelName, RecipientColumns]) -> None:
    numbers = [address.decode() for address in world[ChannelName.SMS].addresses.tolist()]

    assert all(number.startswith("86100") and len(number) == 13 and number.isdigit() for number in numbers)
    assert len(set(numbers)) == len(numbers)


def test_loudspeakers_stand_two_to_a_village_and_carry_its_code(world: dict[ChannelName, RecipientColumns]) -> None:
    horns = world[ChannelName.BROADCAST]
    _, count = np.unique(horns.regions, return_counts=True)

    assert sorted(count.tolist()) == [1] + [2] * 250
    texts = [address.decode() for address in horns.addresses.tolist()]
    assert len(set(texts)) == len(texts)
    for text, region in zip(texts, horns.regions.tolist(), strict=True):
        assert len(text) == 23
        assert text[0] == "6"
        assert int(text[1:13]) == region


def test_people_live_where_people_live(world: dict[ChannelName, RecipientColumns]) -> None:
    """Each district's share of phones is its share of the city's people, within what chance allows."""
    known = regions()
    districts = known.districts_of(world[ChannelName.SMS].regions)
    people = {int(district.prefix): district.population or 0 for district in known.districts()}
    total = sum(people.values())
    for district, population in people.items():
        share = population / total
        found = float((districts == district).mean())
        assert abs(found - share) < 5 * (share * (1 - share) / SIZE.phones) ** 0.5 + 1e-9, district


def test_kinds_groups_and_languages_are_as_rare_as_said(world: dict[ChannelName, RecipientColumns]) -> None:
    phones = world[ChannelName.SMS]
    duty, training = phones.kinds == Kind.DUTY, phones.kinds == Kind.TRAINING

    assert 0.015 < duty.mean() < 0.025
    assert 0.0005 < training.mean() < 0.005
    assert np.all(phones.groups[duty] == 1 << 3)
    assert np.all(phones.groups[~duty] == 1)
    assert 0.005 < (phones.languages == 1).mean() < 0.02
    for channel in (ChannelName.BROADCAST, ChannelName.SIGNAGE):
        assert not np.any(world[channel].kinds == Kind.DUTY)
        assert np.all(world[channel].languages == 0)


def test_everybody_stands_near_the_village_they_are_registered_in(
    world: dict[ChannelName, RecipientColumns],
) -> None:
    known = regions()
    for columns in world.values():
        villages = [known.get(f"{code:012d}") for code in columns.regions.tolist()]
        east = columns.lon - np.array([village.lon for village in villages], np.float64)
        north = columns.lat - np.array([village.lat for village in villages], np.float64)
        assert np.abs(east).max() < 0.06
        assert np.abs(north).max() < 0.06
        assert np.all(columns.lon == np.round(columns.lon, 6))
