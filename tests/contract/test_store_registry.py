"""Recipient pages come back bit for bit, and names get numbers that never change."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator

import numpy as np
import pytest

from broker.errors import NotFound, StoreError
from broker.store.contract import Store
from broker.store.records import RecipientPage
from broker.types import ChannelName


def a_page(channel: ChannelName, number: int, size: int = 4, *, addresses: bytes = b"sealed") -> RecipientPage:
    rng = np.random.default_rng(number)
    ids = np.sort(rng.choice(4096, size, replace=False)).astype(np.uint32) + np.uint32(number * 4096)
    lon = rng.uniform(105, 110, size)
    lat = rng.uniform(28, 32, size)
    if size:
        lon[0] = lat[0] = np.nan
    return RecipientPage(
        channel=channel,
        number=number,
        ids=ids,
        holders=rng.integers(0, 2**32, size, dtype=np.uint32),
        lon=lon,
        lat=lat,
        regions=rng.integers(500_101_001_001, 500_243_999_999, size, dtype=np.int64),
        kinds=rng.integers(0, 3, size, dtype=np.uint8),
        groups=rng.integers(0, 2**64, size, dtype=np.uint64),
        languages=rng.integers(0, 256, size, dtype=np.uint8),
        addresses=addresses,
    )


ARRAYS = ("ids", "holders", "lon", "lat", "regions", "kinds", "groups", "languages")


def assert_same(one: RecipientPage | None, other: RecipientPage) -> None:
    assert one is not None
    assert (one.channel, one.number, one.addresses) == (other.channel, other.number, other.addresses)
    for name in ARRAYS:
        # NaN is a value here: "has no place" must come back as such, so bytes are compared.
        assert getattr(one, name).tobytes() == getattr(other, name).tobytes(), name
        assert getattr(one, name).dtype == getattr(other, name).dtype


async def test_pages_come_back_as_they_were_put_places_that_are_missing_too(store: Store) -> None:
    for page in (a_page(ChannelName.SMS, 3, 4096), a_page(ChannelName.SMS, 4, 1), a_page(ChannelName.APP, 3, 0)):
        await store.put_pages([page])
        assert_same(await store.page(page.channel, page.number), page)
    assert await store.page(ChannelName.SMS, 5) is None
    assert await store.page(ChannelName.SIGNAGE, 3) is None


async def test_pages_come_in_order_of_channel_and_number_however_many_there_are(store: Store) -> None:
    numbers = [int(number) for number in np.random.default_rng(1).permutation(70)]

    def made() -> Iterator[RecipientPage]:
        for number in numbers:
            yield a_page(ChannelName.SMS, number)
            yield a_page(ChannelName.APP, number)

    await store.put_pages(made())
    everything = [(page.channel, page.number) async for page in store.pages()]
    assert everything == [
        (channel, number) for channel in (ChannelName.APP, ChannelName.SMS) for number in range(70)
    ]
    assert [page.number async for page in store.pages(ChannelName.SMS)] == list(range(70))
    assert [page async for page in store.pages(ChannelName.BROADCAST)] == []
    async for page in store.pages(ChannelName.SMS):
        assert_same(page, a_page(ChannelName.SMS, page.number))


async def test_pages_can_be_put_while_others_are_being_read(store: Store) -> None:
    await store.put_pages(a_page(ChannelName.SMS, number) for number in range(40))
    seen = []
    async for page in store.pages():
        seen.append(page.number)
        await store.put_pages([a_page(ChannelName.SMS, page.number)])
    assert seen == list(range(40))


async def test_putting_a_page_again_replaces_it_whole(store: Store) -> None:
    await store.put_pages([a_page(ChannelName.SMS, 1, 9), a_page(ChannelName.SMS, 2, 2)])
    smaller = a_page(ChannelName.SMS, 1, 3, addresses=b"others")
    await store.put_pages([smaller])
    assert_same(await store.page(ChannelName.SMS, 1), smaller)
    twice = [a_page(ChannelName.SMS, 2, 5), a_page(ChannelName.SMS, 2, 6, addresses=b"last")]
    await store.put_pages(twice)
    assert_same(await store.page(ChannelName.SMS, 2), twice[1])


async def test_pages_are_put_all_together_or_not_at_all(store: Store) -> None:
    def broken() -> Iterator[RecipientPage]:
        for number in range(50):
            yield a_page(ChannelName.SMS, number)
        raise KeyError("the file ended early")

    before = await store.registry_version()
    with pytest.raises(KeyError):
        await store.put_pages(broken())
    assert [page async for page in store.pages()] == []
    assert await store.registry_version() == before


async def test_the_version_is_zero_when_empty_and_rises_with_every_change(store: Store) -> None:
    versions = [await store.registry_version()]
    assert versions == [0]
    await store.put_pages([])
    assert await store.registry_version() == 0
    for change in (
        lambda: store.put_pages([a_page(ChannelName.SMS, 1)]),
        lambda: store.put_pages([a_page(ChannelName.SMS, 1)]),
        lambda: store.add_names("group", ["duty"]),
    ):
        await change()
        versions.append(await store.registry_version())
    assert versions == sorted(set(versions))
    await store.add_names("group", ["duty"])
    assert await store.registry_version() == versions[-1]


async def test_names_get_numbers_in_the_order_in_which_they_come_and_keep_them(store: Store) -> None:
    assert await store.names("group") == {}
    assert await store.add_names("group", ["村长", "b", "村长", "a"]) == {"村长": 0, "b": 1, "a": 2}
    assert await store.add_names("group", ["z", "a"]) == {"村长": 0, "b": 1, "a": 2, "z": 3}
    assert await store.names("group") == {"村长": 0, "b": 1, "a": 2, "z": 3}
    assert await store.names("language") == {}
    assert await store.add_names("language", ["zh-CN"]) == {"zh-CN": 0}


@pytest.mark.parametrize(("table", "capacity"), [("group", 64), ("language", 256)])
async def test_a_table_of_names_that_is_full_refuses_more_and_keeps_what_it_has(
    store: Store, table: str, capacity: int
) -> None:
    full = await store.add_names(table, [f"n{i}" for i in range(capacity)])
    assert sorted(full.values()) == list(range(capacity))
    with pytest.raises(StoreError, match=str(capacity)):
        await store.add_names(table, ["n0", "one more"])
    assert await store.names(table) == full
    assert await store.add_names(table, ["n0"]) == full


async def test_a_table_of_names_that_does_not_exist_is_not_found(store: Store) -> None:
    with pytest.raises(NotFound):
        await store.names("colour")
    with pytest.raises(NotFound):
        await store.add_names("colour", ["red"])


async def test_names_added_at_once_get_different_numbers(store: Store) -> None:
    await asyncio.gather(*(store.add_names("group", [f"g{i}", f"g{i + 1}"]) for i in range(20)))
    names = await store.names("group")
    assert set(names) == {f"g{i}" for i in range(21)}
    assert sorted(names.values()) == list(range(21))
