"""Chains of messages in a store, released and partly sent, for tests of what follows on a warning."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from datetime import timedelta
from itertools import count

import numpy as np

from broker.audience.index import LiveIndex
from broker.audience.policies import load_policies
from broker.cap.compose import compose, geocode_area
from broker.cap.level import Level
from broker.cap.model import Alert, Area, MsgType, Status
from broker.cap.xml import to_xml
from broker.clock import from_ms, now_ms, to_ms
from broker.dispatch.dispatcher import Dispatcher
from broker.dispatch.planner import Planner
from broker.dispatch.previews import Previews, PreviewSettings
from broker.dispatch.proposal import Proposer
from broker.dispatch.relay import Relay
from broker.intake.accept import new_id
from broker.ledger.arrays import Receipts
from broker.ledger.state import Rank, word
from broker.metrics import Metrics
from broker.rendition.templates import TemplateSet
from broker.store.contract import Store
from broker.store.records import AlertEvent, AlertRecord, ReferenceRecord
from broker.transport.embedded import EmbeddedTransport
from broker.types import AlertState, ChannelName, Phase
from tests.support.places import GROUPS, KEYRING, LANGUAGES, ROOT, Person, districts, pages, regions

PLANNER = Planner(
    load_policies(ROOT / "policies"), TemplateSet.load(ROOT / "templates"), regions(), districts(), "first"
)
HECHUAN = geocode_area("合川区", ["500117000000"])
WULONG = geocode_area("武隆区", ["500156000000"])
_numbers = count(1)


@dataclass
class World:
    """A store with a registry, and one department that posts into it."""

    store: Store
    planner: Planner = PLANNER

    async def register(self, people: Iterable[Person]) -> None:
        """Fill the registry anew."""
        await self.store.add_names("language", LANGUAGES)
        await self.store.add_names("group", GROUPS)
        await self.store.put_pages(pages(people))

    def dispatcher(self) -> Dispatcher:
        """One that plans what is released."""
        metrics = Metrics()
        relay = Relay(self.store, EmbeddedTransport(), metrics)
        return Dispatcher(self.store, relay, metrics, self.planner, KEYRING)

    def previews(self, settings: PreviewSettings | None = None) -> Previews:
        """Previews with an index of their own."""
        index = LiveIndex(self.store)
        return Previews(self.store, Proposer(self.store, self.planner, KEYRING, index), index, settings)

    async def post(
        self,
        msg_type: MsgType = MsgType.ALERT,
        *references: AlertRecord,
        areas: Sequence[Area] = (HECHUAN,),
        level: Level = Level.RED,
        status: Status = Status.ACTUAL,
        state: AlertState = AlertState.RELEASED,
        identifier: str | None = None,
        sent_ms: int | None = None,
        department: str = "geology",
        note: str | None = None,
        expires_in: int = 3600,
    ) -> AlertRecord:
        """Keep a message as the intake would have; later ones are sent a second later unless said otherwise."""
        number = next(_numbers)
        sent = from_ms((now_ms() - 600_000) // 1000 * 1000 + 1000 * number if sent_ms is None else sent_ms)
        alert = compose(
            identifier or f"message-{number}",
            "cq-geo@warning.example",
            sent,
            "11D01",
            "滑坡",
            level,
            "滑坡预警",
            "斜坡出现变形。",
            "远离陡坡。",
            areas=areas,
            expires=from_ms(now_ms()) + timedelta(seconds=expires_in),
            sender_name="地质中心",
            status=status,
        )
        text = " ".join(reference_text(each) for each in references)
        infos = () if msg_type in (MsgType.CANCEL, MsgType.ACK, MsgType.ERROR) else alert.infos
        alert = replace(alert, msg_type=msg_type, references_text=text or None, note=note, infos=infos)
        record = record_of(alert, department=department, state=state, level=level, expires_in=expires_in)
        named = [ReferenceRecord(record.id, each.sender, each.identifier, each.sent) for each in references]
        event = AlertEvent(record.id, record.received, state, "t", "posted")
        return await self.store.add_alert(record, event, named)

    async def send(self, alert: AlertRecord, ids: Iterable[int] | None = None) -> None:
        """Do what workers and trackers do to the whole alert: everybody, or those in `ids`, was sent it."""
        wanted = None if ids is None else set(ids)
        for work in await self.store.open_works(alert.id):
            claim = await self.store.claim(work.batch, work.attempt, "test", 60_000)
            assert claim is not None
            await self.store.close_work(claim)
        for batch in await self.store.batches(await self.store.batch_ids(alert=alert.id)):
            mine = [n for n, each in enumerate(batch.recipients.tolist()) if wanted is None or each in wanted]
            state = word(Rank.SENT, attempt=1)
            receipts = Receipts.uniform(batch.id, np.array(mine, np.uint16), state, now_ms())
            await self.store.merge([receipts])

    async def told(self, alert: AlertRecord) -> dict[Phase, dict[ChannelName, list[int]]]:
        """Who is in the batches of an alert, by what they are told."""
        phases = {each.id: Phase(str(each.content["phase"])) for each in await self.store.renditions(alert.id)}
        found: dict[Phase, dict[ChannelName, list[int]]] = {}
        for batch in await self.store.batches(await self.store.batch_ids(alert=alert.id)):
            here = found.setdefault(phases[batch.rendition], {})
            here.setdefault(batch.channel, []).extend(batch.recipients.tolist())
        return {phase: {channel: sorted(ids) for channel, ids in here.items()} for phase, here in found.items()}

    async def state(self, alert: AlertRecord) -> AlertState:
        """Where it stands."""
        return (await self.store.alert(alert.id)).state


def reference_text(record: AlertRecord) -> str:
    """`sender,identifier,sent` of a message."""
    return f"{record.sender},{record.identifier},{from_ms(record.sent).strftime('%Y-%m-%dT%H:%M:%S-00:00')}"


def record_of(alert: Alert, *, department: str, state: AlertState, level: Level, expires_in: int) -> AlertRecord:
    """The record of a message that was just received."""
    data = to_xml(alert)
    received = now_ms()
    return AlertRecord(
        id=new_id(received),
        sender=alert.sender,
        identifier=alert.identifier,
        sent=to_ms(alert.sent.instant),
        department=department,
        status=str(alert.status),
        msg_type=str(alert.msg_type),
        level=str(level),
        event="11D01",
        headline="",
        content_type="application/cap+xml",
        digest=hashlib.sha256(data).digest(),
        body=data,
        received=received,
        expires=received + 1000 * expires_in,
        state=state,
        author="t",
    )
