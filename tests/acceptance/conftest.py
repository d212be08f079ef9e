"""Servers that the production form is lent."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.support import postgres
from tests.support.transports import amqp_server

__all__ = ["amqp_server"]


@pytest.fixture(scope="session")
def postgres_server() -> Iterator[str]:
    """One server for this test process."""
    with postgres.server() as url:
        yield url
