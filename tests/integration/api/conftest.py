"""An API to talk to."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import pytest_asyncio

from tests.support.broker import Api, running_api


@pytest.fixture
async def api(tmp_path: Path) -> AsyncIterator[Api]:
    """One of the test's own."""
    async with running_api(tmp_path) as api:
        yield api


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def shared_api(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Api]:
    """One for a whole module, for tests that leave nothing behind."""
    async with running_api(tmp_path_factory.mktemp("api")) as api:
        yield api
