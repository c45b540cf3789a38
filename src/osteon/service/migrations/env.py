"""How Alembic runs our migrations: within the connection, and the transaction, that `database.upgrade` opened."""

from alembic import context

from osteon.service.tables import Base


def run() -> None:
    """Run the migrations that Alembic was asked for."""
    connection = context.config.attributes["connection"]
    context.configure(connection=connection, target_metadata=Base.metadata, transactional_ddl=True)
    with context.begin_transaction():
        context.run_migrations()


if __name__ == "env_py":  # as Alembic loads it; a mere import runs nothing
    run()
