"""Mailboxes: for every device the messages that are in force for it, held in memory by the batch.

What all recipients of a batch share (words, expiry) is held once; a mailbox is a tuple of integers, each
naming a batch and an ordinal. The store keeps the batches durably; this can be built anew from it at any time.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Final

LEVEL_ORDER: Final = {"Red": 0, "Orange": 1, "Yellow": 2, "Blue": 3}
"""The four national levels, the gravest first."""

_ORDINAL_BITS: Final = 16
_ORDINAL_MASK: Final = (1 << _ORDINAL_BITS) - 1


@dataclass(frozen=True, slots=True)
class Words:
    """A rendition as this channel's devices read it."""

    alert: str
    """The broker's id of the alert."""
    tail: bytes
    """The JSON object of the message without its opening brace and `id`, which is the recipient's own."""
    order: tuple[bool, int]
    """For sorting: warnings before exercises, then the gravest level."""
    replaces: frozenset[str] = frozenset()
    """The broker's ids of the alerts whose messages these words take the place of."""
    expires: int = 1 << 62
    """UTC milliseconds: an all-clear may be displayed for less time than its batch lives."""

    def message(self, identifier: str) -> bytes:
        """The JSON object for the recipient whose message is called `identifier`."""
        return b'{"id":"%b",%b' % (identifier.encode(), self.tail)


@dataclass(slots=True)
class HeldBatch:
    """One batch that has not expired."""

    batch: int
    expires: int
    """UTC milliseconds."""
    words: Words
    devices: list[str | None] = field(default_factory=list, repr=False)
    """Device by ordinal; None where nothing was sent yet."""
    reported: bytearray = field(default_factory=bytearray, repr=False)
    """Highest arrival reported, by ordinal (broker.ledger.state.Arrival)."""
    withdrawn: bool = False
    """Whether its alert is over: it is given to nobody, and whoever has it is told so."""


@dataclass(frozen=True, slots=True)
class Entry:
    """One message in one mailbox."""

    held: HeldBatch
    ordinal: int

    @property
    def identifier(self) -> str:
        """The message id that the device knows: `<batch>:<ordinal>`."""
        return f"{self.held.batch}:{self.ordinal}"

    @property
    def arrival(self) -> int:
        """How far its device reported it."""
        return self.held.reported[self.ordinal]

    def message(self) -> bytes:
        """The message as JSON."""
        return self.held.words.message(self.identifier)


class Mailboxes:
    """All mailboxes of one channel."""

    def __init__(self) -> None:
        self._held: dict[int, HeldBatch] = {}
        self._boxes: dict[str, tuple[int, ...]] = {}
        self._over: set[str] = set()

    def __len__(self) -> int:
        """How many devices have a mailbox with something in it that has not expired."""
        return len(self._boxes)

    def put(
        self, batch: int, expires: int, words: Words, ordinals: Sequence[int], devices: Sequence[str]
    ) -> tuple[HeldBatch, list[tuple[str, int]]]:
        """Put a message into many mailboxes; gives the (device, ordinal) pairs that did not have it yet."""
        held = self._held.get(batch)
        if held is None:
            held = self._held[batch] = HeldBatch(batch, expires, words, withdrawn=self.is_over(words.alert))
        short = max(ordinals, default=-1) + 1 - len(held.devices)
        if short > 0:
            held.devices.extend([None] * short)
            held.reported.extend(bytes(short))
        boxes, known, base = self._boxes, held.devices, batch << _ORDINAL_BITS
        fresh = []
        for ordinal, device in zip(ordinals, devices, strict=True):
            if known[ordinal] is not None:
                continue
            known[ordinal] = device
            box = boxes.get(device)
            boxes[device] = (base | ordinal,) if box is None else (*box, base | ordinal)
            fresh.append((device, ordinal))
        return held, fresh

    def entries(self, device: str, now: int) -> list[Entry]:
        """What is in force for `device` at `now` (UTC milliseconds), by ascending batch.

        What another message in force takes the place of is not, also before its alert was withdrawn.
        """
        found = [entry for entry in self._unexpired(device, now) if not entry.held.withdrawn]
        replaced = frozenset[str]().union(*(entry.held.words.replaces for entry in found))
        return [entry for entry in found if entry.held.words.alert not in replaced] if replaced else found

    def withdrawn(self, device: str, now: int) -> list[Entry]:
        """What was taken back from `device` and would still be in force at `now`, by ascending batch."""
        return [entry for entry in self._unexpired(device, now) if entry.held.withdrawn]

    def is_over(self, alert: str) -> bool:
        """Whether the alert was withdrawn."""
        return alert in self._over

    def held(self, batch: int) -> HeldBatch | None:
        """The batch, if it has not expired."""
        return self._held.get(batch)

    def lapse(self, now: int) -> set[str]:
        """Forget the batches that have expired by `now`; gives the devices that lost something."""
        return self._drop([held for held in self._held.values() if held.expires <= now])

    def withdraw(self, alert: str) -> set[str]:
        """Nothing of `alert` is in force any more, nor will be; gives the devices that lost something."""
        self._over.add(alert)
        touched: set[str] = set()
        for held in self._held.values():
            if held.words.alert == alert and not held.withdrawn:
                held.withdrawn = True
                touched.update(device for device in held.devices if device is not None)
        return touched

    def batches(self) -> Iterator[HeldBatch]:
        """The batches in force."""
        return (held for held in self._held.values() if not held.withdrawn)

    def _unexpired(self, device: str, now: int) -> list[Entry]:
        found = []
        for key in sorted(self._boxes.get(device, ())):
            held = self._held[key >> _ORDINAL_BITS]
            if held.expires > now:
                found.append(Entry(held, key & _ORDINAL_MASK))
        return found

    def _drop(self, gone: Iterable[HeldBatch]) -> set[str]:
        touched: set[str] = set()
        for held in gone:
            del self._held[held.batch]
            base = held.batch << _ORDINAL_BITS
            for ordinal, device in enumerate(held.devices):
                if device is None:
                    continue
                touched.add(device)
                rest = tuple(key for key in self._boxes[device] if key != base | ordinal)
                if rest:
                    self._boxes[device] = rest
                else:
                    del self._boxes[device]
        return touched
