"""The database: SQLite in the data folder, or PostgreSQL; brought to the current schema when it is opened."""

import sqlite3
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from alembic import command
from alembic.config import Config
from sqlalchemy import Connection, Engine, create_engine, event, inspect, make_url, text
from sqlalchemy.exc import ArgumentError, SQLAlchemyError
from sqlalchemy.orm import Session

from osteon.errors import ConfigurationError, MissingExtra

FILE = "osteon.sqlite3"
FIRST_REVISION = "0001"
_HOLD_SECONDS = 10.0
_PATIENCE_SECONDS = 30.0
"""How long SQLite waits for another writer."""
_MIGRATIONS = Path(__file__).parent / "migrations"

# Numbers of advisory locks on PostgreSQL; SQLite has one writer at a time anyway.
MIGRATION_LOCK = 0x057301
ADMISSION_LOCK = 0x057302


class Database:
    """A database with sessions for reading and for writing. Safe to use from several threads and processes."""

    def __init__(self, url: str) -> None:
        """Connect and bring the schema up to date.

        Args:
            url: as SQLAlchemy has it: `sqlite:////path`, or `postgresql+psycopg://user:password@host/name`.

        Raises:
            ConfigurationError: no such address, or the database cannot be reached or written.
        """
        self.engine = _engine(url)
        event.listen(self.engine, "before_cursor_execute", _without_nul, retval=True)
        self._writer = self.engine.execution_options(osteon_writes=True)
        self._durable_writer = self.engine.execution_options(osteon_writes=True, osteon_durable=True)
        try:
            self.upgrade()
        except SQLAlchemyError as error:
            self.engine.dispose()
            raise ConfigurationError(
                f"the database cannot be used: {type(error).__name__}",
                hint="check OSTEON_DATABASE_URL, or OSTEON_DATA_DIR, that the server runs and may be written",
            ) from error

    @classmethod
    def of(cls, url: str, *, data_dir: Path) -> "Database":
        """The database of an address; '' is SQLite in the data folder, which is made where it is missing."""
        if url:
            return cls(url)
        try:
            data_dir.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise ConfigurationError(
                f"cannot write the data folder {data_dir}: {error.strerror}",
                hint="set OSTEON_DATA_DIR to another folder",
            ) from error
        return cls(f"sqlite:///{data_dir / FILE}")

    @property
    def embedded(self) -> bool:
        """Whether it is SQLite."""
        return self.engine.dialect.name == "sqlite"

    @contextmanager
    def reading(self) -> Iterator[Session]:
        """A session that sees one moment of the database."""
        with Session(self.engine, expire_on_commit=False) as session:
            yield session

    @contextmanager
    def writing(self, *, durable: bool = False) -> Iterator[Session]:
        """A transaction, committed at its end, undone where an error leaves it.

        Args:
            durable: on disk, also against a power failure, before this returns. Else SQLite may lose the latest
                transactions then (never at a mere crash of the process).
        """
        engine = self._durable_writer if durable else self._writer
        with Session(engine, expire_on_commit=False) as session, session.begin():
            yield session

    def upgrade(self) -> None:
        """Bring the schema up to date, one process at a time; a database of version 0.1 keeps its rows."""
        with self._durable_writer.connect() as connection, connection.begin():
            self.alone(connection, MIGRATION_LOCK)
            config = _alembic(connection)
            tables = set(inspect(connection).get_table_names())
            if "analyses" in tables and "alembic_version" not in tables:
                command.stamp(config, FIRST_REVISION)
            command.upgrade(config, "head")

    def revision(self) -> str:
        """The revision of the schema."""
        with self.engine.connect() as connection:
            return str(connection.scalar(text("SELECT version_num FROM alembic_version")))

    def alone(self, transaction: Session | Connection, lock: int) -> None:
        """Hold a lock until the transaction ends; whoever wants the same lock waits."""
        if not self.embedded:
            transaction.execute(text("SELECT pg_advisory_xact_lock(:lock)"), {"lock": lock})

    def answers(self) -> bool:
        """Whether the database can be asked."""
        try:
            with self.engine.connect() as connection:
                connection.execute(text("SELECT 1"))
        except SQLAlchemyError:
            return False
        return True

    def close(self) -> None:
        """Let go of the database."""
        self.engine.dispose()


class Hold:
    """A data folder held by one process at a time; let go when the process ends, however it ends."""

    def __init__(self, data_dir: Path) -> None:
        """Hold it, waiting for some seconds where another process is about to let go.

        Raises:
            ConfigurationError: another process holds it.
        """
        path = data_dir / "serving.lock"
        self._lock = sqlite3.connect(path, timeout=_HOLD_SECONDS, isolation_level=None, check_same_thread=False)
        try:
            self._lock.execute("BEGIN EXCLUSIVE")
        except sqlite3.OperationalError as error:
            self._lock.close()
            raise ConfigurationError(
                f"another process serves from {data_dir}",
                hint="stop it, or set OSTEON_DATA_DIR to another folder; several machines need OSTEON_DATABASE_URL",
            ) from error

    def release(self) -> None:
        """Let go."""
        self._lock.close()


def _alembic(connection: Connection) -> Config:
    config = Config(attributes={"connection": connection})
    config.set_main_option("script_location", str(_MIGRATIONS).replace("%", "%%"))
    return config


def _engine(url: str) -> Engine:
    try:
        dialect = make_url(url).get_backend_name()
        if dialect == "sqlite":
            return _sqlite(url)
        if dialect == "postgresql":
            return create_engine(url, pool_pre_ping=True, pool_size=10, max_overflow=20, hide_parameters=True)
    except ArgumentError as error:
        raise ConfigurationError("the database's address cannot be read", hint=_ADDRESS_HINT) from error
    except ImportError as error:
        raise MissingExtra("no driver for this database", hint="pip install 'osteon[cluster]'") from error
    raise ConfigurationError(f"no support for {dialect} databases", hint=_ADDRESS_HINT)


_ADDRESS_HINT = "set OSTEON_DATABASE_URL to postgresql+psycopg://user:password@host/name, or leave it out for SQLite"


def _without_nul(*about: Any) -> tuple[str, Any]:
    """PostgreSQL's text holds no NUL, and SQLite's LIKE ends there: what holds one is simply not found."""
    statement, parameters = about[2:4]
    return statement, _cleaned(parameters)


def _cleaned(value: Any) -> Any:
    if isinstance(value, str):
        return value.replace("\0", "\ufffd")
    if isinstance(value, dict):
        return {name: _cleaned(one) for name, one in value.items()}
    return type(value)(map(_cleaned, value)) if type(value) in (list, tuple) else value


def _log_ahead(connection: sqlite3.Connection) -> None:
    """Turn on the write-ahead log. SQLite does not wait where another process does so at the same moment; this does."""
    last = time.monotonic() + _PATIENCE_SECONDS
    while True:
        try:
            connection.execute("PRAGMA journal_mode=WAL")
        except sqlite3.OperationalError as error:
            if error.sqlite_errorcode != sqlite3.SQLITE_BUSY or time.monotonic() > last:
                raise
            time.sleep(0.02)
        else:
            return


def _sqlite(url: str) -> Engine:
    engine = create_engine(url, connect_args={"timeout": _PATIENCE_SECONDS}, hide_parameters=True)

    @event.listens_for(engine, "connect")
    def _connected(connection: Any, _record: Any) -> None:
        connection.isolation_level = None  # transactions begin below, and hold changes of the schema too
        _log_ahead(connection)
        connection.create_function("lower", 1, _lower, deterministic=True)  # SQLite's own knows Latin letters only

    @event.listens_for(engine, "begin")
    def _begun(connection: Connection) -> None:
        options = connection.get_execution_options()
        if not options.get("osteon_writes"):
            connection.exec_driver_sql("BEGIN")
            return
        connection.exec_driver_sql(f"PRAGMA synchronous={'FULL' if options.get('osteon_durable') else 'NORMAL'}")
        connection.exec_driver_sql("BEGIN IMMEDIATE")

    return engine


def _lower(text: str | None) -> str | None:
    return text.lower() if text is not None else None
