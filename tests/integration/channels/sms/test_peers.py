"""Our client and our SMSC against other people's: smpplib as a client, npm smpp as an SMSC."""

from __future__ import annotations

import asyncio
import json
import shutil
import subprocess
from pathlib import Path

import pytest
import smpplib.client
import smpplib.consts
import smpplib.exceptions
import smpplib.gsm

from broker.ledger.state import DELIVERED, Rank, word

ROOT = Path(__file__).parents[4]
PASSWORD = "geheim12"

_NODE_SMSC = """
const smpp = require('smpp');
const seen = {};
let next = 1000;
const server = smpp.createServer((session) => {
  session.on('error', () => {});
  session.on('bind_transceiver', (pdu) => session.send(pdu.response({
    command_status: pdu.password === 'geheim12' ? 0 : smpp.ESME_RINVPASWD, system_id: 'node'})));
  session.on('enquire_link', (pdu) => session.send(pdu.response()));
  session.on('unbind', (pdu) => { session.send(pdu.response()); session.close(); });
  session.on('submit_sm', (pdu) => {
    const id = (next++).toString();
    const { udh, message } = pdu.short_message;
    const parts = seen[pdu.destination_addr] = seen[pdu.destination_addr] || {};
    parts[udh ? udh[udh.length - 1] || udh[0][4] || id : 0] = message;
    session.send(pdu.response({ message_id: id }));
    session.deliver_sm({ source_addr: pdu.destination_addr, destination_addr: pdu.source_addr, esm_class: 4,
      short_message: `id:${id} sub:001 dlvrd:001 submit date:2611231200 done date:2611231200 stat:DELIVRD err:000`,
      receipted_message_id: id, message_state: 2 });
  });
});
server.listen(0, '127.0.0.1', () => console.log(JSON.stringify({ port: server.address().port })));
process.stdin.on('end', () => {
  const texts = {};
  for (const [to, parts] of Object.entries(seen))
    texts[to] = Object.keys(parts).sort((a, b) => a - b).map((n) => parts[n]).join('');
  process.stdout.write(JSON.stringify(texts), () => process.exit(0));
});
process.stdin.resume();
"""


@pytest.mark.skipif(
    shutil.which("node") is None or not (ROOT / "node_modules" / "smpp").exists(),
    reason="node or its package smpp is not installed",
)
@pytest.mark.parametrize("which", [0, 1], ids=["one part", "several parts"])
async def test_our_client_speaks_with_the_smsc_of_npm_smpp(broker, phones, texts, which) -> None:
    process = await asyncio.create_subprocess_exec(
        "node", "-e", _NODE_SMSC, stdin=subprocess.PIPE, stdout=subprocess.PIPE, cwd=ROOT
    )
    assert process.stdin is not None
    assert process.stdout is not None
    try:
        near = broker(json.loads(await process.stdout.readline())["port"], window=100)
        numbers = phones(250)
        async with near.channel() as channel:
            outcomes = await near.send(channel, numbers, texts[which])
            assert set(outcomes.states.tolist()) == {word(Rank.SENT, attempt=1)}
            await near.until(lambda: near.with_state(DELIVERED) == set(range(250)))
        process.stdin.close()
        assert json.loads(await process.stdout.read()) == dict.fromkeys(numbers, texts[which])
    finally:
        if process.returncode is None:
            process.kill()
        await process.wait()


def _talk(port: int, text: str, numbers: list[str]) -> tuple[set[str], dict[str, int]]:
    """Send `text` to all by smpplib; returns the ids answered, and states by id as receipted."""
    client = smpplib.client.Client("127.0.0.1", port, allow_unknown_opt_params=True, timeout=20)
    answered: set[str] = set()
    receipts: dict[str, int] = {}
    client.set_message_sent_handler(lambda pdu: answered.add(pdu.message_id.decode()))

    def received(pdu: object) -> int:
        receipts[pdu.receipted_message_id.decode()] = pdu.message_state  # type: ignore[attr-defined]
        return 0

    client.set_message_received_handler(received)
    client.connect()
    client.bind_transceiver(system_id="fenghuo", password=PASSWORD)
    parts, coding, flag = smpplib.gsm.make_parts(text)
    for number in numbers:
        for part in parts:
            client.send_message(
                source_addr="12379",
                destination_addr=number,
                short_message=part,
                data_coding=coding,
                esm_class=flag,
                registered_delivery=True,
            )
    while len(receipts) < len(parts) * len(numbers):
        client.read_once()
    client.unbind()
    client.disconnect()
    return answered, receipts


@pytest.mark.parametrize("text", ["Flood warning [red] €", "Leave the valley now! " * 20, "合川暴雨红色预警" * 20])
async def test_smpplib_speaks_with_our_smsc(smsc, phones, text) -> None:
    far = await smsc("--undeliverable", "0.2")
    numbers = phones(20)
    answered, receipts = await asyncio.to_thread(_talk, far.port, text, numbers)
    assert set(receipts) == answered
    assert set(receipts.values()) == {2, 5}
    await far.stop()
    assert far.events("received") == dict.fromkeys([(own, text) for own in numbers], 1)
    assert len(far.events("delivered")) + len(far.events("failed")) == 20


async def test_smpplib_is_refused_with_a_wrong_password(smsc) -> None:
    far = await smsc()

    def bind() -> None:
        client = smpplib.client.Client("127.0.0.1", far.port, allow_unknown_opt_params=True)
        client.connect()
        try:
            client.bind_transmitter(system_id="fenghuo", password="wrong")
        finally:
            client.disconnect()

    with pytest.raises(smpplib.exceptions.PDUError, match=r"(?i)password"):
        await asyncio.to_thread(bind)
