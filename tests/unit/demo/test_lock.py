"""Two demos on one folder would remove it under each other."""

from __future__ import annotations

from pathlib import Path

import pytest

from broker.app import alone
from broker.errors import ConfigError


def test_what_one_holds_another_is_refused_until_it_lets_go(tmp_path: Path) -> None:
    lock = tmp_path / ".demo.lock"
    with alone(lock), pytest.raises(ConfigError, match="another process"), alone(lock):
        pass
    with alone(lock):
        pass
