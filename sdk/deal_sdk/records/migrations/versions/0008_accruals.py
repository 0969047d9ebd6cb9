"""Create the tables of micro-fees: what users owe, and the payments that settle it."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0008"
down_revision = "0007"
branch_labels = None
depends_on = None

_time = sa.DateTime(timezone=True)
_row_id = sa.BigInteger().with_variant(sa.Integer(), "sqlite")


def upgrade() -> None:
    """Create both tables, the one that the other refers to first."""
    _create_settlements()
    _create_accruals()


def _create_settlements() -> None:
    op.create_table(
        "service_fee_settlements",
        sa.Column("payment_id", sa.Uuid(), nullable=False),
        sa.Column("token_account", sa.String(44), nullable=False),
        sa.Column("fees", sa.Integer(), nullable=False, comment="How many fees it took on."),
        sa.Column("created_at", _time, nullable=False),
        sa.CheckConstraint("fees > 0", name=op.f("ck_service_fee_settlements_fees")),
        sa.ForeignKeyConstraint(
            ["payment_id"],
            ["token_transactions.id"],
            name=op.f("fk_service_fee_settlements_payment_id_token_transactions"),
        ),
        sa.PrimaryKeyConstraint("payment_id", name=op.f("pk_service_fee_settlements")),
    )
    op.create_index(
        "ix_service_fee_settlements_account",
        "service_fee_settlements",
        ["token_account", "created_at"],
        unique=False,
    )


def _create_accruals() -> None:
    name = "service_fee_accruals"
    op.create_table(
        name,
        sa.Column("id", _row_id, autoincrement=True, nullable=False),
        sa.Column("reference", sa.Uuid(), nullable=False),
        sa.Column("idempotency_key", sa.String(255), nullable=True),
        sa.Column("fingerprint", sa.String(64), nullable=False),
        sa.Column("user_id", sa.Uuid(), nullable=False),
        sa.Column("owner_address", sa.String(44), nullable=False),
        sa.Column("token_account", sa.String(44), nullable=False),
        sa.Column("service_type", sa.String(64), nullable=False),
        sa.Column("amount", sa.BigInteger(), nullable=False),
        sa.Column(
            "payment_id",
            sa.Uuid(),
            nullable=True,
            comment="The settlement that pays it; none while it is owed.",
        ),
        sa.Column("created_at", _time, nullable=False),
        sa.CheckConstraint("amount > 0", name=op.f("ck_service_fee_accruals_amount")),
        sa.ForeignKeyConstraint(
            ["user_id"], ["users.id"], name=op.f("fk_service_fee_accruals_user_id_users")
        ),
        sa.ForeignKeyConstraint(
            ["payment_id"],
            ["service_fee_settlements.payment_id"],
            name=op.f("fk_service_fee_accruals_payment_id_service_fee_settlements"),
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_service_fee_accruals")),
        sa.UniqueConstraint("reference", name=op.f("uq_service_fee_accruals_reference")),
        sa.UniqueConstraint("idempotency_key", name=op.f("uq_service_fee_accruals_idempotency_key")),
    )
    for column in ("user_id", "payment_id"):
        op.create_index(op.f(f"ix_{name}_{column}"), name, [column], unique=False)
    owed = sa.text("payment_id IS NULL")
    op.create_index(
        "ix_service_fee_accruals_owed",
        name,
        ["token_account", "id"],
        unique=False,
        sqlite_where=owed,
        postgresql_where=owed,
    )
