"""The tables of batch payouts: batches, and the transactions that carry several payments at once.

A member of a batch is an ordinary row of `token_transactions`, which names its batch and its place in it.
"""

from __future__ import annotations

import sqlalchemy as sa

from deal_sdk.records.tables import (
    ADDRESS_LENGTH,
    ENDED_ATTEMPT_STATUSES,
    LIVE_ATTEMPT_STATUSES,
    SIGNATURE_LENGTH,
    Json,
    Uint64,
    UtcDateTime,
    metadata,
    payment_attempts,
)

_STATUSES = ", ".join(f"'{status}'" for status in LIVE_ATTEMPT_STATUSES + ENDED_ATTEMPT_STATUSES)

payment_batches = sa.Table(
    "payment_batches",
    metadata,
    sa.Column("id", sa.Uuid, primary_key=True),
    sa.Column("key", sa.String(255), nullable=False, unique=True),
    sa.Column("fingerprint", sa.String(64), nullable=False, comment="SHA-256 of the lines."),
    sa.Column("source_address", sa.String(ADDRESS_LENGTH), nullable=False),
    sa.Column("source_account", sa.String(ADDRESS_LENGTH), nullable=False),
    sa.Column("lines", sa.Integer, nullable=False),
    sa.Column("recorded_lines", sa.Integer, nullable=False, comment="Those up to here are recorded."),
    sa.Column("total_amount", Uint64, nullable=False),
    sa.Column("created_at", UtcDateTime(), nullable=False),
    sa.Column("updated_at", UtcDateTime(), nullable=False),
)

payment_carriers = sa.Table(
    "payment_carriers",
    metadata,
    sa.Column("id", sa.Uuid, primary_key=True),
    sa.Column("batch_id", sa.Uuid, sa.ForeignKey("payment_batches.id"), nullable=False, index=True),
    sa.Column("members", sa.Integer, nullable=False),
    sa.Column("status", sa.String(16), nullable=False),
    sa.Column("signature", sa.String(SIGNATURE_LENGTH), nullable=False, unique=True),
    sa.Column("signed_bytes", sa.LargeBinary, nullable=False),
    sa.Column("last_valid_block_height", sa.BigInteger, nullable=False),
    sa.Column("context_slot", sa.BigInteger, nullable=False),
    sa.Column("slot", sa.BigInteger),
    sa.Column("evidence", Json),
    sa.Column("created_at", UtcDateTime(), nullable=False),
    sa.Column("updated_at", UtcDateTime(), nullable=False),
    sa.CheckConstraint("members > 0", name="members"),
    sa.CheckConstraint(f"status IN ({_STATUSES})", name="status"),
    comment="Signed transactions that carry several payments; their attempts point here.",
)
sa.Index(
    "ix_payment_carriers_live",
    payment_carriers.c.status,
    sqlite_where=payment_carriers.c.status.in_(LIVE_ATTEMPT_STATUSES),
    postgresql_where=payment_carriers.c.status.in_(LIVE_ATTEMPT_STATUSES),
)

signed_bytes_of_attempts = sa.func.coalesce(
    payment_attempts.c.signed_bytes,
    sa.select(payment_carriers.c.signed_bytes)
    .where(payment_carriers.c.id == payment_attempts.c.carrier_id)
    .scalar_subquery(),
).label("signed_bytes")
"""An attempt's bytes, wherever they are kept."""
