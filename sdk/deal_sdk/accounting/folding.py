"""Folds old entries into an opening: what they came to stays, what they said goes.

Each commit leaves an account whose chain, balance and totals hold, so that a run may be broken off anywhere
and run again. The operator's side of every transfer stays, and names nobody; so does the transfer with its
idempotency key, by which a call that is repeated after years is still known.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from functools import partial
from typing import Any, Final
from uuid import UUID

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection

from deal_sdk.accounting.journal_rows import lock_users
from deal_sdk.errors import InvalidInputError
from deal_sdk.records import Database, UserId, parse_user_id
from deal_sdk.records.credit_tables import (
    credit_accounts,
    credit_holds,
    credit_openings,
    credit_transfers,
    token_operations,
)
from deal_sdk.records.inputs import check_time
from deal_sdk.records.lot_tables import credit_lot_burns

PAGE_ACCOUNTS: Final = 50
"""Accounts of one commit."""
MAX_ENTRIES_PER_STEP: Final = 1_000
"""Entries of one account in one commit."""

HOLDS_PER_STEP: Final = 1_000
"""Holds of one commit."""

_account = credit_accounts.c
_entry = token_operations.c
_transfer = credit_transfers.c
_hold = credit_holds.c

_OLD: Final = (
    sa.select(_entry.sequence, _entry.balance_after, _entry.entry_hash, _entry.created_at)
    .where(_entry.account_id == sa.bindparam("account"), _entry.created_at < sa.bindparam("before"))
    .order_by(_entry.sequence)
    .limit(sa.bindparam("limit", type_=sa.Integer))
)
_FOLDED: Final = (_entry.account_id == sa.bindparam("account"), _entry.sequence <= sa.bindparam("last"))
_FOLDED_TRANSFERS: Final = sa.select(_entry.transfer_id).where(*_FOLDED)
_REMEMBER: Final = (
    sa.update(credit_transfers)
    .where(_transfer.id.in_(_FOLDED_TRANSFERS))
    .values(
        folded_entry_id=sa.select(_entry.id)
        .where(_entry.transfer_id == _transfer.id, _entry.account_id == sa.bindparam("account"))
        .scalar_subquery()
    )
)
_FORGET_BURNS: Final = sa.delete(credit_lot_burns).where(
    credit_lot_burns.c.transfer_id.in_(_FOLDED_TRANSFERS)
)
_FORGET_ENTRIES: Final = sa.delete(token_operations).where(*_FOLDED)
_FORGET_HOLDS: Final = (
    sa.update(credit_holds)
    .where(_hold.id.in_(sa.bindparam("ids", expanding=True)))
    .values(metadata=sa.null())
)


@dataclass(frozen=True, slots=True)
class FoldReport:
    """What a run folded."""

    users: int
    entries: int

    def to_dict(self) -> dict[str, int]:
        """Return the report as JSON-serialisable data."""
        return {"users": self.users, "entries": self.entries}


async def fold(database: Database, before: datetime, user_id: UserId | None) -> FoldReport:
    """Fold the entries that are older than a time; see `TokenLedger.delete_old_entries`."""
    if check_time("before", before) > database.clock.now():
        raise InvalidInputError("before must not be in the future", field="before")
    one = None if user_id is None else parse_user_id(user_id)
    await _forget_holds(database, before, one)
    if one is not None:
        entries = await _fold_page(database, [one], before)
        return FoldReport(int(entries > 0), entries)
    users = entries = 0
    after: UUID | None = None
    while page := [row[0] for row in await database.fetch(_accounts_with_entries(before, after))]:
        after = page[-1]
        users += len(page)
        entries += await _fold_page(database, page, before)
    return FoldReport(users, entries)


async def _forget_holds(database: Database, before: datetime, user_id: UUID | None) -> None:
    """Delete what holds said that ended before a time; what became of them stays."""
    old = sa.select(_hold.id).where(_hold.ended_at < before, _hold.metadata.is_not(None))
    if user_id is not None:
        old = old.where(_hold.account_id == user_id)
    after: UUID | None = None
    while True:
        query = old if after is None else old.where(_hold.id > after)
        ids = [row[0] for row in await database.fetch(query.order_by(_hold.id).limit(HOLDS_PER_STEP))]
        if not ids:
            return
        after = ids[-1]
        await database.run(partial(_forget, ids=ids))


async def _forget(connection: AsyncConnection, *, ids: list[UUID]) -> None:
    await connection.execute(_FORGET_HOLDS, {"ids": ids})


def _accounts_with_entries(before: datetime, after: UUID | None) -> sa.Select[Any]:
    is_old = sa.exists().where(_entry.account_id == _account.id, _entry.created_at < before)
    query = sa.select(_account.id).where(_account.kind == "user", is_old)
    query = query.order_by(_account.id).limit(PAGE_ACCOUNTS)
    return query if after is None else query.where(_account.id > after)


async def _fold_page(database: Database, account_ids: list[UUID], before: datetime) -> int:
    async def step(connection: AsyncConnection) -> list[int]:
        await lock_users(connection, account_ids)
        return [await _fold_step(connection, database, one, before) for one in account_ids]

    entries = 0
    while True:
        counts = await database.run(step)
        entries += sum(counts)
        if max(counts) < MAX_ENTRIES_PER_STEP:
            return entries


async def _fold_step(
    connection: AsyncConnection, database: Database, account_id: UUID, before: datetime
) -> int:
    """Fold an account's oldest entries, and return how many; the account is locked."""
    asked = {"account": account_id, "before": before, "limit": MAX_ENTRIES_PER_STEP}
    rows = (await connection.execute(_OLD, asked)).all()
    if not rows:
        return 0
    last = rows[-1]
    opening = {
        "sequence": last.sequence,
        "balance": last.balance_after,
        "entry_hash": last.entry_hash,
        "folded_until": last.created_at,
        "folded_at": database.clock.now(),
    }
    insert = database.insert(credit_openings).values({"account_id": account_id, **opening})
    await connection.execute(insert.on_conflict_do_update(index_elements=["account_id"], set_=opening))
    for statement in (_REMEMBER, _FORGET_BURNS, _FORGET_ENTRIES):
        await connection.execute(statement, {"account": account_id, "last": last.sequence})
    return len(rows)
