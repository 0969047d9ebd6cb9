"""Let a purchase remember the terms that it was counted under."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0024"
down_revision = "0023"
branch_labels = None
depends_on = None

_json = sa.JSON().with_variant(postgresql.JSONB(), "postgresql")


def upgrade() -> None:
    """Add the column; earlier purchases count as if they had no terms of their own, as they did."""
    op.add_column(
        "token_purchases",
        sa.Column("terms", _json, nullable=True, comment="Limits and periods beside max_purchases."),
    )
