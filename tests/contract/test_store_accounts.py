"""Tokens, people, and messages that nobody could handle."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from datetime import UTC, datetime

import pytest

from broker.errors import NotFound, StoreError
from broker.store.contract import Store
from broker.store.records import PersonRecord, TokenRecord
from broker.types import Realm

TOKEN = TokenRecord("t1", "meteorology", b"\x01" * 32, ("post", "release"), 1_000, None, None)


async def test_a_token_is_found_by_its_digest_revoked_or_not(store: Store) -> None:
    await store.add_token(TOKEN)
    other = TokenRecord("t2", "geology", b"\x02" * 32, (), 500, 9_000, None)
    await store.add_token(other)
    assert await store.token_by_digest(TOKEN.digest) == TOKEN
    assert await store.token_by_digest(b"\x03" * 32) is None
    assert await store.tokens() == [other, TOKEN]
    assert await store.revoke_token("t1", 2_000)
    assert await store.token_by_digest(TOKEN.digest) == replace(TOKEN, revoked=2_000)


async def test_a_token_belongs_to_the_realm_it_was_made_for(store: Store) -> None:
    drill = replace(TOKEN, id="t2", digest=b"\x02" * 32, created=2_000, realm=Realm.DRILL)
    await store.add_token(TOKEN)
    await store.add_token(drill)
    assert TOKEN.realm is Realm.LIVE
    assert await store.tokens() == [TOKEN, drill]
    found = await store.token_by_digest(drill.digest)
    assert found is not None
    assert found.realm is Realm.DRILL
    await store.revoke_token("t2", 3_000)
    assert (await store.tokens())[1].realm is Realm.DRILL


async def test_revoking_again_keeps_the_first_moment_and_an_unknown_token_is_told(store: Store) -> None:
    await store.add_token(TOKEN)
    assert await store.revoke_token("t1", 2_000)
    assert await store.revoke_token("t1", 3_000)
    assert (await store.tokens())[0].revoked == 2_000
    assert not await store.revoke_token("nothing", 2_000)


async def test_a_digest_belongs_to_one_token(store: Store) -> None:
    await store.add_token(TOKEN)
    with pytest.raises(StoreError):
        await store.add_token(replace(TOKEN, id="t2"))
    assert await store.tokens() == [TOKEN]


async def test_a_person_is_added_and_replaced(store: Store) -> None:
    assert await store.person("王芳") is None
    person = PersonRecord("王芳", "$argon2id$…", "operator", 1_000)
    await store.put_person(person)
    assert await store.person("王芳") == person
    changed = replace(person, password="$argon2id$other", role="viewer")
    await store.put_person(changed)
    assert await store.person("王芳") == changed


async def test_a_parked_message_comes_back_with_its_headers_as_they_were(store: Store) -> None:
    died = datetime(2026, 7, 1, 12, 0, 3, tzinfo=UTC)
    headers: dict[str, object] = {
        "kind": "batch.1",
        "batch": 2**62,
        "raw": b"\x00\xff",
        "none": None,
        "share": 0.5,
        "x-death": [{"count": 3, "time": died, "queue": "sms.urgent"}],
        "中文": "暴雨",
    }
    body = bytes(range(256))
    first = await store.park("sms.urgent", "not a batch", 1_000, headers, body)
    second = await store.park("receipts.0", "too short", 2_000, {}, b"")
    assert second > first
    found = await store.parked()
    assert [parked.id for parked in found] == [first, second]
    assert found[0].headers == headers
    assert (found[0].queue, found[0].reason, found[0].parked, found[0].body) == (
        "sms.urgent",
        "not a batch",
        1_000,
        body,
    )
    assert [parked.id for parked in await store.parked(limit=1)] == [first]


async def test_a_header_that_cannot_be_kept_is_refused_rather_than_lost(store: Store) -> None:
    with pytest.raises(TypeError):
        await store.park("q", "r", 1, {"odd": object()}, b"")
    assert await store.parked() == []


async def test_a_message_is_taken_out_of_parking_once(store: Store) -> None:
    number = await store.park("q", "r", 1, {"a": 1}, b"body")
    results = await asyncio.gather(*(store.unpark(number) for _ in range(3)), return_exceptions=True)
    taken = [result for result in results if not isinstance(result, BaseException)]
    assert [(parked.id, parked.body) for parked in taken] == [(number, b"body")]
    assert sum(isinstance(result, NotFound) for result in results) == 2
    assert await store.parked() == []
    assert await store.park("q", "r", 1, {}, b"") > number
