"""Let several payments of a batch share one signed transaction."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0006"
down_revision = "0005"
branch_labels = None
depends_on = None

# Written out rather than imported: a migration stays what it was when tables.py moves on.
_time = sa.DateTime(timezone=True)
_uint64 = sa.String(21)
_json = sa.JSON().with_variant(postgresql.JSONB(), "postgresql")
_LIVE = ("signed", "sent", "confirmed", "unknown")


def upgrade() -> None:
    """Add batches, carriers, and what names them in payments and attempts."""
    _create_batches()
    _create_carriers()
    with op.batch_alter_table("token_transactions") as table:
        table.add_column(sa.Column("batch_id", sa.Uuid(), nullable=True))
        table.add_column(sa.Column("batch_position", sa.Integer(), nullable=True))
        table.create_foreign_key(
            op.f("fk_token_transactions_batch_id_payment_batches"), "payment_batches", ["batch_id"], ["id"]
        )
        table.create_check_constraint(
            op.f("ck_token_transactions_batch"), "(batch_id IS NULL) = (batch_position IS NULL)"
        )
    op.create_index(
        "uq_token_transactions_batch",
        "token_transactions",
        ["batch_id", "batch_position"],
        unique=True,
        sqlite_where=sa.text("batch_id IS NOT NULL"),
        postgresql_where=sa.text("batch_id IS NOT NULL"),
    )
    with op.batch_alter_table("payment_attempts") as table:
        table.add_column(sa.Column("carrier_id", sa.Uuid(), nullable=True))
        table.alter_column("signed_bytes", existing_type=sa.LargeBinary(), nullable=True)
        table.create_foreign_key(
            op.f("fk_payment_attempts_carrier_id_payment_carriers"),
            "payment_carriers",
            ["carrier_id"],
            ["id"],
        )
        table.create_check_constraint(
            op.f("ck_payment_attempts_bytes"), "(signed_bytes IS NULL) = (carrier_id IS NOT NULL)"
        )
    op.create_index(
        "ix_payment_attempts_carrier",
        "payment_attempts",
        ["carrier_id"],
        sqlite_where=sa.text("carrier_id IS NOT NULL"),
        postgresql_where=sa.text("carrier_id IS NOT NULL"),
    )


def _create_batches() -> None:
    op.create_table(
        "payment_batches",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("key", sa.String(255), nullable=False),
        sa.Column("fingerprint", sa.String(64), nullable=False, comment="SHA-256 of the lines."),
        sa.Column("source_address", sa.String(44), nullable=False),
        sa.Column("source_account", sa.String(44), nullable=False),
        sa.Column("lines", sa.Integer(), nullable=False),
        sa.Column("recorded_lines", sa.Integer(), nullable=False, comment="Those up to here are recorded."),
        sa.Column("total_amount", _uint64, nullable=False),
        sa.Column("created_at", _time, nullable=False),
        sa.Column("updated_at", _time, nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_payment_batches")),
        sa.UniqueConstraint("key", name=op.f("uq_payment_batches_key")),
    )


def _create_carriers() -> None:
    op.create_table(
        "payment_carriers",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("batch_id", sa.Uuid(), nullable=False),
        sa.Column("members", sa.Integer(), nullable=False),
        sa.Column("status", sa.String(16), nullable=False),
        sa.Column("signature", sa.String(88), nullable=False),
        sa.Column("signed_bytes", sa.LargeBinary(), nullable=False),
        sa.Column("last_valid_block_height", sa.BigInteger(), nullable=False),
        sa.Column("context_slot", sa.BigInteger(), nullable=False),
        sa.Column("slot", sa.BigInteger(), nullable=True),
        sa.Column("evidence", _json, nullable=True),
        sa.Column("created_at", _time, nullable=False),
        sa.Column("updated_at", _time, nullable=False),
        sa.CheckConstraint("members > 0", name=op.f("ck_payment_carriers_members")),
        sa.CheckConstraint(
            "status IN ('signed', 'sent', 'confirmed', 'unknown', 'finalized', 'failed', 'expired')",
            name=op.f("ck_payment_carriers_status"),
        ),
        sa.ForeignKeyConstraint(
            ["batch_id"], ["payment_batches.id"], name=op.f("fk_payment_carriers_batch_id_payment_batches")
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_payment_carriers")),
        sa.UniqueConstraint("signature", name=op.f("uq_payment_carriers_signature")),
        comment="Signed transactions that carry several payments; their attempts point here.",
    )
    op.create_index(op.f("ix_payment_carriers_batch_id"), "payment_carriers", ["batch_id"])
    status = sa.column("status").in_(_LIVE)
    op.create_index(
        "ix_payment_carriers_live",
        "payment_carriers",
        ["status"],
        sqlite_where=status,
        postgresql_where=status,
    )
