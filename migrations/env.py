"""Alembic's environment: migrates the database named by DATABASE_URL, or the connection a caller hands in."""

from alembic import context
from sqlalchemy import create_engine
from sqlalchemy.pool import NullPool

from shared.config import connection_settings
from shared.db import connector


def run() -> None:
    """Apply the migrations, each in one transaction together with its record."""
    engine = create_engine(
        "postgresql+pg8000://", creator=connector(connection_settings(), autocommit=False), poolclass=NullPool
    )
    with engine.connect() as connection:
        context.configure(connection=connection, transaction_per_migration=True)
        with context.begin_transaction():
            context.run_migrations()


run()
