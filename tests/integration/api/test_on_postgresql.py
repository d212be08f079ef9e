"""What one store would swallow and the other choke on gets the same answer on both."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

from tests.support import postgres
from tests.support.broker import Api, alert_xml, running_api


@pytest.fixture(scope="module")
def postgres_server() -> Iterator[str]:
    with postgres.server() as url:
        yield url


@pytest.fixture(params=["sqlite", "postgresql"])
def store_url(request: pytest.FixtureRequest) -> Iterator[str | None]:
    """A PostgreSQL database of the test's own, or none."""
    if request.param == "sqlite":
        yield None
        return
    with postgres.scratch_database(request.getfixturevalue("postgres_server")) as url:
        yield url


@pytest.fixture
async def api(store_url: str | None, tmp_path: Path) -> AsyncIterator[Api]:
    """One on each store."""
    async with running_api(tmp_path, url=store_url) as api:
        yield api


async def test_the_longest_identifier_is_kept_and_one_more_character_is_refused(api: Api) -> None:
    # Four bytes each, and no two alike: what cannot be made shorter is the most that a key must hold.
    longest = "".join(chr(0x20000 + 37 * number) for number in range(256))

    answer = await api.post(alert_xml(longest))
    assert answer.status == 202, answer.body
    assert (await api.call("GET", answer.headers["Location"])).json()["identifier"] == longest
    answer = await api.post(alert_xml(longest + "x"))
    assert answer.status == 422
    assert answer.rules == {"intake.identifier.length"}


async def test_long_texts_are_kept_whole(api: Api) -> None:
    text = alert_xml().replace("合川区气象台发布暴雨预警", "雨" * 15_000)

    answer = await api.post(text)

    assert answer.status == 202, answer.body
    assert (await api.call("GET", f"{answer.headers['Location']}/cap")).body == text.encode()


@pytest.mark.parametrize("path", ["/v1/alerts/%00", "/v1/alerts/%ED%A0%80", "/v1/alerts?cursor=%00"])
async def test_characters_that_a_store_cannot_take_never_reach_it(api: Api, path: str) -> None:
    assert (await api.call("GET", path)).status in (400, 404)


async def test_the_same_bytes_again_and_other_bytes_are_told_apart(api: Api) -> None:
    first = await api.post(alert_xml())

    again, other = await api.post(alert_xml()), await api.post(alert_xml() + "\n")

    assert (again.status, again.body) == (202, first.body)
    assert other.status == 409
