"""The SMS channel: renditions become short messages, and receipts become evidence."""

from __future__ import annotations

import asyncio
import time
import zlib
from collections.abc import AsyncIterator
from contextlib import suppress
from typing import Final

import numpy as np
import structlog
from numpy.typing import NDArray

from broker.clock import from_ms, now_ms
from broker.ledger.arrays import Receipts
from broker.ledger.state import FIRST_PERMANENT, Rank, Reason, word
from broker.store.records import RenditionRecord
from broker.types import ChannelName, Lane
from channels.channel import ChannelContext, Outcomes, Stopped, Window, submitted
from channels.sms import text
from channels.sms.bulk import Numbers, all_digits, by_length, message_rows
from channels.sms.client import SmppClient
from channels.sms.connection import Connection
from channels.sms.outstanding import NOT_SENT, UNKNOWN, Group, Submission
from channels.sms.pdu import Command, EsmClass, ShortMessage, Status, reason_for
from channels.sms.receipts import ReceiptRun
from channels.sms.settings import SmsSettings
from channels.sms.tracker import GROUP, Tracker

_log = structlog.get_logger("channels.sms")

PRIORITY: Final = {Lane.URGENT: 3, Lane.ROUTINE: 0}
"""priority_flag (SMPP 3.4 §5.2.14): 3 is the highest."""
RECEIPT_ALWAYS: Final = 1
"""registered_delivery (§5.2.17): a receipt for success and for failure."""
_LONGEST_ADDRESS: Final = 20
_GATHER_SECONDS: Final = 0.05
_QUIET_SECONDS: Final = 0.005
_TICK_SECONDS: Final = 1.0
_FORGET_SECONDS: Final = 60.0
_RELOAD_SECONDS: Final = 5.0
_RELOAD_MAX_SECONDS: Final = 60.0
_DRAIN_SECONDS: Final = 2.0


class SmsChannel:
    """Warnings by SMS over one SMPP bind. Sent means that the SMSC took every part, delivered that it has
    reported every part as delivered."""

    name = ChannelName.SMS

    def __init__(self, settings: SmsSettings) -> None:
        self._settings = settings
        self.window = settings.recipients_per_window
        self._tracker = Tracker(settings.submit_id_form, settings.receipt_id_form, settings.early_receipt_s)
        self._tracker.on_evidence = self._wake
        self._windows: dict[Submission, Window] = {}
        self._stored: dict[Submission, list[NDArray[np.bytes_]]] = {}
        self._encoded: dict[tuple[str, str], text.EncodedText] = {}
        self._over: set[str] = set()
        self._client: SmppClient | None = None
        self._context: ChannelContext | None = None
        self._caretaker: asyncio.Task[None] | None = None
        self._evidence = asyncio.Event()
        self._full = asyncio.Event()
        self._closing = False
        self._listeners = 0
        self._drained = asyncio.Event()

    @property
    def healthy(self) -> bool:
        """Whether there is a bind."""
        return self._client is not None and self._client.bound

    async def start(self, context: ChannelContext) -> None:
        """Load the ids of open batches, then bind (in that order: receipts may come with the bind).

        Raises BindRefused (a ChannelError) if the SMSC does not accept system_id or password.
        """
        self._context = context
        await self._load_ids()
        self._client = SmppClient(self._settings, on_answered=self._answered, on_delivered=self._delivered)
        await self._client.start()
        self._caretaker = asyncio.create_task(self._care(), name="sms care")

    async def close(self) -> None:
        """Let `listen` give out what it holds, unbind and close."""
        self._closing = True
        self._wake()
        self._full.set()
        if self._listeners:
            with suppress(TimeoutError):
                async with asyncio.timeout(_DRAIN_SECONDS):
                    await self._drained.wait()
        if self._caretaker is not None:
            self._caretaker.cancel()
            with suppress(asyncio.CancelledError):
                await self._caretaker
        if self._client is not None:
            await self._client.close()

    async def send(self, window: Window, rendition: RenditionRecord, stop: Stopped) -> Outcomes:
        """Part of the Channel contract."""
        assert self._client is not None, "start the channel first"
        encoded = self._encode(window.alert, rendition)
        if encoded is None:
            return submitted(window, Rank.FAILED, Reason.REJECTED, at=now_ms())
        addresses = window.addresses
        valid = all_digits(addresses) & (np.char.str_len(addresses) <= _LONGEST_ADDRESS)
        where = np.flatnonzero(valid)
        messages = [self._message(window, encoded, data) for data in encoded.parts]
        groups = [
            Group(where[own], tuple(message_rows(Command.SUBMIT_SM, message, same) for message in messages))
            for own, same in by_length(addresses[valid])
        ]
        submission = Submission(len(window), len(encoded.parts))
        self._windows[submission] = window
        self._stored[submission] = []
        try:
            stopped = await self._client.submit(
                submission, groups, window.lane, lambda: window.alert in self._over or stop()
            )
            return _outcomes(window, submission, valid, stopped, self._stored[submission])
        finally:
            del self._windows[submission], self._stored[submission]

    async def withdraw(self, alert: str) -> None:
        """What the SMSC has taken is on its way; nothing more is submitted, and nothing waits on our side."""
        self._over.add(alert)
        self._encoded = {key: encoded for key, encoded in self._encoded.items() if key[0] != alert}

    async def listen(self) -> AsyncIterator[Receipts]:
        """Evidence in groups per batch, at most some 50 ms after it came.

        The SMSC is answered when the consumer comes back for more, so a consumer that only does so once the
        evidence is durable loses none: an unanswered receipt is delivered again after a crash.
        """
        self._listeners += 1
        try:
            while True:
                if not self._tracker.gathered:
                    if self._closing:
                        return
                    self._evidence.clear()
                    await self._evidence.wait()
                    continue
                await self._gather()
                groups, handed_on = self._tracker.take()
                for group in groups:
                    yield group
                handed_on()
        finally:
            self._listeners -= 1
            self._drained.set()

    async def _gather(self) -> None:
        """Let evidence come together: until 4,096 recipients have some, it stops coming, or 50 ms are over.

        It stops when the SMSC's own window of unanswered receipts is full, and answers wait for evidence to be
        handed on: to wait longer then would only slow the SMSC down.
        """
        end = time.monotonic() + _GATHER_SECONDS
        before = 0
        while before < self._tracker.gathered < GROUP and not self._closing and time.monotonic() < end:
            before = self._tracker.gathered
            self._full.clear()
            with suppress(TimeoutError):
                async with asyncio.timeout(_QUIET_SECONDS):
                    await self._full.wait()

    def _encode(self, alert: str, rendition: RenditionRecord) -> text.EncodedText | None:
        """The rendition's text in parts, encoded once; None, with a log line, if it cannot be sent at all."""
        words = rendition.content.get("text")
        key = alert, words if isinstance(words, str) else ""
        encoded = self._encoded.get(key)
        if encoded is not None:
            return encoded
        # The same reference for every attempt: parts of two attempts then make one message on the handset.
        reference = zlib.crc32(f"{alert}/{rendition.segment}".encode()) & 0xFF
        try:
            encoded = text.encode(key[1], reference)
        except ValueError as error:
            _log.error("sms.text_unusable", alert=alert, rendition=rendition.id, error=str(error))
            return None
        if len(encoded.parts) > self._settings.max_parts:
            _log.error("sms.text_too_long", alert=alert, rendition=rendition.id, parts=len(encoded.parts))
            return None
        if len(self._encoded) >= 64:
            self._encoded.clear()
        self._encoded[key] = encoded
        return encoded

    def _message(self, window: Window, encoded: text.EncodedText, data: bytes) -> ShortMessage:
        settings = self._settings
        return ShortMessage(
            source=settings.source_address,
            source_ton=settings.source_ton,
            source_npi=settings.source_npi,
            destination="",
            destination_ton=settings.destination_ton,
            destination_npi=settings.destination_npi,
            short_message=data,
            esm_class=EsmClass.UDHI if encoded.has_header else EsmClass.DEFAULT,
            data_coding=encoded.data_coding,
            priority_flag=PRIORITY[window.lane],
            validity_period=absolute_time(window.expires),
            registered_delivery=RECEIPT_ALWAYS,
        )

    def _answered(self, submission: Submission, positions: NDArray[np.intp], ids: NDArray[np.bytes_]) -> None:
        window = self._windows.get(submission)
        if window is None:
            return  # its send was cancelled: nobody would store the ids, and the worker sends it again
        parts = positions // submission.recipients + 1
        ordinals = window.ordinals[positions % submission.recipients]
        keys = self._tracker.register(window.batch, window.attempt, submission.parts, parts, ordinals, ids.tolist())
        self._stored[submission].append(self._tracker.store_form(window.attempt, submission.parts, parts, keys))

    def _delivered(self, run: ReceiptRun, connection: Connection) -> None:
        if run.status != Status.ROK:
            connection.accept(run.sequences, run.status)
            return
        self._tracker.receive(run, connection.accept)

    def _wake(self) -> None:
        self._evidence.set()
        if self._tracker.gathered >= GROUP:
            self._full.set()

    async def _care(self) -> None:
        """Every second: what waits too long. Now and then: ids that others stored, batches that are closed."""
        reload_after = _RELOAD_SECONDS
        loaded = forgot = time.monotonic()
        while True:
            await asyncio.sleep(_TICK_SECONDS)
            self._tracker.tick()
            now = time.monotonic()
            try:
                if self._tracker.held and now - loaded > reload_after:
                    # Perhaps another worker sent these, and the SMSC chose our bind for the receipts.
                    await self._load_ids()
                    loaded, reload_after = now, min(reload_after * 2, _RELOAD_MAX_SECONDS)
                elif not self._tracker.held:
                    reload_after = _RELOAD_SECONDS
                if now - forgot > _FORGET_SECONDS and self._context is not None:
                    self._tracker.forget_all_but(await self._awaited(), before=now)
                    forgot = now
            except Exception as error:  # noqa: BLE001 - the store's troubles must not end the care of receipts
                _log.warning("sms.ids_not_loaded", error=type(error).__name__)

    async def _awaited(self) -> list[int]:
        """Batches of which receipts may still come: what was taken back had perhaps arrived before."""
        assert self._context is not None
        return [*await self._context.open_batches(), *await self._context.over_batches()]

    async def _load_ids(self) -> None:
        assert self._context is not None
        batches = await self._awaited()
        for batch, ordinals, ids in await self._context.far_ids(batches):
            self._tracker.load(batch, ordinals, ids)


_LONGEST_VALIDITY_MS: Final = 30 * 86_400_000


def absolute_time(at: int) -> str:
    """UTC milliseconds as an absolute time of SMPP 3.4 §7.1.1, rounded down to a tenth of a second.

    Its year has two digits, which message centres read as the nearest: what lies further ahead is cut to the
    longest time that they keep messages for anyway.
    """
    instant = from_ms(min(at, now_ms() + _LONGEST_VALIDITY_MS))
    return f"{instant:%y%m%d%H%M%S}{instant.microsecond // 100_000}00+"


def _outcomes(
    window: Window,
    submission: Submission,
    valid: NDArray[np.bool_],
    stopped: bool,
    stored: list[NDArray[np.bytes_]],
) -> Outcomes:
    """One word for each recipient from the statuses of its parts.

    A refused part outranks everything, a permanent refusal first: the message as a whole did not go. A part
    in doubt makes the message unknown.
    """
    shape = submission.parts, submission.recipients
    kinds, which = np.unique(submission.statuses, return_inverse=True)
    words = np.array([_word(status, window.attempt, stopped) for status in kinds.tolist()], np.int64)
    severity = np.array([_severity(state) for state in words.tolist()], np.int64)
    which = which.reshape(shape)
    worst = np.argmax(severity[which], axis=0)
    states = words[which[worst, np.arange(len(window))]].astype(np.uint16)
    states[~valid] = word(Rank.FAILED, attempt=window.attempt, reason=Reason.INVALID_ADDRESS)
    at = submission.at.reshape(shape).max(axis=0)
    at[at == 0] = now_ms()
    if not stored:
        return Outcomes(states, at)
    positions: Numbers = np.concatenate(submission.positions)
    far_ordinals = window.ordinals[positions % submission.recipients]
    return Outcomes(states, at, far_ordinals, np.concatenate(stored))


def _word(status: int, attempt: int, stopped: bool) -> int:
    if status == Status.ROK:
        return word(Rank.SENT, attempt=attempt)
    if status == UNKNOWN:
        return word(Rank.UNKNOWN, attempt=attempt)
    if status != NOT_SENT:
        return word(Rank.FAILED, attempt=attempt, reason=reason_for(status))
    if stopped:
        return word(Rank.WITHHELD, attempt=attempt, reason=Reason.STOPPED)
    return word(Rank.FAILED, attempt=attempt, reason=Reason.DISCONNECTED)


def _severity(state: int) -> int:
    rank, reason = state >> 7 & 7, state & 0x7F
    if rank == Rank.FAILED:
        return 4 if reason >= FIRST_PERMANENT else 3
    return {Rank.WITHHELD: 2, Rank.UNKNOWN: 1}.get(Rank(rank), 0)
