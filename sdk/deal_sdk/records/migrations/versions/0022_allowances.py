"""Create the tables of on-chain allowances."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0022"
down_revision = "0021"
branch_labels = None
depends_on = None

_time = sa.DateTime(timezone=True)


def upgrade() -> None:
    """Create the tables; nothing that is there changes."""
    op.create_table(
        "allowance_charges",
        sa.Column("payment_id", sa.Uuid(), nullable=False),
        sa.Column("allowance", sa.String(44), nullable=False),
        sa.Column(
            "sequence",
            sa.BigInteger(),
            nullable=True,
            comment="The chain's; none before the first attempt is signed.",
        ),
        sa.Column("created_at", _time, nullable=False),
        sa.PrimaryKeyConstraint("payment_id", name=op.f("pk_allowance_charges")),
        sa.ForeignKeyConstraint(
            ["payment_id"],
            ["token_transactions.id"],
            name=op.f("fk_allowance_charges_payment_id_token_transactions"),
        ),
        sa.CheckConstraint("sequence >= 0", name=op.f("ck_allowance_charges_sequence")),
        comment="One charge of an allowance is under way at a time; a row is its turn.",
    )
    op.create_index("ix_allowance_charges_allowance", "allowance_charges", ["allowance", "sequence"])
    op.create_table(
        "prepared_allowances",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("owner_address", sa.String(44), nullable=False),
        sa.Column("message", sa.LargeBinary(), nullable=False),
        sa.Column("last_valid_block_height", sa.BigInteger(), nullable=False),
        sa.Column("context_slot", sa.BigInteger(), nullable=False),
        sa.Column("signature", sa.String(88), nullable=True, comment="The fee payer's, once it was signed."),
        sa.Column("signed_bytes", sa.LargeBinary(), nullable=True),
        sa.Column("created_at", _time, nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_prepared_allowances")),
        sa.CheckConstraint(
            "(signature IS NULL) = (signed_bytes IS NULL)", name=op.f("ck_prepared_allowances_signed")
        ),
        comment="What owners were asked to sign about their allowances, byte for byte.",
    )
    op.create_index(op.f("ix_prepared_allowances_owner_address"), "prepared_allowances", ["owner_address"])
