"""Queries and JSON bodies, checked against their models; everything that is wrong is listed with place and rule."""

from __future__ import annotations

import json
from typing import Any, Final, NoReturn, get_origin

from multidict import MultiMapping
from pydantic import BaseModel, ValidationError

from broker.api.declare import JSON, Model
from broker.errors import InputRefused, Problem

JSON_BYTES: Final = 64 * 1024
"""The largest JSON body; CAP messages have a limit of their own."""
_SHOWN: Final = 40


def read_query(model: type[BaseModel] | None, query: MultiMapping[str]) -> BaseModel | None:
    """The query as `model`; without one, no parameter is known. Raises InputRefused (400)."""
    fields = {} if model is None else model.model_fields
    known = ", ".join(fields) or "none"
    problems = [
        Problem(f"query/{name[:_SHOWN]}", "query.unknown", f"no such parameter; known: {known}")
        for name in dict.fromkeys(query)
        if name not in fields
    ]
    given: dict[str, Any] = {}
    for name, field in fields.items():
        values = query.getall(name, [])
        if get_origin(field.annotation) is tuple:
            given |= {name: tuple(values)} if values else {}
        elif len(values) > 1:
            problems.append(Problem(f"query/{name}", "query.repeated", f"{name} is given more than once"))
        elif values:
            given[name] = values[0]
    parsed = None
    if model is not None:
        try:
            parsed = model.model_validate(given)
        except ValidationError as error:
            for item in error.errors(include_url=False, include_context=False):
                name = str(item["loc"][0])
                value = next((text for text in query.getall(name, []) if text == item["input"]), item["input"])
                problems.append(
                    Problem(f"query/{name}", f"query.{name}", _sentence(item["msg"]), str(value)[:_SHOWN])
                )
    if problems:
        raise InputRefused(problems, status=400)
    return parsed


def check_json_type(content_type: str) -> None:
    """Raises InputRefused (415) for anything but JSON."""
    if content_type.partition(";")[0].strip().lower() != JSON:
        problem = Problem("header/Content-Type", "media-type", f"send {JSON}", content_type[:100] or None)
        raise InputRefused([problem], status=415)


def read_json(model: type[Model], body: bytes) -> Model:
    """The body as `model`. Raises InputRefused: 400 for what is no JSON object, 422 for one with problems."""
    try:
        parsed = json.loads(
            body.decode("utf-8"), object_pairs_hook=_once, parse_constant=_no_number, parse_int=_int
        )
        # Strict about types, but JSON has no tuples, so it is read in pydantic's JSON mode.
        text = json.dumps(parsed, ensure_ascii=False).encode()
    except UnicodeEncodeError as error:
        raise _malformed("json.character", "half of a pair of characters stands alone") from error
    except RecursionError as error:
        raise _malformed("json.depth", "nested too deeply") from error
    except UnicodeDecodeError as error:
        raise _malformed("json.encoding", f"byte {error.start} is not UTF-8") from error
    except json.JSONDecodeError as error:
        raise _malformed("json.syntax", f"line {error.lineno}, column {error.colno}: {error.msg}") from error
    if not isinstance(parsed, dict):
        raise _malformed("json.type", "an object is expected")
    try:
        return model.model_validate_json(text)
    except ValidationError as error:
        problems = [
            Problem(_pointer(item["loc"]), f"request.{item['type']}", _sentence(item["msg"]), _shown(item["input"]))
            for item in error.errors(include_url=False, include_context=False)
        ]
        raise InputRefused(problems, status=422) from error


def _malformed(rule: str, message: str) -> InputRefused:
    return InputRefused([Problem("body", rule, message)], status=400)


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    made = dict(pairs)
    if len(made) != len(pairs):
        raise _malformed("json.duplicate", "a key stands twice in an object")
    return made


def _no_number(name: str) -> NoReturn:
    raise _malformed("json.syntax", f"{name} is no JSON")


def _int(digits: str) -> int:
    if len(digits) > _SHOWN:
        raise _malformed("json.number", f"a number of more than {_SHOWN} digits")
    return int(digits)


def _pointer(place: tuple[int | str, ...]) -> str:
    """A JSON Pointer (RFC 6901)."""
    return "".join("/" + str(part)[:100].replace("~", "~0").replace("/", "~1") for part in place) or "/"


def _shown(value: Any) -> str | None:
    return str(value)[:_SHOWN] if isinstance(value, str | int | float | bool) else None


def _sentence(text: str) -> str:
    """Pydantic's message without the prefix it gives to errors of ours."""
    return text.removeprefix("Value error, ")
