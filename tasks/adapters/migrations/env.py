"""Alembic environment: migrates over the connection that `tasks.adapters.state` hands in."""

from alembic import context

from tasks.adapters.tables import metadata

context.configure(connection=context.config.attributes["connection"], target_metadata=metadata, render_as_batch=True)
with context.begin_transaction():
    context.run_migrations()
