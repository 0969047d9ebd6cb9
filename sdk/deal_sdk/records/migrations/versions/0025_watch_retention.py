"""Let the log of watched wallets say how far it was cleaned up."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0025"
down_revision = "0024"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Add the columns; nothing is cleaned up yet."""
    op.add_column(
        "watch_state",
        sa.Column(
            "pruned_event_id",
            sa.BigInteger(),
            nullable=True,
            comment="Up to it, only what is audited was kept.",
        ),
    )
    op.add_column("watch_state", sa.Column("pruned_through", sa.DateTime(timezone=True), nullable=True))
