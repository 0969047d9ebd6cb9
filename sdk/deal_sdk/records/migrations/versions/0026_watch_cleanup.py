"""Let counted transactions be cleaned up: how far each address was listed when, and what is gone."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0026"
down_revision = "0025"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Add the columns; nothing is cleaned up before each address was listed once more."""
    op.add_column("watch_cursors", sa.Column("listed_at", sa.DateTime(timezone=True), nullable=True))
    with op.batch_alter_table("watched_wallets") as wallets:
        wallets.add_column(
            sa.Column(
                "deleted_number",
                sa.BigInteger(),
                server_default="0",
                nullable=False,
                comment="Up to this number the rows of its generation were cleaned up.",
            )
        )
        wallets.create_check_constraint(
            op.f("ck_watched_wallets_deleted_number"), "deleted_number BETWEEN 0 AND transaction_count"
        )
