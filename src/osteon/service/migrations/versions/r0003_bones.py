"""The bones of an analysis, asked for: when, and how that stands. What was found lies among its files."""

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None

_MOMENT = sa.DateTime(timezone=True)


def upgrade() -> None:
    """From the schema of version 0.2."""
    op.add_column("analyses", sa.Column("bones_wanted", sa.Boolean, nullable=False, server_default=sa.false()))
    op.create_table(
        "bones",
        sa.Column("number", sa.Integer, primary_key=True, autoincrement=True),
        sa.Column("id", sa.String(32), nullable=False, unique=True),
        sa.Column("owner", sa.String(32), nullable=False),
        sa.Column("status", sa.String(16), nullable=False),
        sa.Column("progress", sa.Double, nullable=False),
        sa.Column("attempts", sa.Integer, nullable=False),
        sa.Column("created_at", _MOMENT, nullable=False),
        sa.Column("started_at", _MOMENT),
        sa.Column("finished_at", _MOMENT),
        sa.Column("changed_at", _MOMENT, nullable=False),
        sa.Column("error", sa.JSON),
        sa.Column("not_before", _MOMENT),
        sa.Column("lease_until", _MOMENT),
        sa.Column("worker", sa.String(64)),
        sa.Column("cancel_requested", sa.Boolean, nullable=False),
    )
    for name in ("owner", "status", "changed_at"):
        op.create_index(f"ix_bones_{name}", "bones", [name])


def downgrade() -> None:
    """Back; bones asked for would have to be asked for again."""
    op.drop_table("bones")
    op.drop_column("analyses", "bones_wanted")
