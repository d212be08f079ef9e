"""How batches and receipts look on the wire: small fields in headers, packed little-endian arrays as body."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from broker.ledger.arrays import Ordinals, Receipts
from broker.store.records import BatchRecord, Work
from broker.transport.contract import Message
from broker.types import ChannelName, Lane

_KIND = "kind"


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
        size, retry = int(headers["size"]), int(headers["retry"])
        ids_end = 4 * size
        ordinals_end = ids_end + 2 * max(retry, 0)
        if size < 1 or len(message.body) < ordinals_end:
            raise WireError(f"a body of {len(message.body)} bytes cannot hold {size} recipients")
        batch = BatchRecord(
            id=int(headers["batch"]),
            alert=str(headers["alert"]),
            segment=int(headers["segment"]),
            channel=ChannelName(str(headers["channel"])),
            lane=Lane(str(headers["lane"])),
            rendition=int(headers["rendition"]),
            district=int(headers["district"]),
            round=int(headers["round"]),
            expires=int(headers["expires"]),
            recipients=np.frombuffer(message.body, "<u4", size),
            addresses=message.body[ordinals_end:],
        )
        attempt, not_before = int(headers["attempt"]), int(headers["not_before"])
    except (KeyError, ValueError) as error:
        raise WireError(f"a batch message lacks or garbles a header: {error}") from error
    ordinals = None if retry < 0 else np.frombuffer(message.body, "<u2", retry, ids_end)
    return BatchMessage(batch, attempt, not_before, ordinals)


def encode_receipts(receipts: Receipts, *, unique: str) -> Message:
    """The message for `receipts`; `unique` makes its id unique in flight."""
    base = int(receipts.at.min()) if len(receipts) else 0
    offsets = (receipts.at - base).astype("<u4")
    return Message(
        headers={_KIND: "receipts.1", "batch": receipts.batch, "n": len(receipts), "base": base},
        body=receipts.ordinals.astype("<u2").tobytes()
        + receipts.states.astype("<u2").tobytes()
        + offsets.tobytes(),
        id=f"receipts-{receipts.batch}-{unique}",
    )


def decode_receipts(message: Message) -> Receipts:
    """The receipts in a message. Raises WireError."""
    headers = message.headers
    if headers.get(_KIND) != "receipts.1":
        raise WireError(f"not receipts of version 1 but {headers.get(_KIND)!r}")
    try:
        batch, n, base = int(headers["batch"]), int(headers["n"]), int(headers["base"])
    except (KeyError, ValueError) as error:
        raise WireError(f"a receipts message lacks or garbles a header: {error}") from error
    if len(message.body) != 8 * n:
        raise WireError(f"a body of {len(message.body)} bytes does not hold {n} receipts")
    return Receipts(
        batch,
        np.frombuffer(message.body, "<u2", n).astype(np.uint16),
        np.frombuffer(message.body, "<u2", n, 2 * n).astype(np.uint16),
        np.frombuffer(message.body, "<u4", n, 4 * n).astype(np.int64) + base,
    )
