"""The broadcast channel with simulated villages, over the embedded server and over Mosquitto."""

from __future__ import annotations

import asyncio
import contextlib

import numpy as np
import pytest

from broker.clock import now_ms
from broker.errors import ChannelError
from broker.ledger.state import Rank, Reason, attempt_of, rank_of, reason_of
from broker.mqtt.client import ConnectionRefused, Server, connect
from broker.mqtt.wire import Connect
from channels.broadcast.ids import message_topic, report_topic, village_of
from channels.broadcast.keys import SigningKey
from channels.broadcast.message import BroadcastMessage, seal, unseal
from channels.broadcast.report import Reference, Report, TerminalState


async def test_a_warning_reaches_two_hundred_terminals_and_all_report_that_they_played_it(world) -> None:
    village, channel = await world.village(), await world.channel()
    batch = world.batch(1)
    outcomes = await channel.send(world.window(batch), batch.rendition, lambda: False)
    assert {rank_of(int(state)) for state in outcomes.states} == {Rank.SENT}
    await world.until(lambda: world.counts(1)["presented"] == 200)
    assert world.counts(1)["delivered"] == 200
    assert world.count("delivered") == world.count("presented") == 200
    assert world.count("received") == 200
    assert world.count("duplicate") == world.count("refused") == 0
    await _none_left(world, village)


async def _none_left(world, village) -> None:
    await world.until(lambda: village.unreported == 0)


async def test_only_the_terminals_of_the_window_play(hamlet) -> None:
    await hamlet.village()
    channel, batch = await hamlet.channel(), hamlet.batch(1)
    await channel.send(hamlet.window(batch, [1, 3, 9]), batch.rendition, lambda: False)
    await hamlet.until(lambda: hamlet.counts(1)["presented"] == 3)
    played = {line["address"] for line in hamlet.events() if line["event"] == "presented"}
    assert played == {hamlet.ebrids[1], hamlet.ebrids[3], hamlet.ebrids[9]}
    others = [line for line in hamlet.events() if line["event"] == "refused"]
    assert {line["reason"] for line in others} == {"not_addressed"}
    assert len(others) == 13


async def test_a_terminal_that_was_offline_gets_the_warning_once_when_it_is_back(hamlet) -> None:
    village, channel = await hamlet.village(), await hamlet.channel()
    away = hamlet.ebrids[4]
    await village.go_offline(away)
    batch = hamlet.batch(1)
    await channel.send(hamlet.window(batch), batch.rendition, lambda: False)
    await hamlet.until(lambda: hamlet.counts(1)["presented"] == 15)
    village.go_online(away)
    await hamlet.until(lambda: hamlet.counts(1)["presented"] == 16)
    lines = [line["event"] for line in hamlet.events() if line["address"] == away]
    assert lines == ["received", "delivered", "presented"]


async def test_a_window_sent_again_is_not_played_again_and_heals_lost_reports(hamlet) -> None:
    village, channel = await hamlet.village(), await hamlet.channel()
    batch = hamlet.batch(1)
    for attempt in (1, 1, 2):
        await channel.send(hamlet.window(batch, attempt=attempt), batch.rendition, lambda: False)
    await hamlet.until(lambda: hamlet.count("duplicate") == 32)
    await hamlet.until(lambda: hamlet.counts(1)["presented"] == 16)
    assert hamlet.count("presented") == hamlet.count("delivered") == 16
    hamlet.ledgers[1] = type(hamlet.ledgers[1]).fresh(1, 16, now_ms())
    await _none_left(hamlet, village)
    await channel.send(hamlet.window(batch), batch.rendition, lambda: False)
    await hamlet.until(lambda: hamlet.counts(1)["presented"] == 16)
    assert hamlet.count("presented") == 16


async def test_a_second_round_is_another_batch_and_is_played(hamlet) -> None:
    await hamlet.village()
    channel = await hamlet.channel()
    for number in (1, 2):
        batch = hamlet.batch(number)
        await channel.send(hamlet.window(batch), batch.rendition, lambda: False)
    await hamlet.until(lambda: hamlet.counts(1)["presented"] == hamlet.counts(2)["presented"] == 16)
    assert hamlet.count("presented") == 32


async def test_reports_sent_while_the_worker_is_down_are_not_lost(hamlet) -> None:
    village = await hamlet.village(play=0.6)
    channel, batch = await hamlet.channel(), hamlet.batch(1)
    await channel.send(hamlet.window(batch), batch.rendition, lambda: False)
    await hamlet.close_channel(channel)
    await hamlet.until(lambda: hamlet.count("presented") == 16)
    await _none_left(hamlet, village)
    assert hamlet.counts(1)["presented"] == 0
    await hamlet.channel()
    await hamlet.until(lambda: hamlet.counts(1)["presented"] == 16)


async def test_reports_that_a_worker_had_taken_but_not_acknowledged_come_again(hamlet) -> None:
    await hamlet.village()
    channel, batch = await hamlet.channel(hold_reports_seconds=30), hamlet.batch(1)
    await channel.send(hamlet.window(batch), batch.rendition, lambda: False)
    await hamlet.until(lambda: hamlet.counts(1)["presented"] == 16)
    await hamlet.crash_channel(channel)
    hamlet.ledgers[1] = type(hamlet.ledgers[1]).fresh(1, 16, now_ms())
    await hamlet.channel()
    await hamlet.until(lambda: hamlet.counts(1)["presented"] == 16)


async def test_what_the_server_took_survives_its_crash_for_those_who_were_away(hamlet) -> None:
    village, channel = await hamlet.village(), await hamlet.channel()
    away = hamlet.ebrids[:4]
    for ebrid in away:
        await village.go_offline(ebrid)
    batch = hamlet.batch(1)
    outcomes = await channel.send(hamlet.window(batch), batch.rendition, lambda: False)
    assert {rank_of(int(state)) for state in outcomes.states} == {Rank.SENT}
    await hamlet.server.kill()
    await hamlet.server.start()
    for ebrid in away:
        village.go_online(ebrid)
    await hamlet.until(lambda: hamlet.counts(1)["presented"] == 16, 30)
    assert hamlet.count("presented") == hamlet.count("delivered") == 16


async def test_terminals_and_worker_come_back_by_themselves_when_the_server_does(hamlet) -> None:
    village, channel = await hamlet.village(), await hamlet.channel()
    await hamlet.server.stop()
    await hamlet.until(lambda: village.connected == 0 and not channel.healthy)
    batch = hamlet.batch(1)
    outcomes = await channel.send(hamlet.window(batch), batch.rendition, lambda: False)
    assert {reason_of(int(state)) for state in outcomes.states} == {Reason.DISCONNECTED}
    assert {rank_of(int(state)) for state in outcomes.states} == {Rank.FAILED}
    await hamlet.server.start()
    await hamlet.until(lambda: village.connected == 16 and channel.healthy, 30)
    await channel.send(hamlet.window(batch, attempt=2), batch.rendition, lambda: False)
    await hamlet.until(lambda: hamlet.counts(1)["presented"] == 16)


async def test_a_killed_village_plays_on_what_was_cut_off_and_nothing_twice(hamlet) -> None:
    village = await hamlet.village(play=0.3)
    channel, batch = await hamlet.channel(), hamlet.batch(1)
    half = list(range(8))
    await channel.send(hamlet.window(batch, half), batch.rendition, lambda: False)
    await hamlet.until(lambda: hamlet.counts(1)["presented"] == 8)
    await channel.send(hamlet.window(batch), batch.rendition, lambda: False)
    await hamlet.until(lambda: hamlet.counts(1)["delivered"] == 16)
    await village.stop(politely=False)
    assert hamlet.count("presented") == 8
    await hamlet.village(play=0.3)
    await hamlet.until(lambda: hamlet.counts(1)["presented"] == 16)
    assert hamlet.count("presented") == hamlet.count("delivered") == 16


async def test_an_exercise_sounds_on_training_terminals_only_and_others_report_the_refusal(hamlet) -> None:
    await hamlet.village()
    channel, batch = await hamlet.channel(), hamlet.batch(1, exercise=True)
    await channel.send(hamlet.window(batch, attempt=3), batch.rendition, lambda: False)
    await hamlet.until(lambda: hamlet.counts(1)["failed"] == 15 and hamlet.counts(1)["presented"] == 1)
    state = int(hamlet.ledgers[1].states[0])
    assert (reason_of(state), attempt_of(state)) == (Reason.REFUSED_BY_DEVICE, 3)
    assert [line["address"] for line in hamlet.events() if line["event"] == "presented"] == hamlet.ebrids[-1:]


async def test_stopping_withholds_what_was_not_published(hamlet) -> None:
    await hamlet.village()
    channel, batch = await hamlet.channel(), hamlet.batch(1)
    outcomes = await channel.send(hamlet.window(batch), batch.rendition, lambda: True)
    assert {rank_of(int(state)) for state in outcomes.states} == {Rank.WITHHELD}
    assert {reason_of(int(state)) for state in outcomes.states} == {Reason.STOPPED}
    assert hamlet.count("received") == 0


async def test_an_address_that_is_no_resource_code_fails_for_good_and_the_others_are_sent(hamlet) -> None:
    await hamlet.village()
    channel, batch = await hamlet.channel(), hamlet.batch(1)
    window = hamlet.window(batch, [0, 1, 2])
    window.addresses.flags.writeable = True
    window.addresses[1] = b"8613800000000"
    outcomes = await channel.send(window, batch.rendition, lambda: False)
    assert reason_of(int(outcomes.states[1])) is Reason.INVALID_ADDRESS
    assert [rank_of(int(state)) for state in outcomes.states] == [Rank.SENT, Rank.FAILED, Rank.SENT]


async def test_a_report_of_another_terminals_place_is_not_believed(hamlet) -> None:
    channel, batch = await hamlet.channel(), hamlet.batch(1)
    liar = await _terminal(hamlet, 2)
    forged = [
        Report(TerminalState.PLAYED, now_ms(), Reference(1, 3, 1, "a1/1")),
        Report(TerminalState.PLAYED, now_ms(), Reference(1, 2, 1, "another-broker/1")),
        Report(TerminalState.PLAYED, now_ms(), Reference(1, 60_000, 1, "a1/1")),
        Report(TerminalState.PLAYED, now_ms(), Reference(99, 2, 1, "a1/99")),
        Report(TerminalState.REFUSED, now_ms(), None, "signature"),
    ]
    topic = report_topic(hamlet.ebrids[2])
    for payload in [report.encode() for report in forged] + [b"", b"[]", b'{"state":"played"}', b"\xff" * 9]:
        await _publish(liar, topic, payload)
    await _publish(liar, topic, Report(TerminalState.VERIFIED, now_ms(), Reference(1, 2, 1, "a1/1")).encode())
    await hamlet.until(lambda: hamlet.counts(1)["delivered"] == 1)
    assert hamlet.counts(1)["presented"] == 0
    assert channel.disbelieved == {"reference": 3, "batch": 1, "alarm:signature": 1, "unreadable": 4}
    assert batch.batch == 1
    liar.close()


async def test_a_terminal_can_neither_read_other_villages_nor_speak_for_others(hamlet) -> None:
    channel = await hamlet.channel()
    batch = hamlet.batch(1)
    ear = _Ear()
    spy = await _terminal(hamlet, 0, ear)
    own, other = (message_topic(village_of(hamlet.ebrids[number])) for number in (0, 8))
    for name in (other, "fenghuo/#", "#", "fenghuo/ebm/+/+/+", report_topic(hamlet.ebrids[1]), own):
        # A server may refuse what must not be read, or grant it and then deliver nothing.
        with contextlib.suppress(ConnectionRefused):
            await spy.subscribe(name)
    await channel.send(hamlet.window(batch), batch.rendition, lambda: False)
    await hamlet.until(lambda: bool(ear.heard))
    await asyncio.sleep(0.3)
    assert {message.topic for message in ear.heard} == {own}
    played = Report(TerminalState.PLAYED, now_ms(), Reference(1, 1, 1, "a1/1")).encode()
    for topic, payload in ((report_topic(hamlet.ebrids[1]), played), (own, b"not a message")):
        # MQTT 3.1.1 lets a server either drop what may not be written or cut the writer off (3.3.5).
        with contextlib.suppress(AssertionError):
            await _publish(spy, topic, payload)
        spy.close()
        spy = await _terminal(hamlet, 0, ear)
    true = Report(TerminalState.VERIFIED, now_ms(), Reference(1, 0, 1, "a1/1")).encode()
    await _publish(spy, report_topic(hamlet.ebrids[0]), true)
    await hamlet.until(lambda: hamlet.counts(1)["delivered"] == 1)
    assert hamlet.counts(1)["presented"] == 0
    assert {message.payload for message in ear.heard if message.payload == b"not a message"} == set()
    spy.close()


@pytest.mark.parametrize(
    ("client", "user", "password"),
    [("own", "own", b"wrong" * 9), ("own", "own", b""), ("own", "nobody", b"x" * 43), ("own", "", b"")],
)
async def test_nobody_enters_without_the_right_password(hamlet, client, user, password) -> None:
    own = hamlet.ebrids[0]
    wish = Connect(own, own if user == "own" else user, password, False, 10)
    with pytest.raises((ConnectionRefused, ConnectionResetError)):
        await connect(Server("127.0.0.1", hamlet.server.port), wish, _Ear())


async def test_a_stranger_with_a_terminals_name_does_not_disturb_its_session(hamlet) -> None:
    await hamlet.village()
    channel, batch = await hamlet.channel(), hamlet.batch(1)
    for ebrid in hamlet.ebrids:
        with pytest.raises((ConnectionRefused, ConnectionResetError)):
            await connect(
                Server("127.0.0.1", hamlet.server.port), Connect(ebrid, ebrid, b"guess", True, 10), _Ear()
            )
    await channel.send(hamlet.window(batch), batch.rendition, lambda: False)
    await hamlet.until(lambda: hamlet.counts(1)["presented"] == 16)


async def test_forgeries_over_the_line_are_refused_and_the_terminals_stay_alive(hamlet) -> None:
    await hamlet.village()
    channel, batch = await hamlet.channel(), hamlet.batch(1)
    thief = SigningKey.generate("city-1")
    genuine = channel._message(
        hamlet.window(batch), batch.rendition, village_of(hamlet.ebrids[0]), np.arange(8, dtype=np.intp)
    )
    message = unseal(genuine, hamlet.trusted)
    assert isinstance(message, BroadcastMessage)
    forged = [
        seal(message, thief),
        genuine[:-1],
        genuine[:90] + b"!" + genuine[91:],
        genuine[:-200] + bytes([genuine[-200] ^ 1]) + genuine[-199:],
        b"",
        b"\x00" * 1000,
    ]
    writer = await _broadcaster_connection(hamlet, channel)
    for envelope in forged:
        await _publish(writer, message_topic(village_of(hamlet.ebrids[0])), envelope)
    await _publish(writer, message_topic(village_of(hamlet.ebrids[8])), genuine)
    writer.close()
    await hamlet.until(lambda: hamlet.count("refused") == 8 * (len(forged) + 1))
    assert hamlet.count("delivered") == 0
    channel = await hamlet.channel()
    await channel.send(hamlet.window(batch), batch.rendition, lambda: False)
    await hamlet.until(lambda: hamlet.counts(1)["presented"] == 16)
    assert hamlet.counts(1)["failed"] == 0
    assert sum(channel.disbelieved.values()) == 16


async def test_a_refused_account_is_an_error_at_start_and_not_a_silent_channel(hamlet) -> None:
    (hamlet.folder / "password").write_text("wrong\n")
    with pytest.raises(ChannelError, match="MQTT server says"):
        await hamlet.channel()


class _Ear:
    def __init__(self) -> None:
        self.heard = []

    def received(self, connection, message) -> None:
        self.heard.append(message)

    def lost(self, connection, why) -> None: ...


async def _terminal(world, number: int, ear: _Ear | None = None):
    row = world.rows[number]
    wish = Connect(row.ebrid, row.ebrid, row.password.encode(), False, 30)
    return await connect(Server("127.0.0.1", world.server.port), wish, ear or _Ear())


async def _broadcaster_connection(world, channel):
    await world.close_channel(channel)
    password = (world.folder / "password").read_text().strip().encode()
    wish = Connect("fenghuo-broadcast", "fenghuo-broadcast", password, False, 30)
    return await connect(Server("127.0.0.1", world.server.port), wish, _Ear())


async def _publish(connection, topic: str, payload: bytes) -> None:
    answered = asyncio.get_running_loop().create_future()
    assert connection.publish(topic, payload, answered.set_result)
    assert await asyncio.wait_for(answered, 10)
