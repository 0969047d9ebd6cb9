"""Create the tables of invoices."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0021"
down_revision = "0020"
branch_labels = None
depends_on = None

_time = sa.DateTime(timezone=True)


def upgrade() -> None:
    """Create both tables; nobody was asked for anything yet."""
    _create_invoices()
    _create_payments()


def _create_invoices() -> None:
    name = "invoices"
    op.create_table(
        name,
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("user_id", sa.Uuid(), nullable=False),
        sa.Column("package_id", sa.Uuid(), nullable=True),
        sa.Column("tier", sa.String(32), nullable=True, comment="Of a subscription, in place of a package."),
        sa.Column("periods", sa.Integer(), nullable=True),
        sa.Column("amount", sa.BigInteger(), nullable=False),
        sa.Column("received", sa.BigInteger(), nullable=False, comment="In time, while it was open."),
        sa.Column("status", sa.String(16), nullable=False),
        sa.Column(
            "reference",
            sa.String(44),
            nullable=False,
            comment="Among the payment's accounts, or in its memo.",
        ),
        sa.Column("recipient", sa.String(44), nullable=False, comment="The wallet that is paid."),
        sa.Column("token_account", sa.String(44), nullable=False, comment="The recipient's."),
        sa.Column("idempotency_key", sa.String(255), nullable=True),
        sa.Column("fingerprint", sa.String(64), nullable=False),
        sa.Column(
            "entry_id",
            sa.Uuid(),
            nullable=True,
            comment="Of the credits; none where the entry was folded into an opening one.",
        ),
        sa.Column("created_at", _time, nullable=False),
        sa.Column("expires_at", _time, nullable=False),
        sa.Column("paid_at", _time, nullable=True),
        sa.Column("granted_at", _time, nullable=True),
        sa.CheckConstraint("amount > 0", name=op.f("ck_invoices_amount")),
        sa.CheckConstraint("received >= 0", name=op.f("ck_invoices_received")),
        sa.CheckConstraint(
            "(package_id IS NULL) = (tier IS NOT NULL AND periods IS NOT NULL)", name=op.f("ck_invoices_kind")
        ),
        sa.CheckConstraint("(status = 'open') = (paid_at IS NULL)", name=op.f("ck_invoices_paid_at")),
        sa.CheckConstraint("granted_at IS NULL OR status <> 'open'", name=op.f("ck_invoices_granted_at")),
        sa.CheckConstraint("status IN ('open', 'paid', 'accepted')", name=op.f("ck_invoices_status")),
        sa.ForeignKeyConstraint(["user_id"], ["users.id"], name=op.f("fk_invoices_user_id_users")),
        sa.ForeignKeyConstraint(
            ["package_id"], ["credit_packages.id"], name=op.f("fk_invoices_package_id_credit_packages")
        ),
        sa.ForeignKeyConstraint(
            ["entry_id"],
            ["token_operations.id"],
            name=op.f("fk_invoices_entry_id_token_operations"),
            ondelete="SET NULL",
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_invoices")),
        sa.UniqueConstraint("reference", name=op.f("uq_invoices_reference")),
        sa.UniqueConstraint("idempotency_key", name=op.f("uq_invoices_idempotency_key")),
        comment="Asked of users, to be paid from any wallet.",
    )
    for column in ("user_id", "entry_id"):
        op.create_index(op.f(f"ix_invoices_{column}"), name, [column])
    for index, column, condition in (
        ("ix_invoices_open", "expires_at", "status = 'open'"),
        ("ix_invoices_not_granted", "paid_at", "status != 'open' AND granted_at IS NULL"),
    ):
        where = sa.text(condition)
        op.create_index(index, name, [column], sqlite_where=where, postgresql_where=where)


def _create_payments() -> None:
    name = "invoice_payments"
    op.create_table(
        name,
        sa.Column("payment_id", sa.Uuid(), nullable=False),
        sa.Column("invoice_id", sa.Uuid(), nullable=False),
        sa.Column("outcome", sa.String(16), nullable=False),
        sa.Column("amount", sa.BigInteger(), nullable=False),
        sa.Column("excess", sa.BigInteger(), nullable=False, comment="Of it, what paid for nothing."),
        sa.Column("created_at", _time, nullable=False),
        sa.CheckConstraint("excess >= 0 AND excess <= amount", name=op.f("ck_invoice_payments_excess")),
        sa.CheckConstraint(
            "outcome IN ('exact', 'underpaid', 'overpaid', 'late', 'duplicate')",
            name=op.f("ck_invoice_payments_outcome"),
        ),
        sa.ForeignKeyConstraint(
            ["payment_id"],
            ["token_transactions.id"],
            name=op.f("fk_invoice_payments_payment_id_token_transactions"),
        ),
        sa.ForeignKeyConstraint(
            ["invoice_id"], ["invoices.id"], name=op.f("fk_invoice_payments_invoice_id_invoices")
        ),
        sa.PrimaryKeyConstraint("payment_id", name=op.f("pk_invoice_payments")),
        comment="Deposits that named an invoice, each once, and what they were for it.",
    )
    op.create_index(op.f("ix_invoice_payments_invoice_id"), name, ["invoice_id"])
