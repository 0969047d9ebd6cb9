"""What owners were asked to sign about their allowances, kept byte for byte and forgotten in time.

None of it is a payment: what became of it is on the chain, and the rows only let a signature be taken back.
"""

from __future__ import annotations

from datetime import timedelta
from typing import Any, Final
from uuid import UUID, uuid4

import sqlalchemy as sa
from solders.pubkey import Pubkey
from sqlalchemy.ext.asyncio import AsyncConnection

from deal_sdk.chain import SignedTransaction, UnsignedTransaction
from deal_sdk.clock import Clock
from deal_sdk.errors import PreparedTransactionNotFoundError
from deal_sdk.records import Database
from deal_sdk.records.allowance_tables import prepared_allowances

KEPT_FOR: Final = timedelta(days=7)
"""Far longer than a blockhash counts, which is a minute or two, so that a late owner is told of that."""
LOOK_INTERVAL_SECONDS: Final = 3_600.0
MAX_FORGOTTEN_TOGETHER: Final = 1_000

_prepared = prepared_allowances.c


class PreparedAllowanceStore:
    """Keeps prepared transactions for a week, and forgets older ones as new ones come."""

    def __init__(self, database: Database, clock: Clock) -> None:
        """Work on a database; nothing is read yet."""
        self._database = database
        self._clock = clock
        self._looked_at_seconds = float("-inf")

    async def add(self, owner: Pubkey, unsigned: UnsignedTransaction) -> UUID:
        """Keep what an owner is to sign, and return the id that names it.

        Once an hour it also forgets what is over a week old, a thousand rows at a time.

        Args:
            owner: signs beside the fee payer.
            unsigned: as the owner's wallet gets it.
        """
        identity, now, now_seconds = uuid4(), self._clock.now(), self._clock.monotonic()
        row = {
            "id": identity,
            "owner_address": str(owner),
            "message": unsigned.message_bytes,
            "last_valid_block_height": unsigned.last_valid_block_height,
            "context_slot": unsigned.context_slot,
            "created_at": now,
        }
        is_due = now_seconds - self._looked_at_seconds >= LOOK_INTERVAL_SECONDS
        old = sa.select(_prepared.id).where(_prepared.created_at < now - KEPT_FOR)
        forgetting = prepared_allowances.delete().where(_prepared.id.in_(old.limit(MAX_FORGOTTEN_TOGETHER)))

        async def unit(connection: AsyncConnection) -> int:
            await connection.execute(prepared_allowances.insert().values(row))
            return (await connection.execute(forgetting)).rowcount if is_due else 0

        forgotten = await self._database.run(unit)
        if is_due and forgotten < MAX_FORGOTTEN_TOGETHER:
            self._looked_at_seconds = now_seconds
        return identity

    async def get(self, prepared_id: UUID) -> UnsignedTransaction:
        """Return what an owner was asked to sign.

        Raises:
            PreparedTransactionNotFoundError: when there is none, or it is forgotten.
        """
        rows = await self._database.fetch(sa.select(prepared_allowances).where(_prepared.id == prepared_id))
        if not rows:
            raise _not_found(prepared_id)
        return UnsignedTransaction(rows[0].message, rows[0].last_valid_block_height, rows[0].context_slot)

    async def sign(self, prepared_id: UUID, signed: SignedTransaction) -> None:
        """Commit the signed bytes, after which they may be sent.

        Raises:
            PreparedTransactionNotFoundError: when it was forgotten meanwhile; nothing was committed.
        """
        update = (
            prepared_allowances.update()
            .where(_prepared.id == prepared_id)
            .values(signature=signed.signature, signed_bytes=signed.raw_bytes)
        )

        async def unit(connection: AsyncConnection) -> Any:
            return (await connection.execute(update)).rowcount

        if not await self._database.run(unit):
            raise _not_found(prepared_id)


def _not_found(prepared_id: UUID) -> PreparedTransactionNotFoundError:
    return PreparedTransactionNotFoundError(
        "no transaction was prepared under this id", prepared_id=str(prepared_id)
    )
