"""What the public reads: valid Atom of what went out, and nothing else; signed CAP; readers who have it get 304."""

from __future__ import annotations

import re
from typing import Any
from urllib.parse import urljoin

import pytest
from lxml import etree

from broker.cap.document import read
from broker.cap.jsonform import to_json
from broker.clock import now_ms
from broker.signing.sign import Signer
from broker.signing.verify import SignatureState, verify
from broker.store.contract import Store
from broker.types import AlertState
from tests.integration.feeds.conftest import ATOM, Feeds
from tests.support.outside import cap, info, keep, moved, went_out

S = AlertState
OLD = 1_700_000_000_000


def reference(identifier: str) -> str:
    return f"hechuan-met@warning.example,{identifier},2026-06-18T09:30:00+08:00"


# ── who is in which feed ──────────────────────────────────────────────────────────────────────────────


async def test_alerts_stand_in_the_feeds_of_their_languages_and_levels(store: Store, feeds: Feeds) -> None:
    await went_out(store, cap(info(headline="红"), info("en", headline="red", event="Rainstorm")), at=OLD)
    await went_out(store, cap(info("en-GB", "Minor", headline="blue")), at=OLD + 1)
    assert await feeds.titles("/feeds/zh-CN.atom") == ["红"]
    assert await feeds.titles("/feeds/zh.atom") == ["红"], "a language range takes its regions"
    assert await feeds.titles("/feeds/en.atom") == ["blue", "red"], "newest first"
    assert await feeds.titles("/feeds/en/all.atom") == ["blue", "red"]
    assert await feeds.titles("/feeds/en/red.atom") == ["red"]
    assert await feeds.titles("/feeds/en/blue.atom") == ["blue"]
    assert await feeds.titles("/feeds/en-GB/blue.atom") == ["blue"]
    assert await feeds.titles("/feeds/en/yellow.atom") == []
    assert await feeds.titles("/feeds/fr.atom") == []


async def test_an_alert_with_several_levels_is_in_the_feed_of_each(store: Store, feeds: Feeds) -> None:
    await went_out(store, cap(info(headline="红"), info(severity="Moderate", headline="黄", event="大风")))
    assert await feeds.titles("/feeds/zh/red.atom") == ["红"]
    assert await feeds.titles("/feeds/zh/yellow.atom") == ["红"], "one entry, named by what is highest"


async def test_updates_and_cancels_are_entries_of_their_own_where_their_alert_was(
    store: Store, feeds: Feeds
) -> None:
    first = await went_out(store, cap(info(headline="红"), identifier="one"), at=OLD)
    update = cap(
        info(severity="Moderate", headline="黄"), identifier="two", kind="Update", references=reference("one")
    )
    second = await went_out(store, update, at=OLD + 1_000)
    cancel = await went_out(
        store, cap(identifier="three", kind="Cancel", references=reference("two")), at=OLD + 2_000
    )
    await moved(store, first, S.PLANNED, S.SUPERSEDED)
    await moved(store, second, S.PLANNED, S.CANCELLED)
    # Who reads red only must see that the red one is yellow now, and then over.
    for path in ("/feeds/zh/red.atom", "/feeds/zh.atom"):
        tree = await feeds.atom(path)
        kinds = tree.xpath("a:entry/a:category[contains(@scheme, 'msgType')]/@term", namespaces=ATOM)
        assert kinds == ["Cancel", "Update", "Alert"], path
    assert await feeds.titles("/feeds/zh/yellow.atom") == [f"解除: {cancel.identifier}", "黄"]
    assert await feeds.titles("/feeds/zh/blue.atom") == []


async def test_messages_that_refer_to_each_other_in_a_circle_are_listed(store: Store, feeds: Feeds) -> None:
    for name, other in (("one", "two"), ("two", "one")):
        body = cap(info(headline=name), identifier=name, kind="Update", references=reference(other))
        await went_out(store, body, at=OLD)
    assert sorted(await feeds.titles("/feeds/zh.atom")) == ["one", "two"]


@pytest.mark.parametrize("status", ["Exercise", "System", "Test", "Draft"])
async def test_what_is_not_actual_is_in_no_feed_and_has_no_page(store: Store, feeds: Feeds, status: str) -> None:
    hidden = await went_out(store, cap(info(), status=status))
    assert await feeds.titles("/feeds/zh.atom") == []
    assert (await feeds.call(f"/feeds/alerts/{hidden.id}.xml"))[0] == 404


@pytest.mark.parametrize("scope", ["Restricted", "Private"])
async def test_what_is_not_public_is_in_no_feed_and_has_no_page(store: Store, feeds: Feeds, scope: str) -> None:
    hidden = await went_out(store, cap(info()), scope=scope)
    assert await feeds.titles("/feeds/zh.atom") == []
    assert (await feeds.call(f"/feeds/alerts/{hidden.id}.xml"))[0] == 404


@pytest.mark.parametrize(
    "state", [S.RECEIVED, S.AWAITING_RELEASE, S.RELEASED, S.REJECTED, S.STOPPED, S.EXPIRED, S.CANCELLED]
)
async def test_what_never_went_out_is_in_no_feed_and_has_no_page(
    store: Store, feeds: Feeds, state: AlertState
) -> None:
    hidden = await keep(store, cap(info()), state=state)
    assert await feeds.titles("/feeds/zh.atom") == []
    assert (await feeds.call(f"/feeds/alerts/{hidden.id}.xml"))[0] == 404


# ── Atom ──────────────────────────────────────────────────────────────────────────────────────────────


async def test_the_feed_is_valid_atom_with_what_readers_need(store: Store, feeds: Feeds) -> None:
    await went_out(store, cap(info(headline="红", description="强降雨 & 大风".replace("&", "&amp;"))), at=OLD)
    tree = await feeds.atom("/feeds/zh-CN/red.atom")
    assert_valid(tree)
    (entry,) = tree.xpath("a:entry", namespaces=ATOM)

    def text(path: str) -> str:
        (found,) = entry.xpath(path, namespaces=ATOM)
        return str(found)

    assert text("a:title/text()") == "红"
    assert text("a:summary/text()") == "强降雨 & 大风"
    assert text("a:author/a:name/text()") == "合川区气象台"
    assert text("a:updated/text()") == "2023-11-14T22:13:20Z"
    assert text("a:category[contains(@scheme, 'level')]/@term") == "Red"
    assert text("a:category[contains(@scheme, 'event')]/@term") == "11B03"
    href = urljoin(feeds.base + "/feeds/zh-CN/red.atom", text("a:link[@type='application/cap+xml']/@href"))
    status, headers, body = await feeds.call(href.removeprefix(feeds.base))
    assert (status, headers["Content-Type"]) == (200, "application/cap+xml")
    assert etree.fromstring(body).tag.endswith("alert")


async def test_an_empty_feed_is_valid_and_the_same_at_every_look(feeds: Feeds) -> None:
    tree = await feeds.atom("/feeds/zh.atom")
    assert_valid(tree)
    assert (await feeds.call("/feeds/zh.atom"))[1]["ETag"] == (await feeds.call("/feeds/zh.atom"))[1]["ETag"]


def assert_valid(tree: Any) -> None:
    """What RFC 4287 requires of a feed and its entries (4.1.1, 4.1.2, 4.2.6, 4.2.7, 3.3)."""

    def all_of(node: Any, path: str) -> list[Any]:
        return list(node.xpath(path, namespaces=ATOM))

    for node in (tree, *all_of(tree, "a:entry")):
        for name in ("id", "title", "updated"):
            assert len(all_of(node, f"a:{name}")) == 1, name
        assert re.match(r"urn:uuid:[0-9a-f-]{36}$", all_of(node, "a:id/text()")[0])
        for time in all_of(node, "a:updated/text()") + all_of(node, "a:published/text()"):
            assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ", time)
        assert all_of(node, "a:author/a:name/text()")
    ids = all_of(tree, "a:entry/a:id/text()")
    assert len(set(ids)) == len(ids)
    assert len(all_of(tree, "a:link[@rel='self']")) == 1
    for entry in all_of(tree, "a:entry"):
        assert len(all_of(entry, "a:link[@rel='alternate']")) == 1, "an entry without content needs one"
        assert len(all_of(entry, "a:summary")) == 1
    for scheme in all_of(tree, ".//a:category/@scheme"):
        assert re.match(r"[a-z]+:", scheme)


async def test_pages_lead_through_everything_once(store: Store, feeds: Feeds) -> None:
    titles: list[str] = []
    for number in range(120):
        language = "zh-CN" if number % 2 else "en"
        await went_out(store, cap(info(language, headline=f"n{number}")), at=OLD + number)
        if language == "en":
            titles.insert(0, f"n{number}")
    path, found, pages = "/feeds/en.atom", [], 0
    while path:
        tree = await feeds.atom(path)
        assert_valid(tree)
        found += [str(title) for title in tree.xpath("a:entry/a:title/text()", namespaces=ATOM)]
        (path,) = tree.xpath("a:link[@rel='next']/@href", namespaces=ATOM) or [""]
        pages += 1
    assert found == titles
    assert pages == 2


async def test_what_is_no_feed_is_not_found_and_a_bad_page_is_told(feeds: Feeds) -> None:
    for path in ("/feeds/zh_CN.atom", "/feeds/zh/purple.atom", "/feeds/alerts/xyz.xml", "/feeds/1.atom"):
        assert (await feeds.call(path))[0] == 404, path
    status, _, body = await feeds.call("/feeds/zh.atom?before=yesterday")
    assert status == 400
    assert b"query.before" in body


async def test_the_index_names_the_languages_that_alerts_hold(store: Store, feeds: Feeds) -> None:
    await went_out(store, cap(info(), info("en")))
    status, headers, body = await feeds.call("/feeds")
    assert status == 200
    assert b'"languages": ["en", "zh-CN"]' in body
    assert (await feeds.call("/feeds", If_None_Match=headers["ETag"]))[0] == 304


# ── conditional requests ──────────────────────────────────────────────────────────────────────────────


async def test_a_reader_who_has_the_feed_gets_304_until_something_new_went_out(store: Store, feeds: Feeds) -> None:
    await went_out(store, cap(info(headline="one")), at=OLD)
    status, first, _ = await feeds.call("/feeds/zh.atom")
    assert status == 200
    assert "max-age" in first["Cache-Control"]
    for condition in (
        {"If_None_Match": first["ETag"]},
        {"If_None_Match": f'"other", W/{first["ETag"]}'},
        {"If_None_Match": "*"},
        {"If_Modified_Since": first["Last-Modified"]},
    ):
        status, headers, body = await feeds.call("/feeds/zh.atom", **condition)
        assert (status, body) == (304, b""), condition
        assert headers["ETag"] == first["ETag"]
    # The tag goes before the date (RFC 9110, 13.1.3).
    both = {"If_None_Match": '"other"', "If_Modified_Since": first["Last-Modified"]}
    assert (await feeds.call("/feeds/zh.atom", **both))[0] == 200
    await went_out(store, cap(info("en", headline="another language")), at=OLD + 60_000)
    assert (await feeds.call("/feeds/zh.atom", If_None_Match=first["ETag"]))[0] == 304
    await went_out(store, cap(info(headline="two")), at=OLD + 61_000)
    for condition in ({"If_None_Match": first["ETag"]}, {"If_Modified_Since": first["Last-Modified"]}):
        assert (await feeds.call("/feeds/zh.atom", **condition))[0] == 200, condition


async def test_two_alerts_within_a_second_are_both_seen_by_who_asks_by_the_date(store: Store, feeds: Feeds) -> None:
    second = now_ms() // 1000 * 1000
    await went_out(store, cap(info(headline="one")), at=second)
    _, first, _ = await feeds.call("/feeds/zh.atom")
    await went_out(store, cap(info(headline="two")), at=second + 1)
    status, _, body = await feeds.call("/feeds/zh.atom", If_Modified_Since=first["Last-Modified"])
    assert status == 200
    assert b"two" in body


async def test_head_tells_what_get_would(store: Store, feeds: Feeds) -> None:
    alert = await went_out(store, cap(info()), at=OLD)
    for path in ("/feeds/zh.atom", f"/feeds/alerts/{alert.id}.xml", "/feeds"):
        got, head = await feeds.call(path), await feeds.call(path, "HEAD")
        assert (head[0], head[2]) == (200, b"")
        for name in ("ETag", "Content-Type", "Cache-Control"):
            assert head[1][name] == got[1][name]


async def test_nothing_may_be_written_here(feeds: Feeds) -> None:
    for method in ("POST", "PUT", "DELETE", "PATCH"):
        assert (await feeds.call("/feeds/zh.atom", method))[0] == 405


# ── CAP ───────────────────────────────────────────────────────────────────────────────────────────────


async def test_an_unsigned_alert_is_published_with_our_signature_and_archived_without(
    store: Store, feeds: Feeds, signer: Signer
) -> None:
    original = cap(info())
    alert = await went_out(store, original, at=OLD)
    status, headers, body = await feeds.call(f"/feeds/alerts/{alert.id}.xml")
    assert status == 200
    assert verify(body, [signer.certificate], now_ms()).state is SignatureState.VALID
    assert read(body, "xml").alert == read(original, "xml").alert
    assert (await store.alert(alert.id)).body == original
    assert headers["ETag"].startswith("W/")
    assert (await feeds.call(f"/feeds/alerts/{alert.id}.xml", If_None_Match=headers["ETag"]))[0] == 304
    assert headers["Last-Modified"] == "Tue, 14 Nov 2023 22:13:20 GMT"


async def test_a_departments_own_signature_is_served_untouched(store: Store, feeds: Feeds, signer: Signer) -> None:
    signed = signer.sign(cap(info()))
    alert = await went_out(store, signed)
    assert (await feeds.call(f"/feeds/alerts/{alert.id}.xml"))[2] == signed


async def test_an_alert_that_was_posted_as_json_is_published_as_signed_xml(
    store: Store, feeds: Feeds, signer: Signer
) -> None:
    understood = read(cap(info()), "xml").alert
    assert understood is not None
    alert = await went_out(store, to_json(understood), content_type="application/cap+json")
    _, headers, body = await feeds.call(f"/feeds/alerts/{alert.id}.xml")
    assert headers["Content-Type"] == "application/cap+xml"
    assert verify(body, [signer.certificate], now_ms()).state is SignatureState.VALID
    assert read(body, "xml").alert == understood
    assert await feeds.titles("/feeds/zh.atom") == ["暴雨预警"]


@pytest.mark.parametrize("codec", ["utf-16", "gb18030"])
async def test_an_alert_in_another_encoding_is_published_with_a_good_signature(
    store: Store, feeds: Feeds, signer: Signer, codec: str
) -> None:
    text = cap(info()).decode().replace("UTF-8", codec.upper())
    alert = await went_out(store, text.encode(codec))
    _, _, body = await feeds.call(f"/feeds/alerts/{alert.id}.xml")
    assert verify(body, [signer.certificate], now_ms()).state is SignatureState.VALID
    assert "暴雨预警" in [each.headline for each in read(body, "xml").alert.infos]  # type: ignore[union-attr]
