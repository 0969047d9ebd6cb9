"""Let lots be read in the order in which they are spent, as many as a debit needs."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0027"
down_revision = "0026"
branch_labels = None
depends_on = None

_REMAINING = sa.text("remaining > 0")
_FREE = sa.text("remaining > held")


def upgrade() -> None:
    """Replace the index of what remains, and add that of whose turn it is."""
    op.drop_index("ix_credit_lots_remaining", "credit_lots")
    op.create_index(
        "ix_credit_lots_remaining",
        "credit_lots",
        ["account_id", "expires_at"],
        sqlite_where=_REMAINING,
        postgresql_where=_REMAINING,
    )
    op.create_index(
        "ix_credit_lots_turn",
        "credit_lots",
        ["account_id", "priority", sa.text("(expires_at IS NULL)"), "expires_at", "id"],
        sqlite_where=_FREE,
        postgresql_where=_FREE,
    )
