"""Keep the transactions that users' own wallets are asked to sign."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0007"
down_revision = "0006"
branch_labels = None
depends_on = None

_time = sa.DateTime(timezone=True)
_json = sa.JSON().with_variant(postgresql.JSONB(), "postgresql")


def upgrade() -> None:
    """Create `prepared_transactions`, of which a payment has one open at a time."""
    op.create_table(
        "prepared_transactions",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("payment_id", sa.Uuid(), nullable=False),
        sa.Column(
            "number",
            sa.Integer(),
            nullable=False,
            comment="The attempt that it becomes once it is signed.",
        ),
        sa.Column("status", sa.String(length=16), nullable=False),
        sa.Column("message", sa.LargeBinary(), nullable=False),
        sa.Column("last_valid_block_height", sa.BigInteger(), nullable=False),
        sa.Column("context_slot", sa.BigInteger(), nullable=False),
        sa.Column("evidence", _json, nullable=True),
        sa.Column("created_at", _time, nullable=False),
        sa.Column("updated_at", _time, nullable=False),
        sa.CheckConstraint(
            "status IN ('open', 'signed', 'expired')", name=op.f("ck_prepared_transactions_status")
        ),
        sa.ForeignKeyConstraint(
            ["payment_id"],
            ["token_transactions.id"],
            name=op.f("fk_prepared_transactions_payment_id_token_transactions"),
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_prepared_transactions")),
        sa.UniqueConstraint("payment_id", "number", name=op.f("uq_prepared_transactions_payment_id_number")),
        comment="What users' own wallets were asked to sign, byte for byte.",
    )
    op.create_index(
        "uq_prepared_transactions_open",
        "prepared_transactions",
        ["payment_id"],
        unique=True,
        sqlite_where=sa.text("status = 'open'"),
        postgresql_where=sa.text("status = 'open'"),
    )
