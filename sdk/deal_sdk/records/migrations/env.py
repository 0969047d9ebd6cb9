"""Runs the migrations on the connection that `records.schema` hands over, inside its transaction."""

from __future__ import annotations

from alembic import context

from deal_sdk.records.tables import metadata

context.configure(
    connection=context.config.attributes["connection"],
    target_metadata=metadata,
    # SQLite alters a table by rebuilding it.
    render_as_batch=True,
    transactional_ddl=True,
)
with context.begin_transaction():
    context.run_migrations()
