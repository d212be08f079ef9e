"""What Fenghuo needs to stand on a RabbitMQ server, declared in this one place.

One direct exchange; a quorum queue for each channel and lane, for each shard of receipts, and for parking; and
for each of them a ladder of queues that hold messages back for a fixed time. A rung serves one queue only, so
that a full queue holds up no other's retries, and each rung has one TTL for all its messages, because a quorum
queue expires only at its head.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Final

from aio_pika.abc import AbstractChannel, AbstractConnection, ExchangeType
from aio_pika.exceptions import ChannelNotFoundEntity, ChannelPreconditionFailed

from broker.errors import ConfigError, Problem
from broker.transport.contract import LADDER_SECONDS, PARKING, all_queues

Version = tuple[int, int, int]
Arguments = Mapping[str, str | int | bool]

PREFIX: Final = "fenghuo."
FLOOR: Final[Version] = (3, 10, 0)
"""The oldest server: quorum queues with TTL and dead-lettering at least once."""

_SINCE: Final[Mapping[str, Version]] = {
    "x-queue-type": FLOOR,
    "x-delivery-limit": FLOOR,
    "x-dead-letter-exchange": FLOOR,
    "x-dead-letter-routing-key": FLOOR,
    "x-dead-letter-strategy": FLOOR,
    "x-overflow": FLOOR,
    "x-max-length": FLOOR,
    "x-max-length-bytes": FLOOR,
    "x-message-ttl": FLOOR,
    "x-expires": FLOOR,
    "x-single-active-consumer": FLOOR,
    "x-quorum-initial-group-size": FLOOR,
    "x-queue-leader-locator": FLOOR,
    "x-consumer-timeout": (3, 12, 0),
    "x-quorum-target-group-size": (3, 13, 0),
    "x-delayed-retry-type": (4, 3, 0),
    "x-delayed-retry-min": (4, 3, 0),
    "x-delayed-retry-max": (4, 3, 0),
}
"""Arguments that a quorum queue heeds, and since when: older servers take them without a word and do nothing."""

_NO_DELIVERY_LIMIT_SINCE: Final[Version] = (4, 0, 0)
"""From here quorum queues have a delivery limit by default (20, then the message is dropped), and -1 lifts it."""


@dataclass(frozen=True, slots=True)
class Limits:
    """How much the queues hold. Arguments cannot be changed on a queue that exists: see `diff`."""

    delivery_limit: int = 10
    """Returns by the server (crashes, lost connections) before a message is parked: the last fence only."""
    max_length: int = 100_000
    """Messages per queue before publishers are told to wait."""
    max_length_bytes: int = 4 * 1024**3
    """Bytes of bodies per queue before publishers are told to wait."""
    extra: Arguments = field(default_factory=dict)
    """Further arguments for the queues of batches and receipts."""


@dataclass(frozen=True, slots=True)
class QueueSpec:
    """A queue as it must be declared."""

    name: str
    """Its name on the server."""
    key: str
    """The routing key that leads to it."""
    arguments: Arguments


def exchange_name(prefix: str = PREFIX) -> str:
    """The exchange that everything is published to."""
    return f"{prefix}work"


def rung_key(seconds: int, queue: str) -> str:
    """The routing key of the rung that holds messages for `queue` back for `seconds`."""
    return f"retry.{seconds}.{queue}"


def parse_version(text: str) -> Version:
    """A server's version, e.g. `3.10.8` or `4.1.0-rc.1`. Raises ConfigError if it cannot be read."""
    match = re.match(r"(\d+)\.(\d+)(?:\.(\d+))?", text)
    if match is None:
        raise ConfigError([Problem("server", "rabbitmq.version", "this version cannot be read", text)])
    major, minor, patch = match.groups()
    return int(major), int(minor), int(patch or 0)


def server_version(properties: Mapping[str, object]) -> Version:
    """The version from a connection's server properties. Raises ConfigError for a server that cannot serve."""
    product, text = str(properties.get("product", "")), str(properties.get("version", ""))
    if product != "RabbitMQ":
        raise ConfigError([Problem("server", "rabbitmq.product", "the server is not RabbitMQ", product)])
    version = parse_version(text)
    if version < FLOOR:
        floor = ".".join(map(str, FLOOR[:2]))
        raise ConfigError([Problem("server", "rabbitmq.version", f"RabbitMQ {floor} or later is needed", text)])
    return version


def topology(
    shards: int,
    version: Version,
    *,
    prefix: str = PREFIX,
    ladder: Sequence[int] = LADDER_SECONDS,
    limits: Limits | None = None,
) -> list[QueueSpec]:
    """Every queue for `shards` shards on a server of `version`.

    Raises ConfigError, listing every argument that this server would refuse or silently ignore.
    """
    limits = limits or Limits()
    exchange = exchange_name(prefix)
    specs: list[QueueSpec] = []
    for queue in all_queues(shards):
        arguments = _parking(version) if queue == PARKING else _work(queue, exchange, limits)
        specs.append(QueueSpec(prefix + queue, queue, arguments))
        specs += (_rung(seconds, queue, prefix) for seconds in ladder)
    problems = dict.fromkeys(_once(problem, limits.extra) for problem in check(specs, version))
    if problems:
        raise ConfigError(list(problems))
    return specs


def _once(problem: Problem, extra: Arguments) -> Problem:
    # An argument given for all queues is wrong in one place, not in each queue.
    argument = problem.place.rpartition("/")[2]
    return replace(problem, place=f"limits.extra/{argument}") if argument in extra else problem


def _work(queue: str, exchange: str, limits: Limits) -> Arguments:
    # Batches are shared among workers, but one tracker at a time merges a shard.
    single = {"x-single-active-consumer": True} if queue.startswith("receipts.") else {}
    return {
        "x-queue-type": "quorum",
        "x-delivery-limit": limits.delivery_limit,
        "x-dead-letter-exchange": exchange,
        "x-dead-letter-routing-key": PARKING,
        "x-dead-letter-strategy": "at-least-once",
        "x-overflow": "reject-publish",
        "x-max-length": limits.max_length,
        "x-max-length-bytes": limits.max_length_bytes,
        **single,
        **limits.extra,
    }


def _parking(version: Version) -> Arguments:
    # No limits: dead-lettering at least once does not heed a refusal by its target, and what is looked at
    # again and again by an operator must not vanish for it.
    unlimited = {"x-delivery-limit": -1} if version >= _NO_DELIVERY_LIMIT_SINCE else {}
    return {"x-queue-type": "quorum", **unlimited}


def _rung(seconds: int, queue: str, prefix: str) -> QueueSpec:
    key = rung_key(seconds, queue)
    return QueueSpec(
        prefix + key,
        key,
        {
            "x-queue-type": "quorum",
            "x-message-ttl": seconds * 1000,
            "x-dead-letter-exchange": exchange_name(prefix),
            "x-dead-letter-routing-key": queue,
            "x-dead-letter-strategy": "at-least-once",
            "x-overflow": "reject-publish",
        },
    )


def check(specs: Iterable[QueueSpec], version: Version) -> list[Problem]:
    """Every argument that a server of `version` would refuse, or take and not heed."""
    return [problem for spec in specs for problem in _check(spec, version)]


def _check(spec: QueueSpec, version: Version) -> Iterable[Problem]:
    arguments, text = spec.arguments, ".".join(map(str, version))

    def problem(argument: str, why: str) -> Problem:
        value = arguments.get(argument)
        return Problem(f"{spec.name}/{argument}", "rabbitmq.argument", why, None if value is None else str(value))

    for argument in arguments:
        since = _SINCE.get(argument)
        if argument == "x-max-priority":
            yield problem(argument, "priorities are not used: a lane is a queue of its own")
        elif since is None:
            yield problem(argument, "a quorum queue does not know this argument and would ignore it")
        elif version < since:
            needed = ".".join(map(str, since[:2]))
            yield problem(argument, f"RabbitMQ {text} ignores this argument; it needs {needed}")
    if arguments.get("x-queue-type") != "quorum":
        yield problem("x-queue-type", "only quorum queues keep what they confirmed")
    if arguments.get("x-dead-letter-strategy") == "at-least-once":
        if arguments.get("x-overflow") != "reject-publish":
            yield problem(
                "x-overflow", "without reject-publish, dead-lettering silently falls back to at most once"
            )
        if "x-dead-letter-exchange" not in arguments:
            yield problem("x-dead-letter-exchange", "dead-lettering at least once needs an exchange")
    limit = arguments.get("x-delivery-limit")
    if isinstance(limit, int) and limit < 1 and not (limit == -1 and version >= _NO_DELIVERY_LIMIT_SINCE):
        yield problem("x-delivery-limit", f"RabbitMQ {text} needs a limit of at least 1")


async def declare(
    channel: AbstractChannel, specs: Iterable[QueueSpec], *, prefix: str = PREFIX, timeout: float = 10.0
) -> None:
    """Declare the exchange, the queues and their bindings; what exists alike is left as it is.

    `timeout` seconds are for each step. Raises ConfigError if something exists with other arguments.
    """
    place = exchange_name(prefix)
    try:
        exchange = await channel.declare_exchange(place, ExchangeType.DIRECT, durable=True, timeout=timeout)
        for spec in specs:
            place = spec.name
            queue = await channel.declare_queue(
                spec.name, durable=True, arguments=dict(spec.arguments), timeout=timeout
            )
            await queue.bind(exchange, spec.key, timeout=timeout)
    except ChannelPreconditionFailed as error:
        raise ConfigError([_differs(place, error)]) from error


def _differs(place: str, error: ChannelPreconditionFailed) -> Problem:
    return Problem(
        place,
        "rabbitmq.differs",
        f"exists with other arguments, and none can be changed: drain it, delete it, declare again ({error})",
    )


async def diff(
    connection: AbstractConnection, specs: Iterable[QueueSpec], *, timeout: float = 10.0
) -> list[Problem]:
    """What the server lacks or has otherwise than `specs` ask. Changes nothing.

    A passive declaration only tells whether a queue exists; declaring one that exists compares the arguments.
    """
    problems: list[Problem] = []
    for spec in specs:
        # A refusal closes the channel, hence one for each queue.
        async with connection.channel(publisher_confirms=False) as channel:
            try:
                await channel.declare_queue(spec.name, passive=True, timeout=timeout)
                await channel.declare_queue(
                    spec.name, durable=True, arguments=dict(spec.arguments), timeout=timeout
                )
            except ChannelNotFoundEntity:
                problems.append(Problem(spec.name, "rabbitmq.missing", "the server has no such queue"))
            except ChannelPreconditionFailed as error:
                problems.append(_differs(spec.name, error))
    return problems
