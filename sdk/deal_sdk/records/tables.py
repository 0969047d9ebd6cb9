"""Every table, in SQLAlchemy Core, named and constrained so that the database itself keeps the rules.

Payment amounts are BIGINT base units, 1..2**63-1. Values that the chain may hold beyond that (balances,
a delegation) are kept as text by `Uint64`, because SQLite would round a Numeric. Times are UTC.
"""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any, Final

import sqlalchemy as sa
from sqlalchemy.dialects import postgresql

NAMING_CONVENTION: Final = {
    "ix": "ix_%(table_name)s_%(column_0_N_name)s",
    "uq": "uq_%(table_name)s_%(column_0_N_name)s",
    "ck": "ck_%(table_name)s_%(constraint_name)s",
    "fk": "fk_%(table_name)s_%(column_0_name)s_%(referred_table_name)s",
    "pk": "pk_%(table_name)s",
}

metadata = sa.MetaData(naming_convention=NAMING_CONVENTION)

ADDRESS_LENGTH: Final = 44
SIGNATURE_LENGTH: Final = 88

PAYMENT_TYPES: Final = (
    "transfer",
    "service_fee",
    "reward",
    "mint",
    "burn",
    "deposit",
    "withdrawal",
    "purchase",
)
PAYMENT_STATUSES: Final = ("pending", "confirmed", "finalized", "failed", "expired")
LIVE_ATTEMPT_STATUSES: Final = ("signed", "sent", "confirmed", "unknown")
ENDED_ATTEMPT_STATUSES: Final = ("finalized", "failed", "expired")
PREPARED_STATUSES: Final = ("open", "signed", "expired")
RESERVATION_STATES: Final = ("live", "landed", "released")
WALLET_STATUSES: Final = ("active", "inactive")


class UtcDateTime(sa.types.TypeDecorator[datetime]):
    """Stores aware times as UTC and returns them aware, on SQLite too, which keeps no zone."""

    impl = sa.DateTime(timezone=True)
    cache_ok = True

    def process_bind_param(self, value: datetime | None, dialect: sa.Dialect) -> datetime | None:
        """Convert to UTC; a naive time is refused, because its zone would be a guess."""
        if value is None:
            return None
        if value.tzinfo is None:
            raise ValueError("a time without a zone cannot be stored")
        return value.astimezone(UTC)

    def process_result_value(self, value: datetime | None, dialect: sa.Dialect) -> datetime | None:
        """Give the zone back where the database dropped it."""
        if value is None:
            return None
        return value.replace(tzinfo=UTC) if value.tzinfo is None else value.astimezone(UTC)


class Uint64(sa.types.TypeDecorator[int]):
    """Stores integers beyond BIGINT as text, exactly and with their sign."""

    impl = sa.String(21)
    cache_ok = True

    def process_bind_param(self, value: int | None, dialect: sa.Dialect) -> str | None:
        """Write the integer in decimal."""
        return None if value is None else str(value)

    def process_result_value(self, value: str | None, dialect: sa.Dialect) -> int | None:
        """Read the integer back."""
        return None if value is None else int(value)


Json = sa.JSON(none_as_null=True).with_variant(postgresql.JSONB(none_as_null=True), "postgresql")
# SQLite numbers rows by itself only for INTEGER keys.
RowId = sa.BigInteger().with_variant(sa.Integer(), "sqlite")


def _one_of(column: str, values: tuple[str, ...], name: str) -> sa.CheckConstraint:
    listed = ", ".join(f"'{value}'" for value in values)
    return sa.CheckConstraint(f"{column} IN ({listed})", name=name)


def _time(name: str, *, nullable: bool = False, index: bool = False) -> sa.Column[datetime]:
    return sa.Column(name, UtcDateTime(), nullable=nullable, index=index)


def _address(name: str, *, nullable: bool = False, **options: Any) -> sa.Column[str]:
    return sa.Column(name, sa.String(ADDRESS_LENGTH), nullable=nullable, **options)


deal_meta = sa.Table(
    "deal_meta",
    metadata,
    sa.Column("key", sa.String(64), primary_key=True),
    sa.Column("value", sa.Text, nullable=False),
    comment="What the database belongs to: genesis_hash, mint, token_program, decimals.",
)

users = sa.Table(
    "users",
    metadata,
    sa.Column("id", sa.Uuid, primary_key=True),
    sa.Column("external_id", sa.String(255), unique=True),
    sa.Column("username", sa.String(255)),
    sa.Column("tier", sa.String(32), nullable=False),
    _time("subscription_expires_at", nullable=True),
    sa.Column("tokens_balance", sa.BigInteger, nullable=False, server_default="0"),
    sa.Column("tokens_spent", sa.BigInteger, nullable=False, server_default="0"),
    _time("channel_subscribed_at", nullable=True),
    _time("last_gift_claim_at", nullable=True),
    _time("created_at"),
    _time("updated_at"),
    _time("erased_at", nullable=True),
)

token_wallets = sa.Table(
    "token_wallets",
    metadata,
    sa.Column("id", sa.Uuid, primary_key=True),
    sa.Column("user_id", sa.Uuid, sa.ForeignKey("users.id"), nullable=False, index=True),
    _address("address"),
    sa.Column("status", sa.String(16), nullable=False),
    sa.Column("is_primary", sa.Boolean, nullable=False),
    _time("connected_at"),
    _time("disconnected_at", nullable=True),
    _time("verified_at", nullable=True),
    _one_of("status", WALLET_STATUSES, "status"),
    sa.UniqueConstraint("user_id", "address"),
)
sa.Index(
    "uq_token_wallets_active_address",
    token_wallets.c.address,
    unique=True,
    sqlite_where=token_wallets.c.status == "active",
    postgresql_where=token_wallets.c.status == "active",
)
sa.Index(
    "uq_token_wallets_primary",
    token_wallets.c.user_id,
    unique=True,
    sqlite_where=token_wallets.c.is_primary,
    postgresql_where=token_wallets.c.is_primary,
)

keystore_keys = sa.Table(
    "keystore_keys",
    metadata,
    _address("address", primary_key=True),
    sa.Column("name", sa.String(64), unique=True, comment="An operator wallet's name, such as treasury."),
    sa.Column("kdf_salt", sa.LargeBinary, nullable=False),
    sa.Column("kdf_cost", sa.Integer, nullable=False),
    sa.Column("nonce", sa.LargeBinary, nullable=False),
    sa.Column("ciphertext", sa.LargeBinary, nullable=False),
    _time("created_at"),
)

token_transactions = sa.Table(
    "token_transactions",
    metadata,
    sa.Column("id", sa.Uuid, primary_key=True),
    sa.Column("idempotency_key", sa.String(255), unique=True),
    sa.Column("fingerprint", sa.String(64), comment="SHA-256 of the input that the key stands for."),
    sa.Column("type", sa.String(16), nullable=False),
    sa.Column("status", sa.String(16), nullable=False),
    sa.Column("from_user_id", sa.Uuid, sa.ForeignKey("users.id"), index=True),
    sa.Column("to_user_id", sa.Uuid, sa.ForeignKey("users.id"), index=True),
    _address("from_address", nullable=True, index=True),
    _address("to_address", nullable=True, index=True),
    sa.Column("amount", sa.BigInteger, nullable=False),
    sa.Column("reason", sa.Text),
    sa.Column("instruction", Json, comment="What to sign: kind, authority and token accounts."),
    sa.Column("refund_of", sa.Uuid, sa.ForeignKey("token_transactions.id"), index=True),
    sa.Column("lease_owner", sa.Uuid, comment="The worker that drives it; no key, for workers come and go."),
    sa.Column("batch_id", sa.Uuid, sa.ForeignKey("payment_batches.id")),
    sa.Column("batch_position", sa.Integer),
    sa.Column("signature", sa.String(SIGNATURE_LENGTH), index=True),
    sa.Column("slot", sa.BigInteger),
    sa.Column("evidence", Json),
    _time("created_at", index=True),
    _time("updated_at"),
    _time("confirmed_at", nullable=True),
    _time("finalized_at", nullable=True),
    sa.CheckConstraint("amount > 0", name="amount"),
    sa.CheckConstraint("(batch_id IS NULL) = (batch_position IS NULL)", name="batch"),
    _one_of("type", PAYMENT_TYPES, "type"),
    _one_of("status", PAYMENT_STATUSES, "status"),
)
sa.Index(
    "uq_token_transactions_batch",
    token_transactions.c.batch_id,
    token_transactions.c.batch_position,
    unique=True,
    sqlite_where=token_transactions.c.batch_id.is_not(None),
    postgresql_where=token_transactions.c.batch_id.is_not(None),
)
sa.Index(
    "ix_token_transactions_purchases",
    token_transactions.c.updated_at,
    sqlite_where=token_transactions.c.type == "purchase",
    postgresql_where=token_transactions.c.type == "purchase",
)
sa.Index(
    "ix_token_transactions_open",
    token_transactions.c.status,
    sqlite_where=token_transactions.c.status.in_(("pending", "confirmed")),
    postgresql_where=token_transactions.c.status.in_(("pending", "confirmed")),
)

workers = sa.Table(
    "workers",
    metadata,
    sa.Column("id", sa.Uuid, primary_key=True),
    sa.Column("name", sa.String(255), nullable=False, comment="Host and process number, for people."),
    sa.Column("process", sa.String(128), comment="Tells a process of its machine from every other one."),
    _time("expires_at"),
    comment="Processes that drive payments; what one leases is free once it expires or is gone.",
)

payment_attempts = sa.Table(
    "payment_attempts",
    metadata,
    sa.Column("id", RowId, primary_key=True, autoincrement=True),
    sa.Column("payment_id", sa.Uuid, sa.ForeignKey("token_transactions.id"), nullable=False),
    sa.Column("number", sa.Integer, nullable=False),
    sa.Column("status", sa.String(16), nullable=False),
    sa.Column("signature", sa.String(SIGNATURE_LENGTH), nullable=False, index=True),
    # None where several payments share a transaction: their carrier has the bytes.
    sa.Column("signed_bytes", sa.LargeBinary),
    sa.Column("last_valid_block_height", sa.BigInteger, nullable=False),
    sa.Column("context_slot", sa.BigInteger, nullable=False),
    sa.Column("carrier_id", sa.Uuid, sa.ForeignKey("payment_carriers.id")),
    sa.Column("evidence", Json),
    _time("created_at"),
    _time("updated_at"),
    sa.UniqueConstraint("payment_id", "number"),
    sa.CheckConstraint("(signed_bytes IS NULL) = (carrier_id IS NOT NULL)", name="bytes"),
    _one_of("status", LIVE_ATTEMPT_STATUSES + ENDED_ATTEMPT_STATUSES, "status"),
)
sa.Index(
    "uq_payment_attempts_live",
    payment_attempts.c.payment_id,
    unique=True,
    sqlite_where=payment_attempts.c.status.in_(LIVE_ATTEMPT_STATUSES),
    postgresql_where=payment_attempts.c.status.in_(LIVE_ATTEMPT_STATUSES),
)

sa.Index(
    "ix_payment_attempts_carrier",
    payment_attempts.c.carrier_id,
    sqlite_where=payment_attempts.c.carrier_id.is_not(None),
    postgresql_where=payment_attempts.c.carrier_id.is_not(None),
)

prepared_transactions = sa.Table(
    "prepared_transactions",
    metadata,
    sa.Column("id", sa.Uuid, primary_key=True),
    sa.Column("payment_id", sa.Uuid, sa.ForeignKey("token_transactions.id"), nullable=False),
    sa.Column("number", sa.Integer, nullable=False, comment="The attempt that it becomes once it is signed."),
    sa.Column("status", sa.String(16), nullable=False),
    sa.Column("message", sa.LargeBinary, nullable=False),
    sa.Column("last_valid_block_height", sa.BigInteger, nullable=False),
    sa.Column("context_slot", sa.BigInteger, nullable=False),
    sa.Column("evidence", Json),
    _time("created_at"),
    _time("updated_at"),
    sa.UniqueConstraint("payment_id", "number"),
    _one_of("status", PREPARED_STATUSES, "status"),
    comment="What users' own wallets were asked to sign, byte for byte.",
)
sa.Index(
    "uq_prepared_transactions_open",
    prepared_transactions.c.payment_id,
    unique=True,
    sqlite_where=prepared_transactions.c.status == "open",
    postgresql_where=prepared_transactions.c.status == "open",
)

balance_reservations = sa.Table(
    "balance_reservations",
    metadata,
    sa.Column("payment_id", sa.Uuid, sa.ForeignKey("token_transactions.id"), primary_key=True),
    _address("token_account"),
    sa.Column("amount", sa.BigInteger, nullable=False),
    sa.Column("state", sa.String(16), nullable=False),
    sa.Column("landed_slot", sa.BigInteger, comment="Counts against any balance older than this slot."),
    _time("created_at"),
    _address("delegate", nullable=True, comment="Who moves it by an approval; none when the owner signs."),
    sa.CheckConstraint("amount > 0", name="amount"),
    _one_of("state", RESERVATION_STATES, "state"),
)
sa.Index(
    "ix_balance_reservations_account",
    balance_reservations.c.token_account,
    balance_reservations.c.state,
    balance_reservations.c.landed_slot,
)

token_accounts = sa.Table(
    "token_accounts",
    metadata,
    _address("address", primary_key=True),
    _address("owner_address", index=True),
    sa.Column("user_id", sa.Uuid, sa.ForeignKey("users.id"), index=True),
    sa.Column("last_landed_slot", sa.BigInteger, nullable=False, server_default="0"),
    sa.Column("history_signature", sa.String(SIGNATURE_LENGTH), comment="The newest one recorded."),
    sa.Column("history_slot", sa.BigInteger, nullable=False, server_default="0"),
    _time("created_at"),
    comment="Token accounts whose history is kept; a row is also the lock that debits take.",
)

token_balance_history = sa.Table(
    "token_balance_history",
    metadata,
    sa.Column("id", RowId, primary_key=True, autoincrement=True),
    _address("token_account"),
    sa.Column("sequence", sa.BigInteger, nullable=False, comment="1, 2, 3, ... per token account."),
    _address("owner_address", index=True),
    sa.Column("user_id", sa.Uuid, sa.ForeignKey("users.id"), index=True),
    sa.Column("signature", sa.String(SIGNATURE_LENGTH), nullable=False, index=True),
    sa.Column("slot", sa.BigInteger, nullable=False),
    sa.Column("block_index", sa.Integer, nullable=False),
    sa.Column("balance_before", Uint64, nullable=False),
    sa.Column("balance_after", Uint64, nullable=False),
    sa.Column("change", Uint64, nullable=False),
    sa.Column("type", sa.String(16), nullable=False),
    sa.Column("reason", sa.Text),
    _time("block_time", nullable=True, index=True),
    _time("created_at"),
    sa.UniqueConstraint("token_account", "sequence"),
    sa.UniqueConstraint("token_account", "signature"),
)
sa.Index(
    "ix_token_balance_history_order",
    token_balance_history.c.token_account,
    token_balance_history.c.slot,
    token_balance_history.c.block_index,
)

token_pricing = sa.Table(
    "token_pricing",
    metadata,
    sa.Column("id", RowId, primary_key=True, autoincrement=True),
    sa.Column("service_type", sa.String(64), nullable=False),
    sa.Column("price", sa.BigInteger, nullable=False),
    _time("valid_from"),
    _time("valid_to", nullable=True),
    _time("created_at"),
    sa.CheckConstraint("price > 0", name="price"),
    sa.CheckConstraint("valid_to IS NULL OR valid_to > valid_from", name="period"),
    sa.Index("ix_token_pricing_service", "service_type", "valid_from"),
)

token_rewards = sa.Table(
    "token_rewards",
    metadata,
    sa.Column("payment_id", sa.Uuid, sa.ForeignKey("token_transactions.id"), primary_key=True),
    sa.Column("user_id", sa.Uuid, sa.ForeignKey("users.id"), index=True),
    sa.Column("reward_type", sa.String(64), nullable=False, index=True),
    sa.Column("amount", sa.BigInteger, nullable=False),
    _time("created_at"),
    sa.CheckConstraint("amount > 0", name="amount"),
)
