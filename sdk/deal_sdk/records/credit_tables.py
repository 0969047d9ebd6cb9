"""The tables of credits: accounts, the transfers between them, and the entries that transfers make.

Every transfer makes one entry in each of two accounts, which sum to zero. Entries are only ever added;
each holds a hash over itself and the entry before it in its account.
"""

from __future__ import annotations

from typing import Final
from uuid import UUID, uuid5

import sqlalchemy as sa

from deal_sdk.records.tables import Json, UtcDateTime, _one_of, _time, metadata

OPERATION_TYPE_LENGTH: Final = 64
HASH_BYTES: Final = 32
CREDIT_ACCOUNT_KINDS: Final = ("user", "operator")
HOLD_STATES: Final = ("live", "posted", "voided", "expired")
OPERATOR_ACCOUNTS: Final = ("issuance", "revenue", "expiry")
"""Where granted credits come from, and where spent and expired ones go; their balances are the totals."""

_OPERATORS: Final = UUID("0d6cb2f4-94a7-4a3c-8a3e-3a6f0f7b9f10")


def operator_account_id(name: str) -> UUID:
    """Return the id of an operator's account, which is the same in every database."""
    return uuid5(_OPERATORS, name)


credit_accounts = sa.Table(
    "credit_accounts",
    metadata,
    sa.Column("id", sa.Uuid, primary_key=True, comment="A user's account has the user's id."),
    sa.Column("kind", sa.String(16), nullable=False),
    sa.Column("balance", sa.BigInteger, nullable=False),
    sa.Column("held", sa.BigInteger, nullable=False, server_default="0", comment="Of it, in live holds."),
    sa.Column(
        "in_lots",
        sa.BigInteger,
        nullable=False,
        server_default="0",
        comment="Of the balance, in lots of their own.",
    ),
    sa.Column("entries", sa.BigInteger, nullable=False, comment="Their number; the last one's sequence."),
    sa.Column("head_hash", sa.LargeBinary(HASH_BYTES), nullable=False, comment="The last entry's."),
    _time("updated_at"),
    _one_of("kind", CREDIT_ACCOUNT_KINDS, "kind"),
    sa.CheckConstraint("held >= 0", name="held"),
    sa.CheckConstraint("in_lots >= 0", name="in_lots"),
    comment="Who has how many credits; all balances together are zero.",
)

credit_transfers = sa.Table(
    "credit_transfers",
    metadata,
    sa.Column("id", sa.Uuid, primary_key=True),
    sa.Column("type", sa.String(OPERATION_TYPE_LENGTH), nullable=False),
    sa.Column("amount", sa.BigInteger, nullable=False),
    sa.Column("idempotency_key", sa.String(255), unique=True),
    sa.Column("fingerprint", sa.String(64), nullable=False),
    sa.Column(
        "refund_of", sa.Uuid, sa.ForeignKey("credit_transfers.id"), comment="The transfer that it gives back."
    ),
    _time("created_at"),
    sa.Column("folded_entry_id", sa.Uuid, comment="The user's entry that was folded into an opening."),
    sa.CheckConstraint("amount > 0", name="amount"),
    comment="Credits moved from one account to another.",
)
sa.Index(
    "ix_credit_transfers_folded_entry",
    credit_transfers.c.folded_entry_id,
    sqlite_where=credit_transfers.c.folded_entry_id.is_not(None),
    postgresql_where=credit_transfers.c.folded_entry_id.is_not(None),
)
sa.Index(
    "ix_credit_transfers_refund_of",
    credit_transfers.c.refund_of,
    sqlite_where=credit_transfers.c.refund_of.is_not(None),
    postgresql_where=credit_transfers.c.refund_of.is_not(None),
)

token_operations = sa.Table(
    "token_operations",
    metadata,
    sa.Column("id", sa.Uuid, primary_key=True, comment="Rises with time."),
    sa.Column("transfer_id", sa.Uuid, sa.ForeignKey("credit_transfers.id"), nullable=False, index=True),
    sa.Column("account_id", sa.Uuid, sa.ForeignKey("credit_accounts.id"), nullable=False),
    sa.Column("user_id", sa.Uuid, sa.ForeignKey("users.id"), comment="None in an operator's account."),
    sa.Column("operation_type", sa.String(OPERATION_TYPE_LENGTH), nullable=False),
    sa.Column("amount", sa.BigInteger, nullable=False, comment="Negative for a debit."),
    sa.Column("balance_before", sa.BigInteger, nullable=False),
    sa.Column("balance_after", sa.BigInteger, nullable=False),
    sa.Column("sequence", sa.BigInteger, nullable=False, comment="1, 2, 3, ... in its account."),
    sa.Column("entry_hash", sa.LargeBinary(HASH_BYTES), nullable=False),
    sa.Column("metadata", Json),
    _time("created_at"),
    sa.Column("metadata_hash", sa.LargeBinary(HASH_BYTES), comment="Of metadata that was erased."),
    sa.CheckConstraint("balance_after = balance_before + amount", name="adds_up"),
    sa.CheckConstraint("amount <> 0", name="amount"),
    sa.UniqueConstraint("account_id", "sequence"),
    comment="The ledger's entries, one for each account that a transfer moves.",
)
sa.Index(
    "ix_token_operations_type",
    token_operations.c.operation_type,
    token_operations.c.id,
    sqlite_where=token_operations.c.user_id.is_not(None),
    postgresql_where=token_operations.c.user_id.is_not(None),
)

credit_openings = sa.Table(
    "credit_openings",
    metadata,
    sa.Column("account_id", sa.Uuid, sa.ForeignKey("credit_accounts.id"), primary_key=True),
    sa.Column("sequence", sa.BigInteger, nullable=False, comment="Of the last folded entry."),
    sa.Column("balance", sa.BigInteger, nullable=False, comment="After it."),
    sa.Column("entry_hash", sa.LargeBinary(HASH_BYTES), nullable=False, comment="Its own."),
    sa.Column("folded_until", UtcDateTime(), nullable=False, comment="Its time."),
    _time("folded_at"),
    sa.CheckConstraint("sequence > 0", name="sequence"),
    comment="What an account's entries came to that were folded away.",
)

credit_holds = sa.Table(
    "credit_holds",
    metadata,
    sa.Column("id", sa.Uuid, primary_key=True),
    sa.Column("account_id", sa.Uuid, sa.ForeignKey("credit_accounts.id"), nullable=False),
    sa.Column("operation_type", sa.String(OPERATION_TYPE_LENGTH), nullable=False),
    sa.Column("amount", sa.BigInteger, nullable=False),
    sa.Column("state", sa.String(16), nullable=False),
    sa.Column(
        "transfer_id", sa.Uuid, sa.ForeignKey("credit_transfers.id"), comment="What was taken in the end."
    ),
    sa.Column("idempotency_key", sa.String(255), unique=True),
    sa.Column("fingerprint", sa.String(64), nullable=False),
    sa.Column("metadata", Json),
    _time("expires_at"),
    _time("created_at"),
    _time("ended_at", nullable=True),
    sa.CheckConstraint("amount > 0", name="amount"),
    _one_of("state", HOLD_STATES, "state"),
    sa.CheckConstraint("(state = 'live') = (ended_at IS NULL)", name="ended"),
    sa.CheckConstraint("(state = 'posted') = (transfer_id IS NOT NULL)", name="posted"),
    comment="Credits put aside for an operation under way.",
)
sa.Index(
    "ix_credit_holds_live",
    credit_holds.c.account_id,
    credit_holds.c.expires_at,
    sqlite_where=credit_holds.c.state == "live",
    postgresql_where=credit_holds.c.state == "live",
)
