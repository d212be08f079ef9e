"""`/openapi.json`, the pages under `/docs` that show it to people, and the problem types under `/problems`.

Made on the server as plain HTML with one small style sheet: no script, and nothing from anywhere else.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final

from aiohttp import ETag, web
from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup, escape

from broker.api.answering import known
from broker.api.codes import CODES
from broker.api.declare import Answer, Call, Operation
from broker.api.models import AnyJson
from broker.api.openapi import SCOPES, document
from broker.api.said import CHINESE, Said
from broker.errors import NotFound

LANGUAGES: Final = ("zh", "en")
_HERE: Final = Path(__file__).parent / "pages"
_HTML: Final = "text/html; charset=utf-8"
_SAFE: Final = {
    "Content-Security-Policy": (
        "default-src 'none'; style-src 'self'; img-src data:; base-uri 'none'; form-action 'none'; "
        "frame-ancestors 'none'"
    ),
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
}
_CODE: Final = re.compile(r"`([^`]+)`")


class Reading:
    """Answers to those who want to know what the API is."""

    def __init__(self) -> None:
        self._templates = Environment(
            loader=FileSystemLoader(_HERE),
            autoescape=True,
            undefined=StrictUndefined,
            trim_blocks=True,
            lstrip_blocks=True,
        )
        self._templates.filters |= {"prose": prose, "json": _pretty}
        self._templates.globals |= {"CODES": CODES, "shape": shape}
        self._bodies: dict[str, tuple[str, bytes]] = {}

    def make(self, operations: Sequence[Operation], tags: Sequence[tuple[str, Said]] = ()) -> None:
        """Make all documents of the operations, once: they change only with the program."""
        api = document(operations, tags)
        text = json.dumps(api, ensure_ascii=False, indent=1).encode()
        self._bodies["openapi"] = ("application/json; charset=utf-8", text)
        self._bodies["style"] = ("text/css; charset=utf-8", (_HERE / "docs.css").read_bytes())
        for language in LANGUAGES:
            words = json.loads((_HERE / f"{language}.json").read_text(encoding="utf-8"))
            common: dict[str, Any] = {"lang": language, "t": words, "said": Texts(language), "api": api}
            self._page(f"docs.{language}", "docs.html", common, operations=operations, scopes=SCOPES)
            self._page(f"problems.{language}", "problems.html", common, codes=list(CODES.values()))
            for code in CODES.values():
                self._page(f"problems.{language}.{code.name}", "problems.html", common, codes=[code])

    def _page(self, name: str, template: str, common: Mapping[str, Any], **more: Any) -> None:
        html = self._templates.get_template(template).render({**common, **more})
        self._bodies[name] = (_HTML, html.encode())

    async def openapi(self, call: Call) -> web.Response:
        """The OpenAPI document."""
        return self._answer(call.request, "openapi")

    async def docs(self, call: Call) -> web.Response:
        """The page of all calls."""
        return self._answer(call.request, f"docs.{_language(call.request)}")

    async def style(self, call: Call) -> web.Response:
        """The style sheet of the pages."""
        return self._answer(call.request, "style")

    async def problems(self, call: Call) -> web.Response:
        """The page of all problem codes."""
        return self._answer(call.request, f"problems.{_language(call.request)}")

    async def problem(self, call: Call) -> web.Response:
        """The page of one problem code: what `type` in a problem leads to."""
        name = call.request.match_info["code"]
        if name not in CODES:
            raise NotFound("no such problem code")
        return self._answer(call.request, f"problems.{_language(call.request)}.{name}")

    def _answer(self, request: web.Request, name: str) -> web.Response:
        content_type, body = self._bodies[name]
        tag = ETag(hashlib.sha256(body).hexdigest()[:32])
        headers = {**_SAFE, "Cache-Control": "no-cache", "Vary": "Accept-Language"}
        if known(request, tag):
            answer = web.Response(status=304, headers=headers)
        else:
            answer = web.Response(body=body, headers={**headers, "Content-Type": content_type})
        answer.etag = tag
        return answer

    def operations(self) -> tuple[Operation, ...]:
        """The calls, declared."""

        def page(
            path: str, name: str, says: Said, handler: Any, media: str = "text/html", **more: Any
        ) -> Operation:
            return Operation(
                method="GET",
                path=path,
                name=name,
                tag="server",
                summary=says,
                description=says,
                handler=handler,
                answers=(Answer(200, says, media=(media,)),),
                store=False,
                **more,
            )

        codes = {"code": {"type": "string", "enum": list(CODES), "example": "invalid"}}
        openapi = Said("This API as OpenAPI 3.1", "本接口的 OpenAPI 3.1 文档")
        return (
            Operation(
                method="GET",
                path="/openapi.json",
                name="getOpenapi",
                tag="server",
                summary=openapi,
                description=openapi,
                handler=self.openapi,
                answers=(Answer(200, openapi, AnyJson),),
                store=False,
            ),
            page("/docs", "getDocs", Said("A page to read it", "接口文档页面"), self.docs),
            page("/docs/style.css", "getDocsStyle", Said("Its style sheet", "页面样式"), self.style, "text/css"),
            page("/problems", "getProblems", Said("All problem codes", "全部问题代码"), self.problems),
            page(
                "/problems/{code}",
                "getProblem",
                Said("One problem code", "单个问题代码"),
                self.problem,
                parameters=codes,
            ),
        )


class Texts:
    """Chooses a language of what is said in two."""

    def __init__(self, language: str) -> None:
        self._language = language

    def __call__(self, says: Said) -> str:
        """Of a text of ours."""
        return says.in_(self._language)

    def of(self, schema: Mapping[str, Any]) -> str:
        """Of a part of the document."""
        english = str(schema.get("description", ""))
        return str(schema.get(CHINESE) or english) if self._language == "zh" else english


def prose(text: str) -> Markup:
    """Text with `code` in backquotes, as HTML."""
    return Markup(_CODE.sub(r"<code>\1</code>", str(escape(text))))  # noqa: S704 - escaped before


def _pretty(value: Any) -> str:
    return value.strip() if isinstance(value, str) else json.dumps(value, ensure_ascii=False, indent=2)


def shape(schema: Mapping[str, Any]) -> str:
    """A schema in a few words: its type, format, choice or reference."""
    if "$ref" in schema:
        return str(schema["$ref"]).rpartition("/")[2]
    if "anyOf" in schema:
        return " | ".join(shape(each) for each in schema["anyOf"])
    if "enum" in schema:
        return " | ".join(map(str, schema["enum"]))
    if "const" in schema:
        return str(schema["const"])
    kind = str(schema.get("format") or schema.get("type", "any"))
    if kind == "array":
        return f"[{shape(schema.get('items', {}))}]"
    if kind == "object" and isinstance(schema.get("additionalProperties"), dict):
        return f"{{… : {shape(schema['additionalProperties'])}}}"
    if "minimum" in schema and "maximum" in schema:
        return f"{kind} {schema['minimum']}–{schema['maximum']}"
    return kind


def _language(request: web.Request) -> str:
    """`lang` of the query, else what the browser prefers of the two, else Chinese."""
    wanted = request.query.get("lang")
    if wanted in LANGUAGES:
        return wanted
    for part in request.headers.get("Accept-Language", "").split(","):
        name = part.partition(";")[0].strip().lower().partition("-")[0]
        if name in LANGUAGES:
            return name
    return LANGUAGES[0]
