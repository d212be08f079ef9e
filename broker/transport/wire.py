"""How batches and receipts look on the wire: small fields in headers, packed little-endian arrays as body."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from broker.ledger.arrays import Ordinals, Receipts
from broker.ledger.state import MAX_ATTEMPT
from broker.store.records import BatchRecord, Work
from broker.transport.contract import Header, Message
from broker.types import ChannelName, Lane

_KIND = "kind"
_MOST = 1 << 16
"""Recipients that ordinals of two bytes can tell apart."""
_SPAN = 1 << 32
"""Milliseconds that the times of one message may lie apart."""


class WireError(ValueError):
    """A message that is not of our making or not of this version."""


@dataclass(frozen=True, slots=True)
class BatchMessage:
    """One attempt at one batch, as a worker receives it."""

    batch: BatchRecord
    attempt: int
    not_before: int
    """When this attempt could begin, UTC milliseconds: dwell time counts from here."""
    ordinals: Ordinals | None


def encode_batch(batch: BatchRecord, work: Work) -> Message:
    """The message for `work` on `batch`; its id is stable, so a second publish can be told as such."""
    ordinals = b"" if work.ordinals is None else work.ordinals.astype("<u2").tobytes()
    ids = batch.recipients.astype("<u4").tobytes()
    return Message(
        headers={
            _KIND: "batch.1",
            "batch": batch.id,
            "alert": batch.alert,
            "segment": batch.segment,
            "channel": str(batch.channel),
            "lane": str(batch.lane),
            "rendition": batch.rendition,
            "district": batch.district,
            "round": batch.round,
            "expires": batch.expires,
            "attempt": work.attempt,
            "not_before": work.not_before,
            "size": len(batch),
            "retry": -1 if work.ordinals is None else len(work.ordinals),
        },
        body=ids + ordinals + batch.addresses,
        id=f"batch-{batch.id}-{work.attempt}",
    )


def decode_batch(message: Message) -> BatchMessage:
    """The batch in a message. Raises WireError."""
    headers = message.headers
    if headers.get(_KIND) != "batch.1":
        raise WireError(f"not a batch of version 1 but {headers.get(_KIND)!r}")
    try:
        size, retry = _whole(headers, "size"), _whole(headers, "retry", least=-1)
        ids_end = 4 * size
        ordinals_end = ids_end + 2 * max(retry, 0)
        if not 0 < size <= _MOST or len(message.body) < ordinals_end:
            raise WireError(f"a body of {len(message.body)} bytes cannot hold {size} recipients")
        batch = BatchRecord(
            id=_whole(headers, "batch"),
            alert=str(headers["alert"]),
            segment=_whole(headers, "segment"),
            channel=ChannelName(str(headers["channel"])),
            lane=Lane(str(headers["lane"])),
            rendition=_whole(headers, "rendition"),
            district=_whole(headers, "district"),
            round=_whole(headers, "round"),
            expires=_whole(headers, "expires"),
            recipients=np.frombuffer(message.body, "<u4", size),
            addresses=message.body[ordinals_end:],
        )
        attempt, not_before = _whole(headers, "attempt", least=1), _whole(headers, "not_before")
    except KeyError as error:
        raise WireError(f"a batch message lacks the header {error}") from error
    except ValueError as error:
        raise WireError(f"a batch message garbles a header: {error}") from error
    if attempt > MAX_ATTEMPT:
        raise WireError(f"there is no attempt {attempt}")
    ordinals = None if retry < 0 else np.frombuffer(message.body, "<u2", retry, ids_end)
    if ordinals is not None and not _ascending(ordinals, size):
        raise WireError(f"the ordinals of the retry are not ascending numbers below {size}")
    return BatchMessage(batch, attempt, not_before, ordinals)


def encode_receipts(receipts: Receipts, *, unique: str) -> Message:
    """The message for `receipts`; `unique` makes its id unique in flight.

    Raises ValueError for times that lie 49 days apart: shortened they would be other times.
    """
    base = int(receipts.at.min()) if len(receipts) else 0
    offsets = receipts.at - base
    if len(receipts) and int(offsets.max()) >= _SPAN:
        raise ValueError("receipts of one message lie more than 49 days apart")
    return Message(
        headers={_KIND: "receipts.1", "batch": receipts.batch, "n": len(receipts), "base": base},
        body=receipts.ordinals.astype("<u2").tobytes()
        + receipts.states.astype("<u2").tobytes()
        + offsets.astype("<u4").tobytes(),
        id=f"receipts-{receipts.batch}-{unique}",
    )


def decode_receipts(message: Message) -> Receipts:
    """The receipts in a message. Raises WireError."""
    headers = message.headers
    if headers.get(_KIND) != "receipts.1":
        raise WireError(f"not receipts of version 1 but {headers.get(_KIND)!r}")
    try:
        batch, n, base = _whole(headers, "batch"), _whole(headers, "n"), _whole(headers, "base")
    except KeyError as error:
        raise WireError(f"a receipts message lacks the header {error}") from error
    if len(message.body) != 8 * n:
        raise WireError(f"a body of {len(message.body)} bytes does not hold {n} receipts")
    return Receipts(
        batch,
        np.frombuffer(message.body, "<u2", n).astype(np.uint16),
        np.frombuffer(message.body, "<u2", n, 2 * n).astype(np.uint16),
        np.frombuffer(message.body, "<u4", n, 4 * n).astype(np.int64) + base,
    )


def _whole(headers: Mapping[str, Header], name: str, *, least: int = 0) -> int:
    """A header that is a whole number from `least` to what 62 bits hold. Raises KeyError, WireError."""
    value = headers[name]
    if not isinstance(value, int) or isinstance(value, bool) or not least <= value < 1 << 62:
        raise WireError(f"the header {name!r} is no such number: {str(value)[:40]}")
    return value


def _ascending(ordinals: Ordinals, size: int) -> bool:
    """Whether these are different ordinals of a batch of `size`, in order; a retry of nobody is none."""
    return len(ordinals) > 0 and int(ordinals[-1]) < size and bool(np.all(ordinals[1:] > ordinals[:-1]))
