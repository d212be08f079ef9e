"""Feeds of others on real servers: what they bring waits for a person, and what they do to us does no harm."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Awaitable, Callable
from itertools import pairwise
from pathlib import Path

import pytest
from aiohttp import web
from prometheus_client import CollectorRegistry

from broker.api.problems import middleware
from broker.api.server import Server
from broker.feeds import fetch
from broker.feeds.fetch import Fetcher, FetchError
from broker.feeds.pull import Pull
from broker.feeds.puller import FeedPuller
from broker.feeds.routes import FeedRoutes
from broker.feeds.settings import FeedsFile
from broker.intake.departments import Department, Departments
from broker.ports import free_port
from broker.release.release import Release
from broker.signing.generate import new_pair
from broker.signing.sign import Signer
from broker.store.contract import Store
from broker.store.outside_records import ItemOutcome
from broker.store.sql import open_store
from broker.types import AlertState
from tests.support.outside import Far, cap, far_end, info, serve, went_out
from tests.support.pulling import (
    SENDER,
    area_info,
    atom,
    departments,
    foreign,
    message,
    pulled,
    recent,
    rules,
    source,
)
from tests.support.waiting import eventually

Became = ItemOutcome
WHEN = "2026-06-18T01:30:00Z"


async def states(store: Store) -> list[AlertState]:
    return [alert.state for alert in await store.alerts()]


# ── what comes in ─────────────────────────────────────────────────────────────────────────────────────


async def test_an_alert_of_a_feed_is_kept_byte_for_byte_and_waits_for_a_person(store: Store) -> None:
    body = message(identifier="one")
    async with far_end(one=body) as far:
        far.answers["/feed"] = atom(("one", WHEN, "one"))
        report = await pulled(store, far.url("/feed"))
    assert (report.error, report.listed, [item.outcome for item in report.items]) == (None, 1, [Became.IMPORTED])
    (brief,) = await store.alerts()
    alert = await store.alert(brief.id)
    assert alert.body == body
    assert (alert.department, alert.author, alert.level) == ("met-hechuan", "feed:neighbour", "Orange")
    # The department's own table asks for nothing at any level; what others say waits all the same.
    assert alert.state is AlertState.AWAITING_RELEASE
    (event,) = await store.alert_events(alert.id)
    assert (event.state, event.who) == (AlertState.AWAITING_RELEASE, "feed:neighbour")
    assert "neighbour" in event.why
    assert report.items[0].alert == alert.id


async def test_what_was_imported_is_not_let_go_by_the_departments_table(store: Store) -> None:
    async with far_end(feed=message()) as far:
        await pulled(store, far.url("/feed"))
    (alert,) = await store.alerts()
    await Release(store, Departments(tuple(_without_release()))).admit(alert)
    assert await states(store) == [AlertState.AWAITING_RELEASE]


def _without_release() -> list[Department]:
    return [one for one in departments() if one.id == "met-hechuan"]


@pytest.mark.parametrize("form", ["alert", "inline", "rss", "edxl"])
async def test_every_wrapping_brings_its_alert(store: Store, form: str) -> None:
    body = message(identifier="one")
    inner = body.split(b"?>", 1)[1]
    wrapped = {
        "alert": body,
        "inline": atom().replace(
            b"</feed>",
            b"<entry><id>urn:x:1</id><title>t</title><updated>2026-06-18T01:30:00Z</updated><author><name>n</name>"
            b'</author><content type="application/cap+xml">' + inner + b"</content></entry></feed>",
        ),
        "rss": b'<rss version="2.0"><channel><title>t</title><link>http://x.example</link><description>d</description>'
        b"<item><title>t</title><guid>1</guid><link>one</link></item></channel></rss>",
        "edxl": b'<EDXLDistribution xmlns="urn:oasis:names:tc:emergency:EDXL:DE:1.0"><contentObject><xmlContent>'
        b"<embeddedXMLContent>" + inner + b"</embeddedXMLContent></xmlContent></contentObject></EDXLDistribution>",
    }[form]
    async with far_end(feed=wrapped, one=body) as far:
        report = await pulled(store, far.url("/feed"))
    assert [item.outcome for item in report.items] == [Became.IMPORTED]
    (alert,) = await store.alerts()
    assert alert.identifier == "one"


async def test_a_foreign_update_and_cancel_wait_too_and_know_what_they_are_about(store: Store) -> None:
    sent = recent(5)
    refers = f"{SENDER},one,{sent}"
    bodies = {
        "one": message(identifier="one", sent=sent),
        "two": message(identifier="two", kind="Update", references=refers),
        "three": cap(identifier="three", kind="Cancel", references=refers, sender=SENDER, sent=recent()),
    }
    async with far_end() as far:
        far.answers |= {f"/{name}": body for name, body in bodies.items()}
        far.answers["/feed"] = atom(*((name, WHEN, name) for name in ("three", "two", "one")))
        report = await pulled(store, far.url("/feed"))
    assert [item.outcome for item in report.items] == [Became.IMPORTED] * 3
    assert await states(store) == [AlertState.AWAITING_RELEASE] * 3
    by_name = {alert.identifier: alert for alert in await store.alerts()}
    for name in ("two", "three"):
        (reference,) = await store.references(by_name[name].id)
        assert reference.target == by_name["one"].id
    assert by_name["three"].level == "Orange", "a Cancel is about what it takes back"


# ── what is refused, with its reasons ─────────────────────────────────────────────────────────────────

_POLYGON = "<polygon>30.0,106.2 30.0,106.4 30.1,106.4 30.1,106.2 30.0,106.2</polygon>"
REFUSED: dict[str, tuple[Callable[[], bytes], str]] = {
    "an event that we do not know": (lambda: message(area_info(code="TOR")), "intake.event.unknown"),
    "an event of another department": (lambda: message(area_info(code="11D01")), "authority.event"),
    "no level": (lambda: message(area_info(severity="Unknown")), "intake.level"),
    "geocodes of another system": (
        lambda: message(area_info(area="<geocode><valueName>EMMA_ID</valueName><value>AT001</value></geocode>")),
        "intake.geocode.name",
    ),
    "a polygon beside a geocode of another system": (
        lambda: message(
            area_info(area=_POLYGON + "<geocode><valueName>UGC</valueName><value>TXZ1</value></geocode>")
        ),
        "intake.geocode.name",
    ),
    "only a description": (lambda: message(area_info(area=" ")), "intake.area.empty"),
    "an area far away": (
        lambda: message(area_info(area="<circle>52.5,13.4 20</circle>")),
        "intake.area.outside",
    ),
    "another city's region": (
        lambda: message(area_info(area="<geocode><valueName>GB/T 2260</valueName><value>500112</value></geocode>")),
        "authority.region",
    ),
    "a limit of height": (
        lambda: message(area_info(area=_POLYGON + "<altitude>3000</altitude>")),
        "feed.area.height",
    ),
    "an exercise": (lambda: message(status="Exercise"), "feed.status"),
    "a test": (lambda: message(status="Test"), "feed.status"),
    "a heartbeat": (lambda: message(status="System"), "feed.status"),
    "an answer": (
        lambda: message(kind="Ack", references=f"{SENDER},x,{recent()}"),
        "feed.msgtype",
    ),
    "what has expired": (lambda: message(area_info(expires=recent(2)), sent=recent(60)), "feed.expired"),
    "an update of nothing": (lambda: message(kind="Update"), "cap.references.required"),
    "a cancel of another's": (
        lambda: message(kind="Cancel", references=f"somebody@else.example,x,{recent()}"),
        "feed.references.sender",
    ),
    "our own department's name": (lambda: message(sender="hechuan-met@warning.example"), "feed.sender.own"),
    "broken XML": (
        lambda: b"<alert xmlns='urn:oasis:names:tc:emergency:cap:1.2'><identifier>one</alert>",
        "cap.xml.syntax",
    ),
    "an entity": (lambda: b'<!DOCTYPE a [<!ENTITY x "y">]>' + message().split(b"?>", 1)[1], "cap.xml.doctype"),
    "another vocabulary": (lambda: b"<html><body>404</body></html>", "cap.root"),
    "nothing": (lambda: b"", "cap.xml.syntax"),
}


@pytest.mark.parametrize("name", REFUSED)
async def test_what_cannot_be_understood_is_listed_with_its_reasons_and_nothing_is_kept_as_an_alert(
    store: Store, name: str
) -> None:
    make, rule = REFUSED[name]
    body = make()
    async with far_end(one=body, two=message(identifier="good")) as far:
        far.answers["/feed"] = atom(("one", WHEN, "one"), ("two", WHEN, "two"))
        report = await pulled(store, far.url("/feed"))
    by_place = {item.place.rpartition("/")[2]: item for item in report.items}
    refused = by_place["one"]
    errors = {str(f["rule"]) for f in refused.findings if f["severity"] == "error"}
    assert refused.outcome is Became.REFUSED
    assert rule in errors, errors
    assert by_place["two"].outcome is Became.IMPORTED, "one that is bad keeps none of the others away"
    assert [alert.identifier for alert in await store.alerts()] == ["good"]
    kept = {item.key: item for item in await store.items("neighbour")}[refused.key]
    assert kept.body == body
    assert {str(f["rule"]) for f in kept.findings} >= {rule}


async def test_a_cancel_over_a_feed_cannot_take_back_what_our_departments_or_other_feeds_gave(store: Store) -> None:
    sent = recent(5)
    async with far_end(one=message(identifier="one", sent=sent)) as far:
        await pulled(store, far.url("/one"), name="other-feed")
        far.answers["/two"] = cap(
            identifier="two", kind="Cancel", references=f"{SENDER},one,{sent}", sender=SENDER, sent=recent()
        )
        report = await pulled(store, far.url("/two"))
    assert rules(report) == [{"feed.references.origin"}]
    assert len(await store.alerts()) == 1


# ── again and again ───────────────────────────────────────────────────────────────────────────────────


async def test_what_was_seen_is_not_fetched_again_and_an_unchanged_feed_not_even_sent(store: Store) -> None:
    async def feed(request: web.Request) -> web.Response:
        if request.headers.get("If-None-Match") == '"v1"':
            return web.Response(status=304)
        return web.Response(body=atom(("one", WHEN, "one"), ("bad", WHEN, "bad")), headers={"ETag": '"v1"'})

    async with far_end(feed=feed, one=message(identifier="one"), bad=b"<nothing/>") as far:
        first = await pulled(store, far.url("/feed"))
        assert len(first.items) == 2
        second = await pulled(store, far.url("/feed"))
        assert second.unchanged
        far.answers["/feed"] = atom(("one", WHEN, "one"), ("bad", WHEN, "bad"))
        third = await pulled(store, far.url("/feed"))
        assert (third.unchanged, third.items) == (False, ())
        assert (far.count("/one"), far.count("/bad")) == (1, 1)
        # An entry that says that it changed is another one.
        far.answers["/feed"] = atom(("one", "2026-06-18T02:00:00Z", "one"))
        fourth = await pulled(store, far.url("/feed"))
        assert [item.outcome for item in fourth.items] == [Became.KNOWN]
    assert len(await store.alerts()) == 1
    health = await store.feed("neighbour")
    assert health is not None
    assert (health.seen, health.imported, health.refused, health.listed) == (3, 1, 1, 1)


async def test_the_same_message_out_of_two_feeds_is_one_alert_and_other_content_a_conflict(store: Store) -> None:
    sent = recent()
    body = message(identifier="one", sent=sent)
    async with far_end(
        a=body, b=body.replace(b"</alert>", b"\n</alert>"), c=body.replace("邻市".encode(), b"x")
    ) as far:
        assert [item.outcome for item in (await pulled(store, far.url("/a"))).items] == [Became.IMPORTED]
        assert [item.outcome for item in (await pulled(store, far.url("/a"), name="b")).items] == [Became.KNOWN]
        assert [item.outcome for item in (await pulled(store, far.url("/b"), name="c")).items] == [Became.KNOWN]
        conflict = await pulled(store, far.url("/c"), name="d")
    assert rules(conflict) == [{"feed.conflict"}]
    (alert,) = await store.alerts()
    assert (await store.alert(alert.id)).body == body


async def test_a_dry_run_says_the_same_and_keeps_nothing(store: Store) -> None:
    async with far_end(one=message(), bad=b"<nothing/>") as far:
        far.answers["/feed"] = atom(("bad", WHEN, "bad"), ("one", WHEN, "one"))
        report = await Pull(store, foreign(store), source(far.url("/feed"))).dry_run()
    assert [item.outcome for item in report.items] == [Became.IMPORTED, Became.REFUSED]
    assert await store.alerts() == []
    assert await store.feeds() == []
    assert await store.items("neighbour") == []


async def test_of_many_new_entries_the_newest_come_first_and_the_rest_with_the_next_pull(store: Store) -> None:
    async with far_end() as far:
        names = [f"n{number}" for number in range(5)]
        far.answers |= {f"/{name}": message(identifier=name) for name in names}

        async def feed(request: web.Request) -> web.Response:
            if "If-None-Match" in request.headers:
                return web.Response(status=304)
            return web.Response(body=atom(*((name, WHEN, name) for name in names)), headers={"ETag": '"v1"'})

        far.answers["/feed"] = feed
        first = await pulled(store, far.url("/feed"), max_items=3)
        assert [item.identifier for item in first.items] == ["n2", "n1", "n0"]
        second = await pulled(store, far.url("/feed"), max_items=3)
        assert [item.identifier for item in second.items] == ["n4", "n3"]
        assert (await pulled(store, far.url("/feed"), max_items=3)).unchanged


async def test_an_entry_that_cannot_be_fetched_is_tried_again_and_refused_in_the_end(store: Store) -> None:
    async def broken(_request: web.Request) -> web.Response:
        return web.Response(status=503)

    async with far_end(one=broken) as far:
        far.answers["/feed"] = atom(("one", WHEN, "one"))
        seen = [(await pulled(store, far.url("/feed"))).items for _ in range(6)]
        outcomes = [[item.outcome for item in items] for items in seen]
        assert outcomes == [[Became.WAITING]] * 4 + [[Became.REFUSED], []]
        assert far.count("/one") == 5


async def test_an_entry_whose_server_comes_back_is_imported(store: Store) -> None:
    port = free_port()
    async with far_end() as far:
        far.answers["/feed"] = atom(("one", WHEN, f"http://127.0.0.1:{port}/one"))
        assert [item.outcome for item in (await pulled(store, far.url("/feed"))).items] == [Became.WAITING]
        async with far_end(port, one=message()):
            assert [item.outcome for item in (await pulled(store, far.url("/feed"))).items] == [Became.IMPORTED]


# ── signatures ────────────────────────────────────────────────────────────────────────────────────────


async def test_with_certificates_only_what_they_signed_is_taken(
    store: Store, tmp_path: Path, signer: Signer
) -> None:
    certificate, _ = new_pair("somebody else")
    (tmp_path / "other.pem").write_text(certificate)
    signed = signer.sign(message(identifier="signed"))
    async with far_end(
        feed=signed, plain=message(), forged=signed.replace("邻市".encode(), "本市".encode())
    ) as far:
        own = {"certificates": (str(signer.certificate.path),)}
        assert rules(await pulled(store, far.url("/plain"), **own)) == [{"signature.absent"}]
        assert rules(await pulled(store, far.url("/forged"), **own)) != [set()]
        (by_another,) = rules(
            await pulled(store, far.url("/feed"), name="pinned", certificates=(str(tmp_path / "other.pem"),))
        )
        assert by_another
        assert await store.alerts() == []
        good = await pulled(store, far.url("/feed"), **own)
        assert [item.outcome for item in good.items] == [Became.IMPORTED]
    (alert,) = await store.alerts()
    assert (await store.alert(alert.id)).body == signed


# ── what servers do ───────────────────────────────────────────────────────────────────────────────────


async def fails(store: Store, url: str, **how: object) -> str:
    """Why a pull of `url` failed."""
    report = await pulled(store, url, **how)
    assert report.error is not None
    health = await store.feed(str(how.get("name", "neighbour")))
    assert health is not None
    assert (health.error, health.succeeded) == (report.error, None)
    assert health.failures > 0
    assert health.owner is None
    return report.error


async def test_redirects_are_followed_a_few_times_and_a_loop_ends(store: Store) -> None:
    def to(place: str) -> Callable[[web.Request], Awaitable[web.StreamResponse]]:
        async def answer(_request: web.Request) -> web.StreamResponse:
            return web.Response(status=302, headers={"Location": place})

        return answer

    async with far_end(feed=to("/moved"), moved=message(), loop=to("/loop"), out=to("file:///etc/passwd")) as far:
        assert (await pulled(store, far.url("/feed"))).error is None
        assert "redirects more than" in await fails(store, far.url("/loop"), name="loop")
        assert far.count("/loop") == 6
        assert "no http" in await fails(store, far.url("/out"), name="out")


async def test_a_body_without_end_is_left_when_it_is_too_large(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    sent = 0

    async def endless(request: web.Request) -> web.StreamResponse:
        nonlocal sent
        answer = web.StreamResponse()
        await answer.prepare(request)
        while True:
            await answer.write(b"<x>" * 100_000)
            sent += 300_000

    async def announced(request: web.Request) -> web.StreamResponse:
        answer = web.StreamResponse(headers={"Content-Length": str(10**12)})
        await answer.prepare(request)
        await asyncio.Event().wait()
        return answer

    async with far_end(feed=endless, huge=announced) as far:
        assert "larger than" in await fails(store, far.url("/feed"))
        assert sent < 60_000_000
        assert "larger than" in await fails(store, far.url("/huge"), name="huge")


async def test_a_bomb_in_gzip_is_not_unpacked(store: Store) -> None:
    async def bomb(_request: web.Request) -> web.StreamResponse:
        return web.Response(body=b"\x1f\x8b\x08", headers={"Content-Encoding": "gzip"})

    async with far_end(feed=bomb) as far:
        assert "packed" in await fails(store, far.url("/feed"))


async def test_a_server_that_is_slow_is_given_up() -> None:
    async def slow(request: web.Request) -> web.StreamResponse:
        answer = web.StreamResponse()
        await answer.prepare(request)
        while True:
            await answer.write(b" ")
            await asyncio.sleep(0.05)

    async with far_end(feed=slow) as far, Fetcher(allow_private=True, seconds=0.5) as fetcher:
        with pytest.raises(FetchError, match="did not answer within") as failed:
            await fetcher.get(far.url("/feed"), max_bytes=1_000)
        assert failed.value.passing


@pytest.mark.parametrize(
    "body", [b"", b"not xml", b"<feed", b"<html/>", b'<!DOCTYPE x [<!ENTITY a "b">]><x>&a;</x>', b"{}", b"[1]"]
)
async def test_a_feed_that_is_no_feed_is_a_failure_of_the_feed(store: Store, body: bytes) -> None:
    async with far_end(feed=body) as far:
        assert "neither a feed nor an alert" in await fails(store, far.url("/feed"))
    assert await store.items("neighbour") == []


@pytest.mark.parametrize("status", [400, 404, 429, 500, 503])
async def test_an_answer_that_is_no_success_is_a_failure_that_waits_as_asked(store: Store, status: int) -> None:
    async def answer(_request: web.Request) -> web.StreamResponse:
        return web.Response(status=status, headers={"Retry-After": "7200"})

    async with far_end(feed=answer) as far:
        assert str(status) in await fails(store, far.url("/feed?key=secret"))
    health = await store.feed("neighbour")
    assert health is not None
    assert health.tried is not None
    assert health.next_try >= health.tried + 7_200_000
    assert "secret" not in f"{health}"


async def test_a_failing_feed_is_tried_ever_later_and_is_good_again_at_once(store: Store) -> None:
    port = free_port()
    url = f"http://127.0.0.1:{port}/feed"
    waits = []
    for _ in range(4):
        await pulled(store, url, every_seconds=10)
        health = await store.feed("neighbour")
        assert health is not None
        assert health.tried is not None
        waits.append(health.next_try - health.tried)
    assert health is not None
    assert health.failures == 4
    assert all(later > 1.5 * sooner for sooner, later in pairwise(waits)), waits
    async with far_end(port, feed=message()):
        assert (await pulled(store, url)).error is None
    health = await store.feed("neighbour")
    assert health is not None
    assert (health.failures, health.error) == (0, None)


# ── addresses that are not public ─────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost", "0.0.0.0", "[::1]", "[::ffff:127.0.0.1]", "127.1"])
async def test_a_feed_may_not_lead_into_our_own_network(store: Store, host: str) -> None:
    async with far_end(feed=message()) as far:
        report = await pulled(store, f"http://{host}:{far.server.port}/feed", allow_private=False)
        assert report.error is not None
        assert far.calls == []
    assert re.search("not a public address|cannot be read", report.error)


async def test_neither_a_link_nor_a_redirect_may_lead_into_our_own_network(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The feed itself is let through as if it stood outside; everything that it leads to is judged."""
    async with far_end(inside=message()) as inside, far_end() as outside:

        async def redirect(_request: web.Request) -> web.StreamResponse:
            return web.Response(status=302, headers={"Location": inside.url("/inside")})

        outside.answers["/redirect"] = redirect
        outside.answers["/feed"] = atom(("a", WHEN, inside.url("/inside")), ("b", WHEN, "redirect"))
        # The one address of the loopback that stands for the Internet here.
        monkeypatch.setattr(fetch, "is_public", lambda host: host == "127.0.0.2")
        with_stranger = outside.url("/feed").replace("127.0.0.1", "127.0.0.2")
        async with _also_on(outside, "127.0.0.2") as port:
            report = await pulled(
                store, with_stranger.replace(f":{outside.server.port}", f":{port}"), allow_private=False
            )
        assert report.error is None
        assert [item.outcome for item in report.items] == [Became.REFUSED, Became.REFUSED]
        assert rules(report) == [{"feed.fetch"}, {"feed.fetch"}]
        assert inside.calls == []
    assert await store.alerts() == []


def _also_on(far: Far, host: str) -> _Other:
    return _Other(far, host)


class _Other:
    """The same answers on another address."""

    def __init__(self, far: Far, host: str) -> None:
        async def handle(request: web.Request) -> web.StreamResponse:
            answer = far.answers[request.path]
            return web.Response(body=answer) if isinstance(answer, bytes) else await answer(request)

        app = web.Application()
        app.router.add_route("*", "/{path:.*}", handle)
        self._server = Server(app, host, 0)

    async def __aenter__(self) -> int:
        await self._server.start()
        return self._server.port

    async def __aexit__(self, *_: object) -> None:
        await self._server.close()


# ── the role ──────────────────────────────────────────────────────────────────────────────────────────


async def test_several_pullers_share_the_feeds_and_a_slow_one_delays_no_other(store: Store, tmp_path: Path) -> None:
    hold = asyncio.Event()

    async def slow(_request: web.Request) -> web.StreamResponse:
        await hold.wait()
        return web.Response(status=503)

    async with far_end(slow=slow, good=message(identifier="one")) as far:
        feeds = FeedsFile(
            feeds=(
                source(far.url("/slow"), name="slow", every_seconds=10),
                source(far.url("/good"), name="good", every_seconds=10),
                source(far.url("/gone"), name="gone", every_seconds=10),
            )
        )
        registries = [CollectorRegistry(), CollectorRegistry()]
        other = open_store(f"sqlite:///{tmp_path / 'store.db'}")
        await other.start()
        tasks = [
            asyncio.create_task(FeedPuller(each, foreign(each), feeds, registry, shortest_sleep_s=0.01).run())
            for each, registry in zip((store, other), registries, strict=True)
        ]
        await eventually(lambda: store.alerts())

        def value(name: str, feed: str) -> float:
            return max(registry.get_sample_value(name, {"feed": feed}) or 0.0 for registry in registries)

        await eventually(lambda: value("fenghuo_feed_failures", "gone") == 1)
        await eventually(lambda: value("fenghuo_feed_success_timestamp_seconds", "good") > 0)
        assert far.count("/slow") == 1
        hold.set()
        await eventually(lambda: value("fenghuo_feed_failures", "slow") == 1)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await other.close()
        assert {path: far.count(path) for path in ("/slow", "/good", "/gone")} == {
            "/slow": 1,
            "/good": 1,
            "/gone": 1,
        }


async def test_a_puller_that_is_stopped_lets_go_of_its_feed(store: Store) -> None:
    async def slow(_request: web.Request) -> web.StreamResponse:
        await asyncio.Event().wait()
        raise AssertionError

    async with far_end(slow=slow) as far:
        feeds = FeedsFile(feeds=(source(far.url("/slow"), name="slow"),))
        task = asyncio.create_task(FeedPuller(store, foreign(store), feeds, CollectorRegistry()).run())
        await eventually(lambda: far.count("/slow"))
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
    health = await store.feed("slow")
    assert health is not None
    assert (health.owner, health.lease_until, health.failures) == (None, None, 0)


async def test_our_own_feed_can_be_read_by_a_broker_elsewhere(store: Store) -> None:
    """The neighbour's broker publishes, ours pulls: one code on both sides of the border."""
    theirs = open_store("sqlite:///:memory:")
    await theirs.start()
    await went_out(theirs, cap(area_info(), sender=SENDER, sent=recent()))
    await went_out(theirs, cap(info("en"), sender=SENDER, sent=recent()))
    app = web.Application(middlewares=[middleware])
    serve(app, theirs, FeedRoutes(theirs, None))
    server = Server(app, "127.0.0.1", 0)
    await server.start()
    report = await pulled(store, f"{server.url}/feeds/zh-CN/orange.atom")
    again = await pulled(store, f"{server.url}/feeds/zh-CN/orange.atom")
    await server.close()
    await theirs.close()
    assert [item.outcome for item in report.items] == [Became.IMPORTED]
    assert again.unchanged
