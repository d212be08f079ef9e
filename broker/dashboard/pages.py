"""The dashboard: its routes, pages and streams, to be mounted into an aiohttp application."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable, Mapping
from contextlib import aclosing
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Final
from urllib.parse import urlencode

from aiohttp import web
from jinja2 import Environment, FileSystemLoader, StrictUndefined

from broker import logs
from broker.dashboard.accounts import Passwords, TooManyFailures, WrongPassword
from broker.dashboard.assets import Asset, Static
from broker.dashboard.districts import drawn_districts
from broker.dashboard.live import Live
from broker.dashboard.security import (
    FORM_COOKIE,
    SESSION_COOKIE,
    local_path,
    protect,
    set_secret_cookie,
)
from broker.dashboard.sessions import FormTokens, Session, Sessions, same
from broker.dashboard.views import Names
from broker.dashboard.words import LANGUAGES, TAGS, Words
from broker.errors import StoreError
from broker.geo.districts import Districts
from broker.geo.events import EventCatalogue
from broker.intake.departments import Departments
from broker.ledger.arrays import COUNT_NAMES
from broker.metrics import Metrics
from broker.store.contract import Store
from broker.types import CHANNELS

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]
SignedHandler = Callable[[web.Request, Session], Awaitable[web.StreamResponse]]

_HERE: Final = Path(__file__).parent
_THEMES: Final = ("dark", "light")
_YEAR: Final = 31_536_000
_STALLED: Final = 30.0
"""Seconds after which a viewer who takes nothing is let go; the page comes back by itself."""
_BEIJING: Final = timezone(timedelta(hours=8))
_log = logs.get(role="dashboard")


class Dashboard:
    """Sign-in, the live page and its stream.

    `districts_path` is districts.geojson; `events` and `departments` give their names in both languages.
    `secure` marks cookies Secure whatever the request looks like, for a proxy that ends TLS. `sessions` may
    be given, so that sessions outlive this object.
    """

    def __init__(
        self,
        store: Store,
        districts_path: Path,
        metrics: Metrics,
        *,
        events: EventCatalogue | None = None,
        departments: Departments | None = None,
        sessions: Sessions | None = None,
        secure: bool = False,
        interval: float = 0.25,
        beat: float = 15.0,
    ) -> None:
        self._districts_path = districts_path
        self._secure = secure
        self._passwords = Passwords(store)
        self._sessions = sessions if sessions is not None else Sessions()
        self._forms = FormTokens()
        self._live = Live(store, Names(events, departments), metrics, interval=interval, beat=beat)
        self._static = Static(_HERE / "static")
        self._words = {language: Words.load(language) for language in LANGUAGES}
        self._templates = Environment(
            loader=FileSystemLoader(_HERE / "templates"),
            autoescape=True,
            undefined=StrictUndefined,
            trim_blocks=True,
            lstrip_blocks=True,
        )
        self._districts: Asset | None = None

    @property
    def live(self) -> Live:
        """The live picture that the streams follow."""
        return self._live

    def routes(self) -> list[web.RouteDef]:
        """All routes; every one that is not about signing in or a static file asks for a session."""
        return [
            web.get("/", self._page(self.overview)),
            web.get("/sign-in", self._anybody(self.sign_in_form)),
            web.post("/sign-in", self._anybody(self.sign_in)),
            web.post("/sign-out", self._page(self.sign_out)),
            web.get("/dashboard/session", self._data(self.session)),
            web.get("/dashboard/events", self._data(self.events)),
            web.get("/dashboard/districts.geojson", self._data(self.districts)),
            web.get("/dashboard/static/{name:.+}", self._anybody(self.static)),
        ]

    def mount(self, app: web.Application) -> None:
        """Add the routes, and end the streams when the application shuts down, so that it need not wait."""
        app.add_routes(self.routes())
        app.on_shutdown.append(self._shut)

    async def start(self) -> None:
        """Read the districts. Raises GeoDataError."""
        self._districts = await asyncio.to_thread(self._draw)

    async def close(self) -> None:
        """End every stream. Call it before the server closes, which would wait for them."""
        await self._live.close()

    async def overview(self, request: web.Request, session: Session) -> web.StreamResponse:
        """The live page."""
        words = self._words_for(request)
        setup = {
            "language": words.language,
            "locale": TAGS[words.language],
            "channels": [str(channel) for channel in CHANNELS],
            "counts": COUNT_NAMES,
            "words": words.strings,
        }
        text = json.dumps(setup, ensure_ascii=False, separators=(",", ":")).replace("<", "\\u003c")
        return self._render(request, "live.html", {"session": session, "setup": text})

    async def sign_in_form(self, request: web.Request) -> web.StreamResponse:
        """The form; somebody who is signed in already is sent on."""
        wanted = local_path(request.query.get("next", "/"))
        if self._sessions.get(request.cookies.get(SESSION_COOKIE)) is not None:
            return _see_other(wanted)
        return self._form(request, wanted)

    async def sign_in(self, request: web.Request) -> web.StreamResponse:
        """Check name and password; a new session on success, the form with what is wrong otherwise."""
        fields = await _fields(request)
        wanted = local_path(fields.get("next", "/"))
        name = fields.get("name", "")
        if not self._forms.fits(request.cookies.get(FORM_COOKIE), fields.get("csrf", "")):
            return self._form(request, wanted, name=name, error="sign_in.form_expired", status=403)
        try:
            person = await self._passwords.check(name, fields.get("password", ""), request.remote or "")
        except TooManyFailures as error:
            answer = self._form(request, wanted, name=name, error="sign_in.wait", status=429, seconds=error.seconds)
            answer.headers["Retry-After"] = str(error.seconds)
            return answer
        except WrongPassword:
            _log.info("sign_in_refused", remote=request.remote)
            return self._form(request, wanted, name=name, error="sign_in.wrong", status=401)
        except StoreError as error:
            _log.warning("sign_in_store_failed", error=str(error))
            return self._form(request, wanted, name=name, error="sign_in.unavailable", status=503)
        former = request.cookies.get(SESSION_COOKIE)
        session_id = self._sessions.begin(person.name, person.role, former=former)
        _log.info("signed_in", person=person.name, remote=request.remote)
        answer = _see_other(wanted)
        set_secret_cookie(answer, SESSION_COOKIE, session_id, secure=self._is_secure(request))
        answer.del_cookie(FORM_COOKIE, path="/")
        return answer

    async def sign_out(self, request: web.Request, session: Session) -> web.StreamResponse:
        """End the session."""
        fields = await _fields(request)
        if not same(session.csrf, fields.get("csrf", "")):
            return web.Response(status=403, text=self._words_for(request)("sign_in.form_expired"))
        self._sessions.end(request.cookies[SESSION_COOKIE])
        _log.info("signed_out", person=session.name)
        answer = _see_other("/sign-in")
        answer.del_cookie(SESSION_COOKIE, path="/")
        return answer

    async def session(self, _request: web.Request, session: Session) -> web.StreamResponse:
        """Who is signed in; a page whose stream broke asks whether it may come back."""
        return web.json_response({"name": session.name, "role": session.role})

    async def events(self, request: web.Request, session: Session) -> web.StreamResponse:
        """The live stream: `snapshot`, then `change`, `trouble` and `beat`; after a break, `snapshot` again."""
        response = web.StreamResponse(headers={"Content-Type": "text/event-stream", "X-Accel-Buffering": "no"})
        protect(response)
        await response.prepare(request)
        try:
            async with aclosing(self._live.follow(lambda: self._sessions.touch(session))) as frames:
                async for frame in frames:
                    async with asyncio.timeout(_STALLED):
                        await response.write(frame)
        except TimeoutError:
            if request.transport is not None:
                request.transport.abort()
        except ConnectionResetError:
            pass
        return response

    async def districts(self, request: web.Request, _session: Session) -> web.StreamResponse:
        """The outlines of today's districts as GeoJSON."""
        if self._districts is None:
            return web.Response(status=503)
        return self._districts.answer(request, "private, no-cache")

    async def static(self, request: web.Request) -> web.StreamResponse:
        """A file of the pages."""
        asset = await self._static.get(request.match_info["name"])
        if asset is None:
            return web.Response(status=404)
        return asset.answer(request, "public, no-cache")

    def _anybody(self, handler: Handler) -> Handler:
        async def guarded(request: web.Request) -> web.StreamResponse:
            response = await handler(request)
            if not response.prepared:
                protect(response)
            return response

        return guarded

    def _page(self, handler: SignedHandler) -> Handler:
        """For people: without a session, to the sign-in and back."""

        def refused(request: web.Request) -> web.StreamResponse:
            wanted = request.path_qs if request.method == "GET" else "/"
            return _see_other("/sign-in" if wanted == "/" else f"/sign-in?{urlencode({'next': wanted})}")

        return self._signed_in(handler, refused)

    def _data(self, handler: SignedHandler) -> Handler:
        """For scripts: without a session, 401."""
        return self._signed_in(handler, lambda _: web.json_response({"error": "sign in first"}, status=401))

    def _signed_in(self, handler: SignedHandler, refused: Callable[[web.Request], web.StreamResponse]) -> Handler:
        async def guarded(request: web.Request) -> web.StreamResponse:
            session = self._sessions.get(request.cookies.get(SESSION_COOKIE))
            return refused(request) if session is None else await handler(request, session)

        return self._anybody(guarded)

    def _form(
        self,
        request: web.Request,
        wanted: str,
        *,
        name: str = "",
        error: str | None = None,
        status: int = 200,
        **values: object,
    ) -> web.Response:
        cookie = request.cookies.get(FORM_COOKIE) or self._forms.fresh_cookie()
        message = None if error is None else self._words_for(request)(error, **values)
        context = {"csrf": self._forms.token(cookie), "next": wanted, "name": name[:64], "error": message}
        answer = self._render(request, "sign_in.html", context, status=status)
        set_secret_cookie(answer, FORM_COOKIE, cookie, secure=self._is_secure(request))
        return answer

    def _render(
        self, request: web.Request, template: str, context: Mapping[str, object], *, status: int = 200
    ) -> web.Response:
        """A page in the language and theme that the query asks for, which is kept, or that were kept."""
        words, theme = self._words_for(request), _choice(request, "theme", _THEMES)
        text = self._templates.get_template(template).render(
            {"t": words, "tag": TAGS[words.language], "theme": theme} | dict(context)
        )
        answer = web.Response(text=text, status=status, content_type="text/html")
        for key, value in (("lang", words.language), ("theme", theme)):
            if request.query.get(key) == value:
                answer.set_cookie(f"fenghuo_{key}", value, max_age=_YEAR, path="/", httponly=True, samesite="Lax")
        return answer

    def _words_for(self, request: web.Request) -> Words:
        return self._words[_choice(request, "lang", LANGUAGES)]

    def _is_secure(self, request: web.Request) -> bool:
        return self._secure or request.secure

    def _draw(self) -> Asset:
        today = datetime.now(_BEIJING).date()
        return Asset.of(drawn_districts(Districts.load(self._districts_path), today), "application/geo+json")

    async def _shut(self, _app: web.Application) -> None:
        await self.close()


def _see_other(location: str) -> web.Response:
    return web.Response(status=303, headers={"Location": location})


def _choice(request: web.Request, key: str, known: tuple[str, ...]) -> str:
    for value in (request.query.get(key), request.cookies.get(f"fenghuo_{key}")):
        if value in known:
            return value
    return known[0]


async def _fields(request: web.Request) -> dict[str, str]:
    """The text fields of a posted form; none if the body is no form that can be read. Nobody uploads here."""
    if request.content_type != "application/x-www-form-urlencoded":
        return {}
    try:
        form = await request.post()
    except (ValueError, LookupError):
        return {}
    return {key: value for key, value in form.items() if isinstance(value, str)}
