"""The OpenAPI 3.1 document, made from the declared operations and their models."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from importlib.metadata import version
from typing import Any, Final, get_origin

from pydantic import BaseModel
from pydantic.json_schema import JsonSchemaMode, models_json_schema

from broker.api.codes import CODES
from broker.api.declare import JSON, RATE_HEADERS, Answer, Header, Message, Operation
from broker.api.models import ProblemBody
from broker.api.problems import MEDIA_TYPE
from broker.api.said import CHINESE, Said
from broker.intake.tokens import Scope

SCOPES: Final = {
    Scope.POST: Said("Posting, cancelling and correcting.", "提交、撤回与更正。"),
    Scope.READ: Said("Reading the department's own alerts, and previews.", "读取本部门的预警与预览。"),
    Scope.RELEASE: Said(
        "Releasing or rejecting what another token of the department posted.",
        "签发或驳回本部门其他令牌提交的预警。",
    ),
}
_TITLE: Final = Said("Fenghuo for departments", "烽火：面向部门的接口")
_ABOUT: Final = Said(
    "Post warnings as CAP 1.2, see what they would do, release them, follow every recipient, take them back. "
    "Errors are `application/problem+json` with a stable `code`. Times are ISO 8601 in UTC.",
    "以 CAP 1.2 提交预警，预览其效果，签发，跟踪每一位接收者，撤回。错误为带固定 `code` 的 "
    "`application/problem+json`。"
    "时间为 UTC 的 ISO 8601 格式。",
)
_TOKEN: Final = Said(
    "A token that `fenghuo department token` made. Each call names the scope that the token must have.",
    "由 `fenghuo department token` 生成的令牌。每个调用注明令牌所需的权限范围。",
)
TAGS: Final = {
    "alerts": Said("Messages", "消息"),
    "lifecycle": Said("Preview, release, take back", "预览、签发、撤回"),
    "server": Said("The server itself", "服务器本身"),
}
_BAD_HEADERS: Final = {
    401: Header("WWW-Authenticate", Said("Bearer (RFC 6750).", "Bearer（RFC 6750）。"), 'Bearer realm="fenghuo"'),
    429: Header("Retry-After", Said("Seconds.", "秒数。"), "3"),
    503: Header("Retry-After", Said("Seconds.", "秒数。"), "2"),
}


def document(operations: Sequence[Operation], tags: Iterable[tuple[str, Said]] = ()) -> dict[str, Any]:
    """The whole document; `tags` are those beside our own."""
    schemas = _schemas(operations)
    paths: dict[str, dict[str, Any]] = {}
    for operation in operations:
        paths.setdefault(operation.path, {})[operation.method.lower()] = _operation(operation)
    return {
        "openapi": "3.1.0",
        "info": {
            "title": _TITLE.en,
            "version": version("fenghuo"),
            "description": _ABOUT.en,
            "x-title-zh": _TITLE.zh,
            CHINESE: _ABOUT.zh,
            "license": {"name": "Apache-2.0", "identifier": "Apache-2.0"},
        },
        "tags": [{"name": name, "description": says.en, CHINESE: says.zh} for name, says in (*TAGS.items(), *tags)],
        "paths": paths,
        "components": {
            "schemas": schemas,
            "examples": {name: _problem_example(name) for name in CODES},
            "headers": {header.name: _header(header) for header in RATE_HEADERS},
            "securitySchemes": {
                "bearer": {
                    "type": "http",
                    "scheme": "bearer",
                    "bearerFormat": "fh_ and 43 characters",
                    **_described(_TOKEN),
                    "x-scopes": {str(scope): says.en for scope, says in SCOPES.items()},
                }
            },
        },
    }


def _schemas(operations: Sequence[Operation]) -> dict[str, Any]:
    wanted: dict[tuple[type[BaseModel], JsonSchemaMode], None] = {(ProblemBody, "serialization"): None}
    for operation in operations:
        if isinstance(operation.body, type):
            wanted[operation.body, "validation"] = None
        for answer in operation.answers:
            if answer.model is not None:
                wanted[answer.model, "serialization"] = None
    _, made = models_json_schema(list(wanted), ref_template="#/components/schemas/{model}")
    schemas: dict[str, Any] = made["$defs"]
    return {name: _untitled(schema) for name, schema in sorted(schemas.items())}


def _untitled(schema: Any) -> Any:
    """Without the titles that pydantic makes of names, which say nothing new."""
    if isinstance(schema, list):
        return [_untitled(each) for each in schema]
    if not isinstance(schema, dict):
        return schema
    return {
        key: {name: _untitled(each) for name, each in value.items()} if key == "properties" else _untitled(value)
        for key, value in schema.items()
        if key != "title" or not isinstance(value, str)
    }


def _operation(operation: Operation) -> dict[str, Any]:
    made: dict[str, Any] = {
        "operationId": operation.name,
        "tags": [operation.tag],
        "summary": operation.summary.en,
        "x-summary-zh": operation.summary.zh,
        **_described(operation.description),
        "security": [{"bearer": [str(scope)]} for scope in operation.scopes],
    }
    parameters = [*_path_parameters(operation), *_query_parameters(operation), *_header_parameters(operation)]
    if parameters:
        made["parameters"] = parameters
    if operation.body is not None:
        made["requestBody"] = {"required": True, "content": _body(operation.body)}
    made["responses"] = _responses(operation)
    return made


def _described(says: Said) -> dict[str, str]:
    return {"description": says.en, CHINESE: says.zh}


def _path_parameters(operation: Operation) -> Iterator[dict[str, Any]]:
    for name in re.findall(r"\{(\w+)[^}]*\}", operation.path):
        schema = dict(operation.parameters[name])
        example = schema.pop("example")
        yield {"name": name, "in": "path", "required": True, "schema": schema, "example": example}


def _query_parameters(operation: Operation) -> Iterator[dict[str, Any]]:
    if operation.query is None:
        return
    schema = operation.query.model_json_schema(mode="validation")
    for name, field in operation.query.model_fields.items():
        shape = {key: value for key, value in schema["properties"][name].items() if key not in ("title", CHINESE)}
        shape.pop("description", None)
        default = shape.pop("default", None)
        if default:
            shape["default"] = default
        zh = schema["properties"][name].get(CHINESE, "")
        made = {
            "name": name,
            "in": "query",
            "required": field.is_required(),
            **_described(Said(field.description or "", zh)),
            "schema": shape,
        }
        if get_origin(field.annotation) is tuple:
            made |= {"style": "form", "explode": True}
        yield made


def _header_parameters(operation: Operation) -> Iterator[dict[str, Any]]:
    for header in operation.headers:
        schema: dict[str, Any] = {"type": "string"}
        if header.pattern is not None:
            schema["pattern"] = header.pattern
        yield {
            "name": header.name,
            "in": "header",
            "required": False,
            **_described(header.says),
            "schema": schema,
            "example": header.example,
        }


def _body(body: type[BaseModel] | Message) -> dict[str, Any]:
    if isinstance(body, Message):
        return {
            media: {"schema": _cap_schema(media), "example": example} for media, example in body.example.items()
        }
    return {JSON: {"schema": {"$ref": f"#/components/schemas/{body.__name__}"}}}


def _cap_schema(media: str) -> dict[str, Any]:
    """What a JSON Schema can say of CAP: the rest is in the rules, which a refusal names one by one."""
    if not media.endswith("json"):
        return {"type": "string", "description": "CAP 1.2 in XML", "contentMediaType": media}
    words = ("identifier", "sender", "sent", "status", "msgType", "scope")
    return {
        "type": "object",
        "description": "CAP 1.2 in the JSON of the same shape: repeatable elements are arrays, all values strings.",
        "required": list(words),
        "properties": {word: {"type": "string"} for word in words},
    }


def _responses(operation: Operation) -> dict[str, Any]:
    limited = operation.share is not None
    made = {str(answer.status): _answer(answer, limited) for answer in operation.answers}
    by_status: dict[int, list[str]] = {}
    for name in operation.codes():
        by_status.setdefault(CODES[name].status, []).append(name)
    for status, names in sorted(by_status.items()):
        made[str(status)] = _refusal(status, names, limited)
    return made


def _answer(answer: Answer, limited: bool) -> dict[str, Any]:
    made: dict[str, Any] = {**_described(answer.says)}
    headers = {header.name: _header(header) for header in answer.headers} | (_rate_headers() if limited else {})
    if headers:
        made["headers"] = headers
    if answer.model is not None:
        media = answer.media or (JSON,)
        schema = {"$ref": f"#/components/schemas/{answer.model.__name__}"}
        made["content"] = {each: {"schema": schema} for each in media}
    elif answer.media:
        made["content"] = {each: {"schema": _cap_shape(each), **_example_of(answer, each)} for each in answer.media}
    return made


def _cap_shape(media: str) -> dict[str, Any]:
    return {"type": "object"} if media.endswith("json") else {"type": "string"}


def _example_of(answer: Answer, media: str) -> dict[str, Any]:
    return {} if answer.example is None or media.endswith("json") else {"example": answer.example}


def _refusal(status: int, names: Sequence[str], limited: bool) -> dict[str, Any]:
    schema = {
        "allOf": [
            {"$ref": "#/components/schemas/ProblemBody"},
            {"properties": {"code": {"enum": list(names)}, "status": {"const": status}}},
        ]
    }
    examples = {name: {"$ref": f"#/components/examples/{name}"} for name in names}
    headers = {}
    if status in _BAD_HEADERS:
        headers[_BAD_HEADERS[status].name] = _header(_BAD_HEADERS[status])
    if limited and status != 401:
        headers |= _rate_headers()
    return {
        **_described(
            Said(
                " ".join(f"`{name}`: {CODES[name].title.en}." for name in names),
                "".join(f"`{name}`：{CODES[name].title.zh}。" for name in names),
            )
        ),
        **({"headers": headers} if headers else {}),
        "content": {MEDIA_TYPE: {"schema": schema, "examples": examples}},
    }


def _rate_headers() -> dict[str, Any]:
    return {header.name: {"$ref": f"#/components/headers/{header.name}"} for header in RATE_HEADERS}


def _problem_example(name: str) -> dict[str, Any]:
    code = CODES[name]
    body = {
        "type": code.type,
        "title": code.title.en,
        "status": code.status,
        "code": name,
        "detail": code.meaning.en,
    }
    return {"summary": code.title.en, "value": body}


def _header(header: Header) -> dict[str, Any]:
    return {**_described(header.says), "schema": {"type": "string"}, "example": header.example}
