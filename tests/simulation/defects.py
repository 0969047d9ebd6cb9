"""Mistakes that a payment engine is known for, each made on purpose for the length of a block.

The simulation proves itself by finding each of them.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from typing import Any, Final
from unittest import mock
from uuid import UUID

from deal_sdk.chain import Confirmer, Rpc, SignedTransaction, Verdict
from deal_sdk.chain.following import Following
from deal_sdk.chain.replies import EpochPosition, SignatureStatus
from deal_sdk.errors import PaymentPendingError
from deal_sdk.limits import Reservation
from deal_sdk.payments import Admission, PaymentPipeline
from deal_sdk.payments.attempts import LiveAttempt
from deal_sdk.payments.intent_rows import Intent
from deal_sdk.payments.orders import Plan
from deal_sdk.payments.places import Place
from deal_sdk.records import Transaction


@contextmanager
def send_before_commit() -> Iterator[None]:
    """Let an attempt leave before its signature is in the database."""
    submit = PaymentPipeline.submit

    async def submit_late(self: PaymentPipeline, intent: Intent, place: Place) -> Transaction:
        if intent.signed is not None:
            self._follower.follow(intent.signed)
        return await submit(self, intent, place)

    async def make_attempt(
        self: PaymentPipeline, payment: Transaction, plan: Plan, number: int
    ) -> LiveAttempt | None:
        async def sign() -> SignedTransaction:
            return await self._signer.sign(payment.id, plan, payment.amount)

        attempt = LiveAttempt(payment.id, number, await self._until_done(payment.id, sign))
        self._follower.follow(attempt.transaction)
        is_ours = await self._until_done(payment.id, lambda: self._attempts.add(attempt))
        return attempt if is_ours else None

    with (
        mock.patch.object(PaymentPipeline, "submit", submit_late),
        mock.patch.object(PaymentPipeline, "_make_attempt", make_attempt),
    ):
        yield


@contextmanager
def no_error_check() -> Iterator[None]:
    """Take a transaction that landed for one that succeeded."""
    observe = Following.observe

    def observe_commitment(self: Following, status: SignatureStatus, evidence: dict[str, Any]) -> None:
        observe(self, replace(status, error=None), evidence)

    with mock.patch.object(Following, "observe", observe_commitment):
        yield


@contextmanager
def expiry_without_finalized_height() -> Iterator[None]:
    """Call a transaction dead by the newest height, whatever is final and whoever answers."""
    get_block_height = Rpc.get_block_height

    async def newest(self: Rpc, commitment: str = "finalized") -> EpochPosition:
        return EpochPosition(0, await get_block_height(self, "processed"))

    with mock.patch.object(Rpc, "get_epoch_position", newest):
        yield


@contextmanager
def new_attempt_on_unknown() -> Iterator[None]:
    """Sign anew as soon as a send was not answered."""
    follow = Confirmer.follow

    class Impatient:
        def __init__(self, following: Following) -> None:
            self._following = following

        async def reached(self, level: Any) -> Verdict:
            seen = asyncio.ensure_future(self._following.reached(level))
            try:
                while not seen.done():
                    report = self._following.last_report
                    if report is not None and report.error is not None and report.error.retryable:
                        evidence = {"finalized_height": 1, "last_valid_block_height": 0}
                        return Verdict("expired", True, None, None, evidence)
                    await asyncio.wait(
                        [seen, asyncio.ensure_future(sleep(0.1))], return_when="FIRST_COMPLETED"
                    )
                return seen.result()
            finally:
                seen.cancel()

    async def sleep(seconds: float) -> None:
        loop: Any = asyncio.get_running_loop()
        await loop.clock.sleep(seconds)

    def follow_impatiently(self: Confirmer, transaction: SignedTransaction) -> Any:
        return Impatient(follow(self, transaction))

    with mock.patch.object(Confirmer, "follow", follow_impatiently):
        yield


@contextmanager
def early_release_of_a_limit() -> Iterator[None]:
    """Give a purchase back to a caller whose wait ran out, as if nothing had happened."""
    pay = Admission.pay

    async def pay_and_release(
        self: Admission,
        payment_type: str,
        inputs: Mapping[str, Any],
        options: Any,
        draft: Callable[[], Awaitable[Any]],
    ) -> Transaction:
        try:
            return await pay(self, payment_type, inputs, options, draft)
        except PaymentPendingError as error:
            payer = inputs.get("from")
            if isinstance(payer, UUID):
                await self._gate.cancel(Reservation(str(error.facts["payment_id"]), str(payer)))
            raise

    with mock.patch.object(Admission, "pay", pay_and_release):
        yield


@contextmanager
def early_signing_of_transfers() -> Iterator[None]:
    """Sign any payment again before its last transaction is proven dead, as only a sequence allows."""
    with mock.patch.object(Plan, "is_sequenced", property(lambda plan: plan.signed_by == "backend")):
        yield


DEFECTS: Final = (
    send_before_commit,
    no_error_check,
    expiry_without_finalized_height,
    new_attempt_on_unknown,
    early_release_of_a_limit,
    early_signing_of_transfers,
)
