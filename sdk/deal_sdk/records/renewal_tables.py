"""The tables of monthly credits: where each user's periods stand, which were granted, and who paid."""

from __future__ import annotations

from typing import Final

import sqlalchemy as sa

from deal_sdk.records.tables import _time, metadata, users

TIER_LENGTH: Final = 32
PERIOD_LENGTH: Final = 8
MAX_PAYMENT_REFERENCE_LENGTH: Final = 255

credit_schedules = sa.Table(
    "credit_schedules",
    metadata,
    sa.Column("user_id", sa.Uuid, sa.ForeignKey(users.c.id), primary_key=True),
    sa.Column("plan", sa.String(TIER_LENGTH), nullable=False, comment="The tier whose periods these are."),
    sa.Column("period", sa.String(PERIOD_LENGTH), nullable=False, comment="30d, say, or month."),
    _time("anchor_at"),
    sa.Column("anchor_index", sa.BigInteger, nullable=False, comment="The period that begins at the anchor."),
    sa.Column("next_index", sa.BigInteger, nullable=False, comment="The first one that is not granted."),
    _time("next_renewal_at"),
    _time("updated_at"),
    sa.CheckConstraint("next_index >= anchor_index", name="index"),
    comment="Where each user's series of periods stands.",
)

credit_renewals = sa.Table(
    "credit_renewals",
    metadata,
    sa.Column("id", sa.Uuid, primary_key=True),
    sa.Column("user_id", sa.Uuid, sa.ForeignKey(users.c.id), nullable=False),
    sa.Column("plan", sa.String(TIER_LENGTH), nullable=False),
    sa.Column("period_index", sa.BigInteger, nullable=False),
    _time("period_start"),
    _time("period_end"),
    sa.Column("tokens_added", sa.BigInteger, nullable=False, comment="Negative where a reset took some."),
    sa.Column(
        "entry_id",
        sa.Uuid,
        sa.ForeignKey("token_operations.id", ondelete="SET NULL"),
        index=True,
        comment="None where nothing had to change, or where the entry was folded into an opening one.",
    ),
    _time("created_at"),
    sa.UniqueConstraint("user_id", "plan", "period_index"),
    comment="The periods whose credits were granted, each once.",
)

subscription_history = sa.Table(
    "subscription_history",
    metadata,
    sa.Column("id", sa.Uuid, primary_key=True),
    sa.Column("user_id", sa.Uuid, sa.ForeignKey(users.c.id), nullable=False, index=True),
    sa.Column("tier", sa.String(TIER_LENGTH), nullable=False),
    sa.Column("previous_tier", sa.String(TIER_LENGTH), nullable=False),
    sa.Column("payment_reference", sa.String(MAX_PAYMENT_REFERENCE_LENGTH), nullable=False, unique=True),
    sa.Column("periods", sa.Integer, nullable=False, comment="How many were paid for."),
    sa.Column("price_rub", sa.BigInteger, nullable=False, comment="Of all periods, as the plan said then."),
    sa.Column("tokens_granted", sa.BigInteger, nullable=False),
    sa.Column("new_balance", sa.BigInteger, nullable=False),
    sa.Column("entry_id", sa.Uuid, sa.ForeignKey("token_operations.id", ondelete="SET NULL"), index=True),
    _time("previous_expires_at", nullable=True),
    _time("starts_at"),
    _time("expires_at"),
    _time("created_at"),
    sa.CheckConstraint("periods > 0", name="periods"),
    sa.CheckConstraint("expires_at > starts_at", name="expires_at"),
    comment="What was subscribed to, once for each payment.",
)
