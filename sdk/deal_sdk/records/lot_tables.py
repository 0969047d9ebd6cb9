"""The tables of credit lots: what was granted to expire or to be spent in its turn, and who took of it.

Credits that never expire and have no turn of their own are in no lot: of a balance they are what the lots
leave, so that whoever has no others costs nothing more.
"""

from __future__ import annotations

from typing import Final

import sqlalchemy as sa

from deal_sdk.records.tables import _time, metadata

DEFAULT_LOT_PRIORITY: Final = 50
"""Of credits that are in no lot."""
MAX_LOT_PRIORITY: Final = 100

credit_lots = sa.Table(
    "credit_lots",
    metadata,
    sa.Column(
        "id",
        sa.Uuid,
        sa.ForeignKey("credit_transfers.id"),
        primary_key=True,
        comment="The transfer that granted it.",
    ),
    sa.Column("account_id", sa.Uuid, sa.ForeignKey("credit_accounts.id"), nullable=False),
    sa.Column("priority", sa.SmallInteger, nullable=False, comment="Lower ones are spent first."),
    sa.Column("amount", sa.BigInteger, nullable=False, comment="What was granted."),
    sa.Column("remaining", sa.BigInteger, nullable=False),
    sa.Column("held", sa.BigInteger, nullable=False, comment="Of what remains, in live holds."),
    _time("expires_at", nullable=True),
    _time("created_at"),
    _time("expired_at", nullable=True),
    sa.CheckConstraint("amount > 0", name="amount"),
    sa.CheckConstraint("held >= 0", name="held"),
    sa.CheckConstraint("remaining >= held AND remaining <= amount", name="remaining"),
    sa.CheckConstraint("expired_at IS NULL OR expires_at IS NOT NULL", name="expired_at"),
    comment="Credits that were granted together, and expire together.",
)
sa.Index(
    "ix_credit_lots_remaining",
    credit_lots.c.account_id,
    credit_lots.c.expires_at,
    sqlite_where=credit_lots.c.remaining > 0,
    postgresql_where=credit_lots.c.remaining > 0,
)
sa.Index(
    "ix_credit_lots_turn",
    credit_lots.c.account_id,
    credit_lots.c.priority,
    # SQLite puts what is null first, PostgreSQL last.
    sa.text("(expires_at IS NULL)"),
    credit_lots.c.expires_at,
    credit_lots.c.id,
    sqlite_where=credit_lots.c.remaining > credit_lots.c.held,
    postgresql_where=credit_lots.c.remaining > credit_lots.c.held,
)
sa.Index(
    "ix_credit_lots_expiring",
    credit_lots.c.expires_at,
    sqlite_where=credit_lots.c.remaining > 0,
    postgresql_where=credit_lots.c.remaining > 0,
)

credit_lot_burns = sa.Table(
    "credit_lot_burns",
    metadata,
    sa.Column("transfer_id", sa.Uuid, sa.ForeignKey("credit_transfers.id"), primary_key=True),
    sa.Column("lot_id", sa.Uuid, sa.ForeignKey("credit_lots.id"), primary_key=True, index=True),
    sa.Column("amount", sa.BigInteger, nullable=False),
    sa.Column("returned", sa.BigInteger, nullable=False, comment="Of it, by refunds."),
    sa.CheckConstraint("amount > 0", name="amount"),
    sa.CheckConstraint("returned >= 0 AND returned <= amount", name="returned"),
    comment="Which lots a debit took its credits from.",
)

credit_lot_holds = sa.Table(
    "credit_lot_holds",
    metadata,
    sa.Column("hold_id", sa.Uuid, sa.ForeignKey("credit_holds.id"), primary_key=True),
    sa.Column("lot_id", sa.Uuid, sa.ForeignKey("credit_lots.id"), primary_key=True, index=True),
    sa.Column("amount", sa.BigInteger, nullable=False),
    sa.CheckConstraint("amount > 0", name="amount"),
    comment="Which lots a hold put its credits aside from.",
)
