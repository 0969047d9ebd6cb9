"""The tables of credit packages: what may be bought with DEAL, and which payments had their credits."""

from __future__ import annotations

from typing import Final

import sqlalchemy as sa

from deal_sdk.records.tables import _time, metadata

PACKAGE_NAME_LENGTH: Final = 64

credit_packages = sa.Table(
    "credit_packages",
    metadata,
    sa.Column("id", sa.Uuid, primary_key=True),
    sa.Column("name", sa.String(PACKAGE_NAME_LENGTH), nullable=False),
    sa.Column("credits", sa.BigInteger, nullable=False),
    sa.Column("price", sa.BigInteger, nullable=False),
    _time("created_at"),
    _time("withdrawn_at", nullable=True),
    sa.Column("lifetime_days", sa.Integer, comment="Of its credits; None for ever."),
    sa.Column("priority", sa.SmallInteger, nullable=False, server_default="50"),
    sa.CheckConstraint("credits > 0", name="credits"),
    sa.CheckConstraint("price > 0", name="price"),
    comment="Never changed, so that a payment says by its package what it paid for.",
)
sa.Index(
    "uq_credit_packages_offered",
    credit_packages.c.name,
    unique=True,
    sqlite_where=credit_packages.c.withdrawn_at.is_(None),
    postgresql_where=credit_packages.c.withdrawn_at.is_(None),
)

credit_package_grants = sa.Table(
    "credit_package_grants",
    metadata,
    sa.Column("payment_id", sa.Uuid, sa.ForeignKey("token_transactions.id"), primary_key=True),
    sa.Column("package_id", sa.Uuid, sa.ForeignKey("credit_packages.id"), nullable=False),
    sa.Column("entry_id", sa.Uuid, sa.ForeignKey("token_operations.id", ondelete="SET NULL"), index=True),
    _time("created_at"),
    comment="The finalized payments whose credits have arrived.",
)
