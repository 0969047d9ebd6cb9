"""Create the table of openings, in which old entries are folded, and let rows outlive folded entries."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0020"
down_revision = "0019"
branch_labels = None
depends_on = None

_time = sa.DateTime(timezone=True)


def upgrade() -> None:
    """Create the table; nothing is folded yet."""
    op.create_table(
        "credit_openings",
        sa.Column("account_id", sa.Uuid(), nullable=False),
        sa.Column("sequence", sa.BigInteger(), nullable=False, comment="Of the last folded entry."),
        sa.Column("balance", sa.BigInteger(), nullable=False, comment="After it."),
        sa.Column("entry_hash", sa.LargeBinary(32), nullable=False, comment="Its own."),
        sa.Column("folded_until", _time, nullable=False, comment="Its time."),
        sa.Column("folded_at", _time, nullable=False),
        sa.CheckConstraint("sequence > 0", name=op.f("ck_credit_openings_sequence")),
        sa.ForeignKeyConstraint(
            ["account_id"],
            ["credit_accounts.id"],
            name=op.f("fk_credit_openings_account_id_credit_accounts"),
        ),
        sa.PrimaryKeyConstraint("account_id", name=op.f("pk_credit_openings")),
        comment="What an account's entries came to that were folded away.",
    )
    _remember_folded_entries()
    _loosen_grants()


def _remember_folded_entries() -> None:
    name = "credit_transfers"
    # Not in a batch: rebuilding the table would take as long as it is large.
    op.add_column(
        name,
        sa.Column(
            "folded_entry_id",
            sa.Uuid(),
            nullable=True,
            comment="The user's entry that was folded into an opening.",
        ),
    )
    folded = sa.text("folded_entry_id IS NOT NULL")
    op.create_index(
        "ix_credit_transfers_folded_entry",
        name,
        ["folded_entry_id"],
        sqlite_where=folded,
        postgresql_where=folded,
    )


def _loosen_grants() -> None:
    name = "credit_package_grants"
    constraint = op.f("fk_credit_package_grants_entry_id_token_operations")
    with op.batch_alter_table(name) as grants:
        grants.alter_column("entry_id", existing_type=sa.Uuid(), nullable=True)
        grants.drop_constraint(constraint, type_="foreignkey")
        grants.create_foreign_key(constraint, "token_operations", ["entry_id"], ["id"], ondelete="SET NULL")
    op.create_index(op.f("ix_credit_package_grants_entry_id"), name, ["entry_id"])
