"""Let a payment name the payment that it refunds."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Add `refund_of` to the payments."""
    with op.batch_alter_table("token_transactions") as table:
        table.add_column(sa.Column("refund_of", sa.Uuid(), nullable=True))
        table.create_foreign_key(
            op.f("fk_token_transactions_refund_of_token_transactions"),
            "token_transactions",
            ["refund_of"],
            ["id"],
        )
        table.create_index(op.f("ix_token_transactions_refund_of"), ["refund_of"], unique=False)
