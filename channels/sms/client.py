"""SMPP 3.4 client: keeps one transceiver bind alive and submits messages by the window."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable
from contextlib import suppress

import numpy as np
import structlog
from numpy.typing import NDArray

from broker.clock import now_ms
from broker.errors import ChannelError
from broker.types import Lane
from channels.sms.bulk import Run, number
from channels.sms.connection import Connection
from channels.sms.outstanding import PENDING, UNKNOWN, Group, Outstanding, Submission
from channels.sms.pdu import Bind, Command, Status, status_name
from channels.sms.receipts import ReceiptRun
from channels.sms.settings import SmsSettings

_log = structlog.get_logger("channels.sms")

_STOP_POLL_SECONDS = 0.1
_CARE_SECONDS = 1.0
_UNBIND_SECONDS = 2.0
_SMALLEST_SHARE = 8
"""Wait until this share of the window (one eighth) is free, so that writes stay large."""

Stopped = Callable[[], bool]
Answered = Callable[[Submission, NDArray[np.intp], NDArray[np.bytes_]], None]
"""Called when parts at these positions of a submission were accepted with these ids."""
Delivered = Callable[[ReceiptRun, Connection], None]


class BindRefused(ChannelError):
    """The SMSC refused the bind."""


class SmppClient:
    """One bind to one SMSC, made anew whenever it is lost."""

    def __init__(self, settings: SmsSettings, *, on_answered: Answered, on_delivered: Delivered) -> None:
        self._settings = settings
        self._on_answered = on_answered
        self._on_delivered = on_delivered
        self._outstanding = Outstanding(settings.window)
        self._connection: Connection | None = None
        self._pulse = asyncio.Event()
        self._urgent_waiting = 0
        self._keeper: asyncio.Task[None] | None = None
        self._first: asyncio.Future[None] | None = None
        self._who: Bind | None = None

    @property
    def bound(self) -> bool:
        """Whether submits can be written now, but for the window."""
        return self._connection is not None and self._connection.bound

    async def start(self) -> None:
        """Bind for the first time. An SMSC that cannot be reached is tried again for as long as it takes.

        Raises BindRefused if the SMSC answers and will not have us, and ChannelError if there is no usable
        password: both are for people to put right.
        """
        self._who = _bind_of(self._settings)
        self._first = asyncio.get_running_loop().create_future()
        self._keeper = asyncio.create_task(self._keep_bound(), name="sms bind")
        try:
            await asyncio.wait({self._first, self._keeper}, return_when=asyncio.FIRST_COMPLETED)
            (self._first if self._first.done() else self._keeper).result()
        except BindRefused:
            await self.close()
            raise

    async def close(self) -> None:
        """Unbind and stop; what is outstanding becomes unknown."""
        if self._keeper is not None:
            self._keeper.cancel()
            with suppress(asyncio.CancelledError):
                await self._keeper
            self._keeper = None
        if self._connection is not None:
            await self._connection.unbind(self._outstanding.single(), _UNBIND_SECONDS)
            self._forsake()

    async def submit(self, submission: Submission, groups: list[Group], lane: Lane, stop: Stopped) -> bool:
        """Write all parts of all recipients and wait for the answers, which go into `submission`.

        Returns whether `stop` ended it early. Recipients that were not written, because of that or because
        there is no connection (any more), keep NOT_SENT in all their parts.
        """
        connection = self._connection
        if connection is None or not connection.bound:
            return stop()
        stopped = False
        for group in groups:
            begin, end = 0, len(group.positions)
            while begin < end and not stopped:
                room = await self._room(connection, lane, (end - begin) * submission.parts, submission.parts, stop)
                if room is None:
                    stopped = True
                    break
                count = min(end - begin, room // submission.parts)
                if not count:
                    break
                self._write(connection, submission, group, begin, begin + count)
                begin += count
        while submission.pending:
            await self._pulse.wait()
        return stopped

    def answers(self, run: Run) -> None:
        """Part of connection.Receiver."""
        statuses, sequences, now = run.statuses, run.sequences, now_ms()
        ids = run.message_ids() if run.command == Command.SUBMIT_SM_RESP else np.zeros(len(run), "S1")
        if run.command == Command.GENERIC_NACK:
            statuses = np.where(statuses == Status.ROK, Status.RSYSERR, statuses)
        found, shares = self._outstanding.settle(sequences)
        positions = self._outstanding.position_of(sequences)
        for submission, own in shares:
            at = positions[own]
            submission.statuses[at] = statuses[own]
            submission.at[at] = now
            taken = own[(statuses[own] == Status.ROK) & (ids[own] != b"")]
            if len(taken):
                submission.positions.append(positions[taken])
                submission.ids.append(ids[taken])
                self._on_answered(submission, positions[taken], ids[taken])
        if not found.all():
            _log.warning("sms.answers_unmatched", count=int((~found).sum()))
        self.changed()

    def deliveries(self, receipts: ReceiptRun, connection: Connection) -> None:
        """Part of connection.Receiver."""
        self._on_delivered(receipts, connection)

    def changed(self) -> None:
        """Part of connection.Receiver: wake everyone who waits for room or answers."""
        pulse, self._pulse = self._pulse, asyncio.Event()
        pulse.set()

    async def _room(self, connection: Connection, lane: Lane, wanted: int, least: int, stop: Stopped) -> int | None:
        """Wait for room in the window, urgent before routine.

        Returns how many submits it takes, at least `least`; 0 if disconnected, None if stopped.
        """
        enough = max(least, min(wanted, self._settings.window // _SMALLEST_SHARE))
        urgent = lane is Lane.URGENT
        self._urgent_waiting += urgent
        try:
            while True:
                if stop():
                    return None
                if not connection.bound:
                    return 0
                mine = urgent or not self._urgent_waiting
                if mine and connection.writable and self._outstanding.free >= enough:
                    return self._outstanding.free
                with suppress(TimeoutError):
                    async with asyncio.timeout(_STOP_POLL_SECONDS):
                        await self._pulse.wait()
        finally:
            self._urgent_waiting -= urgent

    def _write(self, connection: Connection, submission: Submission, group: Group, begin: int, end: int) -> None:
        recipients = group.positions[begin:end]
        offsets = np.arange(submission.parts)[:, None] * submission.recipients
        positions = (offsets + recipients).ravel()
        sequences = self._outstanding.take(submission, positions, asyncio.get_running_loop().time())
        submission.statuses[positions] = PENDING
        shares = sequences.reshape(submission.parts, -1)
        octets = []
        for rows, own in zip(group.rows, shares, strict=True):
            chunk = rows[begin:end]
            number(chunk, own)
            octets.append(chunk.tobytes())
        connection.write(b"".join(octets))

    async def _keep_bound(self) -> None:
        failures = 0
        while True:
            try:
                connection = await self._bind()
            except (OSError, TimeoutError) as error:
                failures += 1
                _log.warning("sms.unreachable", host=self._settings.host, error=type(error).__name__)
                self._tell_first(None)
            except BindRefused as error:
                failures += 1
                _log.error("sms.bind_refused", error=str(error))
                self._tell_first(error)
            else:
                failures = 0
                self._connection = connection
                _log.info("sms.bound", host=self._settings.host, port=self._settings.port)
                self._tell_first(None)
                await self._care_for(connection)
                self._forsake()
                _log.warning("sms.connection_lost", host=self._settings.host)
            longest = min(self._settings.reconnect_max_s, self._settings.reconnect_min_s * 2.0 ** min(failures, 16))
            # Many clients lose one SMSC at the same moment; they must not come back at the same moment.
            await asyncio.sleep(random.uniform(longest / 2, longest))

    async def _bind(self) -> Connection:
        """Raises OSError, TimeoutError or BindRefused; no message ever holds the password."""
        settings = self._settings
        loop = asyncio.get_running_loop()
        assert self._who is not None
        connection: Connection | None = None
        try:
            async with asyncio.timeout(settings.connect_timeout_s):
                _, connection = await loop.create_connection(lambda: Connection(self), settings.host, settings.port)
                status = await connection.bind(self._outstanding.single(), self._who)
        except BaseException:
            if connection is not None:
                connection.abort()
            raise
        if status != Status.ROK:
            connection.abort()
            raise BindRefused(
                f"the SMSC at {settings.host}:{settings.port} refused the bind of {settings.system_id!r}: "
                f"{status_name(status)}"
            )
        return connection

    async def _care_for(self, connection: Connection) -> None:
        """Until the connection ends: give up overdue answers, and test a silent link."""
        settings = self._settings
        loop = asyncio.get_running_loop()
        enquired = False
        while not connection.lost.done():
            await asyncio.wait([connection.lost], timeout=min(_CARE_SECONDS, settings.enquire_link_s / 2))
            now = loop.time()
            self._give_up(self._outstanding.overdue(now - settings.response_timeout_s))
            silence = now - connection.last_heard
            if silence < settings.enquire_link_s:
                enquired = False
            elif not enquired:
                connection.enquire(self._outstanding.single())
                enquired = True
            elif silence > settings.enquire_link_s + settings.response_timeout_s:
                connection.abort()

    def _forsake(self) -> None:
        """The connection is gone: nothing outstanding will be answered."""
        self._connection = None
        self._give_up(self._outstanding.overdue(float("inf")))

    def _give_up(self, sequences: NDArray[np.int64]) -> None:
        if not len(sequences):
            return
        now = now_ms()
        _, shares = self._outstanding.settle(sequences)
        positions = self._outstanding.position_of(sequences)
        for submission, own in shares:
            submission.statuses[positions[own]] = UNKNOWN
            submission.at[positions[own]] = now
        self.changed()

    def _tell_first(self, error: BindRefused | None) -> None:
        if self._first is None or self._first.done():
            return
        if error is None:
            self._first.set_result(None)
        else:
            self._first.set_exception(error)


def _bind_of(settings: SmsSettings) -> Bind:
    """Raises ChannelError, never with the password in it."""
    try:
        bind = Bind(settings.system_id, settings.read_password(), settings.system_type)
        bind.encode()
    except (OSError, ValueError) as error:
        raise ChannelError(f"no usable SMSC password: {error}") from error
    if not bind.password:
        raise ChannelError("no usable SMSC password: it is empty")
    return bind
