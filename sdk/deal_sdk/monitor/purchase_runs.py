"""The way of a purchase from its arrival to its end.

    received -> counted -> executing -> executed    the executor returned
        |          |           |-> refunded         it proved that nothing was bought
        |          |           '-> unknown          it failed, took too long, or its process died
        '----------'-> skipped                      at the limit, too old, or no longer wanted

Each arrow is committed before the next thing happens. Up to `counted` nothing was handed over, so whoever
comes next may go on; from `executing` on something may have been bought, so nobody hands it over again and
the count stays, unless the executor proves that nothing happened.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, Final, TypeAlias
from uuid import UUID

from deal_sdk.clock import Clock
from deal_sdk.errors import DatabaseError, PurchaseNotMadeError, StoreUnavailableError
from deal_sdk.events import EventBus
from deal_sdk.metrics import Metrics
from deal_sdk.monitor.buys import WatchedBuy
from deal_sdk.monitor.counting import PurchaseCounter
from deal_sdk.monitor.purchase_store import PurchaseStore
from deal_sdk.monitor.subscription_values import Subscription, SubscriptionPurchase

logger = logging.getLogger(__name__)

HOLD_SECONDS: Final = 60.0
"""How long a purchase that waits is its process's; others may take it after that."""
_NOT_HANDED_OVER: Final = ("received", "counted")

LIMIT_REACHED: Final = "limit_reached"
TOO_OLD: Final = "too_old"
NOT_WANTED: Final = "subscription_removed"
INTERRUPTED: Final = "interrupted"
TIMED_OUT: Final = "timeout"


@dataclass(frozen=True, slots=True)
class PurchaseOrder:
    """What an executor is to buy, for whom, and why."""

    purchase_id: UUID
    """Unique to this order: an idempotency key for whatever the executor calls."""
    subscription: Subscription
    buy: WatchedBuy


Executor: TypeAlias = Callable[[PurchaseOrder], Awaitable[str | None]]
"""Buys, and returns a reference of at most 255 characters to what it did, or None.

It raises `PurchaseNotMadeError` only when it can prove that nothing was bought. It is called once for a
purchase; whatever else it raises leaves open what happened.
"""


@dataclass(frozen=True, slots=True)
class RunBounds:
    """How many executors run at once, how long each may take, and how old a buy may be."""

    max_in_flight: int
    timeout_seconds: float
    max_age_seconds: float
    close_seconds: float = 5.0
    """How long executors have to end when the process ends."""
    max_waiting: int = 10_000
    """Beyond this the rows wait in the database until there is room."""


class PurchaseRuns:
    """Carries purchases to their ends, a bounded number at once."""

    def __init__(
        self,
        store: PurchaseStore,
        counter: PurchaseCounter,
        *,
        clock: Clock,
        events: EventBus,
        metrics: Metrics,
        bounds: RunBounds,
    ) -> None:
        """Keep the parts; nothing runs before there is an executor."""
        self._store = store
        self._counter = counter
        self._clock = clock
        self._events = events
        self._metrics = metrics
        self._bounds = bounds
        self._turns = asyncio.Semaphore(bounds.max_in_flight)
        self._tasks: dict[UUID, asyncio.Task[None]] = {}
        self._executor: Executor | None = None
        self._closed = False

    @property
    def is_ready(self) -> bool:
        """Say whether purchases can be carried on in this process."""
        return self._executor is not None and not self._closed

    def use(self, executor: Executor) -> None:
        """Name the executor."""
        self._executor = executor

    def carry(self, purchases: Iterable[SubscriptionPurchase]) -> None:
        """Carry purchases on in tasks of their own, as far as there is room."""
        for purchase in purchases:
            if self.is_ready and len(self._tasks) < self._bounds.max_waiting:
                task = asyncio.create_task(self._run(purchase))
                self._tasks[purchase.id] = task
                task.add_done_callback(partial(self._finished, purchase.id))

    async def take_over(self, *, limit: int) -> int:
        """Carry on what nobody holds any more, and return how many that were.

        Raises:
            DatabaseError: when they could not be read.
        """
        if not self.is_ready:
            return 0
        free = await self._store.take_over(
            self._store.held_for(HOLD_SECONDS), limit=limit, at_work=self._tasks.keys()
        )
        self.carry(free)
        return len(free)

    async def settled(self) -> None:
        """Wait until all that was begun here has ended, or was left for a later try."""
        while self._tasks:
            await asyncio.wait(tuple(self._tasks.values()))

    async def close(self) -> None:
        """Give executors a little time to end, then cancel them; what they did is unknown then."""
        self._closed = True
        if self._tasks:
            await asyncio.wait(tuple(self._tasks.values()), timeout=self._bounds.close_seconds)
        for task in self._tasks.values():
            task.cancel()
        await asyncio.gather(*self._tasks.values(), return_exceptions=True)

    def _finished(self, purchase_id: UUID, task: asyncio.Task[None]) -> None:
        del self._tasks[purchase_id]

    async def _run(self, purchase: SubscriptionPurchase) -> None:
        try:
            await self._carry(purchase)
        except (StoreUnavailableError, DatabaseError) as error:
            # Its row says how far it came, and is taken over when the hold ends.
            logger.warning("purchase %s waits: %s (%s)", purchase.id, error.message, error.code)
        except Exception:
            logger.exception("purchase %s broke", purchase.id)

    async def _carry(self, purchase: SubscriptionPurchase) -> None:
        if purchase.state == "executing":
            # Who handed it over is gone, and with it the knowledge of what was bought.
            await self._end(purchase, ("executing",), "unknown", INTERRUPTED)
            return
        if self._is_old(purchase):
            await self._skip(purchase, TOO_OLD)
            return
        if purchase.state == "received" and purchase.subscription.is_limited:
            if not await self._counter.count(purchase):
                await self._end(purchase, ("received",), "skipped", LIMIT_REACHED)
                return
            if not await self._store.move(purchase, ("received",), state="counted", is_counted=True):
                return
            purchase = replace(purchase, state="counted", is_counted=True)
        async with self._turns:
            if self._closed:
                return
            await self._hand_over(purchase)

    async def _hand_over(self, purchase: SubscriptionPurchase) -> None:
        if self._is_old(purchase):
            await self._skip(purchase, TOO_OLD)
            return
        held_until = self._store.held_for(self._bounds.timeout_seconds + HOLD_SECONDS)
        if not await self._store.begin(purchase, held_until):
            # Either another process has it, which the next change finds out, or nobody wants it any more.
            await self._skip(purchase, NOT_WANTED)
            return
        await self._execute(replace(purchase, state="executing", held_until=held_until))

    async def _execute(self, purchase: SubscriptionPurchase) -> None:
        assert self._executor is not None
        order = PurchaseOrder(purchase.id, purchase.subscription, purchase.buy)
        try:
            async with asyncio.timeout(self._bounds.timeout_seconds):
                reference = await self._executor(order)
        except PurchaseNotMadeError as error:
            await self._refund(purchase, error.message)
        except asyncio.CancelledError:
            await self._end(purchase, ("executing",), "unknown", INTERRUPTED)
            raise
        except TimeoutError:
            await self._end(purchase, ("executing",), "unknown", TIMED_OUT)
        except Exception as error:
            # Its text may hold anything, so the record keeps the kind alone.
            logger.exception("the executor failed at purchase %s", purchase.id)
            await self._end(purchase, ("executing",), "unknown", f"executor_failed: {type(error).__name__}")
        else:
            text = None if reference is None else str(reference)
            if await self._store.end_executed(purchase, state="executed", reason=None, reference=text):
                self._tell(purchase, "executed", None)

    async def _refund(self, purchase: SubscriptionPurchase, reason: str) -> None:
        # The proof is committed first: whoever comes after a crash here finds it, and the count that was
        # not given back then stays used, which is the safe side.
        if not await self._store.end_executed(purchase, state="refunded", reason=reason):
            return
        await self._give_back(purchase)
        self._tell(purchase, "refunded", reason)

    async def _skip(self, purchase: SubscriptionPurchase, reason: str) -> None:
        if await self._end(purchase, _NOT_HANDED_OVER, "skipped", reason):
            await self._give_back(purchase)

    async def _give_back(self, purchase: SubscriptionPurchase) -> None:
        # One that was received may be counted too: its process may have died before it could say so.
        if not purchase.subscription.is_limited:
            return
        try:
            await self._counter.give_back(purchase)
        except (StoreUnavailableError, DatabaseError) as error:
            logger.warning("purchase %s stays counted until its period ends: %s", purchase.id, error.message)

    async def _end(
        self, purchase: SubscriptionPurchase, from_states: Sequence[str], state: str, reason: str
    ) -> bool:
        ended = await self._store.move(purchase, from_states, state=state, reason=reason)
        if ended:
            self._tell(purchase, state, reason)
        return ended

    def _is_old(self, purchase: SubscriptionPurchase) -> bool:
        age = self._clock.now() - purchase.created_at
        return age.total_seconds() > self._bounds.max_age_seconds

    def _tell(self, purchase: SubscriptionPurchase, state: str, reason: str | None) -> None:
        self._metrics.subscription_purchases.labels(outcome=state).inc()
        facts: dict[str, Any] = replace(purchase, state=state, reason=reason).to_dict()
        self._events.publish(f"subscription.{state}", **facts)
