"""The departments' API on a real store and a real server, and alerts to post to it."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Iterable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta, timezone
from functools import lru_cache
from pathlib import Path
from typing import Any

import aiohttp
from aiohttp import web
from multidict import CIMultiDict
from yarl import URL

from broker.api import published
from broker.api.alerts import counting
from broker.api.bodies import Bodies
from broker.api.health import Health
from broker.api.problems import middleware
from broker.api.rates import RateLimit
from broker.api.server import HEAD_SECONDS, Server
from broker.api.service import Api as ServedApi
from broker.audience.index import LiveIndex
from broker.audience.policies import load_policies
from broker.cap import parse_xml, to_json
from broker.cap.build import alert_of
from broker.clock import now_ms
from broker.dispatch.planner import Planner
from broker.dispatch.previews import Previews
from broker.dispatch.proposal import Proposer
from broker.feeds.routes import FeedRoutes
from broker.geo.events import EventCatalogue
from broker.intake import tokens
from broker.intake.accept import Intake
from broker.intake.authority import Authority
from broker.intake.departments import Department, Departments, ReleaseMode
from broker.metrics import Metrics
from broker.release.release import Release
from broker.rendition.templates import TemplateSet
from broker.store.contract import Store
from broker.store.sql import open_store
from tests.support.places import KEYRING, ROOT, districts, regions

MAX_BYTES = 64 * 1024
"""Small, so that what is too large can be posted quickly."""
LIMITED = "met-limited"
"""A department of these tests that may give yellow and blue only, and only for Hechuan."""
CAREFUL = "met-careful"
"""A department of these tests whose warnings a second person must release."""
BEIJING = timezone(timedelta(hours=8))

_ALERT = """<?xml version="1.0" encoding="UTF-8"?>
<alert xmlns="urn:oasis:names:tc:emergency:cap:1.2">
  <identifier>{identifier}</identifier>
  <sender>{sender}</sender>
  <sent>{sent}</sent>
  <status>Actual</status>
  <msgType>Alert</msgType>
  <scope>Public</scope>
  <info>
    <language>zh-CN</language>
    <category>Met</category>
    <event>暴雨</event>
    <responseType>Shelter</responseType>
    <urgency>Immediate</urgency>
    <severity>{severity}</severity>
    <certainty>Likely</certainty>
    <eventCode><valueName>GB/T 35561</valueName><value>11B03</value></eventCode>
    <effective>{sent}</effective>
    <expires>{expires}</expires>
    <senderName>合川区气象台</senderName>
    <headline>合川区气象台发布暴雨预警</headline>
    <description>预计未来3小时强降雨持续。</description>
    <instruction>立即离开河边和陡坡。</instruction>
    <area>
      <areaDesc>合川区两岸镇街</areaDesc>
      <polygon>30.0,106.2 30.0,106.4 30.1,106.4 30.1,106.2 30.0,106.2</polygon>
    </area>
  </info>
</alert>
"""


_SENT = datetime.now(UTC) - timedelta(minutes=1)
"""One for the whole run: the same arguments must give the same bytes, also a second later."""


def alert_xml(
    identifier: str = "50011741600000_20260618093000",
    *,
    sender: str = "hechuan-met@warning.example",
    severity: str = "Extreme",
    sent: datetime | None = None,
    lasts: timedelta = timedelta(hours=6),
) -> str:
    """A valid warning of the Hechuan station, sent a minute ago."""
    sent = (sent or _SENT).astimezone(BEIJING).replace(microsecond=0)
    return _ALERT.format(
        identifier=identifier,
        sender=sender,
        severity=severity,
        sent=sent.isoformat(),
        expires=(sent + lasts).isoformat(),
    )


def as_json(xml: str) -> dict[str, Any]:
    """The same alert in the JSON form."""
    parsed = parse_xml(xml.encode())
    assert parsed.root is not None
    alert = alert_of(parsed.root)
    assert alert is not None
    content: dict[str, Any] = json.loads(to_json(alert))
    return content


@dataclass(frozen=True)
class Answer:
    """What the server said."""

    status: int
    headers: Mapping[str, str]
    body: bytes

    @property
    def media_type(self) -> str:
        return self.headers.get("Content-Type", "").partition(";")[0]

    def json(self) -> Any:
        return json.loads(self.body)

    @property
    def rules(self) -> set[str]:
        """The rules that a refusal names."""
        return {problem["rule"] for problem in self.json().get("problems", [])}


@dataclass
class Api:
    """A running API."""

    store: Store
    server: Server
    session: aiohttp.ClientSession
    departments: Departments
    metrics: Metrics
    served: ServedApi
    folder: Path
    released: list[None] = field(default_factory=list)
    _tokens: dict[str, str] = field(default_factory=dict)

    async def token(self, department: str, **options: Any) -> str:
        """A fresh token; `scopes` and `days` as in `tokens.new`."""
        token, record = tokens.new(department, **options)
        await self.store.add_token(record)
        return token

    async def call(
        self,
        method: str,
        path: str,
        *,
        body: Any = None,
        department: str | None = "met-hechuan",
        headers: Mapping[str, str] | None = None,
    ) -> Answer:
        """One request with the department's token, unless `headers` bring their own or it is None."""
        sent = dict(headers or {})
        if department is not None and "Authorization" not in sent:
            if department not in self._tokens:
                self._tokens[department] = await self.token(department)
            sent["Authorization"] = f"Bearer {self._tokens[department]}"
        skip = () if "Content-Type" in sent else ("Content-Type",)
        # Encoded as given: these tests ask for paths that a polite client would mend.
        url = URL(self.server.url + path, encoded=True)
        async with self.session.request(
            method, url, data=body, headers=sent, skip_auto_headers=skip, allow_redirects=False
        ) as answer:
            return Answer(answer.status, answer.headers, await answer.read())

    async def post(
        self,
        body: Any,
        content_type: str | None = "application/cap+xml",
        *,
        department: str | None = "met-hechuan",
        headers: Mapping[str, str] | None = None,
    ) -> Answer:
        """Post an alert; text is sent as UTF-8, a mapping as JSON."""
        if isinstance(body, dict):
            body, content_type = json.dumps(body, ensure_ascii=False), "application/json"
        if isinstance(body, str):
            body = body.encode()
        sent = dict(headers or {})
        if content_type is not None:
            sent["Content-Type"] = content_type
        return await self.call("POST", "/v1/alerts", body=body, department=department, headers=sent)

    async def act(
        self, alert: str, action: str, body: Mapping[str, Any] | None, token: str, **headers: str
    ) -> Answer:
        """POST to an action of an alert as whoever has `token`."""
        sent = {
            "Authorization": f"Bearer {token}",
            **{name.replace("_", "-"): text for name, text in headers.items()},
        }
        if body is not None:
            sent["Content-Type"] = "application/json"
        data = None if body is None else json.dumps(body, ensure_ascii=False).encode()
        return await self.call("POST", f"/v1/alerts/{alert}/{action}", body=data, headers=sent)

    async def preview(self, alert: str, token: str) -> str:
        """The hash of a fresh preview."""
        answer = await self.act(alert, "preview", None, token)
        assert answer.status == 201, answer.body
        return str(answer.json()["preview"])

    async def raw(self, request: bytes, timeout: float = 30.0) -> Answer:
        """Bytes that no HTTP client would send; they should ask for the connection to be closed."""
        reader, writer = await asyncio.open_connection("127.0.0.1", self.server.port)
        try:
            writer.write(request)
            await writer.drain()
            async with asyncio.timeout(timeout):
                head = await reader.readuntil(b"\r\n\r\n")
                first, *lines = head.decode("latin-1").strip().split("\r\n")
                headers = {
                    name.strip(): value.strip() for name, _, value in (line.partition(":") for line in lines)
                }
                # Not to its end: after a refusal the server waits a while for the rest of the request.
                body = await reader.readexactly(int(headers["Content-Length"]))
        finally:
            writer.close()
            await writer.wait_closed()
        return Answer(int(first.split()[1]), CIMultiDict(headers), body)

    async def assert_nothing_was_kept(self) -> None:
        """No alert and no batch is in the store."""
        assert await self.store.alerts() == []
        assert await self.store.batch_ids() == []


def departments() -> Departments:
    """Those of the configuration and two more."""
    given = list(Departments.load(ROOT / "config/departments.yaml"))
    hechuan = next(one for one in given if one.id == "met-hechuan")

    def like_hechuan(name: str, **changes: object) -> Department:
        return hechuan.model_copy(update={"id": name, "senders": (f"{name}@warning.example",), **changes})

    asks: dict[Any, ReleaseMode] = {"Red": ReleaseMode.SECOND_PERSON, "Blue": ReleaseMode.NONE}
    limited = like_hechuan(LIMITED, levels=("Yellow", "Blue"))
    return Departments((*given, limited, like_hechuan(CAREFUL, release=asks)))


@lru_cache
def planner() -> Planner:
    """One by the policies and templates of the project."""
    policies, templates = load_policies(ROOT / "policies"), TemplateSet.load(ROOT / "templates")
    return Planner(policies, templates, regions(), districts(), "as tested")


def previews_of(store: Store) -> Previews:
    """Real previews over a store."""
    index = LiveIndex(store)
    return Previews(store, Proposer(store, planner(), KEYRING, index), index)


@asynccontextmanager
async def running_api(
    folder: Path,
    *,
    url: str | None = None,
    rate: RateLimit | None = None,
    bodies: Bodies | None = None,
    head_seconds: float = HEAD_SECONDS,
) -> AsyncIterator[Api]:
    """An API on a store of its own below `folder`, or on the store at `url`, with real previews."""
    store = open_store(url or f"sqlite:///{folder / 'store.db'}")
    await store.start()
    known, metrics = departments(), Metrics()
    authority = Authority(regions(), districts(), EventCatalogue.load(ROOT / "config/events.yaml"))
    released: list[None] = []
    previews = previews_of(store)
    release = Release(store, known, guard=previews)
    intake = Intake(
        store, known, authority, first_move=release.at_once, accepted=counting(metrics), max_bytes=MAX_BYTES
    )
    served = ServedApi(
        store,
        intake,
        release,
        previews,
        metrics,
        Health(store, None, metrics, shards=1),
        released=lambda: released.append(None),
        rate=rate,
        bodies=bodies,
        more=published.operations(FeedRoutes(store, None)),
        tags=published.TAGS,
    )
    app = web.Application(middlewares=[middleware], client_max_size=MAX_BYTES)
    served.mount(app)
    server = Server(app, "127.0.0.1", 0, head_seconds=head_seconds)
    await server.start()
    try:
        # A refusal may close the connection, so each request has its own.
        connector = aiohttp.TCPConnector(force_close=True)
        timeout = aiohttp.ClientTimeout(total=60)
        async with aiohttp.ClientSession(timeout=timeout, connector=connector) as session:
            yield Api(store, server, session, known, metrics, served, folder, released)
    finally:
        await server.close()
        await store.close()


async def chunks(parts: Iterable[bytes]) -> AsyncIterator[bytes]:
    """A body whose length is not told beforehand."""
    for part in parts:
        yield part
        await asyncio.sleep(0)


async def expired_token(api: Api, department: str = "met-hechuan") -> str:
    """A token whose day has passed."""
    token, record = tokens.new(department, days=1)
    old = now_ms() - 1
    await api.store.add_token(type(record)(**{**_fields(record), "expires": old}))
    return token


async def revoked_token(api: Api, department: str = "met-hechuan") -> str:
    """A token that was taken back."""
    token, record = tokens.new(department)
    await api.store.add_token(record)
    assert await api.store.revoke_token(record.id, now_ms())
    return token


def _fields(record: object) -> dict[str, Any]:
    return {name: getattr(record, name) for name in type(record).__dataclass_fields__}  # type: ignore[attr-defined]
