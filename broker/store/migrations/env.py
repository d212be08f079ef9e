"""What Alembic runs for every command: the connection comes from the store, never from a file."""

from __future__ import annotations

from alembic import context

from broker.store.schema import metadata

context.configure(
    connection=context.config.attributes["connection"],
    target_metadata=metadata,
    # SQLite can do it since we begin transactions ourselves.
    transactional_ddl=True,
)
with context.begin_transaction():
    context.run_migrations()
