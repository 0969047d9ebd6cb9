"""The table of messages that wallets are asked to sign, to prove whose they are."""

from __future__ import annotations

from typing import Final

import sqlalchemy as sa

from deal_sdk.records.tables import _address, _time, metadata

NONCE_LENGTH: Final = 64

wallet_challenges = sa.Table(
    "wallet_challenges",
    metadata,
    sa.Column("nonce", sa.String(NONCE_LENGTH), primary_key=True),
    sa.Column("user_id", sa.Uuid, sa.ForeignKey("users.id"), nullable=False, index=True),
    _address("address"),
    sa.Column("message", sa.Text, nullable=False, comment="Exactly what is to be signed."),
    _time("issued_at"),
    _time("expires_at", index=True),
    _time("used_at", nullable=True),
    comment="Each proves something once at most.",
)
