"""Create the tables of monthly credits: schedules, the periods granted, and subscriptions."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0015"
down_revision = "0014"
branch_labels = None
depends_on = None

_time = sa.DateTime(timezone=True)


def upgrade() -> None:
    """Create the tables."""
    _create_schedules()
    _create_renewals()
    _create_history()


def _create_schedules() -> None:
    op.create_table(
        "credit_schedules",
        sa.Column("user_id", sa.Uuid(), nullable=False),
        sa.Column("plan", sa.String(32), nullable=False, comment="The tier whose periods these are."),
        sa.Column("period", sa.String(8), nullable=False, comment="30d, say, or month."),
        sa.Column("anchor_at", _time, nullable=False),
        sa.Column(
            "anchor_index", sa.BigInteger(), nullable=False, comment="The period that begins at the anchor."
        ),
        sa.Column(
            "next_index", sa.BigInteger(), nullable=False, comment="The first one that is not granted."
        ),
        sa.Column("next_renewal_at", _time, nullable=False),
        sa.Column("updated_at", _time, nullable=False),
        sa.CheckConstraint("next_index >= anchor_index", name=op.f("ck_credit_schedules_index")),
        sa.ForeignKeyConstraint(["user_id"], ["users.id"], name=op.f("fk_credit_schedules_user_id_users")),
        sa.PrimaryKeyConstraint("user_id", name=op.f("pk_credit_schedules")),
        comment="Where each user's series of periods stands.",
    )


def _create_renewals() -> None:
    name = "credit_renewals"
    op.create_table(
        name,
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("user_id", sa.Uuid(), nullable=False),
        sa.Column("plan", sa.String(32), nullable=False),
        sa.Column("period_index", sa.BigInteger(), nullable=False),
        sa.Column("period_start", _time, nullable=False),
        sa.Column("period_end", _time, nullable=False),
        sa.Column(
            "tokens_added", sa.BigInteger(), nullable=False, comment="Negative where a reset took some."
        ),
        sa.Column(
            "entry_id",
            sa.Uuid(),
            nullable=True,
            comment="None where nothing had to change, or where the entry was folded into an opening one.",
        ),
        sa.Column("created_at", _time, nullable=False),
        sa.ForeignKeyConstraint(["user_id"], ["users.id"], name=op.f("fk_credit_renewals_user_id_users")),
        _entry_key(name),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_credit_renewals")),
        sa.UniqueConstraint(
            "user_id", "plan", "period_index", name=op.f("uq_credit_renewals_user_id_plan_period_index")
        ),
        comment="The periods whose credits were granted, each once.",
    )
    op.create_index("ix_credit_renewals_entry_id", name, ["entry_id"])


def _create_history() -> None:
    name = "subscription_history"
    op.create_table(
        name,
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("user_id", sa.Uuid(), nullable=False),
        sa.Column("tier", sa.String(32), nullable=False),
        sa.Column("previous_tier", sa.String(32), nullable=False),
        sa.Column("payment_reference", sa.String(255), nullable=False),
        sa.Column("periods", sa.Integer(), nullable=False, comment="How many were paid for."),
        sa.Column(
            "price_rub", sa.BigInteger(), nullable=False, comment="Of all periods, as the plan said then."
        ),
        sa.Column("tokens_granted", sa.BigInteger(), nullable=False),
        sa.Column("new_balance", sa.BigInteger(), nullable=False),
        sa.Column("entry_id", sa.Uuid(), nullable=True),
        sa.Column("previous_expires_at", _time, nullable=True),
        sa.Column("starts_at", _time, nullable=False),
        sa.Column("expires_at", _time, nullable=False),
        sa.Column("created_at", _time, nullable=False),
        sa.CheckConstraint("periods > 0", name=op.f("ck_subscription_history_periods")),
        sa.CheckConstraint("expires_at > starts_at", name=op.f("ck_subscription_history_expires_at")),
        sa.ForeignKeyConstraint(
            ["user_id"], ["users.id"], name=op.f("fk_subscription_history_user_id_users")
        ),
        _entry_key(name),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_subscription_history")),
        sa.UniqueConstraint("payment_reference", name=op.f("uq_subscription_history_payment_reference")),
        comment="What was subscribed to, once for each payment.",
    )
    op.create_index("ix_subscription_history_user_id", name, ["user_id"])
    op.create_index("ix_subscription_history_entry_id", name, ["entry_id"])


def _entry_key(table: str) -> sa.ForeignKeyConstraint:
    return sa.ForeignKeyConstraint(
        ["entry_id"],
        ["token_operations.id"],
        name=op.f(f"fk_{table}_entry_id_token_operations"),
        ondelete="SET NULL",
    )
