"""Real messages of others, and anything at all: taken on or refused with reasons, never a fault."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

import pytest

from broker.errors import NotFound
from broker.feeds.entries import Entries
from broker.intake.foreign import Origin
from broker.store.contract import Store
from broker.store.outside_records import ItemOutcome
from tests.integration.feeds.conftest import Feeds
from tests.support.outside import cap, info, went_out
from tests.support.pulling import area_info, foreign, message

ROOT = Path(__file__).parents[3]
CORPUS = sorted((ROOT / "../shared/corpus/cap").resolve().glob("*"))
ORIGIN = Origin("world", "meteorology")


@pytest.mark.skipif(not CORPUS, reason="the corpus is not here")
async def test_real_messages_of_others_are_refused_with_reasons_for_they_concern_other_places(store: Store) -> None:
    for path in CORPUS:
        found = await foreign(store).accept_foreign(path.read_bytes(), ORIGIN)
        assert found.outcome is ItemOutcome.REFUSED, path.name
        assert found.reasons, path.name
    assert await store.alerts() == []


@pytest.mark.parametrize(
    "body", [b"", b"\0" * 100, b"{}", b"[[[[", b"<alert/>", "警报".encode(), b"\xff\xfe<\0a\0/\0>\0"]
)
async def test_anything_at_all_is_refused_with_reasons(store: Store, body: bytes) -> None:
    found = await foreign(store).accept_foreign(body, ORIGIN)
    assert found.outcome is ItemOutcome.REFUSED
    assert found.reasons


async def test_a_department_or_profile_that_does_not_exist_is_the_callers_mistake(store: Store) -> None:
    with pytest.raises(NotFound):
        await foreign(store).accept_foreign(message(), Origin("x", "navy"))
    with pytest.raises(ValueError, match="nonsense"):
        await foreign(store).accept_foreign(message(), Origin("x", "meteorology", "nonsense"))


async def test_findings_that_keep_nobody_from_releasing_are_on_record(store: Store) -> None:
    body = message(area_info().replace("<language>zh-CN</language>", "").replace("11B03", " 11B03", 0))
    found = await foreign(store).accept_foreign(body, Origin("neighbour", "met-hechuan"))
    assert found.outcome is ItemOutcome.IMPORTED, found.reasons
    assert found.alert is not None
    (event,) = await store.alert_events(found.alert)
    assert found.findings
    assert all(str(finding["rule"]) in event.why for finding in found.findings)


async def test_without_an_end_of_its_own_an_alert_gets_the_one_of_the_policy(store: Store) -> None:
    body = message(area_info().replace(area_info().partition("<expires>")[2].partition("</expires>")[0], "X"))
    body = body.replace(b"<expires>X</expires>", b"")
    found = await foreign(store).accept_foreign(body, Origin("neighbour", "met-hechuan"))
    assert found.alert is not None, found.reasons
    alert = await store.alert(found.alert)
    assert alert.expires > alert.received + 3_600_000


# ── parsed once ───────────────────────────────────────────────────────────────────────────────────────


async def test_an_alert_is_read_once_however_often_its_feeds_are(
    store: Store, feeds: Feeds, monkeypatch: pytest.MonkeyPatch
) -> None:
    for number in range(5):
        await went_out(store, cap(info(headline=f"n{number}"), info("en")))
    read_alerts: list[str] = []
    original = store.alert

    async def counting(alert: str) -> Any:
        read_alerts.append(alert)
        return await original(alert)

    monkeypatch.setattr(store, "alert", counting)
    for path in ("/feeds/zh.atom", "/feeds/en.atom", "/feeds/zh/red.atom", "/feeds", "/feeds/zh.atom"):
        assert (await feeds.call(path))[0] == 200
    assert len(read_alerts) == len(set(read_alerts)) == 5


async def test_what_cannot_be_read_any_more_is_left_out_of_the_feeds(store: Store, feeds: Feeds) -> None:
    broken = b"<nothing/>"
    await went_out(store, cap(info(headline="good")))
    await went_out(store, cap(info(headline="bad")), body=broken, digest=hashlib.sha256(broken).digest())
    assert await feeds.titles("/feeds/zh.atom") == ["good"]
    assert [await Entries(store).of(alert) is None for alert in await store.published()] == [True, False]
