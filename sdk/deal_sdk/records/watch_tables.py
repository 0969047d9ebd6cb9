"""The tables of watched wallets: what is counted, how far each address was read, and what was told of it."""

from __future__ import annotations

from typing import Final

import sqlalchemy as sa

from deal_sdk.records.tables import SIGNATURE_LENGTH, Json, RowId, Uint64, _address, _one_of, _time, metadata

WATCH_STATES: Final = ("active", "stopped")
STOP_REASONS: Final = ("manual", "limit-reached", "scheduled")
TRANSACTION_STATES: Final = ("pending", "counted")
DIRECTIONS: Final = ("incoming", "outgoing")
LABEL_LENGTH: Final = 255
WALLET_TYPE_LENGTH: Final = 64
EVENT_TYPE_LENGTH: Final = 32
MEMO_LENGTH: Final = 566
"""A memo cannot be longer than this and still fit its transaction (https://spl.solana.com/memo)."""
DAY_LENGTH: Final = 10

watched_wallets = sa.Table(
    "watched_wallets",
    metadata,
    _address("address", primary_key=True),
    _address("token_account"),
    sa.Column("label", sa.String(LABEL_LENGTH)),
    sa.Column("wallet_type", sa.String(WALLET_TYPE_LENGTH)),
    sa.Column("state", sa.String(16), nullable=False),
    sa.Column("stop_reason", sa.String(16)),
    sa.Column("max_transactions", sa.BigInteger, comment="The wallet's own limit; its type's without one."),
    sa.Column("transaction_count", sa.BigInteger, nullable=False),
    sa.Column("window_start", sa.BigInteger, nullable=False, comment="The count at which its window began."),
    sa.Column("granted", sa.BigInteger, nullable=False, comment="Transactions beyond the window's limit."),
    sa.Column("generation", sa.Integer, nullable=False, comment="How often it was reset."),
    sa.Column(
        "deleted_number",
        sa.BigInteger,
        nullable=False,
        server_default="0",
        comment="Up to this number the rows of its generation were cleaned up.",
    ),
    sa.Column("lease_owner", sa.Uuid, comment="The worker that polls it; no key, for workers come and go."),
    sa.Column("last_error", sa.Text),
    _time("stop_at", nullable=True),
    _time("added_at"),
    _time("stopped_at", nullable=True),
    _time("last_polled_at", nullable=True),
    _time("last_transaction_at", nullable=True),
    _one_of("state", WATCH_STATES, "state"),
    _one_of("stop_reason", STOP_REASONS, "stop_reason"),
    sa.CheckConstraint("(state = 'stopped') = (stop_reason IS NOT NULL)", name="stopped"),
    sa.CheckConstraint("max_transactions > 0", name="max_transactions"),
    sa.CheckConstraint("transaction_count >= window_start AND window_start >= 0", name="window"),
    sa.CheckConstraint("granted >= 0", name="granted"),
    sa.CheckConstraint("deleted_number BETWEEN 0 AND transaction_count", name="deleted_number"),
    comment="A wallet that stopped stays, with its count.",
)

watch_cursors = sa.Table(
    "watch_cursors",
    metadata,
    _address("wallet", primary_key=True),
    _address("followed", primary_key=True),
    sa.Column("until_signature", sa.String(SIGNATURE_LENGTH), comment="All up to this one were listed."),
    sa.Column("until_slot", sa.BigInteger, nullable=False),
    sa.Column("walk_before", sa.String(SIGNATURE_LENGTH), comment="Where an unfinished listing goes on."),
    sa.Column("walk_signature", sa.String(SIGNATURE_LENGTH), comment="What it will have listed up to."),
    sa.Column("walk_slot", sa.BigInteger),
    _time("listed_at", nullable=True),
    sa.ForeignKeyConstraint(["wallet"], ["watched_wallets.address"]),
    comment="How far a wallet's address and its token account were listed.",
)

watched_transactions = sa.Table(
    "watched_transactions",
    metadata,
    sa.Column("id", RowId, primary_key=True, autoincrement=True),
    _address("wallet"),
    sa.Column("signature", sa.String(SIGNATURE_LENGTH), nullable=False),
    sa.Column("slot", sa.BigInteger, nullable=False),
    sa.Column("succeeded", sa.Boolean, nullable=False),
    sa.Column("state", sa.String(16), nullable=False),
    sa.Column("generation", sa.Integer, comment="The reset count under which it was counted."),
    sa.Column("number", sa.BigInteger, comment="1, 2, 3, ... within a generation."),
    sa.Column("tries", sa.Integer, nullable=False, comment="How often no endpoint could show it."),
    sa.Column("direction", sa.String(16)),
    sa.Column("amount", Uint64, comment="Base units of DEAL that came or went."),
    _address("counterparty", nullable=True),
    sa.Column("memo", sa.String(MEMO_LENGTH)),
    _time("block_time", nullable=True),
    _time("seen_at"),
    _time("counted_at", nullable=True),
    sa.ForeignKeyConstraint(["wallet"], ["watched_wallets.address"]),
    sa.UniqueConstraint("wallet", "signature"),
    sa.UniqueConstraint("wallet", "generation", "number"),
    _one_of("state", TRANSACTION_STATES, "state"),
    _one_of("direction", DIRECTIONS, "direction"),
    sa.CheckConstraint("(state = 'counted') = (number IS NOT NULL)", name="counted"),
    sa.CheckConstraint("(number IS NULL) = (generation IS NULL)", name="generation"),
    comment="Every transaction that was listed, once; it counts when it has a number.",
)
sa.Index(
    "ix_watched_transactions_order",
    watched_transactions.c.wallet,
    watched_transactions.c.state,
    watched_transactions.c.slot,
    watched_transactions.c.id,
)

watch_events = sa.Table(
    "watch_events",
    metadata,
    sa.Column("id", sa.BigInteger, primary_key=True, autoincrement=False),
    sa.Column("type", sa.String(EVENT_TYPE_LENGTH), nullable=False),
    _address("address"),
    sa.Column("data", Json, nullable=False),
    _time("created_at"),
    comment="What was told, in the order in which it was committed; ids have no late arrivals.",
)

watch_rpc_usage = sa.Table(
    "watch_rpc_usage",
    metadata,
    sa.Column("day", sa.String(DAY_LENGTH), primary_key=True, comment="In UTC, as 2026-01-31."),
    _address("wallet", primary_key=True),
    sa.Column("calls", sa.BigInteger, nullable=False),
    sa.CheckConstraint("calls >= 0", name="calls"),
)

watch_state = sa.Table(
    "watch_state",
    metadata,
    sa.Column("id", sa.Integer, primary_key=True, autoincrement=False),
    sa.Column("last_event_id", sa.BigInteger, nullable=False),
    sa.Column("pruned_event_id", sa.BigInteger, comment="Up to it, only what is audited was kept."),
    _time("pruned_through", nullable=True),
    sa.CheckConstraint("id = 1", name="single"),
    comment="One row, locked by every change, so that events and slots have one order.",
)
