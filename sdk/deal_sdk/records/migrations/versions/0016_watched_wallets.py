"""Create the tables of watched wallets, of what is counted for them and of what was told."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0016"
down_revision = "0015"
branch_labels = None
depends_on = None

_json = sa.JSON().with_variant(postgresql.JSONB(), "postgresql")
_row_id = sa.BigInteger().with_variant(sa.Integer(), "sqlite")
_time = sa.DateTime(timezone=True)


def upgrade() -> None:
    """Create the tables; nothing that is there changes."""
    _create_watched_wallets()
    _create_watch_cursors()
    _create_watched_transactions()
    _create_watch_events()
    _create_watch_rpc_usage()
    _create_watch_state()


def _create_watched_wallets() -> None:
    op.create_table(
        "watched_wallets",
        sa.Column("address", sa.String(44), nullable=False),
        sa.Column("token_account", sa.String(44), nullable=False),
        sa.Column("label", sa.String(255), nullable=True),
        sa.Column("wallet_type", sa.String(64), nullable=True),
        sa.Column("state", sa.String(16), nullable=False),
        sa.Column("stop_reason", sa.String(16), nullable=True),
        sa.Column(
            "max_transactions",
            sa.BigInteger(),
            nullable=True,
            comment="The wallet's own limit; its type's without one.",
        ),
        sa.Column("transaction_count", sa.BigInteger(), nullable=False),
        sa.Column(
            "window_start", sa.BigInteger(), nullable=False, comment="The count at which its window began."
        ),
        sa.Column(
            "granted", sa.BigInteger(), nullable=False, comment="Transactions beyond the window's limit."
        ),
        sa.Column("generation", sa.Integer(), nullable=False, comment="How often it was reset."),
        sa.Column(
            "lease_owner",
            sa.Uuid(),
            nullable=True,
            comment="The worker that polls it; no key, for workers come and go.",
        ),
        sa.Column("last_error", sa.Text(), nullable=True),
        sa.Column("stop_at", _time, nullable=True),
        sa.Column("added_at", _time, nullable=False),
        sa.Column("stopped_at", _time, nullable=True),
        sa.Column("last_polled_at", _time, nullable=True),
        sa.Column("last_transaction_at", _time, nullable=True),
        sa.CheckConstraint("max_transactions > 0", name=op.f("ck_watched_wallets_max_transactions")),
        sa.CheckConstraint("state IN ('active', 'stopped')", name=op.f("ck_watched_wallets_state")),
        sa.CheckConstraint("granted >= 0", name=op.f("ck_watched_wallets_granted")),
        sa.CheckConstraint(
            "stop_reason IN ('manual', 'limit-reached', 'scheduled')",
            name=op.f("ck_watched_wallets_stop_reason"),
        ),
        sa.CheckConstraint(
            "transaction_count >= window_start AND window_start >= 0", name=op.f("ck_watched_wallets_window")
        ),
        sa.CheckConstraint(
            "(state = 'stopped') = (stop_reason IS NOT NULL)", name=op.f("ck_watched_wallets_stopped")
        ),
        sa.PrimaryKeyConstraint("address", name=op.f("pk_watched_wallets")),
        comment="A wallet that stopped stays, with its count.",
    )


def _create_watch_cursors() -> None:
    op.create_table(
        "watch_cursors",
        sa.Column("wallet", sa.String(44), nullable=False),
        sa.Column("followed", sa.String(44), nullable=False),
        sa.Column("until_signature", sa.String(88), nullable=True, comment="All up to this one were listed."),
        sa.Column("until_slot", sa.BigInteger(), nullable=False),
        sa.Column(
            "walk_before", sa.String(88), nullable=True, comment="Where an unfinished listing goes on."
        ),
        sa.Column("walk_signature", sa.String(88), nullable=True, comment="What it will have listed up to."),
        sa.Column("walk_slot", sa.BigInteger(), nullable=True),
        sa.ForeignKeyConstraint(
            ["wallet"], ["watched_wallets.address"], name=op.f("fk_watch_cursors_wallet_watched_wallets")
        ),
        sa.PrimaryKeyConstraint("wallet", "followed", name=op.f("pk_watch_cursors")),
        comment="How far a wallet's address and its token account were listed.",
    )


def _create_watched_transactions() -> None:
    op.create_table(
        "watched_transactions",
        sa.Column("id", _row_id, autoincrement=True, nullable=False),
        sa.Column("wallet", sa.String(44), nullable=False),
        sa.Column("signature", sa.String(88), nullable=False),
        sa.Column("slot", sa.BigInteger(), nullable=False),
        sa.Column("succeeded", sa.Boolean(), nullable=False),
        sa.Column("state", sa.String(16), nullable=False),
        sa.Column(
            "generation", sa.Integer(), nullable=True, comment="The reset count under which it was counted."
        ),
        sa.Column("number", sa.BigInteger(), nullable=True, comment="1, 2, 3, ... within a generation."),
        sa.Column("tries", sa.Integer(), nullable=False, comment="How often no endpoint could show it."),
        sa.Column("direction", sa.String(16), nullable=True),
        sa.Column("amount", sa.String(21), nullable=True, comment="Base units of DEAL that came or went."),
        sa.Column("counterparty", sa.String(44), nullable=True),
        sa.Column("memo", sa.String(566), nullable=True),
        sa.Column("block_time", _time, nullable=True),
        sa.Column("seen_at", _time, nullable=False),
        sa.Column("counted_at", _time, nullable=True),
        sa.ForeignKeyConstraint(
            ["wallet"],
            ["watched_wallets.address"],
            name=op.f("fk_watched_transactions_wallet_watched_wallets"),
        ),
        sa.UniqueConstraint("wallet", "signature", name=op.f("uq_watched_transactions_wallet_signature")),
        sa.CheckConstraint(
            "direction IN ('incoming', 'outgoing')", name=op.f("ck_watched_transactions_direction")
        ),
        sa.UniqueConstraint(
            "wallet", "generation", "number", name=op.f("uq_watched_transactions_wallet_generation_number")
        ),
        sa.CheckConstraint("state IN ('pending', 'counted')", name=op.f("ck_watched_transactions_state")),
        sa.CheckConstraint(
            "(state = 'counted') = (number IS NOT NULL)", name=op.f("ck_watched_transactions_counted")
        ),
        sa.CheckConstraint(
            "(number IS NULL) = (generation IS NULL)", name=op.f("ck_watched_transactions_generation")
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_watched_transactions")),
        comment="Every transaction that was listed, once; it counts when it has a number.",
    )
    op.create_index(
        "ix_watched_transactions_order",
        "watched_transactions",
        ["wallet", "state", "slot", "id"],
        unique=False,
    )


def _create_watch_events() -> None:
    op.create_table(
        "watch_events",
        sa.Column("id", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("type", sa.String(32), nullable=False),
        sa.Column("address", sa.String(44), nullable=False),
        sa.Column("data", _json, nullable=False),
        sa.Column("created_at", _time, nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_watch_events")),
        comment="What was told, in the order in which it was committed; ids have no late arrivals.",
    )


def _create_watch_rpc_usage() -> None:
    op.create_table(
        "watch_rpc_usage",
        sa.Column("day", sa.String(10), nullable=False, comment="In UTC, as 2026-01-31."),
        sa.Column("wallet", sa.String(44), nullable=False),
        sa.Column("calls", sa.BigInteger(), nullable=False),
        sa.CheckConstraint("calls >= 0", name=op.f("ck_watch_rpc_usage_calls")),
        sa.PrimaryKeyConstraint("day", "wallet", name=op.f("pk_watch_rpc_usage")),
    )


def _create_watch_state() -> None:
    op.create_table(
        "watch_state",
        sa.Column("id", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("last_event_id", sa.BigInteger(), nullable=False),
        sa.CheckConstraint("id = 1", name=op.f("ck_watch_state_single")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_watch_state")),
        comment="One row, locked by every change, so that events and slots have one order.",
    )
