"""Writes a commit's heads, transfers, entries and users to PostgreSQL in one statement and one round trip."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

from sqlalchemy.ext.asyncio import AsyncConnection

from deal_sdk.records.array_rows import ArrayRows, set_excluded
from deal_sdk.records.credit_tables import credit_accounts, credit_transfers, token_operations
from deal_sdk.records.tables import users

_HEAD: Final = ("balance", "held", "entries", "head_hash", "updated_at", "in_lots")
_HEADS: Final = ArrayRows(credit_accounts, ("id", "kind", *_HEAD))
_TRANSFERS: Final = ArrayRows(
    credit_transfers,
    ("id", "type", "amount", "idempotency_key", "fingerprint", "refund_of", "created_at"),
)
_ENTRIES: Final = ArrayRows(
    token_operations,
    (
        *("id", "transfer_id", "account_id", "user_id", "operation_type", "amount"),
        *("balance_before", "balance_after", "sequence", "entry_hash", "metadata", "created_at"),
    ),
)
_USERS: Final = ArrayRows(users, ("id", "tokens_balance", "tokens_spent", "updated_at"))

Rows = Sequence[Mapping[str, Any]]


def _statement() -> str:
    transfers = 1 + len(_HEADS.names)
    entries = transfers + len(_TRANSFERS.names)
    owners = entries + len(_ENTRIES.names)
    # Foreign keys are looked at when the whole statement is over.
    return f"""
WITH heads AS (
    INSERT INTO credit_accounts ({_HEADS.listed}) SELECT {_HEADS.selected} FROM {_HEADS.source()}
    ON CONFLICT (id) DO UPDATE SET {set_excluded(_HEAD)}
), transfers AS (
    INSERT INTO credit_transfers ({_TRANSFERS.listed})
    SELECT {_TRANSFERS.selected} FROM {_TRANSFERS.source(transfers)}
), entries AS (
    INSERT INTO token_operations ({_ENTRIES.listed})
    SELECT {_ENTRIES.selected} FROM {_ENTRIES.source(entries)}
)
UPDATE users SET tokens_balance = given.tokens_balance, tokens_spent = given.tokens_spent,
    updated_at = given.updated_at
FROM {_USERS.source(owners)} WHERE users.id = given.id"""


_WRITE: Final = _statement()


async def write_arrays(
    connection: AsyncConnection, *, heads: Rows, transfers: Rows, entries: Rows, owners: Rows
) -> None:
    """Write rows that belong together, all of them or none.

    Args:
        connection: of a write transaction, which locked the accounts.
        heads: of the accounts.
        transfers: that moved them.
        entries: that the transfers make.
        owners: the users' own columns.

    Raises:
        DatabaseError: as the database refuses them.
    """
    arrays = (
        *_HEADS.parameters(heads),
        *_TRANSFERS.parameters(transfers),
        *_ENTRIES.parameters(entries),
        *_USERS.parameters(owners),
    )
    await connection.exec_driver_sql(_WRITE, arrays)
