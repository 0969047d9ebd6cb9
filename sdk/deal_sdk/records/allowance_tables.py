"""The tables of on-chain allowances: which sequence each charge took, and what owners were asked to sign."""

from __future__ import annotations

import sqlalchemy as sa

from deal_sdk.records.tables import SIGNATURE_LENGTH, _address, _time, metadata

allowance_charges = sa.Table(
    "allowance_charges",
    metadata,
    sa.Column("payment_id", sa.Uuid, sa.ForeignKey("token_transactions.id"), primary_key=True),
    _address("allowance"),
    sa.Column("sequence", sa.BigInteger, comment="The chain's; none before the first attempt is signed."),
    _time("created_at"),
    sa.CheckConstraint("sequence >= 0", name="sequence"),
    sa.Index("ix_allowance_charges_allowance", "allowance", "sequence"),
    comment="One charge of an allowance is under way at a time; a row is its turn.",
)

prepared_allowances = sa.Table(
    "prepared_allowances",
    metadata,
    sa.Column("id", sa.Uuid, primary_key=True),
    _address("owner_address", index=True),
    sa.Column("message", sa.LargeBinary, nullable=False),
    sa.Column("last_valid_block_height", sa.BigInteger, nullable=False),
    sa.Column("context_slot", sa.BigInteger, nullable=False),
    sa.Column("signature", sa.String(SIGNATURE_LENGTH), comment="The fee payer's, once it was signed."),
    sa.Column("signed_bytes", sa.LargeBinary),
    _time("created_at"),
    sa.CheckConstraint("(signature IS NULL) = (signed_bytes IS NULL)", name="signed"),
    comment="What owners were asked to sign about their allowances, byte for byte.",
)
