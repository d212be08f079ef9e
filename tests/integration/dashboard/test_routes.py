"""The dashboard over a real socket: who gets in, what every answer carries, and what an attacker gets."""

from __future__ import annotations

import re

import aiohttp
import pytest
from aiohttp import web
from yarl import URL

from broker.dashboard.pages import Dashboard
from broker.dashboard.security import FORM_COOKIE, SESSION_COOKIE
from broker.metrics import Metrics
from broker.store.contract import Store
from broker.store.sql import open_store
from tests.support.dashboard import DISTRICTS, Running, csrf_of, post_sign_in, running, signed_in

OPEN = {("GET", "/sign-in"), ("POST", "/sign-in"), ("GET", "/dashboard/static/{name:.+}")}
"""All that may be reached without a session, beside the health routes, which are not the dashboard's."""


@pytest.fixture
async def store(tmp_path):
    store = open_store(f"sqlite:///{tmp_path}/fenghuo.db")
    await store.start()
    yield store
    await store.close()


@pytest.fixture
async def run(store: Store):
    async with running(store) as run:
        yield run


def client() -> aiohttp.ClientSession:
    return aiohttp.ClientSession(cookie_jar=aiohttp.CookieJar(unsafe=True))


async def test_every_route_that_is_not_open_refuses_whoever_has_no_session(store: Store, run: Running):
    routes = Dashboard(store, DISTRICTS, Metrics()).routes()
    closed = [route for route in routes if (route.method, route.path) not in OPEN]
    assert len(closed) == len(routes) - len(OPEN)
    assert {"/", "/sign-out", "/dashboard/events", "/dashboard/districts.geojson"} <= {r.path for r in closed}
    async with aiohttp.ClientSession() as stranger:
        for route in closed:
            for cookie in ({}, {SESSION_COOKIE: "x" * 43}):
                url = run.url + route.path
                async with stranger.request(route.method, url, cookies=cookie, allow_redirects=False) as answer:
                    body = await answer.text()
                    if answer.status == 303:
                        assert answer.headers["Location"].startswith("/sign-in"), route
                        assert body == ""
                    else:
                        assert answer.status == 401, route
                        assert body == '{"error": "sign in first"}'


async def test_sign_in_static_files_and_health_need_no_session(run: Running):
    async with aiohttp.ClientSession() as stranger:
        for path in ("/sign-in", "/dashboard/static/base.css", "/-/healthy", "/-/ready"):
            async with stranger.get(run.url + path) as answer:
                assert answer.status == 200, path


async def test_every_answer_of_the_dashboard_forbids_inline_code_frames_and_sniffing(run: Running):
    async with signed_in(run) as user:
        for path in (
            "/",
            "/sign-in",
            "/dashboard/session",
            "/dashboard/events",
            "/dashboard/districts.geojson",
            "/dashboard/static/base.css",
            "/dashboard/static/missing.css",
        ):
            async with user.get(run.url + path, allow_redirects=False) as answer:
                policy = answer.headers["Content-Security-Policy"]
                assert "default-src 'self'" in policy, path
                assert "frame-ancestors 'none'" in policy
                assert "unsafe" not in policy
                assert answer.headers["X-Content-Type-Options"] == "nosniff"
                assert answer.headers["Referrer-Policy"] == "no-referrer"
                if "static" not in path and "geojson" not in path:
                    assert answer.headers["Cache-Control"] == "no-store", path


async def test_the_session_cookie_is_out_of_reach_of_scripts_and_other_sites(run: Running):
    async with client() as user:
        answer = await post_sign_in(user, run.url, run.name, run.password)
        cookie = answer.cookies[SESSION_COOKIE]
        assert answer.status == 303
        assert answer.headers["Location"] == "/"
        assert cookie["httponly"]
        assert cookie["samesite"] == "Strict"
        assert cookie["path"] == "/"
        assert not cookie["secure"]  # plain http on loopback
        assert len(cookie.value) >= 43


async def test_cookies_are_secure_where_a_proxy_ends_tls(store: Store):
    dashboard = Dashboard(store, DISTRICTS, Metrics(), secure=True)
    app = web.Application()
    dashboard.mount(app)
    runner = web.AppRunner(app)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    try:
        host, port = runner.addresses[0][:2]
        async with aiohttp.ClientSession() as user, user.get(f"http://{host}:{port}/sign-in") as answer:
            assert answer.cookies[FORM_COOKIE]["secure"]
    finally:
        await runner.cleanup()


async def test_signing_in_gives_a_new_id_whatever_cookie_came_along(run: Running):
    async with client() as user:
        user.cookie_jar.update_cookies({SESSION_COOKIE: "planted" * 7}, URL(run.url))
        first = (await post_sign_in(user, run.url, run.name, run.password)).cookies[SESSION_COOKIE].value
        assert first != "planted" * 7
    async with client() as thief:
        answer = await thief.get(run.url, cookies={SESSION_COOKIE: "planted" * 7}, allow_redirects=False)
        assert answer.status == 303


async def test_a_form_without_its_token_is_refused_and_says_so_in_the_form(run: Running):
    async with client() as user:
        await csrf_of(user, run.url)
        for token in ("", "0" * 64, "烽"):
            fields = {"csrf": token, "name": run.name, "password": run.password}
            async with user.post(f"{run.url}/sign-in", data=fields, allow_redirects=False) as answer:
                assert answer.status == 403
                assert "表单已过期" in await answer.text()
                assert SESSION_COOKIE not in answer.cookies


async def test_a_post_that_is_no_form_is_refused_and_never_a_fault(run: Running):
    async with client() as user:
        for body, kind in (
            (b"\xff\xfe", "application/x-www-form-urlencoded"),
            (b"name=%ff%fe&csrf=%80", "application/x-www-form-urlencoded"),
            (b"{}", "application/json"),
            (b"--x\r\nbroken", "multipart/form-data; boundary=x"),
            (b"a=b", "application/x-www-form-urlencoded; charset=nonsense"),
            (b"", "multipart/form-data"),
        ):
            async with user.post(f"{run.url}/sign-in", data=body, headers={"Content-Type": kind}) as answer:
                assert answer.status == 403, (body, kind, await answer.text())


async def test_guessing_runs_into_a_delay_that_holds_the_right_password_off_too(run: Running):
    async with client() as user:
        for _ in range(3):
            assert (await post_sign_in(user, run.url, run.name, "guess")).status == 401
        answer = await post_sign_in(user, run.url, run.name, run.password)
        assert answer.status == 429
        assert 1 <= int(answer.headers["Retry-After"]) <= 2
        assert "秒后再试" in await answer.text()


@pytest.mark.parametrize("wanted", ["https://evil.example", "//evil.example", "/\\evil.example", "/ok?x=1"])
async def test_after_signing_in_nobody_is_led_to_another_server(run: Running, wanted: str):
    async with client() as user:
        async with user.get(f"{run.url}/sign-in", params={"next": wanted}) as answer:
            shown = re.search(r'name="next" value="([^"]*)"', await answer.text())
        answer = await post_sign_in(user, run.url, run.name, run.password, next=wanted)
        kept = wanted if wanted == "/ok?x=1" else "/"
        assert shown is not None
        assert shown[1] == kept
        assert answer.headers["Location"] == kept
        # Somebody who is signed in already is sent on by the link itself.
        async with user.get(f"{run.url}/sign-in", params={"next": wanted}, allow_redirects=False) as answer:
            assert answer.headers["Location"] == kept


async def test_whatever_is_typed_as_a_name_comes_back_as_text(run: Running):
    async with client() as user:
        answer = await post_sign_in(user, run.url, '"><script>alert(1)</script>', "guess")
        page = await answer.text()
        assert "<script>alert" not in page
        assert "&lt;script&gt;" in page


async def test_signing_out_needs_the_token_and_ends_the_session_everywhere(run: Running):
    async with signed_in(run) as user:
        page = await (await user.get(run.url)).text()
        token = re.search(r'action="/sign-out">\s*<input type="hidden" name="csrf" value="([^"]+)"', page)
        assert token is not None
        session = next(cookie.value for cookie in user.cookie_jar if cookie.key == SESSION_COOKIE)
        async with user.post(f"{run.url}/sign-out", data={"csrf": "x"}, allow_redirects=False) as answer:
            assert answer.status == 403
        assert (await user.get(f"{run.url}/dashboard/session")).status == 200
        async with user.post(f"{run.url}/sign-out", data={"csrf": token[1]}, allow_redirects=False) as answer:
            assert answer.headers["Location"] == "/sign-in"
        async with client() as other:
            answer = await other.get(f"{run.url}/dashboard/session", cookies={SESSION_COOKIE: session})
            assert answer.status == 401


async def test_language_and_theme_are_kept_once_chosen(run: Running):
    async with client() as user:
        assert '<html lang="zh-CN" data-theme="dark">' in await (await user.get(f"{run.url}/sign-in")).text()
        await user.get(f"{run.url}/sign-in?lang=en")
        await user.get(f"{run.url}/sign-in?theme=light")
        assert '<html lang="en" data-theme="light">' in await (await user.get(f"{run.url}/sign-in")).text()
        await user.get(f"{run.url}/sign-in?lang=klingon&theme=%22%3E")
        assert '<html lang="en" data-theme="light">' in await (await user.get(f"{run.url}/sign-in")).text()


@pytest.mark.parametrize(
    "name",
    ["../pages.py", "..%2fpages.py", "js/../../pages.py", "%2e%2e/pages.py", "/etc/passwd", "js", "x%00.css"],
)
async def test_static_gives_nothing_but_its_own_files(run: Running, name: str):
    async with aiohttp.ClientSession() as stranger:
        url = URL(f"{run.url}/dashboard/static/{name}", encoded=True)
        async with stranger.get(url) as answer:
            assert answer.status == 404


async def test_what_the_browser_has_is_not_sent_again(run: Running):
    async with signed_in(run) as user:
        for path in ("/dashboard/static/live.css", "/dashboard/districts.geojson"):
            async with user.get(run.url + path) as answer:
                etag, body = answer.headers["ETag"], await answer.read()
                assert answer.headers["Content-Encoding"] == "gzip"
            async with user.get(run.url + path, headers={"If-None-Match": etag}) as answer:
                assert answer.status == 304
                assert await answer.read() == b""
            async with user.get(run.url + path, headers={"Accept-Encoding": "identity"}) as answer:
                assert "Content-Encoding" not in answer.headers
                assert await answer.read() == body


async def test_the_first_page_weighs_less_than_400_kb_before_map_data(run: Running):
    total = 0
    async with aiohttp.ClientSession(auto_decompress=False, cookie_jar=aiohttp.CookieJar(unsafe=True)) as user:
        async with user.get(f"{run.url}/sign-in", headers={"Accept-Encoding": "identity"}) as answer:
            token = re.search(r'name="csrf" value="([^"]+)"', await answer.text())
        assert token is not None
        fields = {"csrf": token[1], "name": run.name, "password": run.password}
        await user.post(f"{run.url}/sign-in", data=fields, allow_redirects=False)
        seen: set[str] = set()
        waiting = ["/"]
        while waiting:
            path = waiting.pop()
            if path in seen:
                continue
            seen.add(path)
            async with user.get(run.url + path) as answer:
                assert answer.status == 200, path
                total += len(await answer.read())
            async with user.get(run.url + path, headers={"Accept-Encoding": "identity"}) as answer:
                text = await answer.text(errors="replace")
            if path == "/":
                waiting += re.findall(r'(?:href|src)="(/dashboard/static/[^"]+)"', text)
            for name in re.findall(r'^import .* from "(\.[^"]+)";', text, re.MULTILINE):
                waiting.append(str(URL(run.url + path).join(URL(name)).path))
    assert any("leaflet" in path for path in seen)
    assert any("uPlot.esm" in path for path in seen)
    assert total < 400_000
