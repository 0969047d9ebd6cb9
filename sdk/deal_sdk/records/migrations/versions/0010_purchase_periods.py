"""Add what purchases need to be counted by category and by other periods, and policies with them."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0010"
down_revision = "0009"
branch_labels = None
depends_on = None

_time = sa.DateTime(timezone=True)


def upgrade() -> None:
    """Add the columns; nothing that is there changes."""
    op.add_column(
        "token_purchases",
        sa.Column(
            "category",
            sa.String(255),
            nullable=True,
            comment="Limits of a category count its tokens together.",
        ),
    )
    op.add_column("token_purchases", sa.Column("counts_until", _time, nullable=True))
    for column in (
        sa.Column(
            "period_seconds", sa.BigInteger(), nullable=True, comment="The setting's where it is null."
        ),
        sa.Column(
            "calendar_unit",
            sa.String(8),
            nullable=True,
            comment="day or week, in place of a rolling period.",
        ),
        sa.Column("time_zone", sa.String(64), nullable=True),
        sa.Column("max_amount", sa.BigInteger(), nullable=True, comment="Base units in a period."),
    ):
        op.add_column("purchase_policies", column)
