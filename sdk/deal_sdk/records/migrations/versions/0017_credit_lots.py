"""Create the tables of credit lots, the account that expired credits go to, and packages that expire."""

from __future__ import annotations

from datetime import UTC, datetime
from uuid import UUID, uuid5

import sqlalchemy as sa
from alembic import op

revision = "0017"
down_revision = "0016"
branch_labels = None
depends_on = None

_time = sa.DateTime(timezone=True)
_NEVER = datetime(1970, 1, 1, tzinfo=UTC)
_OPERATORS = UUID("0d6cb2f4-94a7-4a3c-8a3e-3a6f0f7b9f10")


def upgrade() -> None:
    """Create the tables; no account has lots yet."""
    with op.batch_alter_table("credit_accounts") as accounts:
        accounts.add_column(
            sa.Column(
                "in_lots",
                sa.BigInteger(),
                server_default="0",
                nullable=False,
                comment="Of the balance, in lots of their own.",
            )
        )
        accounts.create_check_constraint(op.f("ck_credit_accounts_in_lots"), "in_lots >= 0")
    _create_lots()
    _create_burns()
    _create_holds()
    with op.batch_alter_table("credit_packages") as packages:
        packages.add_column(
            sa.Column("lifetime_days", sa.Integer(), nullable=True, comment="Of its credits; None for ever.")
        )
        packages.add_column(sa.Column("priority", sa.SmallInteger(), server_default="50", nullable=False))
    _create_operator()


def _create_operator() -> None:
    accounts = sa.table(
        "credit_accounts",
        sa.column("id", sa.Uuid()),
        sa.column("kind", sa.String()),
        sa.column("balance", sa.BigInteger()),
        sa.column("entries", sa.BigInteger()),
        sa.column("head_hash", sa.LargeBinary()),
        sa.column("updated_at", _time),
    )
    op.execute(
        accounts.insert().values(
            id=uuid5(_OPERATORS, "expiry"),
            kind="operator",
            balance=0,
            entries=0,
            head_hash=bytes(32),
            updated_at=_NEVER,
        )
    )


def _create_lots() -> None:
    name = "credit_lots"
    op.create_table(
        name,
        sa.Column("id", sa.Uuid(), nullable=False, comment="The transfer that granted it."),
        sa.Column("account_id", sa.Uuid(), nullable=False),
        sa.Column("priority", sa.SmallInteger(), nullable=False, comment="Lower ones are spent first."),
        sa.Column("amount", sa.BigInteger(), nullable=False, comment="What was granted."),
        sa.Column("remaining", sa.BigInteger(), nullable=False),
        sa.Column("held", sa.BigInteger(), nullable=False, comment="Of what remains, in live holds."),
        sa.Column("expires_at", _time, nullable=True),
        sa.Column("created_at", _time, nullable=False),
        sa.Column("expired_at", _time, nullable=True),
        sa.CheckConstraint("amount > 0", name=op.f("ck_credit_lots_amount")),
        sa.CheckConstraint("held >= 0", name=op.f("ck_credit_lots_held")),
        sa.CheckConstraint(
            "remaining >= held AND remaining <= amount", name=op.f("ck_credit_lots_remaining")
        ),
        sa.CheckConstraint(
            "expired_at IS NULL OR expires_at IS NOT NULL", name=op.f("ck_credit_lots_expired_at")
        ),
        sa.ForeignKeyConstraint(
            ["id"], ["credit_transfers.id"], name=op.f("fk_credit_lots_id_credit_transfers")
        ),
        sa.ForeignKeyConstraint(
            ["account_id"], ["credit_accounts.id"], name=op.f("fk_credit_lots_account_id_credit_accounts")
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_credit_lots")),
        comment="Credits that were granted together, and expire together.",
    )
    left = sa.text("remaining > 0")
    for index, column in (("remaining", "account_id"), ("expiring", "expires_at")):
        op.create_index(f"ix_credit_lots_{index}", name, [column], sqlite_where=left, postgresql_where=left)


def _create_burns() -> None:
    name = "credit_lot_burns"
    op.create_table(
        name,
        sa.Column("transfer_id", sa.Uuid(), nullable=False),
        sa.Column("lot_id", sa.Uuid(), nullable=False),
        sa.Column("amount", sa.BigInteger(), nullable=False),
        sa.Column("returned", sa.BigInteger(), nullable=False, comment="Of it, by refunds."),
        sa.CheckConstraint("amount > 0", name=op.f("ck_credit_lot_burns_amount")),
        sa.CheckConstraint("returned >= 0 AND returned <= amount", name=op.f("ck_credit_lot_burns_returned")),
        sa.ForeignKeyConstraint(
            ["transfer_id"],
            ["credit_transfers.id"],
            name=op.f("fk_credit_lot_burns_transfer_id_credit_transfers"),
        ),
        sa.ForeignKeyConstraint(
            ["lot_id"], ["credit_lots.id"], name=op.f("fk_credit_lot_burns_lot_id_credit_lots")
        ),
        sa.PrimaryKeyConstraint("transfer_id", "lot_id", name=op.f("pk_credit_lot_burns")),
        comment="Which lots a debit took its credits from.",
    )
    op.create_index(op.f("ix_credit_lot_burns_lot_id"), name, ["lot_id"])


def _create_holds() -> None:
    name = "credit_lot_holds"
    op.create_table(
        name,
        sa.Column("hold_id", sa.Uuid(), nullable=False),
        sa.Column("lot_id", sa.Uuid(), nullable=False),
        sa.Column("amount", sa.BigInteger(), nullable=False),
        sa.CheckConstraint("amount > 0", name=op.f("ck_credit_lot_holds_amount")),
        sa.ForeignKeyConstraint(
            ["hold_id"], ["credit_holds.id"], name=op.f("fk_credit_lot_holds_hold_id_credit_holds")
        ),
        sa.ForeignKeyConstraint(
            ["lot_id"], ["credit_lots.id"], name=op.f("fk_credit_lot_holds_lot_id_credit_lots")
        ),
        sa.PrimaryKeyConstraint("hold_id", "lot_id", name=op.f("pk_credit_lot_holds")),
        comment="Which lots a hold put its credits aside from.",
    )
    op.create_index(op.f("ix_credit_lot_holds_lot_id"), name, ["lot_id"])
