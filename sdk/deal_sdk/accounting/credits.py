"""Credits of users: spent, granted, given back, and set, each with its entry in the ledger or not at all."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Final
from uuid import UUID

import sqlalchemy as sa

from deal_sdk.accounting.book import insufficient
from deal_sdk.accounting.commands import (
    REFUND_TYPE,
    RESET_TYPE,
    Command,
    OperationResult,
    check_credits,
    complete,
    with_lot,
)
from deal_sdk.accounting.journal import Journal
from deal_sdk.accounting.lot_expiry import expire_due
from deal_sdk.accounting.lot_listing import CreditLot, lapsed, lots_of
from deal_sdk.accounting.plans import OperationCosts
from deal_sdk.errors import UserNotFoundError
from deal_sdk.records import Database, UserId, parse_user_id
from deal_sdk.records.credit_tables import credit_holds
from deal_sdk.records.inputs import optional_text, parse_uuid
from deal_sdk.records.lot_tables import DEFAULT_LOT_PRIORITY
from deal_sdk.records.tables import users

MAX_REASON_LENGTH: Final = 1_000


@dataclass(frozen=True, slots=True)
class CreditBalance:
    """What a user has, and has ever spent, in credits."""

    user_id: UUID
    tokens_balance: int
    tokens_held: int
    """Of the balance, put aside for operations under way."""
    tokens_spent: int
    """All that was ever debited; refunds are not taken off."""
    tier: str
    tokens_lapsed: int = 0
    """Of the balance, past its expiry and about to be taken off."""

    @property
    def tokens_available(self) -> int:
        """Return what may be spent now."""
        return self.tokens_balance - self.tokens_held - self.tokens_lapsed

    def to_dict(self) -> dict[str, Any]:
        """Return the balance as JSON-serialisable data."""
        return {
            "user_id": str(self.user_id),
            "tokens_balance": self.tokens_balance,
            "tokens_held": self.tokens_held,
            "tokens_lapsed": self.tokens_lapsed,
            "tokens_available": self.tokens_available,
            "tokens_spent": self.tokens_spent,
            "tier": self.tier,
        }


@dataclass(frozen=True, slots=True)
class Affordability:
    """Whether a balance covers an amount, and what is missing."""

    can_afford: bool
    required: int
    available: int
    deficit: int
    error: str | None = None
    code: str | None = None

    def to_dict(self) -> dict[str, Any]:
        """Return the answer as JSON-serialisable data."""
        return {
            "can_afford": self.can_afford,
            "required": self.required,
            "available": self.available,
            "deficit": self.deficit,
            "error": self.error,
            "code": self.code,
        }


@dataclass(frozen=True, slots=True)
class Charge:
    """One of many charges: an operation at its cost, or at an amount of its own."""

    user_id: UserId
    operation_type: str
    amount: int | None = None
    metadata: Mapping[str, Any] | None = None
    idempotency_key: str | None = None


class TokenAccountingService:
    """Changes users' credits; what it refuses it says in the result, and only an outage is raised."""

    def __init__(self, database: Database, journal: Journal, *, costs: OperationCosts | None = None) -> None:
        """Keep the parts.

        Args:
            database: where users are.
            journal: writes the ledger.
            costs: what operations cost.
        """
        self._database = database
        self._journal = journal
        self.costs = costs or OperationCosts()

    async def get_balance(self, user_id: UserId) -> CreditBalance:
        """Return what a user has.

        Raises:
            UserNotFoundError: no such user.
        """
        parsed, now = parse_user_id(user_id), self._database.clock.now()
        hold = credit_holds.c
        # Holds whose time is over count no more, though they are still to be ended.
        held = sa.select(sa.func.coalesce(sa.func.sum(hold.amount), 0)).where(
            hold.account_id == parsed, hold.state == "live", hold.expires_at > now
        )
        columns = (
            users.c.tokens_balance,
            held.scalar_subquery(),
            users.c.tokens_spent,
            users.c.tier,
            lapsed(parsed, now),
        )
        rows = await self._database.fetch(sa.select(*columns).where(users.c.id == parsed))
        if not rows:
            raise UserNotFoundError("User not found", user_id=str(parsed))
        balance, on_hold, spent, tier, past = rows[0]
        return CreditBalance(parsed, balance, int(on_hold), spent, tier, int(past))

    async def get_lots(self, user_id: UserId, *, include_spent: bool = False) -> list[CreditLot]:
        """Return a user's credits by lot, in the order in which they are spent.

        Args:
            user_id: whose credits.
            include_spent: also lots that are empty, or past their expiry and in no hold.

        Raises:
            InvalidInputError: the id is no UUID.
        """
        parsed, now = parse_user_id(user_id), self._database.clock.now()
        return await self._database.read(
            lambda connection: lots_of(connection, parsed, now, include_spent=include_spent)
        )

    async def expire_lots(self) -> int:
        """Take every expired credit off its balance, each once, by an entry of its own.

        Nothing depends on when this is done: what has expired is not spent before it either.

        Returns:
            How many lots expired.

        Raises:
            DatabaseError: what was entered stays so.
        """
        return await expire_due(self._database, self._journal)

    async def can_afford(
        self, user_id: UserId, operation_type: str | None = None, *, amount: int | None = None
    ) -> Affordability:
        """Say whether a balance covers an operation now; the debit itself decides again.

        Args:
            user_id: whose balance.
            operation_type: whose cost is required, unless an amount is given.
            amount: the credits required instead.

        Raises:
            UnknownServiceTypeError: the operation has no cost.
            InvalidInputError: for neither a cost nor an amount.
        """
        required = self._amount(operation_type or "", amount)
        try:
            available = (await self.get_balance(user_id)).tokens_available
        except UserNotFoundError:
            return Affordability(False, required, 0, required, "User not found", "user_not_found")
        deficit = max(0, required - available)
        if deficit == 0:
            return Affordability(True, required, available, 0)
        text = insufficient(required, available)
        return Affordability(False, required, available, deficit, text, "insufficient_tokens")

    async def debit(
        self,
        user_id: UserId,
        operation_type: str,
        amount: int,
        allow_overdraft: bool = False,
        metadata: Mapping[str, Any] | None = None,
        *,
        idempotency_key: str | None = None,
    ) -> OperationResult:
        """Take credits from a user, together with the ledger's entry.

        Args:
            user_id: whose credits.
            operation_type: what for, 1 to 64 characters.
            amount: credits, 1 or more.
            allow_overdraft: let the balance fall below zero.
            metadata: a JSON object of at most 64 KiB, kept with the entry.
            idempotency_key: the same key again returns the first result; a refusal is not remembered.

        Returns:
            The new balance and the entry, or why nothing was taken.

        Raises:
            IdempotencyConflictError: the key was used for another operation.
            InvalidInputError: for an amount that is no whole number, or metadata that is no JSON.
            DatabaseError: when the database failed.
        """
        command = complete(
            Command("debit", parse_user_id(user_id), operation_type, amount, "revenue"),
            metadata,
            idempotency_key,
            allow_overdraft=allow_overdraft,
        )
        return await self._journal.run(command)

    async def credit(
        self,
        user_id: UserId,
        operation_type: str,
        amount: int,
        metadata: Mapping[str, Any] | None = None,
        *,
        expires_at: datetime | None = None,
        expires_in: timedelta | None = None,
        priority: int = DEFAULT_LOT_PRIORITY,
        idempotency_key: str | None = None,
    ) -> OperationResult:
        """Grant credits to a user, together with the ledger's entry.

        Debits spend lots by priority, then by expiry, the soonest first, then by age. What a hold put
        aside, or a refund gives back, belongs to its lots, and expires with them.

        Args:
            user_id: whose credits.
            operation_type: what for, 1 to 64 characters.
            amount: credits, 1 or more.
            metadata: as for `debit`.
            expires_at: when these credits expire; never by default.
            expires_in: or how long after the grant they do, 1 second to 36,500 days.
            priority: 0 to 100; lower ones are spent first.
            idempotency_key: as for `debit`.

        Raises:
            IdempotencyConflictError, InvalidInputError, DatabaseError: as for `debit`.
        """
        command = Command("credit", parse_user_id(user_id), operation_type, amount, "issuance")
        lot = with_lot(command, expires_at, expires_in, priority)
        return await self._journal.run(complete(lot, metadata, idempotency_key))

    async def charge_for_operation(
        self,
        user_id: UserId,
        operation_type: str,
        metadata: Mapping[str, Any] | None = None,
        *,
        idempotency_key: str | None = None,
    ) -> OperationResult:
        """Take what an operation costs; one that costs nothing changes nothing and succeeds.

        Raises:
            UnknownServiceTypeError: the operation has no cost.
            IdempotencyConflictError, InvalidInputError, DatabaseError: as for `debit`.
        """
        results = await self.charge_many([Charge(user_id, operation_type, None, metadata, idempotency_key)])
        if isinstance(results[0], Exception):
            raise results[0]
        return results[0]

    async def charge_many(self, charges: Sequence[Charge]) -> list[OperationResult | Exception]:
        """Make many charges, each decided on its own, in a few commits.

        Args:
            charges: in the order in which they are decided.

        Returns:
            In each place the result, or the error that the one charge raised.

        Raises:
            UnknownServiceTypeError, InvalidInputError: for the first charge that cannot be one; then none
                is made.
        """
        amounts = [self._amount(charge.operation_type, charge.amount) for charge in charges]
        results: list[OperationResult | Exception] = [OperationResult(True, None)] * len(charges)
        commands: dict[int, Command] = {}
        for place, (charge, amount) in enumerate(zip(charges, amounts, strict=True)):
            user_id = parse_user_id(charge.user_id)
            if amount == 0 and charge.amount is None:
                results[place] = await self._free(user_id)
                continue
            command = Command("debit", user_id, charge.operation_type, amount, "revenue")
            commands[place] = complete(command, charge.metadata, charge.idempotency_key)
        decided = await self._journal.run_many(list(commands.values()))
        for place, result in zip(commands, decided, strict=True):
            results[place] = result
        return results

    async def refund(
        self,
        user_id: UserId,
        amount: int,
        original_operation_id: UUID | str,
        reason: str | None = None,
        *,
        idempotency_key: str | None = None,
    ) -> OperationResult:
        """Give back a debit, or a part of it; all refunds of one together never exceed it.

        Args:
            user_id: whose debit it was.
            amount: credits, 1 or more.
            original_operation_id: the debit's `ledger_entry_id`.
            reason: kept with the entry, at most 1,000 characters.
            idempotency_key: as for `debit`.

        Raises:
            IdempotencyConflictError, InvalidInputError, DatabaseError: as for `debit`.
        """
        original = parse_uuid("ledger entry", original_operation_id)
        said: dict[str, Any] = {"original_operation_id": str(original)}
        if reason is not None:
            said["reason"] = optional_text("reason", reason, max_length=MAX_REASON_LENGTH)
        command = Command(
            "refund", parse_user_id(user_id), REFUND_TYPE, amount, "revenue", refund_of=original
        )
        return await self._journal.run(complete(command, said, idempotency_key))

    async def reset_balance(
        self,
        user_id: UserId,
        new_balance: int,
        metadata: Mapping[str, Any] | None = None,
        *,
        idempotency_key: str | None = None,
    ) -> OperationResult:
        """Bring a balance to a number of credits, by an entry over the difference.

        Args:
            user_id: whose balance.
            new_balance: 0 or more.
            metadata: as for `debit`.
            idempotency_key: as for `debit`.

        Raises:
            IdempotencyConflictError, InvalidInputError, DatabaseError: as for `debit`.
        """
        command = Command("reset", parse_user_id(user_id), RESET_TYPE, new_balance, "issuance")
        return await self._journal.run(complete(command, metadata, idempotency_key))

    def _amount(self, operation_type: str, amount: int | None) -> int:
        return self.costs.of(operation_type) if amount is None else check_credits("amount", amount)

    async def _free(self, user_id: UUID) -> OperationResult:
        try:
            return OperationResult(True, (await self.get_balance(user_id)).tokens_balance)
        except UserNotFoundError as error:
            return OperationResult(False, None, error=error.message, code=error.code)
