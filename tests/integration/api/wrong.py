"""Builds wrong posts out of a right one."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

from tests.support.broker import alert_xml, as_json

Body = Callable[[], bytes]
CAP = "application/cap+xml"
JSON = "application/json"
RING = "30.0,106.2 30.0,106.4 30.1,106.4 30.1,106.2 30.0,106.2"
POLYGON = f"<polygon>{RING}</polygon>"
GEOCODE = "<geocode><valueName>{}</valueName><value>{}</value></geocode>"


@dataclass(frozen=True)
class Case:
    """One wrong post."""

    name: str
    status: int
    rule: str
    body: Body
    content_type: str = CAP
    department: str = "met-hechuan"
    content_encoding: str | None = None


def swapped(old: str, new: str) -> Body:
    """The valid alert with one piece of its text replaced; the piece must be there."""

    def body() -> bytes:
        text = alert_xml()
        assert old in text, old
        return text.replace(old, new, 1).encode()

    return body


def between(start: str, end: str, new: str) -> Body:
    """The valid alert with the text from `start` to `end`, both included, replaced."""

    def body() -> bytes:
        text = alert_xml()
        before, found, rest = text.partition(start)
        _, also, after = rest.partition(end)
        assert found, start
        assert also, end
        return (before + new + after).encode()

    return body


def changed(change: Callable[[str], str | bytes]) -> Body:
    """The valid alert as `change` makes it."""

    def body() -> bytes:
        wrong = change(alert_xml())
        assert wrong != alert_xml()
        return wrong if isinstance(wrong, bytes) else wrong.encode()

    return body


def fixed(data: bytes) -> Body:
    return lambda: data


def json_with(change: Callable[[dict[str, Any]], object]) -> Body:
    """The valid alert as JSON, changed in place."""

    def body() -> bytes:
        content = as_json(alert_xml())
        change(content)
        return json.dumps(content, ensure_ascii=False).encode("utf-8", "surrogatepass")

    return body


def json_text(change: Callable[[str], str | bytes]) -> Body:
    def body() -> bytes:
        changed = change(json.dumps(as_json(alert_xml()), ensure_ascii=False))
        return changed if isinstance(changed, bytes) else changed.encode()

    return body


def with_area(new: str) -> Body:
    return swapped(POLYGON, new)


def time_from_now(delta: timedelta) -> str:
    return (datetime.now(UTC) + delta).replace(microsecond=0).isoformat()


def declared(encoding: str) -> Callable[[str], str]:
    return lambda text: text.replace('encoding="UTF-8"', f'encoding="{encoding}"')


def doctype(declaration: str, use: str = "") -> Body:
    def change(text: str) -> str:
        text = text.replace("?>", f"?>\n{declaration}", 1)
        return text.replace("预计未来3小时强降雨持续。", use, 1) if use else text

    return changed(change)


def without(name: str) -> Body:
    return between(f"<{name}>", f"</{name}>", "")


def with_value(name: str, new: str) -> Body:
    return between(f"<{name}>", f"</{name}>", f"<{name}>{new}</{name}>")
