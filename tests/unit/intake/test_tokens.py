"""Bearer tokens: random, kept as a digest only, and refused in the same way whatever is wrong."""

from __future__ import annotations

import asyncio
import hashlib
import hmac
from collections.abc import AsyncIterator
from dataclasses import replace

import pytest

from broker.clock import now_ms
from broker.errors import NotAllowed
from broker.intake import tokens
from broker.store.contract import Store
from broker.store.records import TokenRecord
from broker.store.sql import open_store
from broker.types import Realm


@pytest.fixture
async def store() -> AsyncIterator[Store]:
    opened = open_store("sqlite:///:memory:")
    await opened.start()
    yield opened
    await opened.close()


def test_tokens_are_256_random_bits_of_which_only_the_digest_is_kept() -> None:
    made = [tokens.new("met") for _ in range(50)]

    assert len({token for token, _ in made}) == 50
    assert len({record.id for _, record in made}) == 50
    for token, record in made:
        assert token.startswith("fh_")
        assert len(token) == len("fh_") + 43
        assert record.digest == hashlib.sha256(token.encode()).digest()
        assert token not in repr(record)
        assert record.department == "met"


def test_a_token_is_live_unless_it_is_made_for_drills() -> None:
    assert tokens.new("met")[1].realm is Realm.LIVE
    assert tokens.new("met", realm=Realm.DRILL)[1].realm is Realm.DRILL


def test_a_machine_never_gets_a_token_that_releases() -> None:
    scopes = (tokens.Scope.POST, tokens.Scope.MACHINE)
    assert tokens.new("met", scopes)[1].scopes == ("alerts:post", "alerts:machine")
    with pytest.raises(ValueError, match="person"):
        tokens.new("met", (*scopes, tokens.Scope.RELEASE))


async def test_the_realm_of_a_token_is_kept(store: Store) -> None:
    token, record = tokens.new("met", realm=Realm.DRILL)
    await store.add_token(record)

    assert (await tokens.authenticate(f"Bearer {token}", store)).realm is Realm.DRILL


async def test_a_token_is_known_again_in_any_case_of_the_scheme(store: Store) -> None:
    token, record = tokens.new("met")
    await store.add_token(record)

    for authorization in (f"Bearer {token}", f"bearer {token}", f"BEARER  {token} "):
        assert (await tokens.authenticate(authorization, store)).id == record.id


@pytest.mark.parametrize(
    "authorization",
    [
        None,
        "",
        "Bearer",
        "Bearer ",
        "Basic {}",
        "{}",
        "Bearer{}",
        "Bearer {}x",
        "Bearer x{}",
        "Bearer \udcff",
        "Bearer 中",
    ],
)
async def test_anything_else_is_unauthenticated(store: Store, authorization: str | None) -> None:
    token, record = tokens.new("met")
    await store.add_token(record)
    given = authorization and authorization.format(token)

    with pytest.raises(tokens.Unauthenticated) as caught:
        await tokens.authenticate(given, store)

    assert token not in str(caught.value)


async def test_a_token_ends_at_its_time_and_not_before(store: Store) -> None:
    good, record = tokens.new("met", days=1)
    assert record.expires == record.created + 86_400_000
    await store.add_token(record)
    old, record = tokens.new("met", days=1)
    await store.add_token(replace(record, expires=now_ms()))

    assert (await tokens.authenticate(f"Bearer {good}", store)).department == "met"
    with pytest.raises(tokens.Unauthenticated):
        await tokens.authenticate(f"Bearer {old}", store)


async def test_a_revoked_token_is_refused(store: Store) -> None:
    token, record = tokens.new("met")
    await store.add_token(record)
    assert await store.revoke_token(record.id, now_ms())

    with pytest.raises(tokens.Unauthenticated):
        await tokens.authenticate(f"Bearer {token}", store)


async def test_a_token_that_was_just_seen_is_refused_within_a_second_of_its_revocation(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = 1_000.0
    monkeypatch.setattr(tokens, "clock", lambda: now)
    token, record = tokens.new("met")
    await store.add_token(record)
    assert (await tokens.authenticate(f"Bearer {token}", store)).id == record.id
    assert await store.revoke_token(record.id, now_ms())

    now += tokens.KEPT_SECONDS
    for _ in range(2):
        with pytest.raises(tokens.Unauthenticated):
            await tokens.authenticate(f"Bearer {token}", store)
    assert tokens.KEPT_SECONDS <= 1


async def test_the_store_is_asked_for_a_token_now_and_then_and_not_for_every_call(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    now, asked = 1_000.0, 0
    find = store.token_by_digest

    async def count(given: bytes) -> TokenRecord | None:
        nonlocal asked
        asked += 1
        return await find(given)

    monkeypatch.setattr(tokens, "clock", lambda: now)
    monkeypatch.setattr(store, "token_by_digest", count)
    token, record = tokens.new("met")
    await store.add_token(record)
    for _ in range(10):
        assert (await tokens.authenticate(f"Bearer {token}", store)).id == record.id
    assert asked == 1
    now += 0.75 * tokens.KEPT_SECONDS
    same = await asyncio.gather(*(tokens.authenticate(f"Bearer {token}", store) for _ in range(10)))
    assert {each.id for each in same} == {record.id}
    assert asked == 2
    unknown, _ = tokens.new("met")
    for _ in range(2):
        with pytest.raises(tokens.Unauthenticated):
            await tokens.authenticate(f"Bearer {unknown}", store)
    assert asked == 4


async def test_the_digest_is_compared_in_constant_time(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    """A store that finds a wrong record, by whatever fault, does not open the door."""
    token, record = tokens.new("met")
    await store.add_token(record)
    other = replace(record, digest=bytes(32))
    compared: list[tuple[bytes, bytes]] = []
    real = hmac.compare_digest

    def compare(one: bytes, two: bytes) -> bool:
        compared.append((one, two))
        return real(one, two)

    async def wrong(_digest: bytes) -> TokenRecord:
        return other

    monkeypatch.setattr(hmac, "compare_digest", compare)
    assert (await tokens.authenticate(f"Bearer {token}", store)).id == record.id
    assert compared == [(record.digest, record.digest)]
    monkeypatch.setattr(store, "token_by_digest", wrong)
    unseen, _ = tokens.new("met")
    with pytest.raises(tokens.Unauthenticated):
        await tokens.authenticate(f"Bearer {unseen}", store)


def test_a_token_may_do_what_its_scopes_say_and_nothing_else() -> None:
    _, usual = tokens.new("met")
    _, second = tokens.new("met", (tokens.Scope.RELEASE,))

    tokens.require(usual, tokens.Scope.POST)
    tokens.require(usual, tokens.Scope.READ)
    tokens.require(second, tokens.Scope.RELEASE)
    with pytest.raises(NotAllowed, match="alerts:release"):
        tokens.require(usual, tokens.Scope.RELEASE)
    with pytest.raises(NotAllowed, match="alerts:post"):
        tokens.require(second, tokens.Scope.POST)
