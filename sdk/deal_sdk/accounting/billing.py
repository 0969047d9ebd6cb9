"""Billing of operations: a rate limit, credits put aside, the operation, then the charge or nothing.

Owns the order of the steps. A charge is made only for an operation that came to its end; one that raised
or was cancelled gives its credits back, and what a crash leaves behind gives them back by its timeout.
"""

from __future__ import annotations

import functools
import logging
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any, Concatenate, Final, ParamSpec, Protocol, TypeVar
from uuid import UUID, uuid4

import sqlalchemy as sa

from deal_sdk.accounting.auditing import Audit, AuditCallback
from deal_sdk.accounting.book import WHOLE_HOLD
from deal_sdk.accounting.commands import Command, OperationResult, check_credits, complete
from deal_sdk.accounting.credits import Affordability, TokenAccountingService
from deal_sdk.accounting.journal import Journal
from deal_sdk.errors import (
    DatabaseError,
    InsufficientTokensError,
    InvalidInputError,
    Outcome,
    RateLimitExceededError,
    UserNotFoundError,
)
from deal_sdk.limits import RateDecision
from deal_sdk.records import Database, UserId, parse_user_id
from deal_sdk.records.credit_tables import credit_holds
from deal_sdk.records.inputs import parse_uuid

logger = logging.getLogger(__name__)

DEFAULT_HOLD_SECONDS: Final = 600
MAX_HOLD_SECONDS: Final = 31 * 86_400
PURCHASE_TYPE: Final = "purchase"

Arguments = ParamSpec("Arguments")
Returned = TypeVar("Returned")


class RateCheck(Protocol):
    """What billing asks of the rate limiter."""

    async def check_limit(self, user_id: UUID, tier: str, operation: str) -> RateDecision:
        """Count a request if its limits allow it."""
        ...


class BalanceView(Protocol):
    """Where a balance is read for display, from a cache of a minute."""

    async def credit_balance(self, user_id: UserId) -> int:
        """Return a user's credits."""
        ...


@dataclass(slots=True)
class BilledOperation:
    """An operation under way, whose credits are on hold."""

    user_id: UUID
    operation_type: str
    held: int
    hold_id: UUID | None
    """None for an operation that costs nothing."""
    replayed: bool
    """Whether its idempotency key was used before; it is charged once all the same."""
    amount: int | None = None
    """What is charged in the end, at most what is held; all of it where the operation does not say."""
    result: OperationResult | None = None
    """The charge, once the operation has come to its end."""


class TokenBilling:
    """Charges users for operations, exactly once, and only for those that came to their end."""

    def __init__(
        self,
        database: Database,
        journal: Journal,
        credits: TokenAccountingService,
        *,
        rates: RateCheck,
        balances: BalanceView,
        hold_seconds: int = DEFAULT_HOLD_SECONDS,
    ) -> None:
        """Keep the parts; nothing is asked yet.

        Args:
            database: where holds are.
            journal: writes the ledger.
            credits: knows costs and balances.
            rates: must pass before an operation begins, apart from its credits.
            balances: for display.
            hold_seconds: how long credits stay put aside when nobody ends the hold.
        """
        self._database = database
        self._journal = journal
        self._credits = credits
        self._rates = rates
        self._balances = balances
        self._hold_seconds = _check_hold_seconds(hold_seconds)

    def audit(self, callback: AuditCallback) -> None:
        """Tell a callback of every credit operation of this process from now on, refused ones included.

        It is awaited after the commit and before the callers return, so it should be quick.
        """
        self._journal.observe(Audit(callback))

    async def get_balance(self, user_id: UserId) -> int:
        """Return a user's credits for display, at most a minute old where this process changed nothing.

        Raises:
            UserNotFoundError: no such user.
        """
        return await self._balances.credit_balance(user_id)

    async def can_afford_operation(self, user_id: UserId, operation_type: str) -> Affordability:
        """Say whether a user's credits cover an operation; see `TokenAccountingService.can_afford`."""
        return await self._credits.can_afford(user_id, operation_type)

    async def deduct_tokens(
        self,
        user_id: UserId,
        operation_type: str,
        amount: int | None = None,
        metadata: Mapping[str, Any] | None = None,
        *,
        idempotency_key: str | None = None,
    ) -> OperationResult:
        """Take an operation's cost at once, or an amount of its own; see `TokenAccountingService.debit`."""
        if amount is None:
            return await self._credits.charge_for_operation(
                user_id, operation_type, metadata, idempotency_key=idempotency_key
            )
        return await self._credits.debit(
            user_id, operation_type, amount, metadata=metadata, idempotency_key=idempotency_key
        )

    async def add_tokens(
        self,
        user_id: UserId,
        amount: int,
        operation_type: str = PURCHASE_TYPE,
        metadata: Mapping[str, Any] | None = None,
        *,
        idempotency_key: str | None = None,
    ) -> OperationResult:
        """Grant credits; see `TokenAccountingService.credit`."""
        return await self._credits.credit(
            user_id, operation_type, amount, metadata, idempotency_key=idempotency_key
        )

    async def hold(
        self,
        user_id: UserId,
        operation_type: str,
        amount: int | None = None,
        metadata: Mapping[str, Any] | None = None,
        *,
        hold_seconds: int | None = None,
        idempotency_key: str | None = None,
    ) -> OperationResult:
        """Put credits aside, so that nothing else can spend them meanwhile.

        Args:
            user_id: whose credits.
            operation_type: what for.
            amount: credits, 1 or more; the operation's cost by default.
            metadata: kept with the hold, and with its entry once it is posted.
            hold_seconds: after which the credits are free again, 1 second to 31 days.
            idempotency_key: the same key again returns the same hold.

        Returns:
            With `hold_id`, or why nothing was put aside.

        Raises:
            UnknownServiceTypeError: the operation has no cost.
            IdempotencyConflictError: the key was used for something else.
        """
        wanted = self._credits.costs.of(operation_type) if amount is None else amount
        command = Command(
            "hold",
            parse_user_id(user_id),
            operation_type,
            wanted,
            "revenue",
            hold_id=uuid4(),
            lifetime_seconds=_check_hold_seconds(hold_seconds or self._hold_seconds),
        )
        return await self._journal.run(complete(command, metadata, idempotency_key))

    async def post(self, hold_id: UUID | str, amount: int | None = None) -> OperationResult:
        """Take what was put aside, or a part of it; the rest is free again.

        Posting the same again returns the first result.

        Args:
            hold_id: from `hold`.
            amount: credits, at most those on hold; all of them by default.

        Returns:
            With the entry; a refusal when the hold was ended otherwise, or its time was over.
        """
        if amount is not None and check_credits("amount", amount) <= 0:
            raise InvalidInputError("a hold is posted as 1 credit or more; void it instead", field="amount")
        return await self._end("post", hold_id, WHOLE_HOLD if amount is None else amount)

    async def void(self, hold_id: UUID | str) -> OperationResult:
        """Give back what was put aside; one that ended without a charge already is given back."""
        return await self._end("void", hold_id, WHOLE_HOLD)

    @asynccontextmanager
    async def operation(
        self,
        user_id: UserId,
        operation_type: str,
        *,
        amount: int | None = None,
        metadata: Mapping[str, Any] | None = None,
        hold_seconds: int | None = None,
        idempotency_key: str | None = None,
    ) -> AsyncIterator[BilledOperation]:
        """Run the block as an operation that is charged if it comes to its end, and free if it raises.

        Args:
            user_id: who asks for it; the tier says how often that may be.
            operation_type: counted apart from other operations, and priced.
            amount: the most credits that it may cost; its cost by default.
            metadata: kept with the entry.
            hold_seconds: longer than the operation takes.
            idempotency_key: one operation's; used again, it is charged once.

        Yields:
            The operation; set its `amount` to charge less than what is held.

        Raises:
            RateLimitExceededError: too many requests; nothing was put aside.
            InsufficientTokensError: too few credits; nothing was put aside. After an operation that
                outlasted its hold it says that the credits were spent on something else meanwhile.
            UserNotFoundError: no such user.
            DatabaseError: after the operation it is open whether it was charged; `post` with the error's
                `hold_id` finds out.
        """
        parsed = parse_user_id(user_id)
        await self._pass_rate_limit(parsed, operation_type)
        running = await self._begin(parsed, operation_type, amount, metadata, hold_seconds, idempotency_key)
        try:
            yield running
        except BaseException:
            await self._give_back(running)
            raise
        running.result = await self._charge(running, metadata)

    def billed(
        self, operation_type: str, *, amount: int | None = None, hold_seconds: int | None = None
    ) -> Callable[
        [Callable[Concatenate[UserId, Arguments], Awaitable[Returned]]],
        Callable[Concatenate[UserId, Arguments], Awaitable[Returned]],
    ]:
        """Decorate a coroutine function whose first argument is the user, so that each call is an operation.

        Args:
            operation_type: as for `operation`.
            amount: as for `operation`.
            hold_seconds: as for `operation`.
        """

        def decorate(
            function: Callable[Concatenate[UserId, Arguments], Awaitable[Returned]],
        ) -> Callable[Concatenate[UserId, Arguments], Awaitable[Returned]]:
            @functools.wraps(function)
            async def charged(
                user_id: UserId, /, *args: Arguments.args, **kwargs: Arguments.kwargs
            ) -> Returned:
                async with self.operation(user_id, operation_type, amount=amount, hold_seconds=hold_seconds):
                    return await function(user_id, *args, **kwargs)

            return charged

        return decorate

    async def _pass_rate_limit(self, user_id: UUID, operation_type: str) -> None:
        tier = (await self._credits.get_balance(user_id)).tier
        decision = await self._rates.check_limit(user_id, tier, operation_type)
        if not decision.allowed:
            raise RateLimitExceededError(
                f"too many requests; retry after {decision.retry_after:.3f} s",
                limits=(decision.denied_by or operation_type,),
                retry_after_seconds=decision.retry_after,
            )

    async def _begin(
        self,
        user_id: UUID,
        operation_type: str,
        amount: int | None,
        metadata: Mapping[str, Any] | None,
        hold_seconds: int | None,
        idempotency_key: str | None,
    ) -> BilledOperation:
        wanted = self._credits.costs.of(operation_type) if amount is None else amount
        if wanted == 0:
            return BilledOperation(user_id, operation_type, 0, None, replayed=False)
        held = await self.hold(
            user_id,
            operation_type,
            wanted,
            metadata,
            hold_seconds=hold_seconds,
            idempotency_key=idempotency_key,
        )
        if held.hold_id is None:
            await self._refuse(held, user_id, operation_type, wanted)
        return BilledOperation(user_id, operation_type, wanted, held.hold_id, replayed=held.replayed)

    async def _refuse(
        self, result: OperationResult, user_id: UUID, operation_type: str, required: int
    ) -> None:
        if result.code == "user_not_found":
            raise UserNotFoundError("User not found", user_id=str(user_id))
        if result.code != InsufficientTokensError.code:
            raise InvalidInputError(result.error or "the hold was refused", field="amount")
        found = await self._credits.can_afford(user_id, amount=required)
        raise InsufficientTokensError(
            result.error or "", required=required, available=found.available, operation=operation_type
        )

    async def _give_back(self, running: BilledOperation) -> None:
        if running.hold_id is None:
            return
        try:
            await self.void(running.hold_id)
        except DatabaseError as error:
            # Nothing is lost: the hold ends by itself.
            logger.warning("the hold %s stays until its time is over: %s", running.hold_id, error.message)

    async def _charge(
        self, running: BilledOperation, metadata: Mapping[str, Any] | None
    ) -> OperationResult | None:
        if running.hold_id is None:
            return None
        try:
            posted = await self.post(running.hold_id, running.amount)
            if posted.code != "hold_not_live":
                return posted
            return await self._charge_late(running, metadata)
        except DatabaseError as error:
            raise error.told(outcome=Outcome.UNKNOWN, hold_id=str(running.hold_id)) from error

    async def _charge_late(
        self, running: BilledOperation, metadata: Mapping[str, Any] | None
    ) -> OperationResult:
        """Charge for an operation whose hold ended before it, once: the hold's id is the key."""
        amount = running.held if running.amount is None else running.amount
        late = await self._credits.debit(
            running.user_id,
            running.operation_type,
            amount,
            metadata=metadata,
            idempotency_key=f"hold:{running.hold_id}",
        )
        if not late.success:
            raise InsufficientTokensError(
                f"the operation outlasted its hold, and its credits were spent meanwhile: {late.error}",
                required=amount,
                available=late.new_balance or 0,
                operation=running.operation_type,
            )
        return late

    async def _end(self, kind: Any, hold_id: UUID | str, amount: int) -> OperationResult:
        parsed = parse_uuid("hold", hold_id)
        hold = credit_holds.c
        rows = await self._database.fetch(
            sa.select(hold.account_id, hold.operation_type).where(hold.id == parsed)
        )
        if not rows:
            return OperationResult(False, None, error="Hold not found", code="hold_not_found")
        owner, operation_type = rows[0]
        command = Command(kind, owner, operation_type, amount, "revenue", hold_id=parsed)
        return await self._journal.run(command)


def _check_hold_seconds(seconds: int) -> int:
    if isinstance(seconds, bool) or not isinstance(seconds, int) or not 1 <= seconds <= MAX_HOLD_SECONDS:
        raise InvalidInputError(f"hold_seconds must be 1 to {MAX_HOLD_SECONDS}", field="hold_seconds")
    return seconds
