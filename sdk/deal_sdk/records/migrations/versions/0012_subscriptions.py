"""Create the tables of subscriptions and of the purchases that they lead to."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0012"
down_revision = "0011"
branch_labels = None
depends_on = None

_json = sa.JSON().with_variant(postgresql.JSONB(), "postgresql")
_time = sa.DateTime(timezone=True)


def upgrade() -> None:
    """Create the tables; nothing that is there changes."""
    _create_subscriptions()
    _create_purchases()


def _create_subscriptions() -> None:
    name = "subscriptions"
    op.create_table(
        name,
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("user_id", sa.String(255), nullable=False),
        sa.Column("kol_wallet", sa.String(44), nullable=False),
        sa.Column("type", sa.String(32), nullable=False),
        sa.Column(
            "token_buy_count", sa.BigInteger(), nullable=True, comment="Purchases of one token in a period."
        ),
        sa.Column("watch_config", _json, nullable=True),
        sa.Column("state", sa.String(16), nullable=False),
        sa.Column("created_at", _time, nullable=False),
        sa.Column("removed_at", _time, nullable=True),
        sa.CheckConstraint("state IN ('active', 'removed')", name=op.f("ck_subscriptions_state")),
        sa.CheckConstraint("token_buy_count >= 0", name=op.f("ck_subscriptions_token_buy_count")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_subscriptions")),
        comment="A removed subscription stays, because its purchases name it.",
    )
    op.create_index(op.f("ix_subscriptions_user_id"), name, ["user_id"], unique=False)
    op.create_index("ix_subscriptions_wallet", name, ["kol_wallet", "state"], unique=False)


def _create_purchases() -> None:
    name = "subscription_purchases"
    op.create_table(
        name,
        sa.Column("id", sa.Uuid(), nullable=False, comment="Also the id under which it is counted."),
        sa.Column("subscription_id", sa.Uuid(), nullable=False),
        sa.Column("signature", sa.String(88), nullable=False),
        sa.Column("instruction_index", sa.Integer(), nullable=False),
        sa.Column("token_mint", sa.String(44), nullable=False),
        sa.Column(
            "token_amount", sa.String(64), nullable=True, comment="What was bought there, in whole tokens."
        ),
        sa.Column("slot", sa.BigInteger(), nullable=True),
        sa.Column("state", sa.String(16), nullable=False),
        sa.Column("reason", sa.String(255), nullable=True),
        sa.Column("reference", sa.String(255), nullable=True, comment="What the executor returned."),
        sa.Column("is_counted", sa.Boolean(), nullable=False),
        sa.Column("held_until", _time, nullable=False),
        sa.Column("created_at", _time, nullable=False),
        sa.Column("updated_at", _time, nullable=False),
        sa.CheckConstraint(
            "state IN ('received', 'counted', 'executing', 'executed', 'refunded', 'skipped', 'unknown')",
            name=op.f("ck_subscription_purchases_state"),
        ),
        sa.ForeignKeyConstraint(
            ["subscription_id"],
            ["subscriptions.id"],
            name=op.f("fk_subscription_purchases_subscription_id_subscriptions"),
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_subscription_purchases")),
        sa.UniqueConstraint(
            "subscription_id",
            "signature",
            "instruction_index",
            "token_mint",
            name=op.f("uq_subscription_purchases_subscription_id_signature_instruction_index_token_mint"),
        ),
        comment="A buy that is told again finds its row here, and is not counted again.",
    )
    is_open = sa.text("state IN ('received', 'counted', 'executing')")
    op.create_index(
        "ix_subscription_purchases_open",
        name,
        ["held_until"],
        unique=False,
        sqlite_where=is_open,
        postgresql_where=is_open,
    )
