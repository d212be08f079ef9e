"""What both transports do alike when a message is not simply done: the ladder, failures, parking."""

from __future__ import annotations

import asyncio
import functools
from collections.abc import Collection, Sequence
from typing import Final

from broker import logs
from broker.errors import Unroutable
from broker.transport.contract import Header, Message, all_queues

MAX_DELIVERIES: Final = 10
"""A message whose handler fails this many times is parked: it would fail for ever and block the others."""

PARKED_REASON: Final = "reason"
"""Header of a parked message: why it was parked."""
PARKED_QUEUE: Final = "queue"
"""Header of a parked message: where it came from."""

RESERVED: Final = "x-"
"""Headers that begin so belong to the server and to the transports; they are never part of a `Message`."""

_MAX_INT: Final = 2**63
_ABANDON_SECONDS: Final = 2.0

log = logs.get(part="transport")


def rung(delay: float, ladder: Sequence[int]) -> int:
    """The rung, in seconds, for a delay of `delay` seconds: the first that is not shorter.

    Raises ValueError for a delay beyond the last rung: to come early would break the promise of "at least".
    """
    for seconds in ladder:
        if delay <= seconds:
            return seconds
    raise ValueError(f"a delay of {delay:g} s is longer than the last rung of {ladder[-1]} s")


def parked(message: Message, queue: str, reason: str) -> Message:
    """The message as the parking queue holds it: same id and body, with where it came from and why."""
    headers = {**message.headers, PARKED_REASON: reason, PARKED_QUEUE: queue}
    return Message(headers=headers, body=message.body, id=message.id)


def unparked(message: Message) -> tuple[Message, str, str]:
    """A parked message as it was, the queue that it came from, and why it was parked.

    Raises Unroutable if the message does not say where it came from.
    """
    headers = dict(message.headers)
    reason = str(headers.pop(PARKED_REASON, ""))
    queue = headers.pop(PARKED_QUEUE, None)
    if not isinstance(queue, str):
        raise Unroutable(f"the parked message {message.id} does not say which queue it came from")
    return Message(headers=headers, body=message.body, id=message.id), queue, reason


def check_queue(queue: str, shards: int) -> None:
    """Raises Unroutable unless `queue` is one that producers and consumers may name."""
    if queue not in _names(shards):
        raise Unroutable(f"there is no queue {queue!r}")


@functools.cache
def _names(shards: int) -> frozenset[str]:
    return frozenset(all_queues(shards))


async def abandon(handlers: Collection[asyncio.Task[None]]) -> None:
    """Cancel handlers that are still running and wait a little for them; none can hold up closing for ever."""
    if not handlers:
        return
    for task in handlers:
        task.cancel()
    _, deaf = await asyncio.wait(handlers, timeout=_ABANDON_SECONDS)
    if deaf:
        log.error("handlers_ignore_cancellation", count=len(deaf))


def check_message(message: Message) -> None:
    """Raises ValueError for a message that the wire could not carry unchanged."""
    if not message.id or len(message.id.encode()) > 255:
        raise ValueError(f"a message id has 1 to 255 bytes, not {len(message.id.encode())}")
    for name, value in message.headers.items():
        _check_header(name, value)


def _check_header(name: str, value: Header) -> None:
    if name.startswith(RESERVED) or not 0 < len(name.encode()) < 128:
        raise ValueError(f"{name!r} cannot be the name of a header")
    if isinstance(value, bool) or not isinstance(value, str | int | bytes):
        raise ValueError(f"header {name!r} holds {type(value).__name__}, not str, int or bytes")
    if isinstance(value, int) and not -_MAX_INT <= value < _MAX_INT:
        raise ValueError(f"header {name!r} holds an integer of more than 63 bits")
