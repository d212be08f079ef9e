"""The layout of the queues, without a server."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from broker.errors import ConfigError, Unroutable
from broker.transport.contract import LADDER_SECONDS, Message, all_queues
from broker.transport.embedded import EmbeddedTransport
from broker.transport.factory import open_transport
from broker.transport.rabbitmq import RabbitTransport
from broker.transport.settling import parked, rung, unparked
from broker.transport.topology import (
    FLOOR,
    Limits,
    QueueSpec,
    check,
    exchange_name,
    parse_version,
    server_version,
    topology,
)

VERSIONS = [(3, 10, 8), (3, 13, 7), (4, 0, 0), (4, 3, 1)]


@pytest.mark.parametrize("version", VERSIONS)
def test_every_queue_has_a_rung_for_each_step_that_leads_back_to_it(version: tuple[int, int, int]) -> None:
    specs = {spec.key: spec for spec in topology(3, version)}
    for queue in all_queues(3):
        assert specs.pop(queue).name == f"fenghuo.{queue}"
        for seconds in LADDER_SECONDS:
            arguments = specs.pop(f"retry.{seconds}.{queue}").arguments
            assert arguments["x-message-ttl"] == seconds * 1000
            assert arguments["x-dead-letter-routing-key"] == queue
            assert arguments["x-dead-letter-exchange"] == exchange_name()
    assert specs == {}


@pytest.mark.parametrize("version", VERSIONS)
def test_everything_is_quorum_and_loses_nothing_on_the_way_to_parking(version: tuple[int, int, int]) -> None:
    for spec in topology(1, version):
        assert spec.arguments["x-queue-type"] == "quorum"
        assert "x-max-priority" not in spec.arguments
        if spec.key == "parking":
            assert not {"x-overflow", "x-dead-letter-exchange", "x-max-length"} & set(spec.arguments)
        else:
            assert spec.arguments["x-dead-letter-strategy"] == "at-least-once"
            assert spec.arguments["x-overflow"] == "reject-publish"


def test_only_receipts_have_a_single_active_consumer() -> None:
    single = {spec.key for spec in topology(2, FLOOR) if spec.arguments.get("x-single-active-consumer")}
    assert single == {"receipts.0", "receipts.1"}


def test_parking_lifts_the_default_delivery_limit_where_there_is_one() -> None:
    def parking(version: tuple[int, int, int]) -> QueueSpec:
        return next(spec for spec in topology(1, version) if spec.key == "parking")

    assert "x-delivery-limit" not in parking((3, 10, 8)).arguments
    assert parking((4, 0, 0)).arguments["x-delivery-limit"] == -1


@pytest.mark.parametrize(
    ("arguments", "version", "argument"),
    [
        ({"x-delayed-retry-min": 1}, (4, 2, 9), "x-delayed-retry-min"),
        ({"x-consumer-timeout": 1}, (3, 10, 8), "x-consumer-timeout"),
        ({"x-max-priority": 2}, (4, 3, 0), "x-max-priority"),
        ({"x-no-such": 2}, (4, 3, 0), "x-no-such"),
        ({"x-delivery-limit": -1}, (3, 13, 0), "x-delivery-limit"),
        ({"x-delivery-limit": 0}, (4, 0, 0), "x-delivery-limit"),
        ({"x-dead-letter-strategy": "at-least-once", "x-dead-letter-exchange": "e"}, (4, 0, 0), "x-overflow"),
        (
            {"x-dead-letter-strategy": "at-least-once", "x-overflow": "reject-publish"},
            (4, 0, 0),
            "x-dead-letter-exchange",
        ),
        ({"x-queue-type": "classic"}, (3, 10, 8), "x-queue-type"),
    ],
)
def test_what_a_server_would_refuse_or_ignore_is_a_problem(
    arguments: dict[str, str | int | bool], version: tuple[int, int, int], argument: str
) -> None:
    spec = QueueSpec("q", "q", {"x-queue-type": "quorum", **arguments})
    assert [problem.place for problem in check([spec], version)] == [f"q/{argument}"]


def test_arguments_are_taken_from_the_version_that_heeds_them() -> None:
    limits = Limits(extra={"x-delayed-retry-min": 1000})
    assert topology(1, (4, 3, 0), limits=limits)
    with pytest.raises(ConfigError, match=r"needs 4\.3") as refused:
        topology(1, (4, 2, 0), limits=limits)
    assert len(refused.value.problems) == 1


@pytest.mark.parametrize(
    ("text", "version"),
    [("3.10.8", (3, 10, 8)), ("4.1.0-rc.1", (4, 1, 0)), ("4.2", (4, 2, 0)), ("3.12.1+5.gabc", (3, 12, 1))],
)
def test_versions_are_read(text: str, version: tuple[int, int, int]) -> None:
    assert parse_version(text) == version


@pytest.mark.parametrize(
    ("product", "version", "rule"),
    [
        ("RabbitMQ", "3.9.29", "rabbitmq.version"),
        ("RabbitMQ", "", "rabbitmq.version"),
        ("Qpid", "9.0.0", "rabbitmq.product"),
    ],
)
def test_a_server_that_cannot_serve_is_refused(product: str, version: str, rule: str) -> None:
    with pytest.raises(ConfigError) as refused:
        server_version({"product": product, "version": version})
    assert [problem.rule for problem in refused.value.problems] == [rule]


@given(st.floats(min_value=0, max_value=LADDER_SECONDS[-1]))
def test_a_rung_is_never_shorter_than_the_delay_and_the_next_lower_always_is(delay: float) -> None:
    seconds = rung(delay, LADDER_SECONDS)
    assert seconds >= delay
    assert all(lower < delay for lower in LADDER_SECONDS if lower < seconds)


@given(
    st.dictionaries(st.sampled_from(["batch", "alert", "key"]), st.integers() | st.text() | st.binary()),
    st.binary(),
    st.text(),
)
def test_unparking_undoes_parking(headers: dict[str, str | int | bytes], body: bytes, reason: str) -> None:
    message = Message(headers=headers, body=body, id="m")
    assert unparked(parked(message, "sms.urgent", reason)) == (message, "sms.urgent", reason)


def test_what_does_not_say_where_it_came_from_cannot_be_unparked() -> None:
    with pytest.raises(Unroutable):
        unparked(Message(headers={}, body=b"", id="m"))


def test_addresses_open_the_transport_that_they_name() -> None:
    assert isinstance(open_transport("embedded:", 2), EmbeddedTransport)


async def test_an_amqp_address_opens_rabbitmq() -> None:
    assert isinstance(open_transport("amqps://u:p@host:5671/vhost", 2), RabbitTransport)


@pytest.mark.parametrize("url", ["", "redis://h", "amqp:", "amqp://", "http://guest:hunter2@host"])
def test_other_addresses_are_refused_without_repeating_them(url: str) -> None:
    with pytest.raises(ConfigError) as refused:
        open_transport(url, 1)
    assert "hunter2" not in str(refused.value)


def test_every_problem_of_an_address_is_listed() -> None:
    with pytest.raises(ConfigError) as refused:
        open_transport("redis://h", 0)
    assert {problem.place for problem in refused.value.problems} == {"transport.shards", "transport.url"}
