"""The contract runs over both transports; on RabbitMQ each test has queues of its own."""

from __future__ import annotations

from tests.support.transports import amqp_server, nothing_is_left_behind, rabbit, transport

__all__ = ["amqp_server", "nothing_is_left_behind", "rabbit", "transport"]
