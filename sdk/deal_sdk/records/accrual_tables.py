"""The tables of micro-fees: what users owe, and the payments that settle it."""

from __future__ import annotations

from typing import Final

import sqlalchemy as sa

from deal_sdk.records.tables import RowId, _address, _time, metadata

SERVICE_TYPE_LENGTH: Final = 64

service_fee_settlements = sa.Table(
    "service_fee_settlements",
    metadata,
    sa.Column("payment_id", sa.Uuid, sa.ForeignKey("token_transactions.id"), primary_key=True),
    _address("token_account"),
    sa.Column("fees", sa.Integer, nullable=False, comment="How many fees it took on."),
    _time("created_at"),
    sa.CheckConstraint("fees > 0", name="fees"),
    sa.Index("ix_service_fee_settlements_account", "token_account", "created_at"),
)

service_fee_accruals = sa.Table(
    "service_fee_accruals",
    metadata,
    sa.Column("id", RowId, primary_key=True, autoincrement=True),
    sa.Column("reference", sa.Uuid, nullable=False, unique=True),
    sa.Column("idempotency_key", sa.String(255), unique=True),
    sa.Column("fingerprint", sa.String(64), nullable=False),
    sa.Column("user_id", sa.Uuid, sa.ForeignKey("users.id"), nullable=False, index=True),
    _address("owner_address"),
    _address("token_account"),
    sa.Column("service_type", sa.String(SERVICE_TYPE_LENGTH), nullable=False),
    sa.Column("amount", sa.BigInteger, nullable=False),
    sa.Column(
        "payment_id",
        sa.Uuid,
        sa.ForeignKey("service_fee_settlements.payment_id"),
        index=True,
        comment="The settlement that pays it; none while it is owed.",
    ),
    _time("created_at"),
    sa.CheckConstraint("amount > 0", name="amount"),
)
sa.Index(
    "ix_service_fee_accruals_owed",
    service_fee_accruals.c.token_account,
    service_fee_accruals.c.id,
    sqlite_where=service_fee_accruals.c.payment_id.is_(None),
    postgresql_where=service_fee_accruals.c.payment_id.is_(None),
)
