"""The tables of purchases: one row for each counted one, and the stored policies."""

from __future__ import annotations

from typing import Final

import sqlalchemy as sa

from deal_sdk.records.tables import Json, _one_of, _time, metadata

PURCHASE_STATES: Final = ("reserved", "counted", "cancelled")

token_purchases = sa.Table(
    "token_purchases",
    metadata,
    sa.Column("reservation_id", sa.String(64), primary_key=True),
    sa.Column("payment_id", sa.Uuid, sa.ForeignKey("token_transactions.id"), unique=True),
    sa.Column("user_id", sa.String(255), nullable=False),
    sa.Column("token_mint", sa.String(255), nullable=False),
    sa.Column("subscription_id", sa.String(255)),
    sa.Column("max_purchases", sa.BigInteger, nullable=False),
    sa.Column("amount", sa.BigInteger),
    sa.Column("category", sa.String(255), comment="Limits of a category count its tokens together."),
    sa.Column("state", sa.String(16), nullable=False),
    _time("created_at"),
    _time("updated_at"),
    _time("counts_until", nullable=True),
    sa.Column("terms", Json, comment="Limits and periods beside max_purchases."),
    _one_of("state", PURCHASE_STATES, "state"),
    sa.Index("ix_token_purchases_user_mint", "user_id", "token_mint", "created_at"),
)

purchase_policies = sa.Table(
    "purchase_policies",
    metadata,
    sa.Column("user_id", sa.Uuid, sa.ForeignKey("users.id"), primary_key=True),
    sa.Column("token_mint", sa.String(255), primary_key=True),
    sa.Column("max_purchases", sa.BigInteger, nullable=False),
    sa.Column("subscription_id", sa.String(255)),
    sa.Column("period_seconds", sa.BigInteger, comment="The setting's where it is null."),
    sa.Column("calendar_unit", sa.String(8), comment="day or week, in place of a rolling period."),
    sa.Column("time_zone", sa.String(64)),
    sa.Column("max_amount", sa.BigInteger, comment="Base units in a period."),
    _time("created_at"),
    sa.CheckConstraint("max_purchases > 0", name="max_purchases"),
)
