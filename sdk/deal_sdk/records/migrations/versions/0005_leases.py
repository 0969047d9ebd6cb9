"""Let a payment name the worker that drives it, and let workers say that they are alive."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0005"
down_revision = "0004"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Add `workers`, and `lease_owner` to the payments; what is open now is free to be taken."""
    op.create_table(
        "workers",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column(
            "name", sa.String(length=255), nullable=False, comment="Host and process number, for people."
        ),
        sa.Column(
            "process",
            sa.String(length=128),
            nullable=True,
            comment="Tells a process of its machine from every other one.",
        ),
        sa.Column("expires_at", sa.DateTime(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_workers")),
        comment="Processes that drive payments; what one leases is free once it expires or is gone.",
    )
    with op.batch_alter_table("token_transactions") as table:
        table.add_column(
            sa.Column(
                "lease_owner",
                sa.Uuid(),
                nullable=True,
                comment="The worker that drives it; no key, for workers come and go.",
            )
        )
