"""Create the tables of payments, their balance history, wallets, prices, rewards and purchases."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision: str = "0001"
down_revision: str | None = None
branch_labels: None = None
depends_on: None = None

# Written out rather than imported: a migration stays what it was when tables.py moves on.
_time = sa.DateTime(timezone=True)
_uint64 = sa.String(21)
_json = sa.JSON().with_variant(postgresql.JSONB(), "postgresql")
_row_id = sa.BigInteger().with_variant(sa.Integer(), "sqlite")


def upgrade() -> None:
    """Create every table, those that others refer to first."""
    _create_deal_meta()
    _create_keystore_keys()
    _create_token_pricing()
    _create_users()
    _create_purchase_policies()
    _create_token_accounts()
    _create_token_balance_history()
    _create_token_transactions()
    _create_token_purchases()
    _create_token_wallets()
    _create_balance_reservations()
    _create_payment_attempts()
    _create_token_rewards()


def _create_deal_meta() -> None:
    op.create_table(
        "deal_meta",
        sa.Column("key", sa.String(length=64), nullable=False),
        sa.Column("value", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("key", name=op.f("pk_deal_meta")),
        comment="What the database belongs to: genesis_hash, mint, token_program, decimals.",
    )


def _create_keystore_keys() -> None:
    op.create_table(
        "keystore_keys",
        sa.Column("address", sa.String(length=44), nullable=False),
        sa.Column(
            "name",
            sa.String(length=64),
            nullable=True,
            comment="An operator wallet's name, such as treasury.",
        ),
        sa.Column("kdf_salt", sa.LargeBinary(), nullable=False),
        sa.Column("kdf_cost", sa.Integer(), nullable=False),
        sa.Column("nonce", sa.LargeBinary(), nullable=False),
        sa.Column("ciphertext", sa.LargeBinary(), nullable=False),
        sa.Column("created_at", _time, nullable=False),
        sa.PrimaryKeyConstraint("address", name=op.f("pk_keystore_keys")),
        sa.UniqueConstraint("name", name=op.f("uq_keystore_keys_name")),
    )


def _create_token_pricing() -> None:
    op.create_table(
        "token_pricing",
        sa.Column("id", _row_id, autoincrement=True, nullable=False),
        sa.Column("service_type", sa.String(length=64), nullable=False),
        sa.Column("price", sa.BigInteger(), nullable=False),
        sa.Column("valid_from", _time, nullable=False),
        sa.Column("valid_to", _time, nullable=True),
        sa.Column("created_at", _time, nullable=False),
        sa.CheckConstraint("price > 0", name=op.f("ck_token_pricing_price")),
        sa.CheckConstraint("valid_to IS NULL OR valid_to > valid_from", name=op.f("ck_token_pricing_period")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_token_pricing")),
    )
    op.create_index("ix_token_pricing_service", "token_pricing", ["service_type", "valid_from"], unique=False)


def _create_token_purchases() -> None:
    op.create_table(
        "token_purchases",
        sa.Column("reservation_id", sa.String(length=64), nullable=False),
        sa.Column("payment_id", sa.Uuid(), nullable=True),
        sa.Column("user_id", sa.String(length=255), nullable=False),
        sa.Column("token_mint", sa.String(length=255), nullable=False),
        sa.Column("subscription_id", sa.String(length=255), nullable=True),
        sa.Column("max_purchases", sa.BigInteger(), nullable=False),
        sa.Column("amount", sa.BigInteger(), nullable=True),
        sa.Column("state", sa.String(length=16), nullable=False),
        sa.Column("created_at", _time, nullable=False),
        sa.Column("updated_at", _time, nullable=False),
        sa.CheckConstraint(
            "state IN ('reserved', 'counted', 'cancelled')", name=op.f("ck_token_purchases_state")
        ),
        sa.ForeignKeyConstraint(
            ["payment_id"],
            ["token_transactions.id"],
            name=op.f("fk_token_purchases_payment_id_token_transactions"),
        ),
        sa.PrimaryKeyConstraint("reservation_id", name=op.f("pk_token_purchases")),
        sa.UniqueConstraint("payment_id", name=op.f("uq_token_purchases_payment_id")),
    )
    op.create_index(
        "ix_token_purchases_user_mint",
        "token_purchases",
        ["user_id", "token_mint", "created_at"],
        unique=False,
    )


def _create_users() -> None:
    op.create_table(
        "users",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("external_id", sa.String(length=255), nullable=True),
        sa.Column("username", sa.String(length=255), nullable=True),
        sa.Column("tier", sa.String(length=32), nullable=False),
        sa.Column("subscription_expires_at", _time, nullable=True),
        sa.Column("tokens_balance", sa.BigInteger(), server_default="0", nullable=False),
        sa.Column("tokens_spent", sa.BigInteger(), server_default="0", nullable=False),
        sa.Column("channel_subscribed_at", _time, nullable=True),
        sa.Column("last_gift_claim_at", _time, nullable=True),
        sa.Column("created_at", _time, nullable=False),
        sa.Column("updated_at", _time, nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_users")),
        sa.UniqueConstraint("external_id", name=op.f("uq_users_external_id")),
    )


def _create_purchase_policies() -> None:
    op.create_table(
        "purchase_policies",
        sa.Column("user_id", sa.Uuid(), nullable=False),
        sa.Column("token_mint", sa.String(length=255), nullable=False),
        sa.Column("max_purchases", sa.BigInteger(), nullable=False),
        sa.Column("subscription_id", sa.String(length=255), nullable=True),
        sa.Column("created_at", _time, nullable=False),
        sa.CheckConstraint("max_purchases > 0", name=op.f("ck_purchase_policies_max_purchases")),
        _foreign_key("purchase_policies", "user_id", "users.id"),
        sa.PrimaryKeyConstraint("user_id", "token_mint", name=op.f("pk_purchase_policies")),
    )


def _create_token_accounts() -> None:
    op.create_table(
        "token_accounts",
        sa.Column("address", sa.String(length=44), nullable=False),
        sa.Column("owner_address", sa.String(length=44), nullable=False),
        sa.Column("user_id", sa.Uuid(), nullable=True),
        sa.Column("last_landed_slot", sa.BigInteger(), server_default="0", nullable=False),
        sa.Column(
            "history_signature", sa.String(length=88), nullable=True, comment="The newest one recorded."
        ),
        sa.Column("history_slot", sa.BigInteger(), server_default="0", nullable=False),
        sa.Column("created_at", _time, nullable=False),
        _foreign_key("token_accounts", "user_id", "users.id"),
        sa.PrimaryKeyConstraint("address", name=op.f("pk_token_accounts")),
        comment="Token accounts whose history is kept; a row is also the lock that debits take.",
    )
    op.create_index(
        op.f("ix_token_accounts_owner_address"), "token_accounts", ["owner_address"], unique=False
    )
    op.create_index(op.f("ix_token_accounts_user_id"), "token_accounts", ["user_id"], unique=False)


def _create_token_balance_history() -> None:
    op.create_table(
        "token_balance_history",
        sa.Column("id", _row_id, autoincrement=True, nullable=False),
        sa.Column("token_account", sa.String(length=44), nullable=False),
        sa.Column("sequence", sa.BigInteger(), nullable=False, comment="1, 2, 3, ... per token account."),
        sa.Column("owner_address", sa.String(length=44), nullable=False),
        sa.Column("user_id", sa.Uuid(), nullable=True),
        sa.Column("signature", sa.String(length=88), nullable=False),
        sa.Column("slot", sa.BigInteger(), nullable=False),
        sa.Column("block_index", sa.Integer(), nullable=False),
        sa.Column("balance_before", _uint64, nullable=False),
        sa.Column("balance_after", _uint64, nullable=False),
        sa.Column("change", _uint64, nullable=False),
        sa.Column("type", sa.String(length=16), nullable=False),
        sa.Column("reason", sa.Text(), nullable=True),
        sa.Column("block_time", _time, nullable=True),
        sa.Column("created_at", _time, nullable=False),
        _foreign_key("token_balance_history", "user_id", "users.id"),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_token_balance_history")),
        sa.UniqueConstraint(
            "token_account", "sequence", name=op.f("uq_token_balance_history_token_account_sequence")
        ),
        sa.UniqueConstraint(
            "token_account", "signature", name=op.f("uq_token_balance_history_token_account_signature")
        ),
    )
    op.create_index(
        op.f("ix_token_balance_history_block_time"), "token_balance_history", ["block_time"], unique=False
    )
    op.create_index(
        "ix_token_balance_history_order",
        "token_balance_history",
        ["token_account", "slot", "block_index"],
        unique=False,
    )
    op.create_index(
        op.f("ix_token_balance_history_owner_address"),
        "token_balance_history",
        ["owner_address"],
        unique=False,
    )
    op.create_index(
        op.f("ix_token_balance_history_signature"), "token_balance_history", ["signature"], unique=False
    )
    op.create_index(
        op.f("ix_token_balance_history_user_id"), "token_balance_history", ["user_id"], unique=False
    )


def _create_token_transactions() -> None:
    op.create_table(
        "token_transactions",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("idempotency_key", sa.String(length=255), nullable=True),
        sa.Column(
            "fingerprint",
            sa.String(length=64),
            nullable=True,
            comment="SHA-256 of the input that the key stands for.",
        ),
        sa.Column("type", sa.String(length=16), nullable=False),
        sa.Column("status", sa.String(length=16), nullable=False),
        sa.Column("from_user_id", sa.Uuid(), nullable=True),
        sa.Column("to_user_id", sa.Uuid(), nullable=True),
        sa.Column("from_address", sa.String(length=44), nullable=True),
        sa.Column("to_address", sa.String(length=44), nullable=True),
        sa.Column("amount", sa.BigInteger(), nullable=False),
        sa.Column("reason", sa.Text(), nullable=True),
        sa.Column(
            "instruction", _json, nullable=True, comment="What to sign: kind, authority and token accounts."
        ),
        sa.Column("signature", sa.String(length=88), nullable=True),
        sa.Column("slot", sa.BigInteger(), nullable=True),
        sa.Column("evidence", _json, nullable=True),
        sa.Column("created_at", _time, nullable=False),
        sa.Column("updated_at", _time, nullable=False),
        sa.Column("confirmed_at", _time, nullable=True),
        sa.Column("finalized_at", _time, nullable=True),
        sa.CheckConstraint(
            "status IN ('pending', 'confirmed', 'finalized', 'failed', 'expired')",
            name=op.f("ck_token_transactions_status"),
        ),
        sa.CheckConstraint(
            "type IN ('transfer', 'service_fee', 'reward', 'mint', 'burn',"
            " 'deposit', 'withdrawal', 'purchase')",
            name=op.f("ck_token_transactions_type"),
        ),
        sa.CheckConstraint("amount > 0", name=op.f("ck_token_transactions_amount")),
        _foreign_key("token_transactions", "from_user_id", "users.id"),
        _foreign_key("token_transactions", "to_user_id", "users.id"),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_token_transactions")),
        sa.UniqueConstraint("idempotency_key", name=op.f("uq_token_transactions_idempotency_key")),
    )
    op.create_index(
        op.f("ix_token_transactions_created_at"), "token_transactions", ["created_at"], unique=False
    )
    op.create_index(
        op.f("ix_token_transactions_from_address"), "token_transactions", ["from_address"], unique=False
    )
    op.create_index(
        op.f("ix_token_transactions_from_user_id"), "token_transactions", ["from_user_id"], unique=False
    )
    _create_partial_index(
        "ix_token_transactions_open",
        "token_transactions",
        ["status"],
        "status IN ('pending', 'confirmed')",
        unique=False,
    )
    op.create_index(
        op.f("ix_token_transactions_signature"), "token_transactions", ["signature"], unique=False
    )
    op.create_index(
        op.f("ix_token_transactions_to_address"), "token_transactions", ["to_address"], unique=False
    )
    op.create_index(
        op.f("ix_token_transactions_to_user_id"), "token_transactions", ["to_user_id"], unique=False
    )


def _create_token_wallets() -> None:
    op.create_table(
        "token_wallets",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("user_id", sa.Uuid(), nullable=False),
        sa.Column("address", sa.String(length=44), nullable=False),
        sa.Column("status", sa.String(length=16), nullable=False),
        sa.Column("is_primary", sa.Boolean(), nullable=False),
        sa.Column("connected_at", _time, nullable=False),
        sa.Column("disconnected_at", _time, nullable=True),
        sa.Column("verified_at", _time, nullable=True),
        sa.CheckConstraint("status IN ('active', 'inactive')", name=op.f("ck_token_wallets_status")),
        _foreign_key("token_wallets", "user_id", "users.id"),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_token_wallets")),
        sa.UniqueConstraint("user_id", "address", name=op.f("uq_token_wallets_user_id_address")),
    )
    op.create_index(op.f("ix_token_wallets_user_id"), "token_wallets", ["user_id"], unique=False)
    _create_partial_index(
        "uq_token_wallets_active_address", "token_wallets", ["address"], "status = 'active'", unique=True
    )
    _create_partial_index("uq_token_wallets_primary", "token_wallets", ["user_id"], "is_primary", unique=True)


def _create_balance_reservations() -> None:
    op.create_table(
        "balance_reservations",
        sa.Column("payment_id", sa.Uuid(), nullable=False),
        sa.Column("token_account", sa.String(length=44), nullable=False),
        sa.Column("amount", sa.BigInteger(), nullable=False),
        sa.Column("state", sa.String(length=16), nullable=False),
        sa.Column(
            "landed_slot",
            sa.BigInteger(),
            nullable=True,
            comment="Counts against any balance older than this slot.",
        ),
        sa.Column("created_at", _time, nullable=False),
        sa.CheckConstraint(
            "state IN ('live', 'landed', 'released')", name=op.f("ck_balance_reservations_state")
        ),
        sa.CheckConstraint("amount > 0", name=op.f("ck_balance_reservations_amount")),
        _foreign_key("balance_reservations", "payment_id", "token_transactions.id"),
        sa.PrimaryKeyConstraint("payment_id", name=op.f("pk_balance_reservations")),
    )
    op.create_index(
        "ix_balance_reservations_account",
        "balance_reservations",
        ["token_account", "state", "landed_slot"],
        unique=False,
    )


def _create_payment_attempts() -> None:
    op.create_table(
        "payment_attempts",
        sa.Column("id", _row_id, autoincrement=True, nullable=False),
        sa.Column("payment_id", sa.Uuid(), nullable=False),
        sa.Column("number", sa.Integer(), nullable=False),
        sa.Column("status", sa.String(length=16), nullable=False),
        sa.Column("signature", sa.String(length=88), nullable=False),
        sa.Column("signed_bytes", sa.LargeBinary(), nullable=False),
        sa.Column("last_valid_block_height", sa.BigInteger(), nullable=False),
        sa.Column("context_slot", sa.BigInteger(), nullable=False),
        sa.Column("evidence", _json, nullable=True),
        sa.Column("created_at", _time, nullable=False),
        sa.Column("updated_at", _time, nullable=False),
        sa.CheckConstraint(
            "status IN ('signed', 'sent', 'confirmed', 'unknown', 'finalized', 'failed', 'expired')",
            name=op.f("ck_payment_attempts_status"),
        ),
        _foreign_key("payment_attempts", "payment_id", "token_transactions.id"),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_payment_attempts")),
        sa.UniqueConstraint("payment_id", "number", name=op.f("uq_payment_attempts_payment_id_number")),
    )
    op.create_index(op.f("ix_payment_attempts_signature"), "payment_attempts", ["signature"], unique=False)
    _create_partial_index(
        "uq_payment_attempts_live",
        "payment_attempts",
        ["payment_id"],
        "status IN ('signed', 'sent', 'confirmed', 'unknown')",
        unique=True,
    )


def _create_token_rewards() -> None:
    op.create_table(
        "token_rewards",
        sa.Column("payment_id", sa.Uuid(), nullable=False),
        sa.Column("user_id", sa.Uuid(), nullable=True),
        sa.Column("reward_type", sa.String(length=64), nullable=False),
        sa.Column("amount", sa.BigInteger(), nullable=False),
        sa.Column("created_at", _time, nullable=False),
        sa.CheckConstraint("amount > 0", name=op.f("ck_token_rewards_amount")),
        _foreign_key("token_rewards", "payment_id", "token_transactions.id"),
        _foreign_key("token_rewards", "user_id", "users.id"),
        sa.PrimaryKeyConstraint("payment_id", name=op.f("pk_token_rewards")),
    )
    op.create_index(op.f("ix_token_rewards_reward_type"), "token_rewards", ["reward_type"], unique=False)
    op.create_index(op.f("ix_token_rewards_user_id"), "token_rewards", ["user_id"], unique=False)


def _create_partial_index(name: str, table: str, columns: list[str], condition: str, *, unique: bool) -> None:
    where = sa.text(condition)
    op.create_index(name, table, columns, unique=unique, sqlite_where=where, postgresql_where=where)


def _foreign_key(table: str, column: str, target: str) -> sa.ForeignKeyConstraint:
    name = f"fk_{table}_{column}_{target.partition('.')[0]}"
    return sa.ForeignKeyConstraint([column], [target], name=op.f(name))
