"""Real messages of others, and anything at all: taken on or refused with reasons, never a fault."""

from __future__ import annotations

import hashlib
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import pytest

from broker.cap.document import read
from broker.cap.findings import Posture
from broker.errors import NotFound
from broker.feeds.entries import Entries
from broker.intake.foreign import Origin
from broker.store.contract import Store
from broker.store.outside_records import ItemOutcome
from broker.types import AlertState
from tests.integration.feeds.conftest import Feeds
from tests.support.outside import cap, far_end, info, went_out
from tests.support.pulling import area_info, foreign, message, pulled

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


# ── the national format ───────────────────────────────────────────────────────────────────────────────

_NATIONAL = """<?xml version="1.0" encoding="UTF-8"?>
<alert>
  <identifier>{code}_{digits}</identifier><sender>邻省气象台</sender><senderCode>{code}</senderCode>
  <sendTime>{sent}+08:00</sendTime><status>Actual</status><msgType>Alert</msgType><scope>Public</scope>
  <code><method><methodName>SMS</methodName><message/><audienceGrp>duty</audienceGrp>
  <audenceprt>13900000000</audenceprt></method></code>
  <secClassification>None</secClassification>
  <info>
    <language>zh-CN</language><eventType>11B09</eventType><urgency>Unknown</urgency><severity>Orange</severity>
    <certainty>Unknown</certainty><effective>{sent}+08:00</effective><expires>{ends}+08:00</expires>
    <senderName>张三</senderName><headline>邻省气象台发布高温橙色预警</headline><description>37℃以上。</description>
    <area><areaDesc>合川区</areaDesc><geocode>500117000000</geocode></area>
  </info>
</alert>
"""


def national(code: str) -> bytes:
    now = datetime.now(timezone(timedelta(hours=8))).replace(microsecond=0, tzinfo=None)
    sent = now - timedelta(minutes=1)
    told = {"sent": sent, "ends": now + timedelta(hours=3), "digits": sent.strftime("%Y%m%d%H%M%S")}
    return _NATIONAL.format(code=code, **told).encode()


async def test_the_national_format_becomes_cap_and_the_bytes_as_they_came_are_kept_beside_it(store: Store) -> None:
    body = national("51000041600000")
    async with far_end(feed=body) as far:
        report = await pulled(store, far.url("/feed"), department="meteorology", profile="national")
        again = await pulled(store, far.url("/feed"), department="meteorology", profile="national", name="twin")
    assert [item.outcome for item in report.items] == [ItemOutcome.IMPORTED], report
    assert [item.outcome for item in again.items] == [ItemOutcome.KNOWN]
    (item,) = await store.items("neighbour")
    assert item.body == body
    assert item.alert is not None
    alert = await store.alert(item.alert)
    assert (alert.state, alert.level, alert.event) == (AlertState.AWAITING_RELEASE, "Orange", "11B09")
    assert read(alert.body, "xml", posture=Posture.LENIENT).alert is not None


async def test_nobody_speaks_for_our_departments_by_their_national_code(store: Store) -> None:
    found = await foreign(store).accept_foreign(national("50000041600000"), Origin("x", "meteorology", "national"))
    assert [reason for reason in found.reasons if "feed.sender.own" in reason], found.findings


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
