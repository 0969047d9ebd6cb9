"""Let a balance reservation name the delegate that draws on an approval."""

from __future__ import annotations

from typing import Literal

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Add `delegate` to the reservations, and fill it in for payments that delegates made."""
    # SQLite keeps a table's statement as it was written; made anew, it reads like a new database's.
    is_sqlite = op.get_bind().dialect.name == "sqlite"
    recreate: Literal["always", "never"] = "always" if is_sqlite else "never"
    with op.batch_alter_table("balance_reservations", recreate=recreate) as table:
        table.add_column(
            sa.Column(
                "delegate",
                sa.String(length=44),
                nullable=True,
                comment="Who moves it by an approval; none when the owner signs.",
            )
        )
    reservations = sa.table("balance_reservations", sa.column("payment_id"), sa.column("delegate"))
    payments = sa.table(
        "token_transactions",
        sa.column("id"),
        sa.column("from_address"),
        sa.column("instruction", sa.JSON()),
    )
    authority = payments.c.instruction["authority"].as_string()
    delegate = (
        sa.select(authority)
        .where(payments.c.id == reservations.c.payment_id, authority != payments.c.from_address)
        .scalar_subquery()
    )
    op.execute(reservations.update().values(delegate=delegate))
