"""Create the tables of credit packages."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0014"
down_revision = "0013"
branch_labels = None
depends_on = None

_time = sa.DateTime(timezone=True)


def upgrade() -> None:
    """Create both tables, and an index to find what was bought; nothing is offered yet."""
    _create_packages()
    _create_grants()
    purchases = sa.text("type = 'purchase'")
    op.create_index(
        "ix_token_transactions_purchases",
        "token_transactions",
        ["updated_at"],
        sqlite_where=purchases,
        postgresql_where=purchases,
    )


def _create_packages() -> None:
    name = "credit_packages"
    op.create_table(
        name,
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("name", sa.String(64), nullable=False),
        sa.Column("credits", sa.BigInteger(), nullable=False),
        sa.Column("price", sa.BigInteger(), nullable=False),
        sa.Column("created_at", _time, nullable=False),
        sa.Column("withdrawn_at", _time, nullable=True),
        sa.CheckConstraint("credits > 0", name=op.f("ck_credit_packages_credits")),
        sa.CheckConstraint("price > 0", name=op.f("ck_credit_packages_price")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_credit_packages")),
        comment="Never changed, so that a payment says by its package what it paid for.",
    )
    offered = sa.text("withdrawn_at IS NULL")
    op.create_index(
        "uq_credit_packages_offered",
        name,
        ["name"],
        unique=True,
        sqlite_where=offered,
        postgresql_where=offered,
    )


def _create_grants() -> None:
    name = "credit_package_grants"
    op.create_table(
        name,
        sa.Column("payment_id", sa.Uuid(), nullable=False),
        sa.Column("package_id", sa.Uuid(), nullable=False),
        sa.Column("entry_id", sa.Uuid(), nullable=False),
        sa.Column("created_at", _time, nullable=False),
        sa.ForeignKeyConstraint(
            ["payment_id"],
            ["token_transactions.id"],
            name=op.f("fk_credit_package_grants_payment_id_token_transactions"),
        ),
        sa.ForeignKeyConstraint(
            ["package_id"],
            ["credit_packages.id"],
            name=op.f("fk_credit_package_grants_package_id_credit_packages"),
        ),
        sa.ForeignKeyConstraint(
            ["entry_id"],
            ["token_operations.id"],
            name=op.f("fk_credit_package_grants_entry_id_token_operations"),
        ),
        sa.PrimaryKeyConstraint("payment_id", name=op.f("pk_credit_package_grants")),
        comment="The finalized payments whose credits have arrived.",
    )
