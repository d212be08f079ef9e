"""The proof after a demo: ledger, registry and the far ends' own logs must tell one story."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from broker.demo.expect import NaiveArea, Row, expected
from broker.demo.farends import log_of
from broker.demo.setup import Layout
from broker.ledger.arrays import COUNT_NAMES, Milestone
from broker.ledger.state import ARRIVAL_SHIFT, Arrival
from broker.sealing import Keyring, page_context
from broker.store.contract import Store
from broker.store.records import AlertRecord
from broker.types import CHANNELS, AlertState, ChannelName

_ALERTS = 10_000
_LOST = ("failed", "withheld", "expired")


@dataclass(slots=True)
class ChannelResult:
    """What became of one alert on one channel; counts are cumulative."""

    planned: int
    sent: int
    delivered: int
    presented: int
    failed: int
    expected: int
    seconds_to_first: float | None
    seconds_to_90: float | None
    seconds_to_last: float | None

    def as_dict(self) -> dict[str, int | float | None]:
        """For JSON."""
        return {name: getattr(self, name) for name in self.__slots__}


@dataclass(slots=True)
class AlertResult:
    """What became of one alert."""

    record: AlertRecord
    title: str
    channels: dict[ChannelName, ChannelResult] = field(default_factory=dict)


@dataclass(slots=True)
class Proof:
    """The results, and everything that does not agree."""

    alerts: list[AlertResult] = field(default_factory=list)
    disagreements: list[str] = field(default_factory=list)
    repeats: int = 0
    """Copies that far ends received a second time."""

    @property
    def good(self) -> bool:
        """Whether everything agrees."""
        return not self.disagreements


@dataclass(slots=True)
class _Heard:
    """What a far end's log says of one alert: addresses by event."""

    received: Counter[str] = field(default_factory=Counter)
    delivered: set[str] = field(default_factory=set)
    presented: set[str] = field(default_factory=set)


class Prover:
    """Reads registry, ledger and logs once and compares them alert by alert."""

    def __init__(self, layout: Layout, store: Store, keyring: Keyring) -> None:
        self._layout = layout
        self._store = store
        self._keyring = keyring
        self._rows: dict[ChannelName, list[Row]] = {}
        self._addresses: dict[ChannelName, dict[int, str]] = {}

    async def expected(self, channel: ChannelName, body: bytes) -> set[int]:
        """Brute force: who should get the alert in `body` on `channel`."""
        if channel not in self._rows:
            await self._read_registry(channel)
        return expected(self._rows[channel], NaiveArea.of(body))

    async def prove(self, alerts: list[tuple[str, str]]) -> Proof:
        """Compare for each (alert id, title)."""
        proof = Proof()
        ours: dict[str, AlertRecord] = {}
        for alert, title in alerts:
            record = ours[alert] = await self._store.alert(alert)
            proof.alerts.append(AlertResult(record, title))
            if record.state is not AlertState.COMPLETED:
                proof.disagreements.append(f"{title}: ended {record.state}, not completed: {record.reason or ''}")
        for channel in CHANNELS:
            heard = await self._heard(channel, proof)
            proof.repeats += sum(sum(each.received.values()) - len(each.received) for each in heard.values())
            for result in proof.alerts:
                await self._compare(channel, result, heard.get(result.record.id, _Heard()), proof)
        return proof

    async def _compare(self, channel: ChannelName, result: AlertResult, heard: _Heard, proof: Proof) -> None:
        record, title = result.record, f"{result.title}, {channel}"
        should = await self.expected(channel, record.body)
        addresses = self._addresses[channel]
        counts = np.zeros(len(COUNT_NAMES), np.int64)
        for row in await self._store.counters(record.id):
            if row.channel == channel:
                counts += np.array(row.counts, np.int64)
        planned: list[int] = []
        delivered: set[str] = set()
        presented: set[str] = set()
        unsettled = 0
        for batch in await self._store.batches(await self._store.batch_ids(alert=record.id, channel=channel)):
            ledger = await self._store.ledger_row(batch.id)
            planned += batch.recipients.tolist()
            arrival = ledger.states >> ARRIVAL_SHIFT
            unsettled += len(batch) - int(ledger.counts()[COUNT_NAMES.index("final")])
            delivered |= {addresses[i] for i in batch.recipients[arrival >= Arrival.DELIVERED].tolist()}
            presented |= {addresses[i] for i in batch.recipients[arrival >= Arrival.PRESENTED].tolist()}
        named = dict(zip(COUNT_NAMES, counts.tolist(), strict=True))
        times = await self._store.milestone_times(record.id, channel, Milestone.DELIVERED)
        ninetieth = -(-9 * len(planned) // 10)
        result.channels[channel] = ChannelResult(
            planned=named["planned"],
            sent=named["sent"],
            delivered=named["delivered"],
            presented=named["presented"],
            failed=sum(named[name] for name in _LOST),
            expected=len(should),
            seconds_to_first=_after(times[:1], record.received),
            seconds_to_90=_after(times[ninetieth - 1 : ninetieth] if ninetieth else [], record.received),
            seconds_to_last=_after(times[-1:], record.received),
        )
        say = proof.disagreements.append
        if len(planned) != len(set(planned)):
            say(f"{title}: {len(planned) - len(set(planned))} recipients are planned twice")
        if set(planned) != should:
            missing, extra = len(should - set(planned)), len(set(planned) - should)
            say(f"{title}: {missing} who should be warned are not planned, {extra} are planned who should not be")
        if named["planned"] != len(planned) or unsettled:
            say(f"{title}: {named['planned']} counted, {len(planned)} planned, {unsettled} without a final state")
        if named["delivered"] != len(delivered) or named["presented"] != len(presented):
            say(f"{title}: the counters do not equal the ledger")
        outside = set(heard.received) - {addresses[i] for i in should}
        if outside:
            say(f"{title}: {len(outside)} outside the area received it")
        _same(proof, f"{title}: delivered", delivered, heard.delivered)
        _same(proof, f"{title}: presented", presented, heard.presented)

    async def _read_registry(self, channel: ChannelName) -> None:
        rows: list[Row] = []
        addresses: dict[int, str] = {}
        async for page in self._store.pages(channel):
            opened = self._keyring.open(page.addresses, page_context(channel, page.number))
            ids = page.ids.tolist()
            columns = zip(
                ids, page.lon.tolist(), page.lat.tolist(), page.regions.tolist(), page.kinds.tolist(), strict=True
            )
            rows += [Row(id_, lon, lat, f"{region:012d}", kind) for id_, lon, lat, region, kind in columns]
            addresses.update(zip(ids, (address.decode() for address in opened.tolist()), strict=True))
        self._rows[channel], self._addresses[channel] = rows, addresses

    async def _heard(self, channel: ChannelName, proof: Proof) -> dict[str, _Heard]:
        """What the channel's far end heard, by alert, of all that the store knows; anything else is a disagreement.

        Others may have posted to the demo while it ran. Oldest last, so that the demo's own words stay its own.
        """
        alert_of: dict[str, str] = {}
        for alert in [record.id for record in await self._store.alerts(limit=_ALERTS)]:
            if channel is ChannelName.SMS:
                renditions = await self._store.renditions(alert)
                texts = (str(item.content["text"]) for item in renditions if item.channel is ChannelName.SMS)
                alert_of |= dict.fromkeys(texts, alert)
            else:
                batches = await self._store.batch_ids(alert=alert, channel=channel)
                alert_of |= {str(batch): alert for batch in batches}
        heard: dict[str, _Heard] = {}
        strangers = 0
        for line in read_log(log_of(self._layout, channel)):
            if line["event"] == "refused":
                continue  # a neighbour who was not addressed, or a message that did not verify
            message = str(line["message"])
            known = alert_of.get(message if channel is ChannelName.SMS else _batch(channel, message))
            if known is None:
                strangers += 1
                continue
            entry = heard.setdefault(known, _Heard())
            address, event = str(line["address"]), line["event"]
            if event == "received":
                entry.received[address] += 1
            elif event == "delivered":
                entry.delivered.add(address)
            elif event == "presented":
                if address in entry.presented and channel is ChannelName.BROADCAST:
                    proof.disagreements.append(f"a terminal played twice: {message}")
                entry.presented.add(address)
        if strangers:
            proof.disagreements.append(f"{channel}: {strangers} log lines are of messages that no alert explains")
        return heard


def read_log(path: Path) -> Iterator[dict[str, object]]:
    """The lines of a far end's log; a last one that is still being written is left out."""
    if not path.exists():
        return
    with path.open(encoding="utf-8") as file:
        for line in file:
            if line.endswith("\n"):
                yield json.loads(line)


def _batch(channel: ChannelName, message: str) -> str:
    """The batch in what identifies a message: `<alert>/<batch>` (broadcast) or `<batch>:<ordinal>`."""
    return message.rpartition("/")[2] if channel is ChannelName.BROADCAST else message.partition(":")[0]


def _after(times: list[int], accepted: int) -> float | None:
    return round((times[0] - accepted) / 1000, 3) if times else None


def _same(proof: Proof, what: str, ledger: set[str], log: set[str]) -> None:
    if ledger != log:
        only_ledger, only_log = len(ledger - log), len(log - ledger)
        proof.disagreements.append(
            f"{what}: {only_ledger} only in the ledger, {only_log} only in the far end's log"
        )
