"""Create the table of address lookup tables."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0009"
down_revision = "0008"
branch_labels = None
depends_on = None

_json = sa.JSON().with_variant(postgresql.JSONB(), "postgresql")
_time = sa.DateTime(timezone=True)


def upgrade() -> None:
    """Create the table; nothing that is there changes."""
    name = "lookup_tables"
    op.create_table(
        name,
        sa.Column("address", sa.String(44), nullable=False),
        sa.Column("authority", sa.String(44), nullable=False),
        sa.Column("recent_slot", sa.BigInteger(), nullable=False, comment="Its address is derived from it."),
        sa.Column("addresses", _json, nullable=False, comment="What it is to hold, in this order."),
        sa.Column("state", sa.String(16), nullable=False),
        sa.Column("signature", sa.String(88), nullable=True),
        sa.Column("signed_bytes", sa.LargeBinary(), nullable=True),
        sa.Column("last_valid_block_height", sa.BigInteger(), nullable=True),
        sa.Column("context_slot", sa.BigInteger(), nullable=True),
        sa.Column(
            "landed_slot",
            sa.BigInteger(),
            nullable=True,
            comment="The last change's; nothing older says what it holds.",
        ),
        sa.Column("created_at", _time, nullable=False),
        sa.Column("updated_at", _time, nullable=False),
        sa.CheckConstraint(
            "state IN ('filling', 'ready', 'closing', 'closed')", name=op.f("ck_lookup_tables_state")
        ),
        sa.CheckConstraint(
            "(signature IS NULL) = (signed_bytes IS NULL)", name=op.f("ck_lookup_tables_bytes")
        ),
        sa.PrimaryKeyConstraint("address", name=op.f("pk_lookup_tables")),
        comment="Address lookup tables that batches use; their rent comes back when they are closed.",
    )
    op.create_index("ix_lookup_tables_state", name, ["authority", "state"], unique=False)
