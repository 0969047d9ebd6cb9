"""Create the tables of the dashboard's access: tokens and sessions."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0018"
down_revision = "0017"
branch_labels = None
depends_on = None

_time = sa.DateTime(timezone=True)


def upgrade() -> None:
    """Create the tables; nothing that is there changes."""
    op.create_table(
        "dashboard_tokens",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("name", sa.String(64), nullable=False),
        sa.Column("role", sa.String(16), nullable=False),
        sa.Column("digest", sa.String(64), nullable=False, comment="SHA-256, in hex."),
        sa.Column("created_at", _time, nullable=False),
        sa.Column("revoked_at", _time, nullable=True),
        sa.CheckConstraint("role IN ('viewer', 'operator')", name=op.f("ck_dashboard_tokens_role")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_dashboard_tokens")),
        sa.UniqueConstraint("name", name=op.f("uq_dashboard_tokens_name")),
        sa.UniqueConstraint("digest", name=op.f("uq_dashboard_tokens_digest")),
        comment="A revoked token stays, so that its name tells who did what.",
    )
    op.create_table(
        "dashboard_sessions",
        sa.Column("digest", sa.String(64), nullable=False, comment="SHA-256 of the cookie, in hex."),
        sa.Column("token_id", sa.Uuid(), nullable=False),
        sa.Column("created_at", _time, nullable=False),
        sa.Column("expires_at", _time, nullable=False),
        sa.ForeignKeyConstraint(
            ["token_id"],
            ["dashboard_tokens.id"],
            name=op.f("fk_dashboard_sessions_token_id_dashboard_tokens"),
        ),
        sa.PrimaryKeyConstraint("digest", name=op.f("pk_dashboard_sessions")),
    )
    op.create_index(op.f("ix_dashboard_sessions_token_id"), "dashboard_sessions", ["token_id"])
    op.create_index(op.f("ix_dashboard_sessions_expires_at"), "dashboard_sessions", ["expires_at"])
