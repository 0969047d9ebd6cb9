"""Reads and writes the rows of one shared commit: accounts locked in one order, entries added at once."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final
from uuid import UUID

import sqlalchemy as sa
from sqlalchemy.dialects import sqlite
from sqlalchemy.ext.asyncio import AsyncConnection

from deal_sdk.accounting.book import Account, Book, Debit, Hold, Transfer
from deal_sdk.accounting.commands import RESERVED_TYPES, Command, LedgerEntry, OperationResult
from deal_sdk.accounting.journal_arrays import write_arrays
from deal_sdk.accounting.lot_rows import read_lots, spent_at_most, write_lots
from deal_sdk.accounting.row_ids import RowIds
from deal_sdk.records import Database
from deal_sdk.records.among import among, list_parameter
from deal_sdk.records.credit_tables import (
    OPERATOR_ACCOUNTS,
    credit_accounts,
    credit_holds,
    credit_transfers,
    operator_account_id,
    token_operations,
)
from deal_sdk.records.database import Row
from deal_sdk.records.row_inserts import insert_rows
from deal_sdk.records.tables import users

_account = credit_accounts.c
_transfer = credit_transfers.c
_entry = token_operations.c
_hold = credit_holds.c

_OPERATOR_NAMES: Final = {operator_account_id(name): name for name in OPERATOR_ACCOUNTS}
_HEAD: Final = (_account.balance, _account.held, _account.entries, _account.head_hash, _account.updated_at)
_USERS: Final = (
    sa.select(users.c.id, users.c.tokens_spent, _account.in_lots, *_HEAD)
    .join_from(users, credit_accounts, _account.id == users.c.id, isouter=True)
    .where(among(users.c.id, list_parameter("ids", users.c.id)), users.c.erased_at.is_(None))
)
# Apart from the reading: PostgreSQL reads a row again that it waited for, but not the rows joined to it.
_LOCKED_USERS: Final = (
    sa.select(users.c.id)
    .where(among(users.c.id, list_parameter("ids", users.c.id)))
    .order_by(users.c.id)
    .with_for_update()
)
_OPERATORS: Final = (
    sa.select(_account.id, *_HEAD)
    .where(among(_account.id, list_parameter("ids", _account.id)))
    .order_by(_account.id)
    .with_for_update()
)
_DONE: Final = (
    sa.select(
        _transfer.idempotency_key,
        _transfer.fingerprint,
        sa.func.coalesce(_entry.id, _transfer.folded_entry_id),
        _entry.balance_after,
    )
    .join_from(
        credit_transfers,
        token_operations,
        sa.and_(_entry.transfer_id == _transfer.id, _entry.user_id.is_not(None)),
        isouter=True,
    )
    .where(among(_transfer.idempotency_key, list_parameter("keys", _transfer.idempotency_key)))
)
_REFUNDED: Final = (
    sa.select(_transfer.refund_of, sa.func.sum(_transfer.amount))
    .where(among(_transfer.refund_of, list_parameter("ids", _transfer.refund_of)))
    .group_by(_transfer.refund_of)
)
_DEBITS: Final = sa.select(_entry.id, _entry.transfer_id, _entry.user_id, _entry.amount).where(
    among(_entry.id, list_parameter("ids", _entry.id)),
    _entry.amount < 0,
    _entry.user_id.is_not(None),
    _entry.operation_type.not_in(sorted(RESERVED_TYPES)),
)
_FOLDED: Final = sa.select(_transfer.folded_entry_id).where(
    among(_transfer.folded_entry_id, list_parameter("ids", _transfer.folded_entry_id))
)
_HELD_KEYS: Final = (
    sa.select(_hold.idempotency_key, _hold.fingerprint, _hold.id, _account.balance)
    .join_from(credit_holds, credit_accounts, _account.id == _hold.account_id)
    .where(among(_hold.idempotency_key, list_parameter("keys", _hold.idempotency_key)))
)
_HOLDS: Final = sa.select(
    _hold.id,
    _hold.account_id,
    _hold.operation_type,
    _hold.amount,
    _hold.expires_at,
    _hold.created_at,
    _hold.state,
    _hold.transfer_id,
    _hold.ended_at,
    _hold.metadata,
    _transfer.amount.label("taken"),
    sa.func.coalesce(_entry.id, _transfer.folded_entry_id).label("entry_id"),
    _entry.balance_after,
).select_from(
    credit_holds.outerjoin(credit_transfers, _transfer.id == _hold.transfer_id).outerjoin(
        token_operations,
        sa.and_(_entry.transfer_id == _hold.transfer_id, _entry.account_id == _hold.account_id),
    )
)
_NAMED_HOLDS: Final = _HOLDS.where(
    among(_hold.id, list_parameter("ids", _hold.id)),
    among(_hold.account_id, list_parameter("owners", _hold.account_id)),
)
_OVERDUE_HOLDS: Final = _HOLDS.where(
    _hold.state == "live",
    among(_hold.account_id, list_parameter("owners", _hold.account_id)),
    _hold.expires_at <= sa.bindparam("now"),
)
_UPDATE_HOLDS: Final = (
    sa.update(credit_holds)
    .where(_hold.id == sa.bindparam("hold_id"))
    .values(
        state=sa.bindparam("new_state"),
        transfer_id=sa.bindparam("transfer"),
        ended_at=sa.bindparam("ended"),
    )
)
_UPDATE_USERS: Final = (
    sa.update(users)
    .where(users.c.id == sa.bindparam("given_id"))
    .values(
        tokens_balance=sa.bindparam("given_tokens_balance"),
        tokens_spent=sa.bindparam("given_tokens_spent"),
        updated_at=sa.bindparam("given_updated_at"),
    )
)
_insert_heads = sqlite.insert(credit_accounts)
_MOVE_HEADS: Final = _insert_heads.on_conflict_do_update(
    index_elements=["id"],
    set_={column.name: _insert_heads.excluded[column.name] for column in (*_HEAD, _account.in_lots)},
)


@dataclass(frozen=True, slots=True)
class Done:
    """What an idempotency key was used for, and what it led to."""

    fingerprint: str
    result: OperationResult


async def open_book(
    connection: AsyncConnection,
    commands: Sequence[Command],
    *,
    now: datetime,
    ids: RowIds,
    all_lots: bool = True,
) -> Book:
    """Lock and read every account that the operations move.

    Users are locked before operators' accounts and each in the order of its id, so that two commits at
    the same time never wait for each other.

    Args:
        connection: of a write transaction.
        commands: name the accounts.
        now: the present.
        ids: of rows that are made.
        all_lots: read every lot that is not empty; else those alone that exactly these operations can spend.
    """
    wanted = sorted({command.user_id for command in commands})
    await lock_users(connection, wanted)
    found = {row.id: _user_account(row) for row in await connection.execute(_USERS, {"ids": wanted})}
    debits = await _read_debits(connection, [command.refund_of for command in commands])
    book = Book(now, ids, found, {}, debits)
    book.folded = await _read_folded(connection, commands, debits)
    await _read_holds(connection, book, [command.hold_id for command in commands if command.kind != "hold"])
    with_lots = [account for account in found.values() if account.in_lots]
    if with_lots or debits:
        balances = {account.id: account.balance for account in with_lots}
        book.lots = await read_lots(
            connection,
            dict.fromkeys(balances) if all_lots else spent_at_most(balances, commands),
            now=now,
            holders=[account.id for account in with_lots if account.held and not all_lots],
            transfers=sorted(debit.transfer_id for debit in debits.values()),
            holds=sorted(book.holds),
        )
    names = {operator_account_id(command.operator) for command in commands}
    if any(lot.has_lapsed(now) for lot in book.lots.known.values()):
        names.add(operator_account_id("expiry"))
    rows = await connection.execute(_OPERATORS, {"ids": sorted(names)})
    book.operators = {_OPERATOR_NAMES[row.id]: _operator_account(row) for row in rows}
    book.expire()
    return book


async def lock_users(connection: AsyncConnection, user_ids: Sequence[UUID]) -> None:
    """Wait for the users' rows, which stand for their accounts and all that belongs to them.

    Args:
        connection: of a write transaction.
        user_ids: in any order; they are locked in that of their ids.
    """
    if connection.dialect.name == "postgresql":
        # SQLite has one writer, which holds every lock.
        await connection.execute(_LOCKED_USERS, {"ids": list(user_ids)})


async def find_done(connection: AsyncConnection, commands: Sequence[Command]) -> dict[str, Done]:
    """Return what the operations' idempotency keys were used for before."""
    keys = {command.idempotency_key for command in commands if command.idempotency_key is not None}
    if not keys:
        return {}
    rows = await connection.execute(_DONE, {"keys": sorted(keys)})
    done = {
        key: Done(fingerprint, OperationResult(True, balance, entry_id, replayed=True))
        for key, fingerprint, entry_id, balance in rows
    }
    held = await connection.execute(_HELD_KEYS, {"keys": sorted(keys)})
    for key, fingerprint, hold_id, balance in held:
        done[key] = Done(fingerprint, OperationResult(True, balance, hold_id=hold_id, replayed=True))
    return done


async def write_book(connection: AsyncConnection, database: Database, book: Book) -> None:
    """Add what the book's operations made, and move the accounts' heads."""
    book.is_written = True
    changed = [one for one in (*book.users.values(), *book.operators.values()) if one.changed]
    if not changed:
        return
    heads = [_head_row(account) for account in changed]
    transfers = [_transfer_row(one) for one in book.transfers]
    entries = [_entry_row(entry) for entry in book.entries]
    owners = [_user_row(one) for one in changed if one.user_id is not None]
    if database.dialect == "postgresql":
        await write_arrays(connection, heads=heads, transfers=transfers, entries=entries, owners=owners)
    else:
        await connection.execute(_MOVE_HEADS, heads)
        await insert_rows(connection, credit_transfers, transfers)
        await insert_rows(connection, token_operations, entries)
        await connection.execute(_UPDATE_USERS, [_given(row) for row in owners])
    await _write_holds(connection, book)
    if book.lots.known:
        await write_lots(connection, book.lots)


async def _read_holds(connection: AsyncConnection, book: Book, wanted: Sequence[UUID | None]) -> None:
    """Read the holds that are asked for, and those of the users whose time is over."""
    owners = sorted(account.id for account in book.users.values() if account.held > 0)
    rows: list[Row] = []
    if owners:
        overdue = await connection.execute(_OVERDUE_HOLDS, {"owners": owners, "now": book.now})
        rows += overdue.all()
    ids = sorted({hold_id for hold_id in wanted if hold_id is not None})
    if ids:
        named = await connection.execute(_NAMED_HOLDS, {"ids": ids, "owners": sorted(book.users)})
        rows += named.all()
    for row in rows:
        facts = {**row._mapping, "taken": row.taken or 0}
        if row.balance_after is None:
            # Nothing was taken, or the entry is folded away, and the balance after it with it.
            facts["balance_after"] = book.users[row.account_id].balance
        book.holds[row.id] = Hold(**facts)


async def _write_holds(connection: AsyncConnection, book: Book) -> None:
    made = [hold for hold in book.holds.values() if hold.command is not None]
    if made:
        await connection.execute(credit_holds.insert(), [_hold_row(hold) for hold in made])
    ended = [hold for hold in book.holds.values() if hold.changed and hold.command is None]
    if ended:
        await connection.execute(_UPDATE_HOLDS, [_ended_row(hold) for hold in ended])


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


async def _read_folded(
    connection: AsyncConnection, commands: Sequence[Command], debits: dict[UUID, Debit]
) -> set[UUID]:
    """Return which of the debits that were not found are folded away."""
    missing = {command.refund_of for command in commands if command.refund_of is not None} - debits.keys()
    if not missing:
        return set()
    return set(await connection.scalars(_FOLDED, {"ids": sorted(missing)}))


def _user_account(row: Row) -> Account:
    if row.entries is None:
        return Account(row.id, row.id)
    head = (row.balance, row.held, row.entries, row.head_hash, row.updated_at)
    return Account(row.id, row.id, *head, spent=row.tokens_spent, in_lots=row.in_lots)


def _operator_account(row: Row) -> Account:
    return Account(row.id, None, row.balance, row.held, row.entries, row.head_hash, row.updated_at)


def _head_row(account: Account) -> dict[str, Any]:
    return {
        "id": account.id,
        "kind": "operator" if account.user_id is None else "user",
        "balance": account.balance,
        "held": account.held,
        "entries": account.entries,
        "head_hash": account.head_hash,
        "updated_at": account.updated_at,
        "in_lots": account.in_lots,
    }


def _user_row(account: Account) -> dict[str, Any]:
    return {
        "id": account.id,
        "tokens_balance": account.balance,
        "tokens_spent": account.spent,
        "updated_at": account.updated_at,
    }


def _given(row: dict[str, Any]) -> dict[str, Any]:
    # The columns' own names are taken by SQLAlchemy in an UPDATE.
    return {f"given_{name}": value for name, value in row.items()}


def _hold_row(hold: Hold) -> dict[str, Any]:
    assert hold.command is not None
    return {
        "id": hold.id,
        "account_id": hold.account_id,
        "operation_type": hold.operation_type,
        "amount": hold.amount,
        "state": hold.state,
        "transfer_id": hold.transfer_id,
        "idempotency_key": hold.command.idempotency_key,
        "fingerprint": hold.command.fingerprint,
        "metadata": hold.metadata,
        "expires_at": hold.expires_at,
        "created_at": hold.created_at,
        "ended_at": hold.ended_at,
    }


def _ended_row(hold: Hold) -> dict[str, Any]:
    return {
        "hold_id": hold.id,
        "new_state": hold.state,
        "transfer": hold.transfer_id,
        "ended": hold.ended_at,
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
