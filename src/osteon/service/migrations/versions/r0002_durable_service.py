"""Leases, owners, studies, idempotency, retention; uploads, keys, sessions, answers and the audit trail."""

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None

_MOMENT = sa.DateTime(timezone=True)
_GRAVEST_FIRST = ("fracture", "doubt", "no_fracture", "not_a_radiograph")


def upgrade() -> None:
    """From the schema of version 0.1."""
    _widen_analyses()
    _add_uploads()
    _add_access()
    _add_trails()


def _widen_analyses() -> None:
    for name, length in (("sha256", 64), ("owner", 32), ("study", 64)):
        op.add_column("analyses", sa.Column(name, sa.String(length), nullable=False, server_default=""))
    for name, length in (("content_key", 64), ("worker", 64), ("decision", 16)):
        op.add_column("analyses", sa.Column(name, sa.String(length)))
    for name in ("not_before", "lease_until", "started_at", "seen_at", "removal_at"):
        op.add_column("analyses", sa.Column(name, _MOMENT))
    op.add_column("analyses", sa.Column("cancel_requested", sa.Boolean, nullable=False, server_default=sa.false()))
    op.add_column("analyses", sa.Column("changed_at", _MOMENT, nullable=False, server_default="1970-01-01 00:00:00"))
    op.execute(sa.text("UPDATE analyses SET changed_at = COALESCE(finished_at, created_at)"))
    _fill_decisions()
    op.create_index("ix_analyses_content_key", "analyses", ["content_key"], unique=True)
    for name in ("owner", "changed_at", "study", "decision", "removal_at"):
        op.create_index(f"ix_analyses_{name}", "analyses", [name])


def _fill_decisions() -> None:
    """The gravest of all pages, which version 0.1 worked out each time it was asked."""
    analyses = sa.table("analyses", sa.column("number"), sa.column("pages", sa.JSON), sa.column("decision"))
    connection = op.get_bind()
    for number, pages in connection.execute(sa.select(analyses.c.number, analyses.c.pages)).all():
        found = {page["decision"] for page in pages}
        gravest = next((decision for decision in _GRAVEST_FIRST if decision in found), None)
        connection.execute(sa.update(analyses).where(analyses.c.number == number).values(decision=gravest))


def _add_uploads() -> None:
    op.create_table(
        "uploads",
        sa.Column("id", sa.String(32), primary_key=True),
        sa.Column("owner", sa.String(32), nullable=False),
        sa.Column("name", sa.String(255), nullable=False),
        sa.Column("size_bytes", sa.BigInteger, nullable=False),
        sa.Column("received_bytes", sa.BigInteger, nullable=False),
        sa.Column("parts", sa.JSON, nullable=False),
        sa.Column("study", sa.String(64), nullable=False),
        sa.Column("created_at", _MOMENT, nullable=False),
    )
    op.create_index("ix_uploads_created_at", "uploads", ["created_at"])


def _add_access() -> None:
    op.create_table(
        "keys",
        sa.Column("id", sa.String(32), primary_key=True),
        sa.Column("name", sa.String(255), nullable=False),
        sa.Column("digest", sa.String(128), nullable=False, unique=True),
        sa.Column("scopes", sa.String(255), nullable=False),
        sa.Column("created_at", _MOMENT, nullable=False),
        sa.Column("expires_at", _MOMENT),
        sa.Column("revoked_at", _MOMENT),
        sa.Column("used_at", _MOMENT),
    )
    op.create_table(
        "sessions",
        sa.Column("digest", sa.String(128), primary_key=True),
        sa.Column("key_id", sa.String(32), nullable=False),
        sa.Column("csrf", sa.String(128), nullable=False),
        sa.Column("created_at", _MOMENT, nullable=False),
        sa.Column("expires_at", _MOMENT, nullable=False),
    )
    op.create_index("ix_sessions_key_id", "sessions", ["key_id"])


def _add_trails() -> None:
    op.create_table(
        "answers",
        sa.Column("id", sa.Integer, primary_key=True, autoincrement=True),
        sa.Column("analysis_id", sa.String(32), nullable=False),
        sa.Column("page", sa.Integer, nullable=False),
        sa.Column("author", sa.String(255), nullable=False),
        sa.Column("created_at", _MOMENT, nullable=False),
        sa.Column("verdict", sa.String(16), nullable=False),
        sa.Column("comment", sa.Text, nullable=False),
        sa.Column("boxes", sa.JSON, nullable=False),
        sa.Column("superseded", sa.Boolean, nullable=False),
    )
    op.create_index("ix_answers_analysis_id", "answers", ["analysis_id"])
    op.create_table(
        "audit",
        sa.Column("id", sa.Integer, primary_key=True, autoincrement=True),
        sa.Column("at", _MOMENT, nullable=False),
        sa.Column("owner", sa.String(32), nullable=False),
        sa.Column("actor", sa.String(64), nullable=False),
        sa.Column("action", sa.String(32), nullable=False),
        sa.Column("analysis_id", sa.String(32), nullable=False),
    )
    op.create_index("ix_audit_at", "audit", ["at"])
    op.create_index("ix_audit_analysis_id", "audit", ["analysis_id"])


def downgrade() -> None:
    """Back to the schema of version 0.1; what it has no place for is lost."""
    for table in ("audit", "answers", "sessions", "keys", "uploads"):
        op.drop_table(table)
    for name in ("owner", "changed_at", "study", "decision", "removal_at", "content_key"):
        op.drop_index(f"ix_analyses_{name}", "analyses")
    for name in (
        *("sha256", "owner", "study", "content_key", "worker", "decision", "not_before", "lease_until", "started_at"),
        *("seen_at", "removal_at", "cancel_requested", "changed_at"),
    ):
        op.drop_column("analyses", name)
