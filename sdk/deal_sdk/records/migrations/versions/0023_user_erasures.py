"""Create the table of erased users, and let an entry keep the hash of metadata that was erased."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0023"
down_revision = "0022"
branch_labels = None
depends_on = None

_json = sa.JSON().with_variant(postgresql.JSONB(), "postgresql")
_time = sa.DateTime(timezone=True)


def upgrade() -> None:
    """Create the table and the columns; nobody is erased yet."""
    op.create_table(
        "user_erasures",
        sa.Column("user_id", sa.Uuid(), nullable=False),
        sa.Column("erased_at", _time, nullable=False),
        sa.Column("erased", _json, nullable=False, comment="How many rows of each kind."),
        sa.ForeignKeyConstraint(["user_id"], ["users.id"], name=op.f("fk_user_erasures_user_id_users")),
        sa.PrimaryKeyConstraint("user_id", name=op.f("pk_user_erasures")),
        comment="The users whose personal data was erased.",
    )
    op.add_column("users", sa.Column("erased_at", _time, nullable=True))
    op.add_column(
        "token_operations",
        sa.Column("metadata_hash", sa.LargeBinary(32), nullable=True, comment="Of metadata that was erased."),
    )
