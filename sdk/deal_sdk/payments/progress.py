"""What is known here of a payment that is being driven, and who waits for it.

Owns the two moments that callers wait for. Never reads the record: a driver tells what it committed.
"""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from typing import Any, TypeVar

from deal_sdk.payments.proven_failures import error_of
from deal_sdk.records import Transaction
from deal_sdk.settings import WaitFor

T = TypeVar("T")


class Progress:
    """What waiters of one payment look at."""

    def __init__(self, payment: Transaction) -> None:
        """Begin with the payment as recorded."""
        loop = asyncio.get_running_loop()
        self.payment = payment
        self.confirmed: asyncio.Future[None] = loop.create_future()
        self.finalized: asyncio.Future[None] = loop.create_future()
        if payment.status == "confirmed":
            self.confirmed.set_result(None)

    def advance(self, payment: Transaction) -> None:
        """Take in the payment as just committed, and wake those whose moment it is."""
        self.payment = payment
        if payment.status == "pending" and self.confirmed.done():
            # A fork took it back: whoever waits from now on waits for the next attempt.
            self.confirmed = self.confirmed.get_loop().create_future()
        if payment.status != "pending" and not self.confirmed.done():
            self.confirmed.set_result(None)
        if payment.status not in ("pending", "confirmed") and not self.finalized.done():
            self.finalized.set_result(None)

    def release(self) -> None:
        """Wake the waiters without a verdict; they look at the record instead."""
        for future in (self.confirmed, self.finalized):
            if not future.done():
                future.set_result(None)


def has_reached(payment: Transaction, wait_for: WaitFor) -> bool:
    """Return whether a payment is where its caller wants it.

    Raises:
        TransactionFailedError, TransactionExpiredError: when it provably never gets there.
    """
    error = error_of(payment)
    if error is not None:
        raise error
    return payment.status == "finalized" or payment.status == wait_for


async def tell_outcome(work: Coroutine[Any, Any, T], told: asyncio.Future[T]) -> None:
    """Let a future end as a coroutine does, unless whoever waited for it is gone."""
    try:
        result = await work
    except Exception as error:
        if not told.done():
            told.set_exception(error)
            # It is marked as seen: a caller who is cancelled at this very moment never looks.
            told.exception()
    except BaseException:
        told.cancel()
        raise
    else:
        if not told.done():
            told.set_result(result)
