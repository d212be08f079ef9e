"""One signed request to a department, and what its answer means."""

from __future__ import annotations

import hashlib
import hmac
import json
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import aiohttp
import numpy as np
from yarl import URL

from broker.callbacks.registration import Target
from broker.clock import from_ms
from broker.ledger.arrays import COUNT_NAMES
from broker.store.outside_records import DeliveryRecord
from broker.store.records import AlertRecord, CounterRow

DELIVERY: Final = "Fenghuo-Delivery"
TIMESTAMP: Final = "Fenghuo-Timestamp"
SIGNATURE: Final = "Fenghuo-Signature"
_PREFIX: Final = "v1="
_MOST_READ: Final = 4_096
"""How much of an answer is read, so that the connection can be used again; nothing in it matters."""


@dataclass(frozen=True, slots=True)
class Answer:
    """What came of a request."""

    status: int | None
    error: str | None
    """None for success: any 2xx, and nothing else."""


def signature(secret: str, timestamp: str, body: bytes) -> str:
    """`v1=` and the hexadecimal HMAC-SHA256 of `timestamp.body` under the callback's secret."""
    return _PREFIX + hmac.new(secret.encode(), timestamp.encode() + b"." + body, hashlib.sha256).hexdigest()


def event_body(delivery: DeliveryRecord, alert: AlertRecord, counters: Sequence[CounterRow]) -> bytes:
    """What a department is told of one event."""
    counts: dict[str, list[int]] = {}
    for row in counters:
        total = counts.setdefault(str(row.channel), [0] * len(COUNT_NAMES))
        counts[str(row.channel)] = np.add(total, row.counts).tolist()
    content = {
        "delivery": delivery.public_id,
        "alert": delivery.alert,
        "identifier": alert.identifier,
        "sender": alert.sender,
        "sent": _iso(alert.sent),
        "state": str(delivery.state),
        "at": _iso(delivery.at),
        "why": delivery.why,
        "channels": {name: dict(zip(COUNT_NAMES, total, strict=True)) for name, total in counts.items()},
    }
    return json.dumps(content, ensure_ascii=False).encode("utf-8", "replace")


async def post(session: aiohttp.ClientSession, target: Target, delivery: str, body: bytes) -> Answer:
    """Send `body`; never raises for what the far end does, and no error holds the address or the secret.

    Redirects are not followed: the department registered this address and no other.
    """
    timestamp = str(int(time.time()))
    headers = {
        "Content-Type": "application/json",
        DELIVERY: delivery,
        TIMESTAMP: timestamp,
        SIGNATURE: signature(target.secret, timestamp, body),
    }
    try:
        # Encoded when it was registered; encoding it again would change it.
        url = URL(target.url, encoded=True)
        async with session.post(url, data=body, headers=headers, allow_redirects=False) as answer:
            await answer.content.read(_MOST_READ)
            if 200 <= answer.status < 300:
                return Answer(answer.status, None)
            return Answer(answer.status, f"answered {answer.status}")
    except TimeoutError:
        return Answer(None, "no answer in time")
    except (aiohttp.ClientError, OSError, ValueError) as error:
        return Answer(None, f"cannot be reached: {type(error).__name__}")


def session(seconds: float) -> aiohttp.ClientSession:
    """A session whose requests end after `seconds`, whatever the far end does."""
    return aiohttp.ClientSession(
        timeout=aiohttp.ClientTimeout(total=seconds),
        connector=aiohttp.TCPConnector(limit=0, limit_per_host=0, keepalive_timeout=30),
        cookie_jar=aiohttp.DummyCookieJar(),
        auto_decompress=False,
        headers={"User-Agent": "fenghuo-callback/1"},
    )


def _iso(ms: int) -> str:
    return from_ms(ms).isoformat(timespec="milliseconds")
