"""Charges that share a transaction: several owners are charged by it, or none.

A charge joins only when it is its turn, for nobody may wait in a transaction for the charge before. The
attempts of all who share one are committed together before it is sent. Whatever stands in the way of
sharing, a charge that could not share goes alone: fees are saved by it, and nothing rests on it.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from typing import Final
from uuid import uuid4

from solders.instruction import Instruction

from deal_sdk.chain import SignedTransaction
from deal_sdk.chain.transactions import MAX_TRANSACTION_BYTES, unsigned_transaction
from deal_sdk.clock import Clock, wait_within
from deal_sdk.errors import TokenError
from deal_sdk.payments.allowances.charges import ChargeInstructions
from deal_sdk.payments.allowances.company import Company, Passenger
from deal_sdk.payments.attempts import LiveAttempt
from deal_sdk.payments.fees import MAX_BUDGET_BYTES
from deal_sdk.payments.orders import Plan
from deal_sdk.payments.pipeline_seams import CommitTogether
from deal_sdk.payments.retrying import until_done
from deal_sdk.payments.signing import PaymentSigner
from deal_sdk.records import Transaction

logger = logging.getLogger(__name__)

MAX_BOARDING_SECONDS: Final = 1.0
"""A charge that is ready waits so long for the others; one that is late goes alone."""
MAX_COMPANIES: Final = 1_024
"""More than these are being gathered nowhere; the oldest one's late members go alone."""


class SharedCharges:
    """Packs charges that were asked for together into as few transactions as hold them."""

    def __init__(self, *, charges: ChargeInstructions, signer: PaymentSigner, clock: Clock) -> None:
        """Wire the parts; nothing runs yet."""
        self._charges = charges
        self._signer = signer
        self._clock = clock
        self._companies: dict[str, Company] = {}

    def gather(self, members: int) -> Company:
        """Begin a company of charges, whose plans then name it.

        Args:
            members: how many are asked for; each either boards or is reported to stay away.
        """
        company = Company(str(uuid4()), members)
        while len(self._companies) >= MAX_COMPANIES:
            del self._companies[next(iter(self._companies))]
        self._companies[company.id] = company
        return company

    async def first_attempt(
        self, payment: Transaction, plan: Plan, commit: CommitTogether
    ) -> LiveAttempt | None:
        """Return the committed attempt that a charge shares with others, or None when it goes alone.

        Args:
            payment: recorded, and without an attempt.
            plan: a charge that names its company.
            commit: commits the attempts of all who share, or none.
        """
        company = self._companies.get(plan.group_id or "")
        if company is None:
            return None
        step: Instruction | None = None
        try:
            step = await self._charges.charge_now(payment.id, plan, payment.amount)
        except TokenError as error:
            logger.info("charge %s goes alone: %s (%s)", payment.id, error.message, error.code)
        finally:
            if step is None:
                company.stay_away()
                self._forget(company)
        return None if step is None else await self._board(company, Passenger(payment.id, step), commit)

    async def _board(
        self, company: Company, passenger: Passenger, commit: CommitTogether
    ) -> LiveAttempt | None:
        company.board(passenger)
        self._forget(company)
        try:
            while len(packed := self._packed(company.aboard)) > 1:
                await self._depart(company, packed[0], commit)
            await wait_within(self._clock, company.complete, MAX_BOARDING_SECONDS)
            if passenger in company.aboard:
                # The first one to wake takes all the others along.
                await self._depart(company, company.aboard, commit)
            return await passenger.told
        finally:
            company.leave(passenger)

    def _forget(self, company: Company) -> None:
        if company.complete.done():
            self._companies.pop(company.id, None)

    async def _depart(self, company: Company, group: Sequence[Passenger], commit: CommitTogether) -> None:
        """Sign one transaction for a group, commit it for all of them, and tell them; else they go alone."""
        leaving = tuple(group)
        for passenger in leaving:
            company.leave(passenger)
        try:
            if len(leaving) > 1:
                await self._commit(leaving, commit)
        finally:
            for passenger in leaving:
                passenger.tell(None)

    async def _commit(self, group: Sequence[Passenger], commit: CommitTogether) -> None:
        try:
            signed = await self._sign(group)
        except TokenError as error:
            logger.info("%d charges go alone: %s (%s)", len(group), error.message, error.code)
            return
        attempts = [LiveAttempt(passenger.payment_id, 1, signed, is_shared=True) for passenger in group]
        what = f"a transaction of {len(group)} charges"
        if await until_done(self._clock, what, lambda: commit(attempts)):
            for passenger, attempt in zip(group, attempts, strict=True):
                passenger.tell(attempt)

    async def _sign(self, group: Sequence[Passenger]) -> SignedTransaction:
        return await self._signer.sign_instructions([one.step for one in group], group[0].authority)

    def _packed(self, aboard: Sequence[Passenger]) -> list[list[Passenger]]:
        """Cut those aboard into groups that fit a transaction each; the last one may have room.

        The size binds: six charges fill a transaction and take a tenth of the compute units that it may.
        """
        groups: list[list[Passenger]] = []
        for passenger in aboard:
            if groups and self._fits([*groups[-1], passenger]):
                groups[-1].append(passenger)
            else:
                groups.append([passenger])
        return groups

    def _fits(self, group: Sequence[Passenger]) -> bool:
        if len({passenger.authority for passenger in group}) > 1:
            # The merchant was handed over between two of them.
            return False
        steps = [passenger.step for passenger in group]
        unsigned = unsigned_transaction(steps, self._signer.fees.payer)
        return len(unsigned) + MAX_BUDGET_BYTES <= MAX_TRANSACTION_BYTES
