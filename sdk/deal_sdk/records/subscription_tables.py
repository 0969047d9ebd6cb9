"""The tables of subscriptions: whose buys are followed for whom, and what became of each buy."""

from __future__ import annotations

from typing import Final

import sqlalchemy as sa

from deal_sdk.records.tables import SIGNATURE_LENGTH, Json, _address, _one_of, _time, metadata

SUBSCRIPTION_STATES: Final = ("active", "removed")
OPEN_STATES: Final = ("received", "counted", "executing")
ENDED_STATES: Final = ("executed", "refunded", "skipped", "unknown")
TYPE_LENGTH: Final = 32
REASON_LENGTH: Final = 255
_OPEN: Final = "state IN ('received', 'counted', 'executing')"

subscriptions = sa.Table(
    "subscriptions",
    metadata,
    sa.Column("id", sa.Uuid, primary_key=True),
    sa.Column("user_id", sa.String(255), nullable=False, index=True),
    _address("kol_wallet"),
    sa.Column("type", sa.String(TYPE_LENGTH), nullable=False),
    sa.Column("token_buy_count", sa.BigInteger, comment="Purchases of one token in a period."),
    sa.Column("watch_config", Json),
    sa.Column("state", sa.String(16), nullable=False),
    _time("created_at"),
    _time("removed_at", nullable=True),
    _one_of("state", SUBSCRIPTION_STATES, "state"),
    sa.CheckConstraint("token_buy_count >= 0", name="token_buy_count"),
    sa.Index("ix_subscriptions_wallet", "kol_wallet", "state"),
    comment="A removed subscription stays, because its purchases name it.",
)

subscription_purchases = sa.Table(
    "subscription_purchases",
    metadata,
    sa.Column("id", sa.Uuid, primary_key=True, comment="Also the id under which it is counted."),
    sa.Column("subscription_id", sa.Uuid, sa.ForeignKey("subscriptions.id"), nullable=False),
    sa.Column("signature", sa.String(SIGNATURE_LENGTH), nullable=False),
    sa.Column("instruction_index", sa.Integer, nullable=False),
    _address("token_mint"),
    sa.Column("token_amount", sa.String(64), comment="What was bought there, in whole tokens."),
    sa.Column("slot", sa.BigInteger),
    sa.Column("state", sa.String(16), nullable=False),
    sa.Column("reason", sa.String(REASON_LENGTH)),
    sa.Column("reference", sa.String(REASON_LENGTH), comment="What the executor returned."),
    sa.Column("is_counted", sa.Boolean, nullable=False),
    _time("held_until"),
    _time("created_at"),
    _time("updated_at"),
    sa.UniqueConstraint("subscription_id", "signature", "instruction_index", "token_mint"),
    _one_of("state", (*OPEN_STATES, *ENDED_STATES), "state"),
    comment="A buy that is told again finds its row here, and is not counted again.",
)
sa.Index(
    "ix_subscription_purchases_open",
    subscription_purchases.c.held_until,
    sqlite_where=sa.text(_OPEN),
    postgresql_where=sa.text(_OPEN),
)
