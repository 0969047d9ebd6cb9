"""Reads and writes the rows of lots within one shared commit.

Of an account with thousands of lots only those are read whose turn it is: as many as the operations of the
commit can spend, those whose time is over, and those that a hold or a refund names.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Mapping, Sequence
from datetime import datetime
from typing import Any, Final
from uuid import UUID

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection

from deal_sdk.accounting.commands import Command
from deal_sdk.accounting.lots import Burn, Lot, Lots
from deal_sdk.records.credit_tables import credit_accounts, credit_holds
from deal_sdk.records.database import Row
from deal_sdk.records.lot_tables import credit_lot_burns, credit_lot_holds, credit_lots
from deal_sdk.records.row_inserts import insert_rows

LOTS_PER_PAGE: Final = 32
"""Lots of an account that are read at first; a debit that needs more reads more."""
_PAGE_GROWTH: Final = 8

_account = credit_accounts.c
_hold = credit_holds.c
_lot = credit_lots.c
_burn = credit_lot_burns.c
_part = credit_lot_holds.c

_REMAINING: Final = sa.select(credit_lots).where(
    _lot.account_id.in_(sa.bindparam("owners", expanding=True)), _lot.remaining > 0
)
_LAPSED: Final = sa.select(credit_lots).where(
    _lot.account_id.in_(sa.bindparam("owners", expanding=True)),
    _lot.expires_at <= sa.bindparam("now"),
    # It lets the index of what remains be used.
    _lot.remaining > 0,
    _lot.remaining > _lot.held,
)
_HELD: Final = (
    sa.select(_hold.account_id, sa.func.sum(_part.amount))
    .join_from(credit_holds, credit_lot_holds, _part.hold_id == _hold.id)
    .where(_hold.state == "live", _hold.account_id.in_(sa.bindparam("owners", expanding=True)))
    .group_by(_hold.account_id)
)
_NAMED: Final = sa.select(credit_lots).where(_lot.id.in_(sa.bindparam("ids", expanding=True)))
_BURNS: Final = sa.select(credit_lot_burns).where(
    _burn.transfer_id.in_(sa.bindparam("transfers", expanding=True))
)
_PARTS: Final = sa.select(credit_lot_holds).where(_part.hold_id.in_(sa.bindparam("holds", expanding=True)))
_UPDATE_LOTS: Final = (
    sa.update(credit_lots)
    .where(_lot.id == sa.bindparam("lot"))
    .values(
        remaining=sa.bindparam("new_remaining"),
        held=sa.bindparam("new_held"),
        expired_at=sa.bindparam("new_expired_at"),
    )
)
_UPDATE_BURNS: Final = (
    sa.update(credit_lot_burns)
    .where(_burn.transfer_id == sa.bindparam("transfer"), _burn.lot_id == sa.bindparam("lot"))
    .values(returned=sa.bindparam("new_returned"))
)
_LOT_COLUMNS: Final = tuple(column.name for column in credit_lots.columns)


def spent_at_most(balances: Mapping[UUID, int], commands: Sequence[Command]) -> dict[UUID, int | None]:
    """Return how much of each account's lots operations can spend; None where only the book can tell.

    Args:
        balances: by account.
        commands: all operations that will be decided, and no other.
    """
    covered = dict(balances)
    for command in commands:
        if command.user_id in covered and command.kind in ("credit", "refund"):
            covered[command.user_id] += command.amount
    most: dict[UUID, int | None] = dict.fromkeys(balances, 0)
    for command in commands:
        so_far = most.get(command.user_id)
        if so_far is None:
            continue
        if command.kind == "reset":
            most[command.user_id] = None
        # What is not covered is refused, and spends nothing.
        elif command.kind in ("debit", "hold") and (
            command.allow_overdraft or 0 < command.amount <= covered[command.user_id]
        ):
            most[command.user_id] = so_far + max(command.amount, 0)
    return most


async def read_lots(
    connection: AsyncConnection,
    owners: Mapping[UUID, int | None],
    *,
    now: datetime,
    holders: Collection[UUID],
    transfers: Sequence[UUID],
    holds: Sequence[UUID],
) -> Lots:
    """Read the lots that operations may touch; the accounts' locks are their locks too.

    Args:
        connection: of the transaction that locked the accounts.
        owners: accounts with credits in lots, and how much of them operations can spend at most; None
            reads all that an account has left.
        now: the present.
        holders: those of them with live holds.
        transfers: debits that are to be refunded.
        holds: holds that are to end.
    """
    lots = Lots()
    if owners:
        await _read_turns(connection, lots, owners, now)
    named: set[UUID] = set()
    if owners and holds:
        for row in await connection.execute(_PARTS, {"holds": holds}):
            lots.reserved.setdefault(row.hold_id, {})[row.lot_id] = row.amount
            named.add(row.lot_id)
    if transfers:
        for row in await connection.execute(_BURNS, {"transfers": transfers}):
            lots.burns.setdefault(row.transfer_id, []).append(Burn(**row._mapping))
            named.add(row.lot_id)
    if unknown := named - lots.known.keys():
        _add(lots, (await connection.execute(_NAMED, {"ids": sorted(unknown)})).all())
    if holders:
        for account_id, held in await connection.execute(_HELD, {"owners": sorted(holders)}):
            known = sum(lot.held for lot in lots.by_account.get(account_id, ()))
            lots.held_unknown[account_id] = int(held) - known
    return lots


async def _read_turns(
    connection: AsyncConnection, lots: Lots, owners: Mapping[UUID, int | None], now: datetime
) -> None:
    whole = sorted(owner for owner, wanted in owners.items() if wanted is None)
    if whole:
        _add(lots, (await connection.execute(_REMAINING, {"owners": whole})).all())
    wanting = {owner: wanted for owner, wanted in owners.items() if wanted is not None}
    if not wanting:
        return
    lots.fronts.update(dict.fromkeys(wanting, 0))
    _add(lots, (await connection.execute(_LAPSED, {"owners": sorted(wanting), "now": now})).all())
    wanting = {owner: wanted for owner, wanted in wanting.items() if wanted > 0}
    front = _FRONTS[connection.dialect.name]
    page = LOTS_PER_PAGE
    while wanting:
        given = {"owners": sorted(wanting), "now": now, "page": page}
        rows = (await connection.execute(front, given)).all()
        _add(lots, [row for row in rows if row.id not in lots.known])
        wanting = _still_wanting(lots, wanting, rows, page)
        page *= _PAGE_GROWTH


def _still_wanting(
    lots: Lots, wanting: Mapping[UUID, int], rows: Sequence[Row], page: int
) -> dict[UUID, int]:
    """Note what the lots of a page can give, and return those accounts that may want more."""
    found: defaultdict[UUID, list[Row]] = defaultdict(list)
    for row in rows:
        found[row.account_id].append(row)
    more: dict[UUID, int] = {}
    for owner, wanted in wanting.items():
        if len(found[owner]) < page:
            # There are no others, and what is beyond them is the pool's.
            del lots.fronts[owner]
            continue
        lots.fronts[owner] = sum(row.remaining - row.held for row in found[owner])
        if lots.fronts[owner] < wanted:
            more[owner] = wanted
    return more


def _add(lots: Lots, rows: Sequence[Row]) -> None:
    for row in rows:
        lots.add(Lot(**row._mapping))


def _front_of_each() -> dict[str, sa.Select[Any]]:
    """Build the query for the first lots of each of several accounts, by the name of the dialect."""
    first = sa.alias(credit_lots, "first")
    turns = (
        sa.select(first)
        .where(
            first.c.account_id == _account.id,
            first.c.remaining > first.c.held,
            sa.or_(first.c.expires_at.is_(None), first.c.expires_at > sa.bindparam("now")),
        )
        .order_by(first.c.priority, first.c.expires_at.is_(None), first.c.expires_at, first.c.id)
        .limit(sa.bindparam("page"))
        .correlate(credit_accounts)
    )
    lateral = turns.lateral("lots")
    ids = turns.with_only_columns(first.c.id)
    chosen = _account.id.in_(sa.bindparam("owners", expanding=True))
    return {
        "postgresql": sa.select(lateral).join_from(credit_accounts, lateral, sa.true()).where(chosen),
        # It knows no LATERAL, but does as much for the left side of a join.
        "sqlite": sa.select(credit_lots)
        .join_from(credit_accounts, credit_lots, _lot.id.in_(ids))
        .where(chosen),
    }


_FRONTS: Final = _front_of_each()


async def write_lots(connection: AsyncConnection, lots: Lots) -> None:
    """Write what became of lots; the transfers and holds that they name are written already."""
    made = [_lot_row(lot) for lot in lots.known.values() if lot.is_new]
    await insert_rows(connection, credit_lots, made)
    moved = [lot for lot in lots.known.values() if lot.changed and not lot.is_new]
    if moved:
        await connection.execute(_UPDATE_LOTS, [_moved_row(lot) for lot in moved])
    burns = [burn for burned in lots.burns.values() for burn in burned]
    await insert_rows(connection, credit_lot_burns, [_burn_row(burn) for burn in burns if burn.is_new])
    returned = [burn for burn in burns if burn.changed]
    if returned:
        await connection.execute(_UPDATE_BURNS, [_returned_row(burn) for burn in returned])
    parts = [
        {"hold_id": hold_id, "lot_id": lot_id, "amount": amount}
        for hold_id in lots.new_holds
        for lot_id, amount in lots.reserved[hold_id].items()
    ]
    await insert_rows(connection, credit_lot_holds, parts)


def _lot_row(lot: Lot) -> dict[str, Any]:
    return {name: getattr(lot, name) for name in _LOT_COLUMNS}


def _moved_row(lot: Lot) -> dict[str, Any]:
    return {
        "lot": lot.id,
        "new_remaining": lot.remaining,
        "new_held": lot.held,
        "new_expired_at": lot.expired_at,
    }


def _burn_row(burn: Burn) -> dict[str, Any]:
    return {
        "transfer_id": burn.transfer_id,
        "lot_id": burn.lot_id,
        "amount": burn.amount,
        "returned": burn.returned,
    }


def _returned_row(burn: Burn) -> dict[str, Any]:
    return {"transfer": burn.transfer_id, "lot": burn.lot_id, "new_returned": burn.returned}
