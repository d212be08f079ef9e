from __future__ import annotations

import io
from collections.abc import AsyncIterator
from pathlib import Path

import numpy as np
import pytest

from broker.audience.export import export_csv, stats
from broker.audience.importer import import_csv, read_recipients
from broker.audience.index import AudienceIndex, LiveIndex
from broker.audience.pages import PAGE_IDS
from broker.audience.recipients import opened, write_recipients
from broker.sealing import Keyring
from broker.store.contract import Store
from broker.store.sql import open_store
from broker.types import ChannelName, Kind
from tests.support.places import KEYRING, LANGUAGES, Person, columns, regions

HEADER = "id,channel,address,holder,kind,region,lon,lat,groups,language\n"
GOOD = "7,sms,8610000000007,70,public,500117001005,106.25,30.1,schools|公众,zh-CN\n"


@pytest.fixture
async def store(tmp_path: Path) -> AsyncIterator[Store]:
    opened_store = open_store(f"sqlite:///{tmp_path / 'store.db'}")
    await opened_store.start()
    yield opened_store
    await opened_store.close()


def file(tmp_path: Path, text: str) -> Path:
    path = tmp_path / "recipients.csv"
    path.write_bytes(text.encode() if isinstance(text, str) else text)
    return path


async def rows(store: Store) -> dict[tuple[ChannelName, int], str]:
    found = {}
    async for page in store.pages():
        part = opened(page, KEYRING)
        for number, address in zip(part.ids.tolist(), part.addresses.tolist(), strict=True):
            found[page.channel, number] = address.decode()
    return found


async def test_a_good_row_comes_into_the_registry_as_it_stands(store: Store, tmp_path: Path) -> None:
    report = await import_csv(file(tmp_path, HEADER + GOOD), store, KEYRING, regions())
    assert (report.rows, report.added, report.replaced, report.problems) == (1, 1, 0, ())
    page = await store.page(ChannelName.SMS, 0)
    assert page is not None
    assert page.ids.tolist() == [7]
    assert page.holders.tolist() == [70]
    assert page.regions.tolist() == [500117001005]
    assert (page.lon.tolist(), page.lat.tolist()) == ([106.25], [30.1])
    assert page.kinds.tolist() == [Kind.PUBLIC]
    groups = await store.names("group")
    assert page.groups.tolist() == [sum(1 << groups[name] for name in ("schools", "公众"))]
    assert page.languages.tolist() == [(await store.names("language"))["zh-CN"]]
    assert await rows(store) == {(ChannelName.SMS, 7): "8610000000007"}
    assert b"8610000000007" not in page.addresses


BAD_ROWS = {
    "registry.id": ["x", "-1", "4294967296", "1.0", "", "1_0", "²", "٣"],
    "registry.channel": ["smss", "", "SMS"],
    "registry.address": ["+8610000000007", "07000000", "861 000", "12345", "", "8610000000007" * 2],
    "registry.holder": ["", "h1", "-3"],
    "registry.kind": ["Public", "", "pupil"],
    "registry.region": ["500199", "", "5001", "abc", "500117001999"],
    "registry.lon": ["181", "east", "1e2", "nan", "inf", "1_0", "-"],
    "registry.lat": ["91", "106.5", "1,", "--3"],
    "registry.groups": ["a b", "|", "a||b", "x" * 41],
    "registry.language": ["", "Chinese!", "zh_CN"],
}
POSITION = {f"registry.{name}": i for i, name in enumerate(HEADER.strip().split(","))}


@pytest.mark.parametrize("rule", BAD_ROWS)
async def test_a_bad_value_is_reported_with_its_line_and_the_rows_around_it_are_kept(
    store: Store, tmp_path: Path, rule: str
) -> None:
    text = HEADER
    for number, value in enumerate(BAD_ROWS[rule]):
        fields = GOOD.strip().split(",")
        fields[0], fields[2] = str(100 + number), f"86100000001{number:02d}"
        fields[POSITION[rule]] = f'"{value}"'
        text += f"{','.join(fields)}\n"
    report = await import_csv(file(tmp_path, text + GOOD), store, KEYRING, regions())
    path = tmp_path / "recipients.csv"
    places = {f"{path}:{line}" for line in range(2, 2 + len(BAD_ROWS[rule]))}
    assert {problem.place for problem in report.problems} == places
    assert {problem.rule for problem in report.problems} == {rule}
    assert report.imported == 1
    assert list(await rows(store)) == [(ChannelName.SMS, 7)]


@pytest.mark.parametrize(
    ("row", "rule"),
    [
        ("8,sms,8610000000008,1,public,500117001005,106.2,,,zh-CN\n", "registry.place"),
        ("8,sms,8610000000008,1,public,500117001005,,30.2,,zh-CN\n", "registry.place"),
        ("8,sms,8610000000008,1,public\n", "registry.width"),
        ("7,sms,8610000000008,1,public,500117001005,,,,zh-CN\n", "registry.id"),
        ("8,sms,8610000000007,1,public,500117001005,,,,zh-CN\n", "registry.address"),
        ("8,broadcast,8610000000008,1,public,500117001005,,,,zh-CN\n", "registry.address"),
        ("8,broadcast,65001990010010314010401,1,public,500117001005,,,,zh-CN\n", "registry.address"),
        ("8,app,a b,1,public,500117001005,,,,zh-CN\n", "registry.address"),
        ("8,signage,屏幕,1,public,500117001005,,,,zh-CN\n", "registry.address"),
        ('8,sms,"861000"x,1,public,500117001005,,,,zh-CN\n', "registry.csv"),
    ],
)
async def test_a_bad_row_is_reported_by_its_rule(store: Store, tmp_path: Path, row: str, rule: str) -> None:
    report = await import_csv(file(tmp_path, HEADER + GOOD + row), store, KEYRING, regions())
    assert [problem.rule for problem in report.problems] == [rule]
    assert report.problems[0].place.endswith(":3")
    assert report.imported == 1


async def test_no_report_ever_repeats_an_address(store: Store, tmp_path: Path) -> None:
    text = HEADER + GOOD + GOOD.replace("7,sms", "8,sms") + GOOD.replace("8610000000007", "+8613912345678")
    report = await import_csv(file(tmp_path, text), store, KEYRING, regions())
    assert len(report.problems) == 2
    said = " ".join(map(str, report.problems)) + repr(report.problems)
    assert "8610000000007" not in said
    assert "13912345678" not in said


async def test_a_row_with_several_faults_has_all_of_them_listed(store: Store, tmp_path: Path) -> None:
    bad = "x,smss,1,y,z,1,200,100,a b,!\n"
    report = await import_csv(file(tmp_path, HEADER + bad), store, KEYRING, regions())
    assert {problem.rule for problem in report.problems} == BAD_ROWS.keys() - {"registry.address"}


async def test_strict_keeps_the_whole_file_out_for_one_bad_row(store: Store, tmp_path: Path) -> None:
    text = HEADER + GOOD + "8,sms,x,1,public,500117001005,,,,zh-CN\n"
    report = await import_csv(file(tmp_path, text), store, KEYRING, regions(), strict=True)
    assert (report.imported, len(report.problems)) == (0, 1)
    assert await store.registry_version() == 0
    assert await store.names("group") == {}


@pytest.mark.parametrize(
    ("header", "said"),
    [
        (HEADER.replace("address", "adress"), "did you mean 'address'?"),
        (HEADER.replace(",language", ""), "'language' is missing"),
        (HEADER.replace("lat", "lon"), "'lon' comes twice"),
        ("", "'id' is missing"),
    ],
)
async def test_a_wrong_header_refuses_the_file(store: Store, tmp_path: Path, header: str, said: str) -> None:
    report = await import_csv(file(tmp_path, header + GOOD), store, KEYRING, regions())
    assert report.imported == 0
    assert said in " ".join(problem.message for problem in report.problems)
    assert all(problem.place.endswith(":1") for problem in report.problems)


async def test_columns_may_stand_in_any_order_and_a_byte_order_mark_is_no_fault(
    store: Store, tmp_path: Path
) -> None:
    names, values = HEADER.strip().split(","), GOOD.strip().split(",")
    text = "\ufeff" + ",".join(reversed(names)) + "\r\n" + ",".join(reversed(values)) + "\r\n\r\n"
    report = await import_csv(file(tmp_path, text), store, KEYRING, regions())
    assert (report.imported, report.problems) == (1, ())


async def test_bytes_that_are_not_utf8_spoil_their_row_only(store: Store, tmp_path: Path) -> None:
    path = tmp_path / "r.csv"
    path.write_bytes((HEADER + GOOD.replace("schools", "@")).encode().replace(b"@", b"\xff") + GOOD.encode())
    report = await import_csv(path, store, KEYRING, regions())
    assert [(problem.place[-2:], problem.rule) for problem in report.problems] == [(":2", "registry.groups")]
    assert report.imported == 1


async def test_a_second_import_replaces_by_id_and_leaves_the_others(store: Store, tmp_path: Path) -> None:
    first = [f"{i},sms,86100000{i:05d},1,public,500117001005,,,,zh-CN\n" for i in (1, 5000, 5001)]
    await import_csv(file(tmp_path, HEADER + "".join(first)), store, KEYRING, regions())
    second = "5000,sms,86100099999,1,duty,500156101005,,,,en\n6,sms,86100088888,1,public,500117,,,,zh-CN\n"
    report = await import_csv(file(tmp_path, HEADER + second), store, KEYRING, regions())
    assert (report.added, report.replaced) == (1, 1)
    assert await rows(store) == {
        (ChannelName.SMS, 1): "8610000000001",
        (ChannelName.SMS, 6): "86100088888",
        (ChannelName.SMS, 5000): "86100099999",
        (ChannelName.SMS, 5001): "8610000005001",
    }
    page = await store.page(ChannelName.SMS, 5000 // PAGE_IDS)
    assert page is not None
    assert page.kinds.tolist() == [Kind.DUTY, Kind.PUBLIC]


async def test_more_groups_than_the_registry_holds_are_refused_as_a_whole(store: Store, tmp_path: Path) -> None:
    names = "|".join(f"g{i}" for i in range(65))
    report = await import_csv(
        file(tmp_path, HEADER + GOOD.replace("schools|公众", names)), store, KEYRING, regions()
    )
    assert report.imported == 0
    assert [problem.rule for problem in report.problems] == ["registry.groups"]


async def test_an_export_imports_again_to_the_same_registry(store: Store, tmp_path: Path) -> None:
    rng = np.random.default_rng(7)
    people = [
        Person(
            int(number),
            lon=round(float(rng.uniform(105, 110)), 6) if number % 7 else float("nan"),
            lat=round(float(rng.uniform(28, 32)), 6) if number % 7 else float("nan"),
            kind=Kind(int(rng.integers(3))),
            language=str(rng.choice(["zh-CN", "en"])),
        )
        for number in rng.choice(20_000, 3000, replace=False)
    ]
    await store.add_names("language", LANGUAGES)
    await write_recipients(store, KEYRING, ChannelName.SMS, columns(people))
    out = io.StringIO()
    assert await export_csv(store, KEYRING, out) == 3000
    other = open_store(f"sqlite:///{tmp_path / 'other.db'}")
    await other.start()
    try:
        await other.add_names("language", LANGUAGES)
        report = await import_csv(file(tmp_path, out.getvalue()), other, KEYRING, regions())
        assert (report.added, report.problems) == (3000, ())
        again = io.StringIO()
        await export_csv(other, KEYRING, again)
    finally:
        await other.close()
    assert again.getvalue() == out.getvalue()


async def test_a_masked_export_shows_no_whole_number(store: Store) -> None:
    await store.add_names("language", LANGUAGES)
    await write_recipients(store, KEYRING, ChannelName.SMS, columns([Person(12345)]))
    out = io.StringIO()
    await export_csv(store, KEYRING, out, mask=True)
    assert Person(12345).address not in out.getvalue()
    assert "****" in out.getvalue()


async def test_statistics_count_what_the_registry_holds(store: Store) -> None:
    await store.add_names("language", LANGUAGES)
    people = [
        Person(1, lon=106.2, lat=30.1),
        Person(2, kind=Kind.DUTY, region=500156101005),
        Person(3, language="en"),
    ]
    await write_recipients(store, KEYRING, ChannelName.SMS, columns(people))
    found = stats(await AudienceIndex.load(store), regions())[ChannelName.SMS]
    assert (found.recipients, found.holders, found.without_place) == (3, 2, 2)
    assert found.kinds == {"public": 2, "duty": 1, "training": 0}
    assert found.languages == {"zh-CN": 2, "en": 1, "fr": 0}
    assert found.districts == {"500117": 2, "500156": 1}


async def test_the_live_index_sees_a_change_and_reads_nothing_while_there_is_none(store: Store) -> None:
    live = LiveIndex(store)
    empty = await live.current()
    assert len(empty) == 0
    await store.add_names("language", LANGUAGES)
    await write_recipients(store, KEYRING, ChannelName.SMS, columns([Person(1), Person(9000)]))
    index = await live.current()
    assert index.channels[ChannelName.SMS].ids.tolist() == [1, 9000]
    assert await live.current() is index
    assert index.language_names == LANGUAGES


async def test_an_import_without_the_key_of_the_pages_changes_nothing(store: Store, tmp_path: Path) -> None:
    await import_csv(file(tmp_path, HEADER + GOOD), store, KEYRING, regions())
    version = await store.registry_version()
    with pytest.raises(Exception, match="key"):
        await import_csv(file(tmp_path, HEADER + GOOD), store, Keyring({"other": b"x" * 32}), regions())
    assert await store.registry_version() == version


def test_columns_of_different_lengths_or_with_an_id_twice_are_refused() -> None:
    good = columns([Person(1), Person(2)])
    with pytest.raises(ValueError, match="different"):
        good.take(np.array([0, 0]))


def test_rows_are_read_over_the_borders_of_chunks() -> None:
    lines = [HEADER] + [f"{i},app,a{i:08d},1,public,500117001005,106.2,30.1,,en\n" for i in range(40_000)]
    lines[20_000] = lines[20_000].replace("public", "pupil")
    parsed = read_recipients(lines, "x.csv", regions())
    assert parsed.rows == 40_000
    assert [problem.place for problem in parsed.problems] == ["x.csv:20001"]
    assert len(parsed.channels[ChannelName.APP]) == 39_999
