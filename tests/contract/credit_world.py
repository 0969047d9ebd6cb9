"""A ledger of credits on one database, with what its callbacks were told."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import timedelta
from typing import Any, Final
from uuid import UUID

from deal_sdk.accounting import (
    CREDIT_INVARIANTS,
    Journal,
    Operation,
    OperationCosts,
    OperationResult,
    TokenAccountingService,
    TokenBilling,
    TokenLedger,
    broken_links,
)
from deal_sdk.records import Database, UserDirectory

HOLD_SECONDS: Final = 60
DAY = timedelta(days=1)


class Books:
    """A ledger on one database, with what its callbacks were told."""

    def __init__(self, database: Database) -> None:
        self.database = database
        self.told: list[Operation] = []
        self.callback_fails = False
        self.journal = Journal(database, observers=[self._fail, self._note])
        self.credits = TokenAccountingService(database, self.journal, costs=OperationCosts({"video": 50}))
        self.billing = unlimited_billing(database, self.journal, self.credits)
        self.ledger = TokenLedger(database, self.journal)
        self.users = UserDirectory(database)

    async def user(self, credits: int = 0) -> UUID:
        made = await self.users.create()
        if credits:
            assert (await self.credits.credit(made.id, "purchase", credits)).success
        return made.id

    async def balance(self, user_id: UUID) -> int:
        return (await self.credits.get_balance(user_id)).tokens_balance

    async def broken(self) -> list[Any]:
        found: list[Any] = []
        async with self.database.reading() as connection:
            for query in CREDIT_INVARIANTS.values():
                found += (await connection.execute(query)).all()
            found += [row async for row in broken_links(connection, most=10)]
        return found

    async def _fail(self, operations: Sequence[Operation]) -> None:
        if self.callback_fails:
            raise RuntimeError("a callback that fails")

    async def _note(self, operations: Sequence[Operation]) -> None:
        self.told += operations


def unlimited_billing(
    database: Database, journal: Journal, credits: TokenAccountingService, hold_seconds: int = HOLD_SECONDS
) -> TokenBilling:
    """Return a billing for tests that ask neither for rates nor for balances to show."""
    return TokenBilling(
        database,
        journal,
        credits,
        rates=None,  # type: ignore[arg-type]
        balances=None,  # type: ignore[arg-type]
        hold_seconds=hold_seconds,
    )


class LotBooks(Books):
    """A ledger in which credits are granted in lots."""

    async def grant(self, user_id: UUID, amount: int, days: int | None = None, priority: int = 50) -> None:
        expires_in = None if days is None else days * DAY
        result = await self.credits.credit(
            user_id, "purchase", amount, expires_in=expires_in, priority=priority
        )
        assert result.success, result

    async def spend(self, user_id: UUID, amount: int) -> UUID:
        result = await self.credits.debit(user_id, "video", amount)
        assert result.ledger_entry_id is not None, result
        return result.ledger_entry_id

    async def hold(self, user_id: UUID, amount: int) -> UUID:
        result = await self.billing.hold(user_id, "video", amount)
        assert result.hold_id is not None, result
        return result.hold_id

    async def left(self, user_id: UUID) -> list[int]:
        """Return what is left of each lot, in the order in which they are spent."""
        return [lot.remaining for lot in await self.credits.get_lots(user_id)]

    async def types(self, user_id: UUID) -> list[tuple[str, int]]:
        entries = await self.ledger.get_user_entries(user_id)
        return [(entry.operation_type, entry.amount) for entry in reversed(entries)]


def refused(result: OperationResult | Exception) -> tuple[str | None, str | None, int | None]:
    assert isinstance(result, OperationResult)
    assert not result.success
    assert result.ledger_entry_id is None
    return result.error, result.code, result.new_balance
