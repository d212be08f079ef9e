"""The public feeds as declared calls, so that the document and the page for people have them too."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any, Final

from aiohttp import web
from pydantic import BaseModel, ConfigDict

from broker.api.declare import IF_NONE_MATCH, Answer, Call, Handler, Header, Operation, Shown, Strict
from broker.api.said import Said, said
from broker.feeds import atom
from broker.feeds.routes import FeedRoutes

_TAG: Final = "public"
TAGS: Final = ((_TAG, Said("For the public, without a token", "面向公众，无需令牌")),)
_LANGUAGE: Final[dict[str, Any]] = {
    "type": "string",
    "pattern": "^[A-Za-z]{2,3}(-[A-Za-z0-9]{1,8}){0,4}$",
    "example": "zh-CN",
}
_LEVELS: Final = ("red", "orange", "yellow", "blue", "all")
_LEVEL: Final[dict[str, Any]] = {"type": "string", "enum": list(_LEVELS), "example": "red"}
_ID: Final[dict[str, Any]] = {"type": "string", "pattern": "^[0-9a-f]{21}$", "example": "019b0c4d7f01a2b3c4d5e"}
_ETAG: Final = Header("ETag", Said("Changes when the answer does.", "内容变化时随之变化。"), '"4f1d"')
_SAME: Final = Answer(304, Said("What the reader has still holds.", "读者已有的版本仍然有效。"), headers=(_ETAG,))


class FeedPlace(Shown):
    """One feed."""

    language: str = said("Language tag.", "语言标签。")
    level: str = said("red, orange, yellow, blue or all.", "red、orange、yellow、blue 或 all。")
    url: str = said("Where it is.", "地址。")


class FeedIndex(Shown):
    """Which feeds there are."""

    languages: list[str] = said("Languages that present alerts are written in.", "当前预警所用的语言。")
    levels: list[str] = said("Levels.", "级别。")
    feeds: list[FeedPlace] = said("Every language at every level.", "各语言各级别的订阅源。")


class FeedQuery(Strict):
    """Where to go on."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    before: str | None = said(
        "Taken from the address of the next page.",
        "取自下一页的地址。",
        default=None,
        pattern="^[0-9]{1,15}-[0-9a-f]{21}$",
    )


def operations(routes: FeedRoutes) -> tuple[Operation, ...]:
    """The calls, served by `routes`."""

    def call(
        path: str,
        name: str,
        summary: Said,
        handler: Callable[[web.Request], Awaitable[web.StreamResponse]],
        answer: Answer,
        *,
        query: type[BaseModel] | None = None,
        **parameters: dict[str, Any],
    ) -> Operation:
        return Operation(
            method="GET",
            path=path,
            name=name,
            tag=_TAG,
            summary=summary,
            description=summary,
            handler=_asked(handler),
            answers=(answer, _SAME),
            headers=(IF_NONE_MATCH,),
            query=query,
            parameters=parameters,
        )

    page = Answer(
        200, Said("A page, newest first.", "一页，最新在前。"), media=(atom.MEDIA_TYPE,), headers=(_ETAG,)
    )
    message = Answer(200, Said("CAP 1.2.", "CAP 1.2。"), media=(atom.CAP_TYPE,), headers=(_ETAG,))
    index = Answer(200, Said("The feeds.", "订阅源。"), FeedIndex, headers=(_ETAG,))
    return (
        call("/feeds", "getFeeds", Said("Which feeds there are", "有哪些订阅源"), routes.index, index),
        call(
            "/feeds/alerts/{id}.xml",
            "getPublishedCap",
            Said("One published alert as signed CAP", "单条已发布预警（签名 CAP）"),
            routes.cap,
            message,
            id=_ID,
        ),
        call(
            "/feeds/{language}.atom",
            "getFeed",
            Said("Alerts in one language as Atom", "某语言的预警（Atom）"),
            routes.feed,
            page,
            query=FeedQuery,
            language=_LANGUAGE,
        ),
        call(
            "/feeds/{language}/{level}.atom",
            "getFeedOfLevel",
            Said("Alerts of one level in one language as Atom", "某语言某级别的预警（Atom）"),
            routes.feed,
            page,
            query=FeedQuery,
            language=_LANGUAGE,
            level=_LEVEL,
        ),
    )


def _asked(handler: Callable[[web.Request], Awaitable[web.StreamResponse]]) -> Handler:
    async def handle(call: Call) -> web.StreamResponse:
        return await handler(call.request)

    return handle
