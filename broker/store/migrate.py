"""Bring a store's tables up to date, or find that they are."""

from __future__ import annotations

from pathlib import Path
from typing import Final

from alembic import command
from alembic.config import Config
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from alembic.util.exc import CommandError
from sqlalchemy import Connection

from broker.errors import StoreError

_SCRIPTS: Final = Path(__file__).with_name("migrations")


def upgrade(connection: Connection) -> None:
    """Run what is missing on `connection`, inside the transaction that the caller holds on it.

    Raises StoreError if the tables were written by a newer version than this one.
    """
    config = Config()
    config.set_main_option("script_location", str(_SCRIPTS).replace("%", "%%"))
    config.attributes["connection"] = connection
    present = MigrationContext.configure(connection).get_current_heads()
    scripts = ScriptDirectory.from_config(config)
    if present == tuple(scripts.get_heads()):
        return
    try:
        command.upgrade(config, "head")
    except CommandError as error:
        raise StoreError(f"the tables cannot be brought up to date: {error}") from error
