"""Lookup tables as they are recorded: what each is to hold, and the transaction that changes it now."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import lru_cache
from typing import Any, Final, Literal, TypeAlias

import sqlalchemy as sa
from solders.pubkey import Pubkey
from sqlalchemy.ext.asyncio import AsyncConnection

from deal_sdk.chain import SignedTransaction
from deal_sdk.chain.lookup_tables import table_address
from deal_sdk.clock import Clock
from deal_sdk.payments.rails import refuse_when_paused
from deal_sdk.records import Database
from deal_sdk.records.lookup_tables import lookup_tables

TableState: TypeAlias = Literal["filling", "ready", "closing", "closed"]
MAX_PARSED_TABLES: Final = 256
_column = lookup_tables.c


@dataclass(frozen=True, slots=True)
class RecordedTable:
    """A lookup table of ours, as the records have it."""

    address: Pubkey
    recent_slot: int
    addresses: tuple[Pubkey, ...]
    state: TableState
    pending: SignedTransaction | None
    """Committed, and not yet known to have ended."""
    landed_slot: int | None
    created_at: datetime


class TableStore:
    """Keeps the lookup tables of one authority."""

    def __init__(self, database: Database, clock: Clock, authority: Pubkey) -> None:
        """Wire the parts; nothing is read yet."""
        self._database = database
        self._clock = clock
        self._authority = str(authority)
        self._key = authority

    async def plan(self, tables: Sequence[Sequence[Pubkey]], slots: Sequence[int]) -> list[Pubkey]:
        """Commit tables that are to be made, each at a slot that none has, and return where they will be.

        Args:
            tables: what each is to hold.
            slots: that are recent; where they do not suffice, the last tables are left out.

        Raises:
            PaymentsPausedError: nothing was recorded.
        """
        return await self._database.run(lambda connection: self._plan_in(connection, tables, slots))

    async def get(self, address: Pubkey) -> RecordedTable:
        """Return one table."""
        query = sa.select(lookup_tables).where(_column.address == str(address))
        return _table((await self._database.fetch(query))[0])

    async def all(self, *states: TableState) -> list[RecordedTable]:
        """Return the tables in some states, the oldest first."""
        query = (
            sa.select(lookup_tables)
            .where(_column.authority == self._authority, _column.state.in_(states))
            .order_by(_column.created_at, _column.recent_slot.desc())
        )
        return [_table(row) for row in await self._database.fetch(query)]

    async def begin(self, address: Pubkey, state: TableState, transaction: SignedTransaction) -> bool:
        """Commit the transaction that changes a table next, so that it may be sent.

        Returns:
            Whether it is recorded; False means that another one is under way, or the state another.

        Raises:
            PaymentsPausedError: nothing was recorded.
        """

        async def unit(connection: AsyncConnection) -> bool:
            await refuse_when_paused(connection)
            is_free = sa.or_(_column.signature.is_(None), _column.signature == transaction.signature)
            return await self._change(
                connection,
                sa.and_(_column.address == str(address), _column.state == state, is_free),
                signature=transaction.signature,
                signed_bytes=transaction.raw_bytes,
                last_valid_block_height=transaction.last_valid_block_height,
                context_slot=transaction.context_slot,
            )

        return await self._database.run(unit)

    async def end(self, address: Pubkey, signature: str, landed_slot: int | None) -> None:
        """Commit that a transaction landed, or provably never will."""
        values: dict[str, Any] = {} if landed_slot is None else {"landed_slot": landed_slot}
        empty = dict.fromkeys(("signature", "signed_bytes", "last_valid_block_height", "context_slot"))
        where = sa.and_(_column.address == str(address), _column.signature == signature)
        await self._database.run(lambda connection: self._change(connection, where, **empty, **values))

    async def move(
        self, address: Pubkey, before: TableState, after: TableState, *, holds: int | None = None
    ) -> None:
        """Commit another state of a table that nothing is under way for.

        Args:
            address: the table's.
            before: the state that it must still be in.
            after: its state from now on.
            holds: how many of its addresses are on the chain, where not all are.
        """

        async def unit(connection: AsyncConnection) -> bool:
            where = sa.and_(
                _column.address == str(address), _column.state == before, _column.signature.is_(None)
            )
            values: dict[str, Any] = {"state": after}
            if holds is not None:
                found = await connection.execute(
                    sa.select(_column.addresses).where(_column.address == str(address))
                )
                values["addresses"] = found.scalar_one()[:holds]
            return await self._change(connection, where, **values)

        await self._database.run(unit)

    async def _plan_in(
        self, connection: AsyncConnection, tables: Sequence[Sequence[Pubkey]], slots: Sequence[int]
    ) -> list[Pubkey]:
        await refuse_when_paused(connection)
        places = {str(table_address(self._key, slot)): slot for slot in slots}
        known = await connection.execute(sa.select(_column.address).where(_column.address.in_(places)))
        for address in known.scalars():
            del places[address]
        now = self._clock.now()
        rows = [
            {
                "address": address,
                "authority": self._authority,
                "recent_slot": slot,
                "addresses": [str(one) for one in table],
                "state": "filling",
                "created_at": now,
                "updated_at": now,
            }
            for (address, slot), table in zip(places.items(), tables, strict=False)
        ]
        if rows:
            await connection.execute(lookup_tables.insert(), rows)
        return [Pubkey.from_string(str(row["address"])) for row in rows]

    async def _change(
        self, connection: AsyncConnection, where: sa.ColumnElement[bool], **values: Any
    ) -> bool:
        statement = sa.update(lookup_tables).where(where).values(updated_at=self._clock.now(), **values)
        return (await connection.execute(statement)).rowcount == 1


def _table(row: sa.Row[Any]) -> RecordedTable:
    pending = None
    if row.signature is not None:
        pending = SignedTransaction(
            row.signature, row.signed_bytes, row.last_valid_block_height, row.context_slot
        )
    return RecordedTable(
        address=Pubkey.from_string(row.address),
        recent_slot=row.recent_slot,
        addresses=_addresses(tuple(row.addresses)),
        state=row.state,
        pending=pending,
        landed_slot=row.landed_slot,
        created_at=row.created_at,
    )


@lru_cache(maxsize=MAX_PARSED_TABLES)
def _addresses(texts: tuple[str, ...]) -> tuple[Pubkey, ...]:
    # Every chunk of a batch asks for the same tables, each with hundreds.
    return tuple(map(Pubkey.from_string, texts))
