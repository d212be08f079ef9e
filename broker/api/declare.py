"""What a call of the API is, said once: routing, checks, OpenAPI and the page for people are made from it."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Final, Literal, TypeVar

from aiohttp import web
from pydantic import BaseModel, ConfigDict

from broker.api.codes import CODES
from broker.api.said import Said
from broker.intake.tokens import Scope
from broker.store.records import TokenRecord

Model = TypeVar("Model", bound=BaseModel)
Share = Literal["write", "read"]
"""The two shares of a department's rate: a screen that polls must not use up what alerts need."""
CAP_XML: Final = "application/cap+xml"
JSON: Final = "application/json"


class Strict(BaseModel):
    """What callers send: nothing but what is declared."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)


class Shown(BaseModel):
    """What is answered: every member that is declared, and no other."""

    model_config = ConfigDict(extra="forbid", frozen=True)


@dataclass(frozen=True, slots=True)
class Header:
    """A header of requests or answers."""

    name: str
    says: Said
    example: str
    pattern: str | None = None


LOCATION: Final = Header(
    "Location", Said("Where the thing is.", "资源所在位置。"), "/v1/alerts/1a20ae80838eb9593e15d"
)
ETAG: Final = Header(
    "ETag",
    Said("Names this version; send it back in `If-None-Match`.", "标识此版本；可在 `If-None-Match` 中送回。"),
    'W/"9c56cc51b374c3ba189210d5b6d4bf57"',
)
LINK: Final = Header(
    "Link",
    Said("The next page (RFC 8288), where there is one.", "下一页（RFC 8288），如果有。"),
    '</v1/alerts?limit=50&cursor=eyJiIjoi>; rel="next"',
)
IF_NONE_MATCH: Final = Header(
    "If-None-Match",
    Said("ETags that the caller has; 304 if one still holds.", "调用方已有的 ETag；仍有效时应答 304。"),
    'W/"9c56cc51b374c3ba189210d5b6d4bf57"',
)
IDEMPOTENCY_KEY: Final = Header(
    "Idempotency-Key",
    Said(
        "A word of the caller's for this request, 1 to 64 visible ASCII characters. The same key with the same "
        "body "
        "again gives the same answer and does nothing more; with another body it is refused.",
        "调用方为本次请求选定的词，1 至 64 个可见 ASCII 字符。同一键与相同报文再次发送得到相同应答，不再执行；"
        "报文不同则拒绝。",
    ),
    "5f0c7a3e-take-back",
    r"^[!-~]{1,64}$",
)
RATE_HEADERS: Final = (
    Header("RateLimit-Limit", Said("Requests that may come at once.", "可同时到达的请求数。"), "300"),
    Header("RateLimit-Remaining", Said("How many of them are left now.", "目前剩余的请求数。"), "299"),
    Header("RateLimit-Reset", Said("Seconds until all are back.", "全部恢复所需的秒数。"), "1"),
)


@dataclass(frozen=True, slots=True)
class Answer:
    """One kind of good answer."""

    status: int
    says: Said
    model: type[BaseModel] | None = None
    """The shape of a JSON answer; None for an answer of another media type, or without a body."""
    media: tuple[str, ...] = ()
    headers: tuple[Header, ...] = ()
    example: str | None = None
    """Of an answer that is not JSON."""


@dataclass(frozen=True, slots=True)
class Message:
    """A body that is not ours to describe: a CAP message, by its media types."""

    media: tuple[str, ...]
    example: Mapping[str, object]
    """By media type."""


@dataclass(slots=True)
class Call:
    """One request whose token, path, query and body were checked as its operation declares."""

    request: web.Request
    bearer: TokenRecord | None = None
    query_model: BaseModel | None = None
    body_model: BaseModel | None = None
    raw: bytes | None = None
    """The body, where it was read already."""

    @property
    def token(self) -> TokenRecord:
        """Whose call it is; only for operations with scopes."""
        assert self.bearer is not None
        return self.bearer

    def query(self, model: type[Model]) -> Model:
        """The query, which the operation declares as `model`."""
        assert isinstance(self.query_model, model)
        return self.query_model

    def body(self, model: type[Model]) -> Model:
        """The body, which the operation declares as `model`."""
        assert isinstance(self.body_model, model)
        return self.body_model


Handler = Callable[[Call], Awaitable[web.StreamResponse]]


@dataclass(frozen=True, slots=True)
class Operation:
    """One method of one path."""

    method: Literal["GET", "POST", "PUT", "PATCH", "DELETE"]
    path: str
    name: str
    """OpenAPI's operationId."""
    tag: str
    summary: Said
    description: Said
    handler: Handler
    answers: tuple[Answer, ...]
    scopes: tuple[Scope, ...] = ()
    """One of these the token must have; without any, no token is asked for at all."""
    query: type[BaseModel] | None = None
    body: type[BaseModel] | Message | None = None
    headers: tuple[Header, ...] = ()
    """Headers that a caller may send."""
    problems: tuple[str, ...] = ()
    """Codes beside those that every call of its kind has."""
    share: Share | None = None
    """Which share of the department's rate it uses; None is never limited."""
    unlimited: Callable[[Call], Awaitable[bool]] | None = None
    """Whether this one request goes through although the share is used up."""
    refused: Callable[[str], None] | None = None
    """Told the code of every refusal."""
    store: bool = True
    """Whether it needs the store, and so may be unavailable."""
    parameters: Mapping[str, dict[str, Any]] = field(default_factory=dict)
    """Schemas of the path's parameters by name."""

    def codes(self) -> list[str]:
        """Every problem code that the operation may answer with, in the order of the catalogue."""
        found = {"internal", "malformed", *self.problems}
        if self.scopes:
            found |= {"unauthenticated", "not-allowed"}
        if self.share is not None:
            found.add("rate-limited")
        if self.store:
            found.add("unavailable")
        if self.parameters:
            found.add("not-found")
        if self.body is not None:
            found |= {"too-slow", "too-large", "media-type", "invalid", "unavailable"}
        return [name for name in CODES if name in found]

    def __post_init__(self) -> None:
        """A code that the catalogue lacks is a slip of ours, found at import."""
        unknown = set(self.problems) - set(CODES)
        assert not unknown, unknown
