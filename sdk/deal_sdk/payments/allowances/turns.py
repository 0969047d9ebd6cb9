"""Turns: which charge of an allowance is under way, and the sequence that each one took.

A charge has its turn from its first attempt until it is confirmed or has ended. The payment's own status
ends the turn, so that nothing must be given back after a crash.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any
from uuid import UUID

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection

from deal_sdk.clock import Clock
from deal_sdk.records import Database
from deal_sdk.records.allowance_tables import allowance_charges
from deal_sdk.records.tables import token_accounts, token_transactions

_charge = allowance_charges.c
_payment = token_transactions.c


@dataclass(frozen=True, slots=True)
class Turn:
    """A charge whose turn it is."""

    sequence: int | None
    """The one that it took; None before its first attempt."""
    floor: int
    """The lowest that may be free: one more than any that landed, by our own record."""
    landed_slot: int
    """Where the charge before it landed; the chain is read no older than this."""


class ChargeTurns:
    """Keeps the order of an allowance's charges in the database, for all workers."""

    def __init__(self, database: Database, clock: Clock) -> None:
        """Work on a database."""
        self._database = database
        self._clock = clock

    async def take(self, payment_id: UUID, allowance: str, token_account: str) -> Turn | None:
        """Take a payment's turn, or find that it has it, or return None while another one's lasts.

        Args:
            payment_id: a recorded charge.
            allowance: whose sequence it needs.
            token_account: what it debits; its row is the lock, as for every debit.
        """

        async def unit(connection: AsyncConnection) -> Turn | None:
            lock = sa.select(token_accounts.c.address).where(token_accounts.c.address == token_account)
            await connection.execute(lock.with_for_update())
            found = await connection.execute(
                sa.select(_charge.sequence).where(_charge.payment_id == payment_id)
            )
            row = found.one_or_none()
            sequence = None if row is None else row[0]
            if await connection.scalar(_goes_before(payment_id, allowance, sequence)):
                return None
            if row is None:
                await connection.execute(allowance_charges.insert().values(self._row(payment_id, allowance)))
            floor, slot = (await connection.execute(_landed(allowance))).one()
            return Turn(sequence, 0 if floor is None else floor + 1, slot or 0)

        return await self._database.write(unit, lock_key=token_account)

    async def assign(self, payment_id: UUID, sequence: int) -> int:
        """Give a payment a sequence, and return the one that it has: the first one given stays.

        It is committed before anything is signed with it.
        """
        update = (
            allowance_charges.update()
            .where(_charge.payment_id == payment_id, _charge.sequence.is_(None))
            .values(sequence=sequence)
        )

        async def unit(connection: AsyncConnection) -> int:
            await connection.execute(update)
            kept = sa.select(_charge.sequence).where(_charge.payment_id == payment_id)
            return int((await connection.execute(kept)).scalar_one())

        return await self._database.write(unit)

    async def sequence_of(self, payment_id: UUID) -> int | None:
        """Return the sequence that a payment has."""
        query = sa.select(_charge.sequence).where(_charge.payment_id == payment_id)
        rows = await self._database.fetch(query)
        return rows[0][0] if rows else None

    async def give_up(self, payment_id: UUID, sequence: int) -> None:
        """Take a sequence away that another reference provably used, so that the next one can be given."""
        update = (
            allowance_charges.update()
            .where(_charge.payment_id == payment_id, _charge.sequence == sequence)
            .values(sequence=None)
        )

        async def unit(connection: AsyncConnection) -> None:
            await connection.execute(update)

        await self._database.run(unit)

    def _row(self, payment_id: UUID, allowance: str) -> dict[str, Any]:
        return {
            "payment_id": payment_id,
            "allowance": allowance,
            "sequence": None,
            "created_at": self._clock.now(),
        }


def _goes_before(payment_id: UUID, allowance: str, sequence: int | None) -> sa.Select[Any]:
    """Select a charge that must be done before this one.

    Without a sequence that is every other one under way. With one it is those with a lower one: a fork
    may have taken back a charge whose successor was signed, and neither may wait for the other.
    """
    others = [_charge.allowance == allowance, _charge.payment_id != payment_id, _payment.status == "pending"]
    if sequence is not None:
        others.append(_charge.sequence < sequence)
    return (
        sa.select(sa.literal(1))
        .select_from(allowance_charges.join(token_transactions, _payment.id == _charge.payment_id))
        .where(*others)
        .limit(1)
    )


def _landed(allowance: str) -> sa.Select[Any]:
    return (
        sa.select(sa.func.max(_charge.sequence), sa.func.max(_payment.slot))
        .select_from(allowance_charges.join(token_transactions, _payment.id == _charge.payment_id))
        .where(_charge.allowance == allowance, _payment.status.in_(("confirmed", "finalized")))
    )
