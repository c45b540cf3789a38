"""A database comes to the schema of this version, whatever it was, and keeps its rows."""

import json
import os
import sqlite3
import subprocess
import sys
import threading
from contextlib import closing
from pathlib import Path

import pytest
from alembic import command
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from click.testing import CliRunner
from sqlalchemy import select, text
from sqlalchemy.exc import OperationalError

from osteon.cli import main
from osteon.errors import ConfigurationError
from osteon.service import database
from osteon.service.database import FILE, Database, Hold
from osteon.service.settings import Settings
from osteon.service.store import AnalysisStore
from osteon.service.tables import Base, KeyRow

VERSION_0_1 = """
CREATE TABLE analyses (number INTEGER NOT NULL, id VARCHAR(32) NOT NULL, name VARCHAR(255) NOT NULL,
    size_bytes INTEGER NOT NULL, status VARCHAR(16) NOT NULL, progress FLOAT NOT NULL, attempts INTEGER NOT NULL,
    created_at DATETIME NOT NULL, finished_at DATETIME, pages JSON NOT NULL, error JSON,
    PRIMARY KEY (number), UNIQUE (id));
CREATE INDEX ix_analyses_status ON analyses (status);
"""
PAGES = [{"decision": "no_fracture"}, {"decision": "doubt"}]


def write_version_0_1(folder: Path) -> None:
    """A database as version 0.1 left it, with a finished analysis and one that waits."""
    folder.mkdir(parents=True)
    with closing(sqlite3.connect(folder / FILE)) as connection:
        connection.executescript(VERSION_0_1)
        rows = [
            ("a" * 32, "succeeded", "2026-01-02 03:04:05.000000", json.dumps(PAGES)),
            ("b" * 32, "queued", None, "[]"),
        ]
        for analysis_id, status, finished_at, pages in rows:
            connection.execute(
                "INSERT INTO analyses"
                " (id, name, size_bytes, status, progress, attempts, created_at, finished_at, pages)"
                " VALUES (?, 'wrist.png', 7, ?, 0, 1, '2026-01-02 03:04:00.000000', ?, ?)",
                (analysis_id, status, finished_at, pages),
            )
        connection.commit()


def opened(settings: Settings) -> Database:
    return Database.of(settings.database_url, data_dir=settings.data_dir)


class TestSchema:
    def test_is_that_of_the_tables(self, settings: Settings) -> None:
        with closing(opened(settings)) as made, made.engine.connect() as connection:
            context = MigrationContext.configure(connection, opts={"compare_type": True})
            assert compare_metadata(context, Base.metadata) == []

    def test_goes_back_and_forth(self, settings: Settings) -> None:
        with closing(opened(settings)) as made:
            with made.engine.execution_options(osteon_writes=True).connect() as connection, connection.begin():
                command.downgrade(database._alembic(connection), "0001")
            made.upgrade()
            assert made.revision() == "0003"

    def test_several_processes_may_upgrade_at_once(self, settings: Settings) -> None:
        revisions: list[str] = []

        def upgrade() -> None:
            with closing(opened(settings)) as made:
                revisions.append(made.revision())

        threads = [threading.Thread(target=upgrade) for _ in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert revisions == ["0003"] * 4

    @pytest.mark.parametrize(("code", "tries"), [(sqlite3.SQLITE_BUSY, 3), (sqlite3.SQLITE_READONLY, 1)])
    def test_waits_for_another_process_that_turns_on_the_log(
        self, code: int, tries: int, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """SQLite says at once that it is busy; anything else is no reason to wait."""
        monkeypatch.setattr(database.time, "sleep", lambda _seconds: None)
        asked = []

        class Refusing:
            def execute(self, statement: str) -> None:
                asked.append(statement)
                if len(asked) < 3:
                    error = sqlite3.OperationalError("refused")
                    error.sqlite_errorcode = code
                    raise error

        if code == sqlite3.SQLITE_BUSY:
            database._log_ahead(Refusing())
        else:
            with pytest.raises(sqlite3.OperationalError):
                database._log_ahead(Refusing())
        assert asked == ["PRAGMA journal_mode=WAL"] * tries

    def test_does_not_wait_for_ever(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(database, "_PATIENCE_SECONDS", -1.0)

        class Busy:
            def execute(self, statement: str) -> None:
                error = sqlite3.OperationalError("database is locked")
                error.sqlite_errorcode = sqlite3.SQLITE_BUSY
                raise error

        with pytest.raises(sqlite3.OperationalError, match="locked"):
            database._log_ahead(Busy())

    def test_command_upgrades(self, settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("OSTEON_DATA_DIR", str(settings.data_dir))
        monkeypatch.setenv("OSTEON_DATABASE_URL", settings.database_url)
        done = CliRunner().invoke(main, ["database", "upgrade"])
        assert done.exit_code == 0 and "0003" in done.stderr and done.stdout == ""


class TestVersion01:
    def test_keeps_its_rows(self, tmp_path: Path) -> None:
        write_version_0_1(tmp_path / "data")
        with closing(AnalysisStore.of(Settings(data_dir=tmp_path / "data"))) as store:
            waiting, ended = store.page()
            assert (waiting.id, waiting.status, waiting.decision) == ("b" * 32, "queued", None)
            assert (ended.id, ended.status, ended.decision) == ("a" * 32, "succeeded", "doubt")
            assert ended.pages == tuple(PAGES) and ended.finished_at == ended.changed_at
            assert (ended.owner, ended.sha256, ended.study) == ("", "", "")
            assert store.database.revision() == "0003"

    def test_is_as_it_was_where_the_upgrade_ends_halfway(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        write_version_0_1(tmp_path / "data")
        before = _schema(tmp_path / "data")
        code = """
import os, sys
from pathlib import Path
import alembic.op
from osteon.service.database import Database
make = alembic.op.create_table
def killed(name, *columns):
    if name == "answers":
        os.kill(os.getpid(), 9)
    return make(name, *columns)
alembic.op.create_table = killed
Database.of("", data_dir=Path(sys.argv[1]))
"""
        done = subprocess.run([sys.executable, "-c", code, str(tmp_path / "data")], capture_output=True)
        assert done.returncode == -9, done.stderr
        assert _schema(tmp_path / "data") == before
        with closing(Database.of("", data_dir=tmp_path / "data")) as made:
            assert made.revision() == "0003"


def _schema(folder: Path) -> list[str]:
    with closing(sqlite3.connect(folder / FILE)) as connection:
        return [row[0] for row in connection.execute("SELECT sql FROM sqlite_master ORDER BY name")]


class TestDatabase:
    def test_undoes_what_an_error_leaves(self, settings: Settings) -> None:
        with closing(opened(settings)) as made:
            with pytest.raises(RuntimeError), made.writing() as session:
                session.add(KeyRow(id="1", name="n", digest="d", scopes=""))
                session.flush()
                raise RuntimeError
            with made.reading() as session:
                assert session.scalars(select(KeyRow)).all() == []

    def test_embedded_one_waits_for_other_writers(self, tmp_path: Path) -> None:
        with closing(Database.of("", data_dir=tmp_path)) as made:
            written: list[str] = []

            def write() -> None:
                with made.writing() as session:
                    session.add(KeyRow(id="2", name="n", digest="d", scopes=""))
                written.append("second")

            with made.writing() as session:
                session.add(KeyRow(id="1", name="n", digest="e", scopes=""))
                session.flush()
                thread = threading.Thread(target=write)
                thread.start()
                thread.join(0.3)
                assert written == []
            thread.join()
            assert written == ["second"]

    def test_embedded_one_is_on_disk_before_a_durable_write_returns(self, tmp_path: Path) -> None:
        with closing(Database.of("", data_dir=tmp_path)) as made:
            full, normal = 2, 1
            with made.writing(durable=True) as session:
                assert session.scalar(text("PRAGMA synchronous")) == full
            with made.writing() as session:
                assert session.scalar(text("PRAGMA synchronous")) == normal
                assert session.scalar(text("PRAGMA journal_mode")) == "wal"

    @pytest.mark.parametrize("url", ["nonsense", "mysql://h/n", "postgresql+psycopg://nobody:secret@127.0.0.1:1/none"])
    def test_that_cannot_be_used_is_said_without_its_password(self, url: str, tmp_path: Path) -> None:
        with pytest.raises(ConfigurationError) as refused:
            Database.of(url, data_dir=tmp_path)
        assert "OSTEON_DATABASE_URL" in refused.value.hint
        assert "secret" not in str(refused.value) + refused.value.hint

    def test_that_is_none_is_said(self, tmp_path: Path) -> None:
        (tmp_path / FILE).write_bytes(b"no database at all" * 100)
        with pytest.raises(ConfigurationError):
            Database.of("", data_dir=tmp_path)

    def test_says_whether_it_answers(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        with closing(Database.of("", data_dir=tmp_path)) as made:
            assert made.answers()

            def gone(*_: object) -> None:
                raise OperationalError("", {}, Exception())

            monkeypatch.setattr(made.engine, "connect", gone)
            assert not made.answers()


class TestHold:
    def test_is_of_one_process(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(database, "_HOLD_SECONDS", 0.1)
        code = (
            "import sys; from pathlib import Path; from osteon.service.database import Hold; Hold(Path(sys.argv[1]));"
        )
        code += "print('held', flush=True); sys.stdin.read()"
        command = [sys.executable, "-c", code, str(tmp_path)]
        with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as other:
            assert other.stdout and other.stdout.readline() == b"held\n"
            with pytest.raises(ConfigurationError, match="another process"):
                Hold(tmp_path)
            os.kill(other.pid, 9)
            other.wait()
            Hold(tmp_path).release()
        Hold(tmp_path).release()
