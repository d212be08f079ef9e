"""The embedded MQTT server with a client that is not ours (Paho), and with clients that mean no good."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import sys
from pathlib import Path

import aiomqtt
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from broker.mqtt.access import Account, Accounts, Login, new_password
from broker.mqtt.client import Server, connect
from broker.mqtt.embedded import EmbeddedServer, MqttError
from broker.mqtt.wire import Connect, Publish
from channels.broadcast.keys import SigningKey
from channels.broadcast.provision import broadcaster_login, new_terminals, save_terminals

READER = Login("reader", new_password(), ("v/1", "v/+"), ("r/reader",))
WRITER = Login("writer", new_password(), ("r/+",), ("v/#",))


@pytest.fixture
async def server(tmp_path: Path):
    made = EmbeddedServer(Accounts(map(Account.of, (READER, WRITER))), tmp_path / "journal")
    await made.start()
    yield made
    await made.stop()


def paho(server: EmbeddedServer, login: Login, **options: object) -> aiomqtt.Client:
    return aiomqtt.Client(
        "127.0.0.1",
        server.port,
        username=login.username,
        password=login.password,
        identifier=login.username,
        protocol=aiomqtt.ProtocolVersion.V311,
        **options,
    )


async def next_payload(client: aiomqtt.Client) -> bytes:
    return (await asyncio.wait_for(anext(aiter(client.messages)), 5)).payload


async def test_paho_publishes_and_receives(server) -> None:
    async with paho(server, READER) as reader, paho(server, WRITER) as writer:
        await reader.subscribe([("v/1", 1), ("v/+", 0)])
        for qos in (0, 1):
            await writer.publish("v/1", b"hello %d" % qos, qos=qos)
            assert await next_payload(reader) == b"hello %d" % qos
        await reader.unsubscribe(["v/1", "v/+"])
        await writer.publish("v/1", b"unheard", qos=1)
        await reader.subscribe("v/1", qos=1)
        await writer.publish("v/1", b"heard", qos=1)
        assert await next_payload(reader) == b"heard"


async def test_paho_finds_its_session_after_a_restart_of_the_server(server, tmp_path) -> None:
    async with paho(server, READER, clean_session=False) as reader:
        await reader.subscribe("v/1", qos=1)
    async with paho(server, WRITER) as writer:
        for number in range(50):
            await writer.publish("v/1", str(number), qos=1)
    await server.stop()
    again = EmbeddedServer(server.accounts, tmp_path / "journal", port=server.port)
    await again.start()
    async with paho(again, READER, clean_session=False) as reader:
        heard = [int(await next_payload(reader)) for _ in range(50)]
    assert heard == list(range(50))
    await again.stop()


async def test_paho_with_a_wrong_password_is_refused(server) -> None:
    wrong = Login("reader", "wrong" * 9)
    with pytest.raises(aiomqtt.MqttError):
        async with paho(server, wrong):
            pass
    assert server.connected == 0


class Ear:
    def __init__(self, *, takes: bool = True) -> None:
        self.heard: list[Publish] = []
        self.ended = asyncio.Event()
        self.takes = takes

    def received(self, connection, message) -> None:
        self.heard.append(message)
        if self.takes:
            connection.acknowledge(message.packet_id)

    def lost(self, connection, why) -> None:
        self.ended.set()


async def enter(server: EmbeddedServer, login: Login, ear: Ear, *, clean: bool = False):
    wish = Connect(login.username, login.username, login.password.encode(), clean, 30)
    return await connect(Server("127.0.0.1", server.port), wish, ear)


async def tell(connection, topic: str, payload: bytes) -> bool:
    answer = asyncio.get_running_loop().create_future()
    assert connection.publish(topic, payload, answer.set_result)
    return await asyncio.wait_for(answer, 5)


async def until(condition) -> None:
    async with asyncio.timeout(5):
        while not condition():
            await asyncio.sleep(0.01)


async def test_a_message_whose_taker_vanished_before_acknowledging_comes_again_marked_duplicate(server) -> None:
    deaf = Ear(takes=False)
    line = await enter(server, READER, deaf)
    await line.subscribe("v/1")
    writer = await enter(server, WRITER, Ear())
    await tell(writer, "v/1", b"one")
    await until(lambda: len(deaf.heard) == 1)
    line.abort()
    awake = Ear()
    line = await enter(server, READER, awake)
    await until(lambda: len(awake.heard) == 1)
    assert line.resumed
    assert [(message.payload, message.duplicate) for message in awake.heard] == [(b"one", True)]
    line.close()
    await awake.ended.wait()
    last = Ear()
    line = await enter(server, READER, last)
    await tell(writer, "v/1", b"two")
    await until(lambda: bool(last.heard))
    assert [message.payload for message in last.heard] == [b"two"]


async def test_a_second_connection_of_a_client_takes_over_from_the_first(server) -> None:
    first, second = Ear(), Ear()
    line = await enter(server, READER, first)
    await line.subscribe("v/1")
    await enter(server, READER, second)
    await asyncio.wait_for(first.ended.wait(), 5)
    await tell(await enter(server, WRITER, Ear()), "v/1", b"one")
    await until(lambda: len(second.heard) == 1)
    assert first.heard == []


async def test_a_clean_session_leaves_nothing_behind(server) -> None:
    line = await enter(server, READER, Ear(), clean=True)
    await line.subscribe("v/1")
    line.close()
    await until(lambda: not server.connections)
    ear = Ear()
    await tell(await enter(server, WRITER, Ear()), "v/1", b"one")
    line = await enter(server, READER, ear)
    assert not line.resumed
    await line.subscribe("v/1")
    assert ear.heard == []


async def test_an_account_cannot_use_the_client_id_of_another(server) -> None:
    wish = Connect("reader", "writer", WRITER.password.encode(), False, 30)
    with pytest.raises(Exception, match="identifier"):
        await connect(Server("127.0.0.1", server.port), wish, Ear())


async def test_a_port_that_is_taken_is_an_error(server) -> None:
    with pytest.raises(MqttError, match="cannot listen"):
        await EmbeddedServer(Accounts([]), None, port=server.port).start()


async def test_a_silent_client_is_cut_off(tmp_path) -> None:
    server = EmbeddedServer(Accounts([Account.of(READER)]), None)
    await server.start()
    wish = Connect("reader", "reader", READER.password.encode(), False, 1)
    ear = Ear()
    await connect(Server("127.0.0.1", server.port), wish, ear)
    await asyncio.wait_for(ear.ended.wait(), 8)
    await server.stop()


async def test_a_line_that_is_tended_stays(tmp_path) -> None:
    server = EmbeddedServer(Accounts([Account.of(READER)]), None)
    await server.start()
    wish = Connect("reader", "reader", READER.password.encode(), False, 1)
    ear = Ear()
    line = await connect(Server("127.0.0.1", server.port), wish, ear)
    for _ in range(50):
        line.tend(asyncio.get_running_loop().time())
        await asyncio.sleep(0.1)
    assert not ear.ended.is_set()
    line.close()
    await server.stop()


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.binary(max_size=200), st.booleans())
def test_random_bytes_neither_stop_the_server_nor_get_in(tmp_path, data: bytes, entered: bool) -> None:
    async def attack() -> None:
        server = EmbeddedServer(Accounts([Account.of(READER)]), None)
        await server.start()
        reader, writer = await asyncio.open_connection("127.0.0.1", server.port)
        if entered:
            writer.write(Connect("reader", "reader", READER.password.encode(), False, 30).encode())
        writer.write(data)
        writer.write_eof()
        await asyncio.wait_for(reader.read(), 5)
        writer.close()
        line = await enter(server, READER, Ear())
        await line.subscribe("v/1")
        line.close()
        await server.stop()

    asyncio.run(attack())


async def test_the_simulator_is_a_program_that_says_when_it_is_ready_and_ends_on_sigterm(tmp_path) -> None:
    rows = new_terminals([f"65001171000010314010{number:03d}" for number in range(400, 420)])
    logins = [broadcaster_login("b"), *(row.login for row in rows)]
    server = EmbeddedServer(Accounts(map(Account.of, logins)), None)
    await server.start()
    save_terminals(tmp_path / "terminals.csv", rows)
    (tmp_path / "keys").write_text(SigningKey.generate("k").public_line())
    arguments = ["--terminals", tmp_path / "terminals.csv", "--mqtt", f"127.0.0.1:{server.port}",
                 "--keys", tmp_path / "keys", "--log", tmp_path / "log", "--play-ms", "10"]  # fmt: skip
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "channels.broadcast.simulator", *map(os.fspath, arguments),
        stdout=asyncio.subprocess.PIPE, cwd=Path(__file__).parents[4],
    )  # fmt: skip
    ready = json.loads(await asyncio.wait_for(process.stdout.readline(), 30))
    assert ready == {"ready": True, "port": 0, "terminals": 20, "connected": 20}
    assert server.connected == 20
    process.send_signal(signal.SIGTERM)
    out, _ = await asyncio.wait_for(process.communicate(), 10)
    assert (process.returncode, out) == (0, b"")
    await server.stop()


async def test_a_village_with_wrong_files_says_so_and_does_not_start(tmp_path) -> None:
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "channels.broadcast.simulator", "--terminals", str(tmp_path / "none"),
        "--mqtt", "127.0.0.1:1", "--keys", str(tmp_path / "none"),
        stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE, cwd=Path(__file__).parents[4],
    )  # fmt: skip
    out, said = await asyncio.wait_for(process.communicate(), 30)
    assert (process.returncode, out) == (2, b"")
    assert b"broadcast.terminals.file" in said
