"""Our messages as AMQP properties and back."""

from __future__ import annotations

from collections.abc import Mapping

import aiormq.abc
from pamqp.commands import Basic
from pamqp.common import FieldValue

from broker.transport.contract import PARKING, Header, Message
from broker.transport.settling import PARKED_QUEUE, PARKED_REASON, RESERVED

_FAILURES = RESERVED + "failures"
_PERSISTENT = 2


def encode(message: Message, *, failures: int = 0) -> Basic.Properties:
    """The properties of a persistent message; `failures` counts how often its handler has failed."""
    headers: dict[str, FieldValue] = {
        # Only a bytearray is written as bytes; everything that is not text would come back as text.
        name: bytearray(value) if isinstance(value, bytes) else value
        for name, value in message.headers.items()
    }
    if failures:
        headers[_FAILURES] = failures
    return Basic.Properties(
        message_id=message.id,
        delivery_mode=_PERSISTENT,
        content_type="application/octet-stream",
        headers=headers,
    )


def decode(delivered: aiormq.abc.DeliveredMessage, queue: str, prefix: str) -> tuple[Message, int]:
    """The message that the server delivered from `queue`, and how often its handler has failed.

    What the server itself sent to parking (its delivery limit) says so in the same headers as what we park.
    """
    properties = delivered.header.properties
    raw: Mapping[str, object] = properties.headers or {}
    headers: dict[str, Header] = {}
    for name, value in raw.items():
        if not name.startswith(RESERVED):
            headers[name] = bytes(value) if isinstance(value, bytearray) else _header(value)
    if queue == PARKING and PARKED_QUEUE not in headers:
        headers |= _death(raw, prefix)
    failures = raw.get(_FAILURES, 0)
    message = Message(headers=headers, body=bytes(delivered.body), id=str(properties.message_id or ""))
    return message, failures if isinstance(failures, int) else 0


def _header(value: object) -> Header:
    return value if isinstance(value, str | int | bytes) else repr(value)


def _death(raw: Mapping[str, object], prefix: str) -> dict[str, Header]:
    deaths = raw.get("x-death")
    if not isinstance(deaths, list):
        return {}
    for death in deaths:
        if isinstance(death, dict) and death.get("reason") != "expired":
            return {
                PARKED_QUEUE: str(death.get("queue", "")).removeprefix(prefix),
                PARKED_REASON: f"the server gave up: {death.get('reason')}",
            }
    return {}
