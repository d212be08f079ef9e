"""From message ids back to recipients: which receipts prove what, in groups that the ledger can take.

The id of every accepted part leads to (batch, attempt, part, ordinal). Receipts that come before their id is
known are held for a while. A message in parts has arrived when there is a receipt for every part, whichever
attempt it belonged to: all attempts carry the same reference, so the handset joins them.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Final

import numpy as np
from numpy.typing import NDArray

from broker.clock import now_ms
from broker.ledger.arrays import Ordinals, Receipts
from broker.ledger.state import DELIVERED, Rank, word
from channels.sms import metrics
from channels.sms.bulk import Numbers
from channels.sms.pdu import MessageState
from channels.sms.receipts import FAILURES, IdForm, ReceiptRun, normalise

Answer = Callable[[Numbers], None]
"""Answers deliver_sm of these sequence numbers, wherever they came from."""

GROUP: Final = 4096
"""So many recipients with evidence are given out without waiting for more."""
EARLY_LIMIT: Final = 100_000
_PARTIAL_HOLD_SECONDS: Final = 5.0
_PREFIX: Final = 5
_BLOCK_SHIFT, _PART_SHIFT = 24, 16


@dataclass(frozen=True, slots=True)
class _Block:
    """Parts that were accepted together; known ids point here by number."""

    batch: int
    attempt: int
    total: int
    since: float


@dataclass(slots=True)
class _Progress:
    """A message in parts, some of which have arrived."""

    since: float
    arrived: set[int] = field(default_factory=set)
    answers: list[tuple[Answer, int]] = field(default_factory=list)


class Tracker:
    """Matches receipts with what was sent, and gathers the evidence until `take` is called."""

    def __init__(
        self, submit_form: IdForm = IdForm.TEXT, receipt_form: IdForm = IdForm.TEXT, early_seconds: float = 60.0
    ) -> None:
        self._submit_form = submit_form
        self._receipt_form = receipt_form
        self._early_seconds = early_seconds
        self._known: dict[bytes, int] = {}
        self._blocks: dict[int, _Block] = {}
        self._numbers: dict[tuple[int, int, int], int] = {}
        self._next_block = 0
        self._early: dict[bytes, tuple[int, int, float]] = {}
        self._partial: dict[tuple[int, int], _Progress] = {}
        self._evidence: dict[int, list[tuple[Ordinals, int, int]]] = {}
        self._answers: list[tuple[Answer, Numbers]] = []
        self.gathered = 0
        """Recipients with evidence that `take` would give out now."""
        self.on_evidence: Callable[[], None] = lambda: None
        """Called whenever there is something to take."""

    @property
    def held(self) -> int:
        """Receipts that wait for their message to become known."""
        return len(self._early)

    def store_form(self, attempt: int, total: int, parts: NDArray[np.intp], ids: list[bytes]) -> NDArray[np.bytes_]:
        """Normalised ids as they are kept: attempt (1 hexadecimal digit), part and total (2 each), id."""
        heads = {part: b"%x%02x%02x" % (attempt, part, total) for part in np.unique(parts).tolist()}
        return np.array([heads[part] + own for part, own in zip(parts.tolist(), ids, strict=True)], np.bytes_)

    def register(
        self,
        batch: int,
        attempt: int,
        total: int,
        parts: NDArray[np.intp],
        ordinals: Ordinals,
        ids: Iterable[bytes],
    ) -> list[bytes]:
        """Make ids known; part numbers count from 1. Returns the ids normalised."""
        keys = [normalise(own, self._submit_form) for own in ids]
        self._learn(batch, attempt, total, parts, ordinals, keys)
        return keys

    def load(self, batch: int, ordinals: Ordinals, stored: NDArray[np.bytes_]) -> None:
        """Make ids known that `store_form` made, from whatever process. Raises ValueError for anything else."""
        kept: dict[tuple[int, int], list[tuple[int, int, bytes]]] = {}
        for ordinal, entry in zip(ordinals.tolist(), stored.tolist(), strict=True):
            attempt, part, total = int(entry[:1], 16), int(entry[1:3], 16), int(entry[3:_PREFIX], 16)
            key = entry[_PREFIX:]
            if key not in self._known:
                kept.setdefault((attempt, total), []).append((part, ordinal, key))
        for (attempt, total), entries in kept.items():
            parts, places, keys = zip(*entries, strict=True)
            self._learn(batch, attempt, total, np.array(parts, np.intp), np.array(places, np.uint16), list(keys))

    def forget_all_but(self, batches: Iterable[int], before: float) -> None:
        """Forget ids learnt before `before` (monotonic seconds) of batches that are not among `batches`."""
        keep = set(batches)
        gone = {n for n, block in self._blocks.items() if block.batch not in keep and block.since < before}
        if not gone:
            return
        self._known = {key: code for key, code in self._known.items() if code >> _BLOCK_SHIFT not in gone}
        closed = {self._blocks.pop(n).batch for n in gone}
        self._numbers = {place: n for place, n in self._numbers.items() if n not in gone}
        self._partial = {place: own for place, own in self._partial.items() if place[0] not in closed}

    def receive(self, run: ReceiptRun, answer: Answer) -> None:
        """Take receipts in. What proves something is answered when its evidence has been handed on."""
        now = now_ms()
        count = len(run.ids)
        final = np.isin(run.states, _FINAL)
        codes = np.full(count, -1, np.int64)
        early = []
        for n, own in enumerate(run.ids):
            if not (run.receipt[n] and final[n]):
                continue
            key = normalise(own, self._receipt_form)
            code = self._known.get(key)
            if code is None:
                early.append((key, int(run.states[n])))
            else:
                codes[n] = code
        for key, state in early:
            self._hold(key, state, now)
        matched = codes >= 0
        receipts = int(run.receipt.sum())
        metrics.OTHER.inc(count - receipts)
        metrics.INTERMEDIATE.inc(int((run.receipt & ~final).sum()))
        metrics.EARLY.inc(len(early))
        # An early receipt is answered at once: were it lost with this process, so would be the id it waits
        # for, and its window would be sent again.
        answer(run.sequences[~matched])
        self._credit(codes[matched], run.states[matched], now, answer, run.sequences[matched])

    def take(self) -> tuple[list[Receipts], Callable[[], None]]:
        """All evidence gathered, a group for each batch, and what to call once it has been handed on."""
        evidence, answers = self._evidence, self._answers
        self._evidence, self._answers, self.gathered = {}, [], 0
        groups = []
        for batch, entries in evidence.items():
            sizes = [len(ordinals) for ordinals, _, _ in entries]
            groups.append(
                Receipts(
                    batch,
                    np.concatenate([ordinals for ordinals, _, _ in entries]),
                    np.repeat(np.array([state for _, state, _ in entries], np.uint16), sizes),
                    np.repeat(np.array([at for _, _, at in entries], np.int64), sizes),
                )
            )

        def handed_on() -> None:
            for answer, sequences in answers:
                answer(sequences)

        return groups, handed_on

    def tick(self) -> None:
        """Let go of what waited too long: early receipts count as unknown, partial ones are answered."""
        now = time.monotonic()
        while self._early:
            key, (_, _, since) = next(iter(self._early.items()))
            if now - since < self._early_seconds and len(self._early) <= EARLY_LIMIT:
                break
            del self._early[key]
            metrics.UNKNOWN.inc()
        for progress in self._partial.values():
            if progress.answers and now - progress.since > _PARTIAL_HOLD_SECONDS:
                for answer, sequence in progress.answers:
                    answer(np.array([sequence], np.int64))
                progress.answers.clear()

    def _learn(
        self,
        batch: int,
        attempt: int,
        total: int,
        parts: NDArray[np.intp],
        ordinals: Ordinals,
        keys: list[bytes],
    ) -> None:
        block = self._numbers.get((batch, attempt, total))
        if block is None:
            block = self._numbers[batch, attempt, total] = self._next_block
            self._next_block += 1
        self._blocks[block] = _Block(batch, attempt, total, time.monotonic())
        codes = block << _BLOCK_SHIFT | parts.astype(np.int64) << _PART_SHIFT | ordinals.astype(np.int64)
        self._known.update(zip(keys, codes.tolist(), strict=True))
        if self._early:
            for key in self._early.keys() & set(keys):
                state, at, _ = self._early.pop(key)
                code = np.array([self._known[key]], np.int64)
                self._credit(code, np.array([state], np.uint8), at, None, None)

    def _hold(self, key: bytes, state: int, now: int) -> None:
        self._early.setdefault(key, (state, now, time.monotonic()))

    def _credit(
        self,
        codes: Numbers,
        states: NDArray[np.uint8],
        at: int,
        answer: Answer | None,
        sequences: Numbers | None,
    ) -> None:
        """Turn matched receipts into evidence."""
        if not len(codes):
            return
        metrics.MATCHED.inc(len(codes))
        kinds = (codes >> _BLOCK_SHIFT) << 8 | states
        for kind in np.unique(kinds).tolist():
            block, state = self._blocks[kind >> 8], MessageState(kind & 0xFF)
            own = kinds == kind
            ordinals = (codes[own] & 0xFFFF).astype(np.uint16)
            mine = None if sequences is None else sequences[own]
            if state is not MessageState.DELIVRD:
                failed = word(Rank.FAILED, attempt=block.attempt, reason=FAILURES[state])
                self._add(block.batch, ordinals, failed, at, answer, mine)
            elif block.total == 1:
                self._add(block.batch, ordinals, DELIVERED, at, answer, mine)
            else:
                parts = codes[own] >> _PART_SHIFT & 0xFF
                self._join(block, ordinals, parts, at, answer, mine)

    def _join(
        self,
        block: _Block,
        ordinals: Ordinals,
        parts: Numbers,
        at: int,
        answer: Answer | None,
        sequences: Numbers | None,
    ) -> None:
        """Note arrived parts; a message whose last one came is delivered, and all its receipts are answered."""
        whole = []
        for n, (ordinal, part) in enumerate(zip(ordinals.tolist(), parts.tolist(), strict=True)):
            place = block.batch, ordinal
            progress = self._partial.get(place)
            if progress is None:
                progress = self._partial[place] = _Progress(time.monotonic())
            progress.arrived.add(part)
            if answer is not None and sequences is not None:
                # Held, so that an SMSC tells the next process again if this one ends before the last part.
                progress.answers.append((answer, int(sequences[n])))
            if len(progress.arrived) == block.total:
                whole.append(ordinal)
                for own, sequence in self._partial.pop(place).answers:
                    self._answers.append((own, np.array([sequence], np.int64)))
        if whole:
            self._add(block.batch, np.array(whole, np.uint16), DELIVERED, at, None, None)

    def _add(
        self, batch: int, ordinals: Ordinals, state: int, at: int, answer: Answer | None, sequences: Numbers | None
    ) -> None:
        self._evidence.setdefault(batch, []).append((ordinals, state, at))
        self.gathered += len(ordinals)
        if answer is not None and sequences is not None:
            self._answers.append((answer, sequences))
        self.on_evidence()


_FINAL: Final = np.array([MessageState.DELIVRD, *FAILURES], np.uint8)
