"""Create the ledger of credits: accounts, transfers between them, and their entries."""

from __future__ import annotations

from datetime import UTC, datetime
from uuid import UUID, uuid5

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0011"
down_revision = "0010"
branch_labels = None
depends_on = None

_json = sa.JSON().with_variant(postgresql.JSONB(), "postgresql")
_time = sa.DateTime(timezone=True)
_NEVER = datetime(1970, 1, 1, tzinfo=UTC)
_OPERATORS = UUID("0d6cb2f4-94a7-4a3c-8a3e-3a6f0f7b9f10")


def upgrade() -> None:
    """Create the tables, and the operator's two accounts with nothing in them."""
    accounts = _create_accounts()
    _create_transfers()
    _create_entries()
    for name in ("issuance", "revenue"):
        op.execute(
            accounts.insert().values(
                id=uuid5(_OPERATORS, name),
                kind="operator",
                balance=0,
                entries=0,
                head_hash=bytes(32),
                updated_at=_NEVER,
            )
        )


def _create_accounts() -> sa.Table:
    return op.create_table(
        "credit_accounts",
        sa.Column("id", sa.Uuid(), nullable=False, comment="A user's account has the user's id."),
        sa.Column("kind", sa.String(16), nullable=False),
        sa.Column("balance", sa.BigInteger(), nullable=False),
        sa.Column(
            "entries", sa.BigInteger(), nullable=False, comment="Their number; the last one's sequence."
        ),
        sa.Column("head_hash", sa.LargeBinary(32), nullable=False, comment="The last entry's."),
        sa.Column("updated_at", _time, nullable=False),
        sa.CheckConstraint("kind IN ('user', 'operator')", name=op.f("ck_credit_accounts_kind")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_credit_accounts")),
        comment="Who has how many credits; all balances together are zero.",
    )


def _create_transfers() -> None:
    name = "credit_transfers"
    op.create_table(
        name,
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("type", sa.String(64), nullable=False),
        sa.Column("amount", sa.BigInteger(), nullable=False),
        sa.Column("idempotency_key", sa.String(255), nullable=True),
        sa.Column("fingerprint", sa.String(64), nullable=False),
        sa.Column("refund_of", sa.Uuid(), nullable=True, comment="The transfer that it gives back."),
        sa.Column("created_at", _time, nullable=False),
        sa.CheckConstraint("amount > 0", name=op.f("ck_credit_transfers_amount")),
        sa.ForeignKeyConstraint(
            ["refund_of"],
            ["credit_transfers.id"],
            name=op.f("fk_credit_transfers_refund_of_credit_transfers"),
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_credit_transfers")),
        sa.UniqueConstraint("idempotency_key", name=op.f("uq_credit_transfers_idempotency_key")),
        comment="Credits moved from one account to another.",
    )
    given_back = sa.text("refund_of IS NOT NULL")
    op.create_index(
        "ix_credit_transfers_refund_of",
        name,
        ["refund_of"],
        sqlite_where=given_back,
        postgresql_where=given_back,
    )


def _create_entries() -> None:
    name = "token_operations"
    op.create_table(
        name,
        sa.Column("id", sa.Uuid(), nullable=False, comment="Rises with time."),
        sa.Column("transfer_id", sa.Uuid(), nullable=False),
        sa.Column("account_id", sa.Uuid(), nullable=False),
        sa.Column("user_id", sa.Uuid(), nullable=True, comment="None in an operator's account."),
        sa.Column("operation_type", sa.String(64), nullable=False),
        sa.Column("amount", sa.BigInteger(), nullable=False, comment="Negative for a debit."),
        sa.Column("balance_before", sa.BigInteger(), nullable=False),
        sa.Column("balance_after", sa.BigInteger(), nullable=False),
        sa.Column("sequence", sa.BigInteger(), nullable=False, comment="1, 2, 3, ... in its account."),
        sa.Column("entry_hash", sa.LargeBinary(32), nullable=False),
        sa.Column("metadata", _json, nullable=True),
        sa.Column("created_at", _time, nullable=False),
        sa.CheckConstraint(
            "balance_after = balance_before + amount", name=op.f("ck_token_operations_adds_up")
        ),
        sa.CheckConstraint("amount <> 0", name=op.f("ck_token_operations_amount")),
        sa.ForeignKeyConstraint(
            ["transfer_id"],
            ["credit_transfers.id"],
            name=op.f("fk_token_operations_transfer_id_credit_transfers"),
        ),
        sa.ForeignKeyConstraint(
            ["account_id"],
            ["credit_accounts.id"],
            name=op.f("fk_token_operations_account_id_credit_accounts"),
        ),
        sa.ForeignKeyConstraint(["user_id"], ["users.id"], name=op.f("fk_token_operations_user_id_users")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_token_operations")),
        sa.UniqueConstraint("account_id", "sequence", name=op.f("uq_token_operations_account_id_sequence")),
        comment="The ledger's entries, one for each account that a transfer moves.",
    )
    op.create_index(op.f("ix_token_operations_transfer_id"), name, ["transfer_id"])
    of_users = sa.text("user_id IS NOT NULL")
    op.create_index(
        "ix_token_operations_type",
        name,
        ["operation_type", "id"],
        sqlite_where=of_users,
        postgresql_where=of_users,
    )
