"""Leases: which process drives which open payment, so that several share one database.

A payment names its holder, and a holder is alive while its row in `workers` says so. A process therefore
takes its payments in the INSERT that records them and keeps all of them by one UPDATE of one row; a dead
holder's payments are free without a write. Safety rests on the name in the payment, which is compared
under the lock that commits an attempt, and never on time.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Final
from uuid import UUID, uuid4

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection

from deal_sdk.payments.worker_process import has_died, process_mark, process_name
from deal_sdk.records import Database
from deal_sdk.records.tables import UtcDateTime, token_transactions, workers

ROUNDS_PER_LEASE: Final = 4
"""A lease lasts three rounds and is looked at in each, so that a dead holder's work is taken within four."""
MAX_CLAIMED_AT_ONCE: Final = 256
"""Small enough that several workers share what a dead one left."""

_OPEN: Final = token_transactions.c.status.in_(("pending", "confirmed"))


@dataclass(frozen=True, slots=True)
class LeaseHolder:
    """Who holds open payments: a process that is alive, one that is not, or nobody."""

    worker_id: UUID | None
    name: str | None
    is_alive: bool
    expires_at: datetime | None
    open_payments: int
    oldest_at: datetime


class Leases:
    """The lease of one process on the payments that it drives."""

    def __init__(self, database: Database, *, lease_seconds: float) -> None:
        """Name this holder; it is registered by `register`.

        Args:
            database: shared by all holders.
            lease_seconds: from a holder's last sign of life until another drives its payments.
        """
        self._database = database
        self.round_seconds: Final = lease_seconds / ROUNDS_PER_LEASE
        self._valid_seconds = lease_seconds - self.round_seconds
        self.owner: Final = uuid4()

    async def register(self) -> None:
        """Begin the lease, or begin it anew after it lapsed."""
        statement = self._database.insert(workers).values(
            id=self.owner,
            name=process_name(),
            process=process_mark(),
            expires_at=self._in(self._valid_seconds),
        )
        renewed = statement.on_conflict_do_update(
            index_elements=["id"], set_={"expires_at": statement.excluded.expires_at}
        )

        async def unit(connection: AsyncConnection) -> None:
            await connection.execute(renewed)
            await connection.execute(_forgotten(self._in(0)))

        await self._database.run(unit)

    async def renew(self) -> bool:
        """Extend the lease on everything held, by one row.

        Returns:
            False when it had lapsed: others may have taken payments over meanwhile. It is then begun anew.
        """
        renewed = (
            workers.update()
            .where(workers.c.id == self.owner, workers.c.expires_at > self._in(0))
            .values(expires_at=self._in(self._valid_seconds))
        )
        if await self._execute(renewed) == 1:
            return True
        await self.register()
        return False

    async def release(self) -> None:
        """End the lease, so that the next process takes over at once."""
        await self._execute(workers.delete().where(workers.c.id == self.owner))

    async def claim(self) -> list[UUID]:
        """Take over some open payments whose holder is dead, or that have none.

        Several workers that claim at once get different ones: each skips what another has locked.

        Returns:
            The payments that are now this process's, the oldest first, at most `MAX_CLAIMED_AT_ONCE`.
        """
        await self._end_the_dead()
        free = _unheld(self._in(0))
        async with self._database.reading() as connection:
            if (
                await connection.scalar(sa.select(token_transactions.c.id).where(_OPEN, free).limit(1))
                is None
            ):
                return []
        return await self._database.run(self._claim_in)

    def is_free(self, owner: sa.ColumnElement[Any]) -> sa.ColumnElement[bool]:
        """Return the condition that nobody who is alive holds a row of any table.

        Args:
            owner: the column that names the holder.
        """
        return _unheld(self._in(0), owner)

    async def holders(self) -> list[LeaseHolder]:
        """Return who holds open payments, the oldest payment's holder first."""
        column = token_transactions.c
        oldest = sa.func.min(column.created_at, type_=UtcDateTime())
        query = (
            sa.select(
                column.lease_owner,
                workers.c.name,
                workers.c.expires_at,
                sa.func.coalesce(workers.c.expires_at > self._in(0), sa.false()).label("is_alive"),
                sa.func.count().label("open_payments"),
                oldest.label("oldest_at"),
            )
            .select_from(token_transactions.outerjoin(workers, workers.c.id == column.lease_owner))
            .where(_OPEN)
            .group_by(column.lease_owner, workers.c.name, workers.c.expires_at)
            .order_by(oldest)
        )
        async with self._database.reading() as connection:
            rows = (await connection.execute(query)).all()
        return [
            LeaseHolder(
                row.lease_owner,
                row.name,
                bool(row.is_alive),
                row.expires_at,
                row.open_payments,
                row.oldest_at,
            )
            for row in rows
        ]

    async def _claim_in(self, connection: AsyncConnection) -> list[UUID]:
        column = token_transactions.c
        free = (
            sa.select(column.id)
            .where(_OPEN, _unheld(self._in(0)))
            .order_by(column.created_at, column.id)
            .limit(MAX_CLAIMED_AT_ONCE)
            .with_for_update(skip_locked=True, of=token_transactions)
        )
        claimed = list((await connection.execute(free)).scalars())
        if claimed:
            await connection.execute(
                token_transactions.update().where(column.id.in_(claimed)).values(lease_owner=self.owner)
            )
        await connection.execute(_forgotten(self._in(0)))
        return claimed

    async def _end_the_dead(self) -> None:
        """End the leases of processes that died on this machine, which nobody else can know of."""
        query = sa.select(workers.c.id, workers.c.process).where(
            workers.c.id != self.owner, workers.c.expires_at > self._in(0)
        )
        async with self._database.reading() as connection:
            dead = [row.id for row in await connection.execute(query) if has_died(row.process)]
        if dead:
            await self._execute(workers.update().where(workers.c.id.in_(dead)).values(expires_at=self._in(0)))

    async def _execute(self, statement: sa.UpdateBase) -> int:
        async def unit(connection: AsyncConnection) -> int:
            return (await connection.execute(statement)).rowcount

        return await self._database.run(unit)

    def _in(self, seconds: float) -> sa.ColumnElement[datetime]:
        """Return a moment of the clock that all holders share.

        On PostgreSQL that is the server's: the clocks of several machines differ, and one that is ahead
        would take over from the living. SQLite's file is shared by one machine only, whose clock this is.
        """
        distance = timedelta(seconds=seconds)
        if self._database.dialect == "postgresql":
            moment: sa.ColumnElement[Any] = sa.func.clock_timestamp() + sa.literal(distance, sa.Interval())
            return sa.type_coerce(moment, UtcDateTime())
        return sa.literal(self._database.clock.now() + distance, UtcDateTime())


def _unheld(
    now: sa.ColumnElement[datetime], owner: sa.ColumnElement[Any] = token_transactions.c.lease_owner
) -> sa.ColumnElement[bool]:
    alive = sa.exists().where(workers.c.id == owner, workers.c.expires_at > now)
    return sa.or_(owner.is_(None), ~alive)


def _forgotten(now: sa.ColumnElement[datetime]) -> sa.Delete:
    # A dead holder's name is shown while payments bear it, and has no use after.
    held = sa.exists().where(_OPEN, token_transactions.c.lease_owner == workers.c.id)
    return workers.delete().where(workers.c.expires_at <= now, ~held)
