"""The tables of invoices: what a user was asked to pay from outside, and what arrived for it."""

from __future__ import annotations

from typing import Final

import sqlalchemy as sa

from deal_sdk.records.renewal_tables import TIER_LENGTH
from deal_sdk.records.tables import _address, _one_of, _time, metadata

INVOICE_STATUSES: Final = ("open", "paid", "accepted")
INVOICE_OUTCOMES: Final = ("exact", "underpaid", "overpaid", "late", "duplicate")
COUNTED_OUTCOMES: Final = ("exact", "underpaid", "overpaid")
"""What arrived in time for an invoice that was open; all of it together is what was received."""

invoices = sa.Table(
    "invoices",
    metadata,
    sa.Column("id", sa.Uuid, primary_key=True),
    sa.Column("user_id", sa.Uuid, sa.ForeignKey("users.id"), nullable=False, index=True),
    sa.Column("package_id", sa.Uuid, sa.ForeignKey("credit_packages.id")),
    sa.Column("tier", sa.String(TIER_LENGTH), comment="Of a subscription, in place of a package."),
    sa.Column("periods", sa.Integer),
    sa.Column("amount", sa.BigInteger, nullable=False),
    sa.Column("received", sa.BigInteger, nullable=False, comment="In time, while it was open."),
    sa.Column("status", sa.String(16), nullable=False),
    _address("reference", unique=True, comment="Among the payment's accounts, or in its memo."),
    _address("recipient", comment="The wallet that is paid."),
    _address("token_account", comment="The recipient's."),
    sa.Column("idempotency_key", sa.String(255), unique=True),
    sa.Column("fingerprint", sa.String(64), nullable=False),
    sa.Column(
        "entry_id",
        sa.Uuid,
        sa.ForeignKey("token_operations.id", ondelete="SET NULL"),
        index=True,
        comment="Of the credits; none where the entry was folded into an opening one.",
    ),
    _time("created_at"),
    _time("expires_at"),
    _time("paid_at", nullable=True),
    _time("granted_at", nullable=True),
    sa.CheckConstraint("amount > 0", name="amount"),
    sa.CheckConstraint("received >= 0", name="received"),
    sa.CheckConstraint("(package_id IS NULL) = (tier IS NOT NULL AND periods IS NOT NULL)", name="kind"),
    sa.CheckConstraint("(status = 'open') = (paid_at IS NULL)", name="paid_at"),
    sa.CheckConstraint("granted_at IS NULL OR status <> 'open'", name="granted_at"),
    _one_of("status", INVOICE_STATUSES, "status"),
    comment="Asked of users, to be paid from any wallet.",
)
sa.Index(
    "ix_invoices_open",
    invoices.c.expires_at,
    sqlite_where=invoices.c.status == "open",
    postgresql_where=invoices.c.status == "open",
)
_NOT_GRANTED: Final = sa.and_(invoices.c.status != "open", invoices.c.granted_at.is_(None))
sa.Index(
    "ix_invoices_not_granted",
    invoices.c.paid_at,
    sqlite_where=_NOT_GRANTED,
    postgresql_where=_NOT_GRANTED,
)

invoice_payments = sa.Table(
    "invoice_payments",
    metadata,
    sa.Column("payment_id", sa.Uuid, sa.ForeignKey("token_transactions.id"), primary_key=True),
    sa.Column("invoice_id", sa.Uuid, sa.ForeignKey("invoices.id"), nullable=False, index=True),
    sa.Column("outcome", sa.String(16), nullable=False),
    sa.Column("amount", sa.BigInteger, nullable=False),
    sa.Column("excess", sa.BigInteger, nullable=False, comment="Of it, what paid for nothing."),
    _time("created_at"),
    sa.CheckConstraint("excess >= 0 AND excess <= amount", name="excess"),
    _one_of("outcome", INVOICE_OUTCOMES, "outcome"),
    comment="Deposits that named an invoice, each once, and what they were for it.",
)
