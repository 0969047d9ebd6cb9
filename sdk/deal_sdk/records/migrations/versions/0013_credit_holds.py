"""Create the table of credits on hold, and count what is held with each account."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0013"
down_revision = "0012"
branch_labels = None
depends_on = None

_json = sa.JSON().with_variant(postgresql.JSONB(), "postgresql")
_time = sa.DateTime(timezone=True)


def upgrade() -> None:
    """Create the table; accounts hold nothing yet."""
    with op.batch_alter_table("credit_accounts") as accounts:
        accounts.add_column(
            sa.Column(
                "held", sa.BigInteger(), server_default="0", nullable=False, comment="Of it, in live holds."
            )
        )
        accounts.create_check_constraint(op.f("ck_credit_accounts_held"), "held >= 0")
    _create_holds()


def _create_holds() -> None:
    name = "credit_holds"
    op.create_table(
        name,
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("account_id", sa.Uuid(), nullable=False),
        sa.Column("operation_type", sa.String(64), nullable=False),
        sa.Column("amount", sa.BigInteger(), nullable=False),
        sa.Column("state", sa.String(16), nullable=False),
        sa.Column("transfer_id", sa.Uuid(), nullable=True, comment="What was taken in the end."),
        sa.Column("idempotency_key", sa.String(255), nullable=True),
        sa.Column("fingerprint", sa.String(64), nullable=False),
        sa.Column("metadata", _json, nullable=True),
        sa.Column("expires_at", _time, nullable=False),
        sa.Column("created_at", _time, nullable=False),
        sa.Column("ended_at", _time, nullable=True),
        sa.CheckConstraint("amount > 0", name=op.f("ck_credit_holds_amount")),
        sa.CheckConstraint(
            "state IN ('live', 'posted', 'voided', 'expired')", name=op.f("ck_credit_holds_state")
        ),
        sa.CheckConstraint("(state = 'live') = (ended_at IS NULL)", name=op.f("ck_credit_holds_ended")),
        sa.CheckConstraint(
            "(state = 'posted') = (transfer_id IS NOT NULL)", name=op.f("ck_credit_holds_posted")
        ),
        sa.ForeignKeyConstraint(
            ["account_id"], ["credit_accounts.id"], name=op.f("fk_credit_holds_account_id_credit_accounts")
        ),
        sa.ForeignKeyConstraint(
            ["transfer_id"],
            ["credit_transfers.id"],
            name=op.f("fk_credit_holds_transfer_id_credit_transfers"),
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_credit_holds")),
        sa.UniqueConstraint("idempotency_key", name=op.f("uq_credit_holds_idempotency_key")),
        comment="Credits put aside for an operation under way.",
    )
    live = sa.text("state = 'live'")
    op.create_index(
        "ix_credit_holds_live", name, ["account_id", "expires_at"], sqlite_where=live, postgresql_where=live
    )
