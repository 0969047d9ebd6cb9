"""Drives every payment from its recorded intent to a proven end, whoever still waits for it.

A payment has one driver task, owned here. Callers only wait for it: one that gives up, is cancelled or
times out changes nothing. What the database cannot take now is offered again until it can.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Coroutine, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, Protocol, TypeVar
from uuid import UUID

from deal_sdk.chain import SignedTransaction, Verdict
from deal_sdk.clock import Clock
from deal_sdk.errors import (
    DatabaseError,
    PaymentPendingError,
    TokenError,
    TransactionExpiredError,
    TransactionFailedError,
)
from deal_sdk.events import EventBus
from deal_sdk.metrics import Metrics
from deal_sdk.payments.attempts import AttemptEnd, AttemptStore, Change, LiveAttempt, advanced
from deal_sdk.payments.intents import Intent, IntentStore
from deal_sdk.payments.orders import Plan
from deal_sdk.records import Transaction
from deal_sdk.settings import WaitFor

logger = logging.getLogger(__name__)

T = TypeVar("T")

FIRST_RETRY_SECONDS: Final = 0.1
MAX_RETRY_SECONDS: Final = 30.0
RECORDED_POLL_SECONDS: Final = 0.5

PaymentObserver = Callable[[Transaction], Awaitable[None]]
"""Called after a change of a payment's status was committed; what it raises is logged."""


class Following(Protocol):
    """A signed transaction on its way to an end."""

    async def reached(self, commitment: Any) -> Verdict:
        """Return the verdict at a commitment, or the end when that comes first."""
        ...


class TransactionFollower(Protocol):
    """Sends a signed transaction, rebroadcasts the same bytes, and proves what became of it."""

    def follow(self, transaction: SignedTransaction) -> Following:
        """Take over a transaction whose bytes are committed."""
        ...


class PlanSigner(Protocol):
    """Turns a plan into signed bytes."""

    async def sign(self, payment_id: UUID, plan: Plan, amount_base_units: int) -> SignedTransaction:
        """Build and sign the plan with a fresh blockhash."""
        ...


@dataclass(frozen=True, slots=True)
class PipelineBounds:
    """The pipeline's bounds, from the settings."""

    max_attempts: int
    max_in_flight: int


class _Progress:
    """What waiters of one payment look at."""

    def __init__(self, payment: Transaction) -> None:
        loop = asyncio.get_running_loop()
        self.payment = payment
        self.confirmed: asyncio.Future[None] = loop.create_future()
        self.finalized: asyncio.Future[None] = loop.create_future()
        if payment.status == "confirmed":
            self.confirmed.set_result(None)

    def advance(self, payment: Transaction) -> None:
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


class PaymentPipeline:
    """Records, signs, sends and settles payments, each by a driver of its own."""

    def __init__(
        self,
        *,
        intents: IntentStore,
        attempts: AttemptStore,
        signer: PlanSigner,
        follower: TransactionFollower,
        clock: Clock,
        events: EventBus,
        metrics: Metrics,
        bounds: PipelineBounds,
        observers: Sequence[PaymentObserver] = (),
    ) -> None:
        """Wire the parts; nothing runs before the first `submit` or `resume`."""
        self._intents = intents
        self._attempts = attempts
        self._signer = signer
        self._follower = follower
        self._clock = clock
        self._events = events
        self._metrics = metrics
        self._max_attempts = bounds.max_attempts
        self._observers = observers
        self._places = asyncio.Semaphore(bounds.max_in_flight)
        self._progress: dict[UUID, _Progress] = {}
        self._tasks: set[asyncio.Task[Any]] = set()

    async def undisturbed(self, work: Coroutine[Any, Any, T]) -> T:
        """Run admission to its end even when the caller is cancelled, so that nothing is left half done."""
        return await asyncio.shield(self._own(work))

    async def submit(self, intent: Intent) -> Transaction:
        """Record an intent and start driving it; waits while too many payments are in flight.

        Returns:
            The payment as recorded, or the earlier one that its idempotency key stands for.

        Raises:
            InsufficientBalanceError, IdempotencyConflictError, DatabaseError: as `IntentStore.create`.
        """
        await self._places.acquire()
        try:
            recorded = await self._intents.create(intent)
        except BaseException:
            self._places.release()
            raise
        if not recorded.is_new:
            self._places.release()
            return recorded.payment
        self._publish(recorded.payment, "payment.recorded")
        progress = self._start(recorded.payment, intent.order.plan, None, 0)
        progress.confirmed.add_done_callback(lambda _: self._places.release())
        return recorded.payment

    async def wait(self, payment: Transaction, wait_for: WaitFor, *, timeout_seconds: float) -> Transaction:
        """Return the payment once it reached a status.

        Args:
            payment: as `submit` returned it.
            wait_for: "recorded" returns at once; "confirmed" and "finalized" wait.
            timeout_seconds: how long to wait.

        Raises:
            PaymentPendingError: when the time runs out first; the payment goes on.
            TransactionFailedError, TransactionExpiredError: when it provably did not happen.
        """
        if wait_for == "recorded":
            return payment
        deadline = self._clock.monotonic() + timeout_seconds
        while not _has_reached(payment, wait_for):
            left_seconds = deadline - self._clock.monotonic()
            if left_seconds <= 0:
                raise PaymentPendingError(str(payment.id), signature=payment.signature)
            payment = await self._next_look(payment, wait_for, left_seconds)
        return payment

    async def resume(self) -> int:
        """Carry on every payment that is not final, after a restart or for another worker that died.

        Returns:
            How many were taken up.
        """
        taken = 0
        # One that ends here while the list is read must not be driven again from what the list says.
        driven = set(self._progress)
        for found in await self._attempts.open_payments():
            if found.payment.id in driven or found.payment.id in self._progress or not found.plan:
                continue
            self._start(found.payment, Plan.from_json(found.plan), found.attempt, found.attempts_made)
            taken += 1
        return taken

    async def settled(self, *, timeout_seconds: float) -> bool:
        """Return whether every payment driven here became final within a time."""
        futures = [progress.finalized for progress in self._progress.values()]
        return await wait_within(self._clock, asyncio.gather(*futures), timeout_seconds) if futures else True

    async def close(self) -> None:
        """Stop driving; what is not final stays recorded and is taken up by the next `resume`."""
        for task in tuple(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await self._intents.close()
        await self._attempts.close()

    def _own(self, work: Coroutine[Any, Any, T]) -> asyncio.Task[T]:
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task

    def _start(
        self, payment: Transaction, plan: Plan, attempt: LiveAttempt | None, attempts_made: int
    ) -> _Progress:
        known = self._progress.get(payment.id)
        if known is not None:
            # A resume saw the intent in the database before its submitter came back from the commit.
            return known
        progress = _Progress(payment)
        self._progress[payment.id] = progress
        self._metrics.payments_in_flight.inc()
        self._own(self._drive(progress, plan, attempt, attempts_made))
        return progress

    async def _drive(
        self, progress: _Progress, plan: Plan, attempt: LiveAttempt | None, attempts_made: int
    ) -> None:
        started_seconds = self._clock.monotonic()
        try:
            while progress.payment.status in ("pending", "confirmed"):
                if attempt is None:
                    attempt = await self._make_attempt(progress.payment, plan, attempts_made + 1)
                if attempt is None:
                    return
                attempts_made = attempt.number
                verdict = await self._follow(progress, plan, attempt, started_seconds)
                await self._end_attempt(progress, plan, attempt, verdict)
                attempt = None
        except asyncio.CancelledError:
            raise
        except Exception:
            # A defect must not look like an end: the payment stays pending and is resumed later.
            logger.exception("driving payment %s stopped", progress.payment.id)
        finally:
            self._metrics.payments_in_flight.dec()
            self._progress.pop(progress.payment.id, None)
            progress.release()

    async def _make_attempt(self, payment: Transaction, plan: Plan, number: int) -> LiveAttempt | None:
        """Sign and commit an attempt, or return None when another worker drives this payment."""

        async def sign() -> SignedTransaction:
            return await self._signer.sign(payment.id, plan, payment.amount)

        attempt = LiveAttempt(payment.id, number, await self._until_done(payment.id, sign))
        is_ours = await self._until_done(payment.id, lambda: self._attempts.add(attempt))
        return attempt if is_ours else None

    async def _follow(
        self, progress: _Progress, plan: Plan, attempt: LiveAttempt, started_seconds: float
    ) -> Verdict:
        following = self._follower.follow(attempt.transaction)
        verdict = await following.reached("confirmed")
        if verdict.state == "confirmed":
            await self._settle(progress, plan, attempt, verdict, "confirmed")
        if verdict.succeeded:
            self._metrics.token_transaction_duration_seconds.observe(
                self._clock.monotonic() - started_seconds
            )
        if verdict.state == "expired" or verdict.final:
            return verdict
        return await following.reached("finalized")

    async def _end_attempt(
        self, progress: _Progress, plan: Plan, attempt: LiveAttempt, verdict: Verdict
    ) -> None:
        end: AttemptEnd
        if verdict.state == "expired":
            end = "expired" if attempt.number >= self._max_attempts else "attempt_expired"
        else:
            assert verdict.final
            end = "failed" if verdict.state == "failed" else "finalized"
        await self._settle(progress, plan, attempt, verdict, end)

    async def _settle(
        self,
        progress: _Progress,
        plan: Plan,
        attempt: LiveAttempt,
        verdict: Verdict,
        end: AttemptEnd,
    ) -> None:
        payment_id = progress.payment.id
        now = self._clock.now()
        change = Change(
            payment_id, attempt.number, end, verdict.slot, verdict.evidence, now, debited_account=plan.source
        )
        await self._until_done(payment_id, lambda: self._attempts.settle(change))
        signature = attempt.transaction.signature
        progress.advance(advanced(progress.payment, change, signature))
        if end == "attempt_expired":
            return
        if end != "confirmed":
            self._metrics.token_transactions.labels(type=progress.payment.type, status=end).inc()
        self._publish(progress.payment, f"payment.{end}")
        await self._tell(progress.payment)

    async def _tell(self, payment: Transaction) -> None:
        for observer in self._observers:
            try:
                await observer(payment)
            except Exception:
                logger.exception("an observer of payment %s failed", payment.id)

    def _publish(self, payment: Transaction, event_type: str) -> None:
        data: Mapping[str, Any] = payment.to_dict()
        self._events.publish(event_type, payment=data)

    async def _until_done(self, payment_id: UUID, action: Callable[[], Awaitable[T]]) -> T:
        """Repeat a step that has not happened until it does; every step here can be repeated safely."""
        delay_seconds = FIRST_RETRY_SECONDS
        while True:
            try:
                return await action()
            except TokenError as error:
                level = logging.WARNING if error.retryable else logging.ERROR
                logger.log(level, "payment %s waits: %s (%s)", payment_id, error.message, error.code)
            await self._clock.sleep(delay_seconds)
            delay_seconds = min(delay_seconds * 2, MAX_RETRY_SECONDS)

    async def _next_look(self, payment: Transaction, wait_for: WaitFor, left_seconds: float) -> Transaction:
        progress = self._progress.get(payment.id)
        if progress is not None:
            future = progress.confirmed if wait_for == "confirmed" else progress.finalized
            await wait_within(self._clock, future, left_seconds)
            if future.done() and _is_ahead(progress.payment, payment):
                return progress.payment
        else:
            await self._clock.sleep(min(RECORDED_POLL_SECONDS, left_seconds))
        try:
            return await self._attempts.get_payment(payment.id)
        except DatabaseError:
            return payment


async def wait_within(clock: Clock, future: asyncio.Future[Any], seconds: float) -> bool:
    """Wait for a future, at most for a time of the injected clock, without ever cancelling it.

    Returns:
        Whether the future is done.
    """
    timer = asyncio.ensure_future(clock.sleep(seconds))
    try:
        await asyncio.wait((future, timer), return_when=asyncio.FIRST_COMPLETED)
        return future.done()
    finally:
        timer.cancel()


def _is_ahead(payment: Transaction, seen: Transaction) -> bool:
    return payment.status != seen.status


def _has_reached(payment: Transaction, wait_for: WaitFor) -> bool:
    if payment.status == "failed":
        raise TransactionFailedError(
            "the payment failed on chain", payment_id=str(payment.id), **(payment.evidence or {})
        )
    if payment.status == "expired":
        raise TransactionExpiredError(
            "the payment's blockhash expired before it landed",
            payment_id=str(payment.id),
            **(payment.evidence or {}),
        )
    return payment.status == "finalized" or payment.status == wait_for
