"""Reads and writes the rows of lots within one shared commit."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final
from uuid import UUID

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection

from deal_sdk.accounting.lots import Burn, Lot, Lots
from deal_sdk.records.lot_tables import credit_lot_burns, credit_lot_holds, credit_lots
from deal_sdk.records.row_inserts import insert_rows

_lot = credit_lots.c
_burn = credit_lot_burns.c
_part = credit_lot_holds.c

_REMAINING: Final = sa.select(credit_lots).where(
    _lot.account_id.in_(sa.bindparam("owners", expanding=True)), _lot.remaining > 0
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


async def read_lots(
    connection: AsyncConnection, owners: Sequence[UUID], *, transfers: Sequence[UUID], holds: Sequence[UUID]
) -> Lots:
    """Read the lots that operations may touch; the accounts' locks are their locks too.

    Args:
        connection: of the transaction that locked the accounts.
        owners: accounts with credits in lots.
        transfers: debits that are to be refunded.
        holds: holds that are to end.
    """
    lots = Lots()
    if owners:
        for row in await connection.execute(_REMAINING, {"owners": owners}):
            lots.add(Lot(**row._mapping))
    if owners and holds:
        for row in await connection.execute(_PARTS, {"holds": holds}):
            lots.reserved.setdefault(row.hold_id, {})[row.lot_id] = row.amount
    if transfers:
        for row in await connection.execute(_BURNS, {"transfers": transfers}):
            lots.burns.setdefault(row.transfer_id, []).append(Burn(**row._mapping))
        spent = {burn.lot_id for burns in lots.burns.values() for burn in burns} - lots.known.keys()
        if spent:
            for row in await connection.execute(_NAMED, {"ids": sorted(spent)}):
                lots.add(Lot(**row._mapping))
    return lots


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
