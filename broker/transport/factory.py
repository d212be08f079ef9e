"""From an address in the configuration to a transport."""

from __future__ import annotations

from urllib.parse import urlsplit

from broker.errors import ConfigError, Problem
from broker.transport.contract import Transport
from broker.transport.embedded import EmbeddedTransport
from broker.transport.topology import PREFIX


def open_transport(url: str, shards: int, *, prefix: str = PREFIX) -> Transport:
    """The transport for `embedded:` or `amqp[s]://user:password@host:port/vhost`; it must still be started.

    `prefix` begins the names of everything on the server, so that several brokers can share one.

    Raises ConfigError, which never repeats the address, for it may hold a password.
    """
    problems: list[Problem] = []
    parts = urlsplit(url)
    if shards < 1:
        problems.append(
            Problem("transport.shards", "transport.shards", "at least one shard is needed", str(shards))
        )
    if parts.scheme not in {"embedded", "amqp", "amqps"}:
        problems.append(
            Problem("transport.url", "transport.url", "neither embedded: nor amqp:// nor amqps://", parts.scheme)
        )
    elif parts.scheme != "embedded" and not parts.hostname:
        problems.append(Problem("transport.url", "transport.url", "the address names no host"))
    if problems:
        raise ConfigError(problems)
    if parts.scheme == "embedded":
        return EmbeddedTransport(shards)
    # Here, so that the embedded way does without the client library.
    from broker.transport.rabbitmq import RabbitTransport

    return RabbitTransport(url, shards, prefix=prefix)
