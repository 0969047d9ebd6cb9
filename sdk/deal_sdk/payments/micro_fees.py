"""Micro-fees: accrued one by one, settled together in one payment per user and period or threshold."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import timedelta
from typing import Any, Final
from uuid import UUID, uuid4

from deal_sdk.amounts import DEAL_DECIMALS, BaseUnits
from deal_sdk.clock import Clock
from deal_sdk.errors import Outcome, TokenError
from deal_sdk.payments.accruals import MAX_TOTALS_PER_QUERY, AccrualStore, AccruedFee, AccruedTotal, DueFees
from deal_sdk.payments.admission import Draft, PaymentOptions
from deal_sdk.payments.delegated import DelegatedPayments, signature_required_without_approval
from deal_sdk.payments.orders import FeeClaim, Order
from deal_sdk.payments.own_wallet import ServicePrices
from deal_sdk.payments.parties import TREASURY
from deal_sdk.payments.rails import SafetyRails
from deal_sdk.records import Transaction, parse_user_id
from deal_sdk.records.fingerprint import fingerprint_of
from deal_sdk.records.inputs import check_idempotency_key
from deal_sdk.settings import WaitFor

logger = logging.getLogger(__name__)

MAX_SETTLEMENTS_AT_ONCE: Final = 64
SETTLEMENT_PAUSE: Final = timedelta(seconds=60)
"""After a settlement an account's fees wait so long, whatever became of it: a failure costs SOL each time."""


@dataclass(frozen=True, slots=True)
class SettlementBounds:
    """When fees are due, from the settings."""

    amount_base_units: int
    period_seconds: int


@dataclass(frozen=True, slots=True)
class UnsettledFees:
    """Fees that stay owed, or whose settlement has no proven end yet, with the reason."""

    total: AccruedTotal
    error: TokenError

    def to_dict(self, *, decimals: int = DEAL_DECIMALS) -> dict[str, Any]:
        """Return both as JSON-serialisable data, the amount as text in whole tokens."""
        return {**self.total.to_dict(decimals=decimals), "error": self.error.to_dict()}


@dataclass(frozen=True, slots=True)
class SettlementReport:
    """What became of each user's fees."""

    payments: tuple[Transaction, ...]
    unsettled: tuple[UnsettledFees, ...]

    def to_dict(self, *, decimals: int = DEAL_DECIMALS) -> dict[str, Any]:
        """Return the report as JSON-serialisable data, amounts as text in whole tokens."""
        return {
            "payments": [payment.to_dict(decimals=decimals) for payment in self.payments],
            "unsettled": [fees.to_dict(decimals=decimals) for fees in self.unsettled],
        }


@dataclass(slots=True)
class MicroFees:
    """What fees accrue in, and how far the settlements of those that are due have come."""

    accruals: AccrualStore
    rails: SafetyRails
    clock: Clock
    bounds: SettlementBounds
    settled_through: str = ""


class MicroFeePayments(DelegatedPayments):
    """The part of `TokenService` that lets fees accrue and settles many in one payment."""

    _micro_fees: MicroFees
    _prices: ServicePrices

    async def accrue_service_fee(
        self,
        user_id: UUID | str,
        service_type: str,
        *,
        wallet: str | None = None,
        idempotency_key: str | None = None,
    ) -> AccruedFee:
        """Charge a user what a service costs now, to be settled later with other fees in one payment.

        The fee is held against the user's balance at once. The rate limit binds here, as one for
        `deduct_service_fee` would; the settlement is bound by the operator's safety rails alone.

        Args:
            user_id: the user's UUID.
            service_type: "search", "goal", "analysis", "notification" or one with a stored price.
            wallet: which of the user's wallets pays.
            idempotency_key: the same key again returns the same fee, also after a change of price. Keys
                of fees are apart from those of payments.

        Returns:
            The fee, with the settlement's payment once there is one.

        Raises:
            UnknownServiceTypeError: for a service without a price.
            InsufficientBalanceError, DelegationError: when balance or approval, less what is reserved and
                owed already, do not cover it; nothing was recorded.
            AllowanceError: when the wallet's allowance would not let it be charged; nothing was recorded.
            SignatureRequiredError, LimitExceededError, SafetyRailError, PaymentsPausedError: nothing was
                recorded.
        """
        key = check_idempotency_key(idempotency_key)
        fingerprint = fingerprint_of(
            type="accrual", user=str(user_id), service_type=service_type, wallet=wallet
        )
        known = await self._micro_fees.accruals.find_by_key(key, fingerprint) if key is not None else None
        if known is not None:
            return known
        try:
            fee = await self._prices.get_service_fee(service_type)
            sender = await self._parties.resolve(parse_user_id(user_id), wallet=wallet)
            treasury = await self._parties.resolve(TREASURY)
            with signature_required_without_approval():
                plan = await self._fee_plan(sender, treasury, fee)
        except TokenError as error:
            raise error.told(outcome=Outcome.NOT_SENT) from error
        order = Order(
            payment_id=uuid4(),
            type="service_fee",
            amount=fee,
            plan=plan,
            sender=sender,
            recipient=treasury,
            reason=service_type,
            idempotency_key=key,
            fingerprint=fingerprint,
            created_at=self._micro_fees.clock.now(),
        )
        with signature_required_without_approval():
            return await self._admission.accrue(order, self._micro_fees.accruals)

    async def accrued_service_fees(self, user_id: UUID | str | None = None) -> list[AccruedTotal]:
        """Return what is owed in accrued fees, by user and wallet, the oldest first, at most 1,000.

        Args:
            user_id: only what this user owes.
        """
        return await self._micro_fees.accruals.totals(
            user_id=None if user_id is None else parse_user_id(user_id)
        )

    async def settle_service_fees(
        self,
        user_id: UUID | str | None = None,
        *,
        only_due: bool = False,
        wait_for: WaitFor = "confirmed",
    ) -> SettlementReport:
        """Settle accrued fees, one payment for each user and wallet; safe to call from many places at once.

        Every fee is paid by one settlement. Those of a settlement that provably failed are owed again and
        go into the next one. A wallet's allowance pays as many of the oldest fees as one charge may take.

        Args:
            user_id: only this user's fees; everybody's otherwise, at most 1,000 wallets a call.
            only_due: leave those for later that are neither enough nor old enough by the settings.
            wait_for: "recorded", "confirmed" or "finalized".

        Returns:
            The payments, and the fees that stay owed with the reason. A `PaymentPendingError` among the
            reasons means that their settlement goes on.

        Raises:
            DatabaseError: when it cannot be read what is owed.
        """
        totals = await self._micro_fees.accruals.totals(
            user_id=None if user_id is None else parse_user_id(user_id),
            due=self._due() if only_due else None,
        )
        if only_due:
            has_more = len(totals) == MAX_TOTALS_PER_QUERY
            self._micro_fees.settled_through = totals[-1].token_account if has_more else ""
        places = asyncio.Semaphore(MAX_SETTLEMENTS_AT_ONCE)

        async def settle(total: AccruedTotal) -> Transaction | UnsettledFees | None:
            async with places:
                return await self._settle(total, wait_for)

        results = await asyncio.gather(*map(settle, totals))
        return SettlementReport(
            tuple(result for result in results if isinstance(result, Transaction)),
            tuple(result for result in results if isinstance(result, UnsettledFees)),
        )

    async def _settle(self, total: AccruedTotal, wait_for: WaitFor) -> Transaction | UnsettledFees | None:
        try:
            cap = await self._settlement_cap(total)
            found = await self._micro_fees.accruals.next_claim(total, cap_base_units=cap)
            return None if found is None else await self._pay_claim(total, *found, wait_for)
        except TokenError as error:
            return UnsettledFees(total, error)

    async def _pay_claim(
        self, total: AccruedTotal, claim: FeeClaim, amount: int, wait_for: WaitFor
    ) -> Transaction:
        async def draft() -> Draft:
            # The wallet may have been disconnected since, or be another user's by now; the fee is not.
            party = await self._parties.resolve(total.owner_address)
            sender = replace(party, user_id=total.user_id)
            treasury = await self._parties.resolve(TREASURY)
            plan = await self._fee_plan(sender, treasury, BaseUnits(amount))
            return Draft(BaseUnits(amount), plan, sender, treasury, debits=True, claim=claim)

        inputs = {"token_account": total.token_account, "through": claim.through_id}
        options = PaymentOptions(f"{claim.fees} service fees", None, wait_for)
        with signature_required_without_approval():
            return await self._admission.pay("service_fee", inputs, options, draft)

    async def _settlement_cap(self, total: AccruedTotal) -> int | None:
        owner = await self._parties.resolve(total.owner_address)
        caps = self._micro_fees.rails.max_payment_base_units, await self._fee_cap(owner)
        return min((cap for cap in caps if cap is not None), default=None)

    def _due(self) -> DueFees:
        now, bounds = self._micro_fees.clock.now(), self._micro_fees.bounds
        return DueFees(
            amount_base_units=bounds.amount_base_units,
            accrued_before=now - timedelta(seconds=bounds.period_seconds),
            unsettled_since=now - SETTLEMENT_PAUSE,
            after_account=self._micro_fees.settled_through,
        )


class SettlementJob:
    """Settles the fees that are due, whenever it is run."""

    name: Final = "settle_service_fees"

    def __init__(self, payments: MicroFeePayments, *, interval_seconds: float) -> None:
        """Settle through a service, at intervals that others keep."""
        self._payments = payments
        self.interval_seconds = interval_seconds

    async def run_once(self) -> None:
        """Record the settlements that are due; they go on by themselves."""
        report = await self._payments.settle_service_fees(only_due=True, wait_for="recorded")
        _log(report.unsettled)


def _log(unsettled: Sequence[UnsettledFees]) -> None:
    for fees in unsettled:
        total, error = fees.total, fees.error
        logger.warning("fees of %s stay owed: %s (%s)", total.owner_address, error.message, error.code)
