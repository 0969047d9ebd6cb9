"""Create the table of messages that wallets are asked to sign."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0019"
down_revision = "0018"
branch_labels = None
depends_on = None

_time = sa.DateTime(timezone=True)


def upgrade() -> None:
    """Create the table; nothing that is there changes."""
    name = "wallet_challenges"
    op.create_table(
        name,
        sa.Column("nonce", sa.String(64), nullable=False),
        sa.Column("user_id", sa.Uuid(), nullable=False),
        sa.Column("address", sa.String(44), nullable=False),
        sa.Column("message", sa.Text(), nullable=False, comment="Exactly what is to be signed."),
        sa.Column("issued_at", _time, nullable=False),
        sa.Column("expires_at", _time, nullable=False),
        sa.Column("used_at", _time, nullable=True),
        sa.ForeignKeyConstraint(["user_id"], ["users.id"], name=op.f("fk_wallet_challenges_user_id_users")),
        sa.PrimaryKeyConstraint("nonce", name=op.f("pk_wallet_challenges")),
        comment="Each proves something once at most.",
    )
    op.create_index(op.f("ix_wallet_challenges_user_id"), name, ["user_id"], unique=False)
    op.create_index(op.f("ix_wallet_challenges_expires_at"), name, ["expires_at"], unique=False)
