"""Drives every payment from its recorded intent to a proven end, whoever still waits for it.

A payment has one driver task, owned here. Callers only wait for it: one that gives up, is cancelled or
times out changes nothing. What the database cannot take now is offered again until it can.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Collection, Coroutine, Sequence
from functools import partial
from typing import Any, Final, TypeVar
from uuid import UUID

from deal_sdk.batching import Collector
from deal_sdk.chain import Verdict
from deal_sdk.clock import Clock, wait_within
from deal_sdk.errors import DatabaseError, Outcome, PaymentPendingError
from deal_sdk.events import EventBus
from deal_sdk.metrics import Metrics
from deal_sdk.payments.attempt_ends import AttemptEnds
from deal_sdk.payments.attempts import AttemptStore, LiveAttempt
from deal_sdk.payments.changes import ENDS_OF_ONE_ATTEMPT, AttemptEnd, Change, advanced
from deal_sdk.payments.intent_rows import Intent
from deal_sdk.payments.intents import IntentStore
from deal_sdk.payments.lost_commits import LostCommits
from deal_sdk.payments.orders import Plan
from deal_sdk.payments.pipeline_seams import (
    AttemptEndObserver,
    AttemptSharing,
    FailureJudge,
    PaymentObserver,
    PipelineBounds,
    PlanSigner,
    TransactionFollower,
)
from deal_sdk.payments.places import Place, Places
from deal_sdk.payments.progress import Progress, has_reached, tell_outcome
from deal_sdk.payments.retrying import until_done
from deal_sdk.records import Transaction
from deal_sdk.settings import WaitFor

logger = logging.getLogger(__name__)

T = TypeVar("T")

RECORDED_POLL_SECONDS: Final = 0.5
MAX_PAYMENTS_PER_TELLING: Final = 512
MAX_TELLINGS_IN_FLIGHT: Final = 4


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
        on_attempt_end: AttemptEndObserver | None = None,
        may_sign_again: FailureJudge | None = None,
        sharing: AttemptSharing | None = None,
    ) -> None:
        """Wire the parts; nothing runs before the first `submit` or `resume`."""
        self._intents = intents
        self._attempts = attempts
        self._signer = signer
        self._follower = follower
        self._clock = clock
        self._events = events
        self._metrics = metrics
        self._observers = observers
        self._on_attempt_end = on_attempt_end
        self._ends = AttemptEnds(
            attempts, clock=clock, max_attempts=bounds.max_attempts, may_sign_again=may_sign_again
        )
        self._sharing = sharing
        self._news: Collector[Transaction, None] = Collector(
            self._tell, max_items=MAX_PAYMENTS_PER_TELLING, max_in_flight=MAX_TELLINGS_IN_FLIGHT
        )
        self._places = Places(bounds.max_in_flight, metrics=metrics)
        for queue, depth in (*intents.depths(), *attempts.depths()):
            metrics.queue_depth.labels(queue).set_function(depth)
        self._lost = LostCommits(self._take_up_lost, clock=clock)
        self._progress: dict[UUID, Progress] = {}
        self._tasks: set[asyncio.Task[Any]] = set()

    async def admit(self, admission: Callable[[Place], Coroutine[Any, Any, T]]) -> T:
        """Wait for a place, then run an admission to its end even when the caller is cancelled.

        A caller that gives up while it waits has reserved nothing and recorded nothing; from there on
        nothing is left half done.

        Args:
            admission: hands its place to `submit`; a place that no driver takes over is given back.
        """
        place = await self._places.take()
        told: asyncio.Future[T] = asyncio.get_running_loop().create_future()
        self._own(self._in_place(place, admission(place), told))
        return await told

    async def submit(self, intent: Intent, place: Place) -> Transaction:
        """Record an intent and start driving it.

        Args:
            intent: what to record.
            place: as `admit` gave it.

        Returns:
            The payment as recorded, or the earlier one that its idempotency key stands for.

        Raises:
            InsufficientBalanceError, IdempotencyConflictError: as `IntentStore.create`.
            DatabaseError: it may have been recorded; if so it is found by its id as soon as the
                database answers, and driven.
        """
        try:
            recorded = await self._intents.create(intent)
        except DatabaseError as error:
            if error.outcome is Outcome.UNKNOWN and self._lost.note(intent.order.payment_id):
                self._own(self._lost.run())
            raise
        if recorded.is_new:
            self._publish(recorded.payment, "payment.recorded")
            first = LiveAttempt(recorded.payment.id, 1, intent.signed) if intent.signed else None
            self._occupy(place, self._start(recorded.payment, intent.order.plan, first, 0, place))
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
        deadline = self._clock.monotonic() + timeout_seconds
        if payment.status in ("pending", "confirmed") and payment.id not in self._progress:
            payment = await self._first_look(payment)
        if wait_for == "recorded":
            return payment
        while not has_reached(payment, wait_for):
            left_seconds = deadline - self._clock.monotonic()
            if left_seconds <= 0:
                raise PaymentPendingError(str(payment.id), signature=payment.signature)
            payment = await self._next_look(payment, wait_for, left_seconds)
        return payment

    async def resume(self, among: Collection[UUID] | None = None) -> int:
        """Carry on payments leased here that are not final and that nothing drives.

        Args:
            among: look only at these, such as the ones that were just taken over.

        Returns:
            How many were taken up.
        """
        return len(await self.take_up(among))

    async def take_up(self, payment_ids: Collection[UUID] | None) -> list[UUID]:
        """Drive the open ones among some payments, or all, and return those that are driven now.

        One that waits for its owner's signature is not driven.
        """
        # One that ends here while the list is read must not be driven again from what the list says.
        driven = set(self._progress)
        taken = []
        for found in await self._attempts.open_payments(payment_ids):
            if found.payment.id in driven or found.payment.id in self._progress or not found.plan:
                continue
            plan = Plan.from_json(found.plan)
            if found.attempt is None and plan.signed_by != "backend":
                continue
            self._start(found.payment, plan, found.attempt, found.attempts_made)
            taken.append(found.payment.id)
        return taken

    async def _take_up_lost(self, payment_ids: Collection[UUID]) -> list[UUID]:
        taken = await self.take_up(payment_ids)
        for payment_id in taken:
            self._publish(self._progress[payment_id].payment, "payment.recorded")
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
        await self._news.close()

    async def _in_place(
        self, place: Place, admission: Coroutine[Any, Any, T], told: asyncio.Future[T]
    ) -> None:
        """Run an admission for a caller who may be gone, then drive what it recorded, in the same task."""
        try:
            await tell_outcome(admission, told)
        except BaseException:
            if place.driver is not None:
                place.driver.close()
            place.end()
            raise
        if place.driver is not None:
            await place.driver
        elif not place.is_kept:
            place.end()

    @staticmethod
    def _occupy(place: Place, progress: Progress) -> None:
        """Give the place back as the payment goes on: its room at "confirmed", its seat at the end."""
        place.is_kept = True
        progress.confirmed.add_done_callback(lambda _: place.confirmed())
        progress.finalized.add_done_callback(lambda _: place.end())

    def _own(self, work: Coroutine[Any, Any, T]) -> asyncio.Task[T]:
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task

    def _start(
        self,
        payment: Transaction,
        plan: Plan,
        attempt: LiveAttempt | None,
        attempts_made: int,
        place: Place | None = None,
    ) -> Progress:
        known = self._progress.get(payment.id)
        if known is not None:
            # A resume saw the intent in the database before its submitter came back from the commit.
            return known
        progress = Progress(payment)
        self._progress[payment.id] = progress
        self._metrics.payments_in_flight.inc()
        driver = self._drive(progress, plan, attempt, attempts_made)
        if place is None:
            self._own(driver)
        else:
            # The task of its admission goes on with it.
            place.driver = driver
        return progress

    async def _drive(
        self, progress: Progress, plan: Plan, attempt: LiveAttempt | None, attempts_made: int
    ) -> None:
        started_seconds = self._clock.monotonic()
        try:
            while progress.payment.status in ("pending", "confirmed"):
                if attempt is None:
                    attempt = await self._make_attempt(progress.payment, plan, attempts_made + 1)
                if attempt is None:
                    return
                attempts_made = max(attempts_made, attempt.number)
                verdict = await self._follow(progress, plan, attempt, attempts_made, started_seconds)
                attempt = await self._end_attempt(progress, plan, attempt, attempts_made, verdict)
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
        """Sign and commit an attempt, or return None when another worker or the owner's wallet must."""
        if plan.signed_by != "backend":
            return None
        if number == 1 and plan.group_id is not None and self._sharing is not None:
            shared = await self._sharing.first_attempt(payment, plan, self._attempts.add_together)
            if shared is not None:
                return shared
        sign = partial(self._signer.sign, payment.id, plan, payment.amount)
        attempt = LiveAttempt(payment.id, number, await self._until_done(payment.id, sign))
        is_ours = await self._until_done(payment.id, lambda: self._attempts.add(attempt))
        return attempt if is_ours else None

    async def _follow(
        self,
        progress: Progress,
        plan: Plan,
        attempt: LiveAttempt,
        attempts_made: int,
        started_seconds: float,
    ) -> Verdict:
        following = self._follower.follow(attempt.transaction)
        verdict = await self._ends.first_verdict(following, plan, attempt, attempts_made)
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
        self, progress: Progress, plan: Plan, attempt: LiveAttempt, attempts_made: int, verdict: Verdict
    ) -> LiveAttempt | None:
        """Settle an attempt's end, and return an earlier one that is to be looked at again, if any."""
        if self._on_attempt_end is not None:
            self._on_attempt_end(attempt.transaction, verdict)
        end = await self._ends.meaning(progress.payment, plan, attempt, verdict, attempts_made)
        await self._settle(progress, plan, attempt, verdict, end)
        return await self._ends.next_look(progress.payment, plan, verdict)

    async def _settle(
        self, progress: Progress, plan: Plan, attempt: LiveAttempt, verdict: Verdict, end: AttemptEnd
    ) -> None:
        payment_id = progress.payment.id
        now = self._clock.now()
        change = Change(
            payment_id, attempt.number, end, verdict.slot, verdict.evidence, now, debited_account=plan.source
        )
        at = await self._until_done(payment_id, lambda: self._attempts.settle(change))
        signature = attempt.transaction.signature
        progress.advance(advanced(progress.payment, change, signature, at))
        if end not in ENDS_OF_ONE_ATTEMPT:
            self.announce(progress.payment)

    def announce(self, payment: Transaction) -> None:
        """Count a payment's new status, publish it, and have the observers told; it is committed already."""
        if payment.status == "pending":
            self._publish(payment, "payment.recorded")
            return
        if payment.status != "confirmed":
            self._metrics.token_transactions.labels(payment.type, payment.status).inc()
        self._publish(payment, f"payment.{payment.status}")
        # Nobody waits for them: what they do follows from the commit and can add nothing to it.
        self._news.put(payment)

    async def _tell(self, payments: Sequence[Transaction]) -> Sequence[None]:
        for observer in self._observers:
            try:
                await observer(payments)
            except Exception:
                logger.exception("an observer of %d payments failed", len(payments))
        return [None] * len(payments)

    def _publish(self, payment: Transaction, event_type: str) -> None:
        if self._events.has_listener(event_type):
            self._events.publish(event_type, payment=payment.to_dict())

    async def _until_done(self, payment_id: UUID, action: Callable[[], Awaitable[T]]) -> T:
        """Repeat a step that has not happened until it does; every step here can be repeated safely."""
        return await until_done(self._clock, f"payment {payment_id}", action)

    async def _first_look(self, payment: Transaction) -> Transaction:
        """Read a payment that nobody drives here, and drive it when it is open."""
        try:
            await self.take_up([payment.id])
            return await self._attempts.get_payment(payment.id)
        except DatabaseError:
            return payment

    async def _next_look(self, payment: Transaction, wait_for: WaitFor, left_seconds: float) -> Transaction:
        progress = self._progress.get(payment.id)
        if progress is not None:
            future = progress.confirmed if wait_for == "confirmed" else progress.finalized
            await wait_within(self._clock, future, left_seconds)
            if future.done() and progress.payment.status != payment.status:
                return progress.payment
        else:
            await self._clock.sleep(min(RECORDED_POLL_SECONDS, left_seconds))
        try:
            return await self._attempts.get_payment(payment.id)
        except DatabaseError:
            return payment
