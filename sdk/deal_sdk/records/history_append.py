"""Appends balance changes to their accounts' chains, set by set rather than row by row.

Everything here runs inside one write transaction. The rows of `token_accounts` are locked first, in
the order of their addresses, so that two appenders never wait for each other in a circle.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import fields
from datetime import datetime
from functools import lru_cache
from typing import Any, Final, NamedTuple, TypeVar

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection

from deal_sdk.errors import HistoryGapError, InvalidInputError
from deal_sdk.records.among import among, list_parameter
from deal_sdk.records.database import Database
from deal_sdk.records.given_rows import given_rows
from deal_sdk.records.history_rows import BalanceChange, HistoryRow, Position, history_from_row
from deal_sdk.records.packed_rows import PackedQuery
from deal_sdk.records.row_inserts import insert_rows
from deal_sdk.records.tables import token_accounts, token_balance_history

Cursors = Mapping[str, tuple[str, int]]
"""Per token account: the newest signature that was looked at, and its slot."""

# Below the 32,766 parameters that one statement may carry in either database.
_KEYS_PER_STATEMENT: Final = 5_000
_ACCOUNTS_PER_INSERT: Final = 1_000

_CHANGE_COLUMNS: Final = tuple(field.name for field in fields(BalanceChange))

T = TypeVar("T")
_table = token_balance_history

_ACCOUNTS: Final = list_parameter("b_accounts", token_accounts.c.address)
_TRACKED: Final = PackedQuery(
    sa.select(token_accounts.c.address).where(among(token_accounts.c.address, _ACCOUNTS))
)
_RECORDED: Final = PackedQuery(
    sa.select(_table.c.token_account, _table.c.signature).where(
        among(_table.c.signature, list_parameter("b_signatures", _table.c.signature))
    )
)
_newest = (
    sa.select(_table.c.token_account, sa.func.max(_table.c.sequence).label("sequence"))
    .where(among(_table.c.token_account, _ACCOUNTS))
    .group_by(_table.c.token_account)
    .subquery()
)
_ENDS: Final = PackedQuery(
    sa.select(
        _table.c.token_account,
        _table.c.sequence,
        _table.c.balance_after,
        _table.c.slot,
        _table.c.block_index,
    ).join(
        _newest,
        sa.and_(_table.c.token_account == _newest.c.token_account, _table.c.sequence == _newest.c.sequence),
    )
)


class _End(NamedTuple):
    """Where an account's recorded chain ends."""

    sequence: int
    balance: int
    position: Position


def check_changes(changes: Sequence[BalanceChange]) -> None:
    """Refuse changes that are malformed or not in the order of the chain.

    Raises:
        InvalidInputError: naming the account whose order is wrong.
    """
    last: dict[str, Position] = {}
    for change in changes:
        change.check()
        before = last.get(change.token_account)
        if before is not None and change.position <= before:
            raise InvalidInputError(
                "changes of an account must be ordered by slot and index in the block, each place once",
                token_account=change.token_account,
                signature=change.signature,
            )
        last[change.token_account] = change.position


async def append_changes(
    connection: AsyncConnection,
    database: Database,
    changes: Sequence[BalanceChange],
    cursors: Cursors,
) -> list[dict[str, Any]]:
    """Lock the accounts, insert what is new and move the cursors on.

    Returns:
        The rows that were inserted, in the order of the changes and without their ids.
    """
    now = database.clock.now()
    await _lock_accounts(connection, database, changes, cursors, now)
    recorded = await _recorded(connection, changes)
    ends = await _ends(connection, {change.token_account for change in changes})
    rows = list(_new_rows(changes, ends, recorded, now))
    await insert_rows(connection, _table, rows)
    await _move_cursors(connection, {**_last_signatures(changes), **cursors})
    return rows


async def read_rows(connection: AsyncConnection, rows: Sequence[Mapping[str, Any]]) -> list[HistoryRow]:
    """Return rows as the database now holds them, in their order."""
    found: dict[tuple[str, int], HistoryRow] = {}
    for chunk in _chunks(sorted({row["signature"] for row in rows}), _KEYS_PER_STATEMENT):
        statement = sa.select(_table).where(among(_table.c.signature, chunk))
        for row in await connection.execute(statement):
            found[row.token_account, row.sequence] = history_from_row(row)
    return [found[row["token_account"], row["sequence"]] for row in rows]


async def _lock_accounts(
    connection: AsyncConnection,
    database: Database,
    changes: Sequence[BalanceChange],
    cursors: Cursors,
    now: datetime,
) -> None:
    """Lock the accounts in their order; those that are not tracked yet become so before."""
    changed = {change.token_account for change in changes}
    accounts = sorted(changed | set(cursors))
    known = await _tracked(connection, accounts)
    missing = changed - known
    if missing:
        # Before any lock is held, so that nobody waits for a new account with another one in hand.
        await _add_accounts(connection, database, [c for c in changes if c.token_account in missing], now)
    if missing or database.dialect == "postgresql":
        known = await _locked(connection, database, accounts)
    if untracked := sorted(set(accounts) - known):
        raise InvalidInputError("a cursor names an account that is not tracked", token_account=untracked[0])


async def _add_accounts(
    connection: AsyncConnection, database: Database, changes: Sequence[BalanceChange], now: datetime
) -> None:
    found = {
        change.token_account: {
            "address": change.token_account,
            "owner_address": change.owner_address,
            "user_id": change.user_id,
            "created_at": now,
        }
        for change in changes
    }
    for addresses in _chunks(sorted(found), _ACCOUNTS_PER_INSERT):
        rows = [found[address] for address in addresses]
        await connection.execute(database.insert(token_accounts).values(rows).on_conflict_do_nothing())


async def _tracked(connection: AsyncConnection, accounts: Sequence[str]) -> set[str]:
    return {address for (address,) in await _TRACKED.rows(connection, {"b_accounts": accounts})}


async def _locked(connection: AsyncConnection, database: Database, accounts: Sequence[str]) -> set[str]:
    known: set[str] = set()
    address = token_accounts.c.address
    # The order of `Database.write`'s lock keys; a language's own collation would be another one.
    order = address.collate("C") if database.dialect == "postgresql" else address
    for chunk in _chunks(accounts, _KEYS_PER_STATEMENT):
        statement = sa.select(address).where(among(address, chunk)).order_by(order).with_for_update()
        known.update(await connection.scalars(statement))
    return known


async def _recorded(connection: AsyncConnection, changes: Sequence[BalanceChange]) -> set[tuple[str, str]]:
    signatures = sorted({change.signature for change in changes})
    rows = await _RECORDED.rows(connection, {"b_signatures": signatures})
    return {(account, signature) for account, signature in rows}


async def _ends(connection: AsyncConnection, accounts: Collection[str]) -> dict[str, _End]:
    rows = await _ENDS.rows(connection, {"b_accounts": sorted(accounts)})
    return {
        account: _End(sequence, balance, (slot, block_index))
        for account, sequence, balance, slot, block_index in rows
    }


def _new_rows(
    changes: Sequence[BalanceChange], ends: dict[str, _End], recorded: set[tuple[str, str]], now: datetime
) -> Iterator[dict[str, Any]]:
    for change in changes:
        if (change.token_account, change.signature) in recorded:
            continue
        end = ends.get(change.token_account)
        changes_nothing = change.balance_before == change.balance_after
        if changes_nothing and (end is None or change.position <= end.position):
            # It left no row when it was seen before, so that it cannot be told from a new one.
            continue
        if end is not None:
            _check_continues(change, end)
        if changes_nothing:
            continue
        sequence = 1 if end is None else end.sequence + 1
        ends[change.token_account] = _End(sequence, change.balance_after, change.position)
        yield {
            **{name: getattr(change, name) for name in _CHANGE_COLUMNS},
            "sequence": sequence,
            "change": change.balance_after - change.balance_before,
            "created_at": now,
        }


def _check_continues(change: BalanceChange, end: _End) -> None:
    if change.position <= end.position or change.balance_before != end.balance:
        raise HistoryGapError(
            token_account=change.token_account,
            expected=end.balance,
            found=change.balance_before,
            signature=change.signature,
            slot=change.slot,
            recorded_slot=end.position[0],
        )


def _last_signatures(changes: Sequence[BalanceChange]) -> dict[str, tuple[str, int]]:
    return {change.token_account: (change.signature, change.slot) for change in changes}


async def _move_cursors(connection: AsyncConnection, cursors: Cursors) -> None:
    if not cursors:
        return
    moved = [(address, signature, slot) for address, (signature, slot) in sorted(cursors.items())]
    await connection.execute(_cursor_move(connection.dialect.name), {"b_moved": moved})


@lru_cache(maxsize=2)
def _cursor_move(dialect_name: str) -> sa.Update:
    column = token_accounts.c
    types = {
        "address": column.address.type,
        "signature": column.history_signature.type,
        "slot": column.history_slot.type,
    }
    moved = given_rows(dialect_name, "b_moved", types)
    return (
        sa.update(token_accounts)
        # Never backwards: changes that are appended a second time would otherwise be read for ever.
        .where(column.address == moved["address"], column.history_slot <= moved["slot"])
        .values(history_signature=moved["signature"], history_slot=moved["slot"])
    )


def _chunks(items: Sequence[T], size: int) -> Iterator[Sequence[T]]:
    for start in range(0, len(items), size):
        yield items[start : start + size]
