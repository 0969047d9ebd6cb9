"""Reads and writes the rows of one shared commit: accounts locked in one order, entries added at once."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final
from uuid import UUID

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection

from deal_sdk.accounting.book import Account, Book, Debit, Transfer
from deal_sdk.accounting.commands import Command, LedgerEntry, OperationResult
from deal_sdk.accounting.row_ids import RowIds
from deal_sdk.records import Database
from deal_sdk.records.credit_tables import (
    OPERATOR_ACCOUNTS,
    credit_accounts,
    credit_transfers,
    operator_account_id,
    token_operations,
)
from deal_sdk.records.database import Row
from deal_sdk.records.tables import users

_account = credit_accounts.c
_transfer = credit_transfers.c
_entry = token_operations.c

_OPERATOR_NAMES: Final = {operator_account_id(name): name for name in OPERATOR_ACCOUNTS}
_HEAD: Final = (_account.balance, _account.entries, _account.head_hash, _account.updated_at)
_USERS: Final = (
    sa.select(users.c.id, users.c.tokens_spent, *_HEAD)
    .join_from(users, credit_accounts, _account.id == users.c.id, isouter=True)
    .where(users.c.id.in_(sa.bindparam("ids", expanding=True)))
    .order_by(users.c.id)
    .with_for_update(of=users)
)
_OPERATORS: Final = (
    sa.select(_account.id, *_HEAD)
    .where(_account.id.in_(sa.bindparam("ids", expanding=True)))
    .order_by(_account.id)
    .with_for_update()
)
_DONE: Final = (
    sa.select(_transfer.idempotency_key, _transfer.fingerprint, _entry.id, _entry.balance_after)
    .join_from(credit_transfers, token_operations, _entry.transfer_id == _transfer.id)
    .where(_transfer.idempotency_key.in_(sa.bindparam("keys", expanding=True)))
    .where(_entry.user_id.is_not(None))
)
_REFUNDED: Final = (
    sa.select(_transfer.refund_of, sa.func.sum(_transfer.amount))
    .where(_transfer.refund_of.in_(sa.bindparam("ids", expanding=True)))
    .group_by(_transfer.refund_of)
)
_DEBITS: Final = sa.select(_entry.id, _entry.transfer_id, _entry.user_id, _entry.amount).where(
    _entry.id.in_(sa.bindparam("ids", expanding=True)), _entry.amount < 0, _entry.user_id.is_not(None)
)
_UPDATE_USERS: Final = (
    sa.update(users)
    .where(users.c.id == sa.bindparam("user_id"))
    .values(
        tokens_balance=sa.bindparam("balance"),
        tokens_spent=sa.bindparam("spent"),
        updated_at=sa.bindparam("at"),
    )
)


@dataclass(frozen=True, slots=True)
class Done:
    """What an idempotency key was used for, and what it led to."""

    fingerprint: str
    result: OperationResult


async def open_book(
    connection: AsyncConnection, commands: Sequence[Command], *, now: datetime, ids: RowIds
) -> Book:
    """Lock and read every account that the operations move.

    Users are locked before operators' accounts and each in the order of its id, so that two commits at
    the same time never wait for each other.
    """
    wanted = sorted({command.user_id for command in commands})
    found = {row.id: _user_account(row) for row in await connection.execute(_USERS, {"ids": wanted})}
    names = sorted({operator_account_id(command.operator) for command in commands})
    rows = await connection.execute(_OPERATORS, {"ids": names})
    operators = {_OPERATOR_NAMES[row.id]: _operator_account(row) for row in rows}
    debits = await _read_debits(connection, [command.refund_of for command in commands])
    return Book(now, ids, found, operators, debits)


async def find_done(connection: AsyncConnection, commands: Sequence[Command]) -> dict[str, Done]:
    """Return what the operations' idempotency keys were used for before."""
    keys = {command.idempotency_key for command in commands if command.idempotency_key is not None}
    if not keys:
        return {}
    rows = await connection.execute(_DONE, {"keys": sorted(keys)})
    return {
        key: Done(fingerprint, OperationResult(True, balance, entry_id, replayed=True))
        for key, fingerprint, entry_id, balance in rows
    }


async def write_book(connection: AsyncConnection, database: Database, book: Book) -> None:
    """Add what the book's operations made, and move the accounts' heads."""
    if not book.transfers:
        return
    changed = [one for one in (*book.users.values(), *book.operators.values()) if one.changed]
    heads = database.insert(credit_accounts)
    heads = heads.on_conflict_do_update(
        index_elements=["id"],
        set_={column.name: heads.excluded[column.name] for column in _HEAD},
    )
    await connection.execute(heads, [_head_row(account) for account in changed])
    await connection.execute(credit_transfers.insert(), [_transfer_row(one) for one in book.transfers])
    await connection.execute(token_operations.insert(), [_entry_row(entry) for entry in book.entries])
    await connection.execute(_UPDATE_USERS, [_user_row(one) for one in changed if one.user_id is not None])


async def _read_debits(connection: AsyncConnection, wanted: Sequence[UUID | None]) -> dict[UUID, Debit]:
    ids = sorted({entry_id for entry_id in wanted if entry_id is not None})
    if not ids:
        return {}
    rows = (await connection.execute(_DEBITS, {"ids": ids})).all()
    sums = await connection.execute(_REFUNDED, {"ids": [row.transfer_id for row in rows]})
    refunded = {transfer_id: int(amount) for transfer_id, amount in sums}
    return {
        row.id: Debit(
            row.transfer_id, row.user_id, -row.amount, -row.amount - refunded.get(row.transfer_id, 0)
        )
        for row in rows
    }


def _user_account(row: Row) -> Account:
    if row.entries is None:
        return Account(row.id, row.id)
    return Account(
        row.id, row.id, row.balance, row.entries, row.head_hash, row.updated_at, spent=row.tokens_spent
    )


def _operator_account(row: Row) -> Account:
    return Account(row.id, None, row.balance, row.entries, row.head_hash, row.updated_at)


def _head_row(account: Account) -> dict[str, Any]:
    return {
        "id": account.id,
        "kind": "operator" if account.user_id is None else "user",
        "balance": account.balance,
        "entries": account.entries,
        "head_hash": account.head_hash,
        "updated_at": account.updated_at,
    }


def _user_row(account: Account) -> dict[str, Any]:
    return {
        "user_id": account.id,
        "balance": account.balance,
        "spent": account.spent,
        "at": account.updated_at,
    }


def _transfer_row(transfer: Transfer) -> dict[str, Any]:
    return {
        "id": transfer.id,
        "type": transfer.command.type,
        "amount": transfer.amount,
        "idempotency_key": transfer.command.idempotency_key,
        "fingerprint": transfer.command.fingerprint,
        "refund_of": transfer.refund_of,
        "created_at": transfer.created_at,
    }


def _entry_row(entry: LedgerEntry) -> dict[str, Any]:
    return {
        "id": entry.id,
        "transfer_id": entry.transfer_id,
        "account_id": entry.account_id,
        "user_id": entry.user_id,
        "operation_type": entry.operation_type,
        "amount": entry.amount,
        "balance_before": entry.balance_before,
        "balance_after": entry.balance_after,
        "sequence": entry.sequence,
        "entry_hash": entry.entry_hash,
        "metadata": entry.metadata,
        "created_at": entry.created_at,
    }
