from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from broker.errors import ConfigError
from broker.mqtt import wire
from broker.mqtt.access import Account, Accounts, Login, new_password
from broker.mqtt.client import Server
from broker.mqtt.wire import Connect, Kind, MalformedPacket, Publish, Refusal, Splitter

TEXT = st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]), max_size=40)
TOPIC = st.text(st.sampled_from("abc/$"), min_size=1, max_size=12)


@given(TEXT, TEXT, st.binary(max_size=60), st.booleans(), st.integers(0, 65_535))
def test_connect_reads_as_it_was_written(client, user, password, clean, keepalive) -> None:
    wish = Connect(client, user, password, clean, keepalive)
    (packet,) = Splitter().feed(wish.encode())
    assert packet.kind is Kind.CONNECT
    assert Connect.decode(packet.body) == wish
    assert "password" not in repr(wish)


@given(TOPIC, st.binary(max_size=300), st.integers(0, 65_535), st.booleans())
def test_publish_reads_as_it_was_written(topic, payload, number, duplicate) -> None:
    message = Publish(topic, payload, number, duplicate)
    (packet,) = Splitter().feed(message.encode())
    assert Publish.decode(packet.flags, packet.body) == message


@given(
    st.lists(st.tuples(TOPIC, st.binary(max_size=20_000)), max_size=5), st.lists(st.integers(1, 400), min_size=1)
)
def test_packets_come_out_whole_however_the_stream_is_cut(messages, cuts) -> None:
    stream = b"".join(Publish(topic, payload, 1).encode() for topic, payload in messages)
    splitter, found, at, turn = Splitter(), [], 0, 0
    while at < len(stream):
        size = cuts[turn % len(cuts)]
        found += splitter.feed(stream[at : at + size])
        at, turn = at + size, turn + 1
    assert [Publish.decode(packet.flags, packet.body) for packet in found] == [
        Publish(topic, payload, 1) for topic, payload in messages
    ]


@given(st.binary(max_size=200))
def test_random_bytes_are_packets_or_malformed_and_nothing_else(data: bytes) -> None:
    readers = {
        Kind.CONNECT: Connect.decode,
        Kind.CONNACK: wire.read_connack,
        Kind.PUBACK: wire.read_packet_id,
        Kind.SUBSCRIBE: wire.read_subscribe,
        Kind.SUBACK: wire.read_suback,
        Kind.UNSUBSCRIBE: wire.read_unsubscribe,
    }
    for read in readers.values():
        try:
            read(data)
        except MalformedPacket:
            pass
    for flags in (0, 2):
        try:
            Publish.decode(flags, data)
        except MalformedPacket:
            pass
    try:
        Splitter().feed(data)
    except MalformedPacket:
        pass


@pytest.mark.parametrize(
    "data",
    [
        b"\x00\x00",
        b"\xf0\x00",
        b"\x81\x00",
        b"\xc1\x00",
        b"\x30\xff\xff\xff\xff\x01",
        b"\x30\xff\xff\xff\x7f",
    ],
)
def test_what_is_no_packet_of_ours_is_malformed(data: bytes) -> None:
    with pytest.raises(MalformedPacket):
        Splitter().feed(data)


def test_wills_other_versions_and_qos_two_are_not_offered() -> None:
    with pytest.raises(MalformedPacket, match="will"):
        Connect.decode(b"\x00\x04MQTT\x04\x06\x00\x00\x00\x01a")
    with pytest.raises(wire.UnknownProtocol):
        Connect.decode(b"\x00\x04MQTT\x05\x02\x00\x00\x00\x01a")
    with pytest.raises(MalformedPacket, match="QoS 2"):
        Publish.decode(4, b"\x00\x01a\x00\x01")
    with pytest.raises(MalformedPacket, match="wildcards"):
        Publish.decode(0, b"\x00\x01#")


def test_a_refusal_never_claims_that_the_session_was_resumed() -> None:
    assert wire.read_connack(wire.connack(Refusal.CREDENTIALS, resumed=True)[2:]) == (False, Refusal.CREDENTIALS)
    assert wire.read_connack(wire.connack(Refusal.NONE, resumed=True)[2:]) == (True, Refusal.NONE)


@pytest.mark.parametrize(
    ("topic", "name", "selected"),
    [
        ("a/b", "a/b", True),
        ("a/b", "a/+", True),
        ("a/b", "#", True),
        ("a", "a/#", True),
        ("a/b/c", "a/+", False),
        ("a", "a/+", False),
        ("a/", "a/+", True),
        ("/a", "+/+", True),
        ("/a", "+", False),
        ("$SYS/a", "#", False),
        ("$SYS/a", "+/a", False),
        ("$SYS/a", "$SYS/#", True),
        ("ab", "a", False),
    ],
)
def test_filters_select_topics_as_the_standard_says(topic, name, selected) -> None:
    assert wire.matches(topic, name) is selected


@pytest.mark.parametrize(
    ("name", "good"),
    [("a/#", True), ("#", True), ("+/a/+", True), ("a#", False), ("#/a", False), ("a/+b", False), ("", False)],
)
def test_malformed_filters_are_known(name, good) -> None:
    assert wire.valid_filter(name) is good


def test_an_account_reads_and_writes_its_own_topics_only() -> None:
    account = Account.of(Login("t", new_password(), ("v/1",), ("r/t",)))
    assert account.may_subscribe("v/1")
    assert account.may_publish("r/t")
    for name in ("v/2", "v/+", "#", "+/1", "v/1/#", "r/t"):
        assert not account.may_subscribe(name)
    for topic in ("r/u", "v/1", "r/t/x"):
        assert not account.may_publish(topic)
    wide = Account.of(Login("w", new_password(), ("r/+",), ("v/#",)))
    assert wide.may_subscribe("r/+")
    assert wide.may_subscribe("r/t")
    assert not wide.may_subscribe("r/#")
    assert wide.may_publish("v/1/2")


def test_passwords_are_checked_and_not_kept(tmp_path) -> None:
    login = Login("t", new_password(), ("v/1",), ())
    accounts = Accounts([Account.of(login)])
    assert accounts.find("t", login.password.encode()) is not None
    for name, password in (("t", b""), ("t", b"x"), ("u", login.password.encode()), ("u", b""), ("", b"")):
        assert accounts.find(name, password) is None
    path = tmp_path / "accounts"
    accounts.save(path)
    assert login.password not in path.read_text()
    assert path.stat().st_mode & 0o077 == 0
    assert Accounts.load(path).find("t", login.password.encode()) == accounts.find("t", login.password.encode())


def test_every_wrong_line_of_an_accounts_file_is_named(tmp_path) -> None:
    path = tmp_path / "accounts"
    Accounts([Account.of(Login("t", "p" * 43, ("v/1",), ()))]).save(path)
    line = path.read_text()
    path.write_text(line + line + "{}\n[]\nnot json\n" + line.replace('"t"', '"u"').replace("v/1", "v/#/1"))
    with pytest.raises(ConfigError) as error:
        Accounts.load(path)
    assert [problem.place.rpartition(":")[2] for problem in error.value.problems] == ["2", "3", "4", "5", "6"]


def test_server_addresses_are_read_or_refused() -> None:
    assert Server.parse("mqtt://h:99", "x") == Server("h", 99)
    assert Server.parse("h:99", "x") == Server("h", 99)
    assert Server.parse("mqtt://h", "x").port == 1883
    assert Server.parse("mqtts://h", "x").tls is not None
    for url in ("http://h", "mqtt://", "mqtt://u:p@h:1", "mqtt://h:99999", "mqtt://h/x", ""):
        with pytest.raises(ConfigError):
            Server.parse(url, "x")
