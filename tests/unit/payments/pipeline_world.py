"""A pipeline over a real database, with a chain and a signer that do what the test says."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Collection
from datetime import datetime
from typing import Any
from uuid import UUID

from deal_sdk.chain import SignedTransaction
from deal_sdk.chain.following import Following
from deal_sdk.chain.replies import SignatureStatus
from deal_sdk.clock import ManualClock
from deal_sdk.errors import TokenError
from deal_sdk.events import Event, EventBus
from deal_sdk.metrics import Metrics
from deal_sdk.payments.attempts import AttemptStore, LiveAttempt, OpenPayment
from deal_sdk.payments.changes import Change
from deal_sdk.payments.intent_rows import Intent
from deal_sdk.payments.intents import IntentStore, Recorded
from deal_sdk.payments.orders import Plan
from deal_sdk.payments.pipeline import PaymentPipeline
from deal_sdk.payments.pipeline_seams import PaymentObserver, PipelineBounds
from deal_sdk.records import Database, Transaction
from tests.contract.payment_orders import intent

WAIT_SECONDS = 60.0
PATIENCE_SECONDS = 20


class ScriptedChain:
    """Follows what it is given and says of it what the test says."""

    def __init__(self) -> None:
        self.followings: dict[str, Following] = {}
        self.given: list[str] = []

    def follow(self, transaction: SignedTransaction) -> Following:
        self.given.append(transaction.signature)
        known = self.followings.get(transaction.signature)
        if known is None:
            known = self.followings[transaction.signature] = Following(
                transaction.signature, transaction, 0.0
            )
        return known

    def land(
        self, signature: str, commitment: Any = "finalized", *, slot: int = 200, error: Any = None
    ) -> None:
        self.followings[signature].observe(SignatureStatus(slot, error, commitment), {"endpoint": "scripted"})

    def drop(self, signature: str) -> None:
        self.followings[signature].observe_nothing(10_000)

    def expire(self, signature: str) -> None:
        self.followings[signature].expire({"finalized_height": 999})


class ScriptedSigner:
    """Signs with a number, after raising what the test put in its way."""

    def __init__(self) -> None:
        self.errors: list[Exception] = []
        self.signed = 0

    async def sign(self, payment_id: UUID, plan: Plan, amount_base_units: int) -> SignedTransaction:
        if self.errors:
            raise self.errors.pop(0)
        self.signed += 1
        name = f"{payment_id.hex[:8]}-{self.signed}-{id(self)}"
        return SignedTransaction(name, name.encode(), 250, 100)


class FlakyAttempts(AttemptStore):
    """The real store, on a database that fails when the test says so, before or after the commit."""

    def __init__(self, database: Database, clock: ManualClock, lease_owner: UUID | None = None) -> None:
        super().__init__(database, clock, lease_owner=lease_owner)
        self.before_add: list[TokenError] = []
        self.after_add: list[TokenError] = []
        self.before_settle: list[TokenError] = []
        self.after_settle: list[TokenError] = []
        self.before_look: list[TokenError] = []
        self.looks = 0

    async def open_payments(self, payment_ids: Collection[UUID] | None = None) -> list[OpenPayment]:
        _raise_next(self.before_look)
        return await super().open_payments(payment_ids)

    async def add(self, attempt: LiveAttempt) -> bool:
        _raise_next(self.before_add)
        added = await super().add(attempt)
        _raise_next(self.after_add)
        return added

    async def settle(self, change: Change) -> datetime:
        _raise_next(self.before_settle)
        at = await super().settle(change)
        _raise_next(self.after_settle)
        return at

    async def get_payment(self, payment_id: UUID) -> Transaction:
        self.looks += 1
        return await super().get_payment(payment_id)


class FlakyIntents(IntentStore):
    """The real store, on a database that fails when the test says so, before or after the commit."""

    def __init__(self, database: Database, clock: ManualClock, lease_owner: UUID | None = None) -> None:
        super().__init__(database, clock, lease_owner=lease_owner)
        self.before_create: list[TokenError] = []
        self.after_create: list[TokenError] = []

    async def create(self, intent: Intent) -> Recorded:
        _raise_next(self.before_create)
        recorded = await super().create(intent)
        _raise_next(self.after_create)
        return recorded


def _raise_next(errors: list[TokenError]) -> None:
    if errors:
        raise errors.pop(0)


class World:
    """One process: a pipeline with its stores."""

    def __init__(
        self,
        database: Database,
        clock: ManualClock,
        *,
        chain: ScriptedChain | None = None,
        max_attempts: int = 3,
        max_in_flight: int = 100,
        observers: tuple[PaymentObserver, ...] = (),
        lease_owner: UUID | None = None,
    ) -> None:
        self.database, self.clock = database, clock
        self.chain = chain or ScriptedChain()
        self.signer = ScriptedSigner()
        self.intents = FlakyIntents(database, clock, lease_owner=lease_owner)
        self.attempts = FlakyAttempts(database, clock, lease_owner=lease_owner)
        self.events = EventBus(clock)
        self.metrics = Metrics()
        self.seen: list[str] = []
        self.events.subscribe("*", self._note)
        self.pipeline = PaymentPipeline(
            intents=self.intents,
            attempts=self.attempts,
            signer=self.signer,
            follower=self.chain,
            clock=clock,
            events=self.events,
            metrics=self.metrics,
            bounds=PipelineBounds(max_attempts, max_in_flight),
            observers=observers,
        )

    async def _note(self, event: Event) -> None:
        self.seen.append(event.type)

    async def submit(self, amount: int = 10, **details: Any) -> Transaction:
        one: Intent = intent(amount, **details)
        return await self.pipeline.admit(lambda place: self.pipeline.submit(one, place))

    def wait(self, payment: Transaction, level: Any = "finalized") -> asyncio.Task[Transaction]:
        return asyncio.create_task(self.pipeline.wait(payment, level, timeout_seconds=WAIT_SECONDS))

    async def sent(self, count: int = 1) -> str:
        """Wait until so many transactions were given to the chain and return the last."""
        await until(lambda: len(self.chain.given) >= count)
        return self.chain.given[count - 1]

    async def status(self, payment: Transaction) -> str:
        return (await AttemptStore.get_payment(self.attempts, payment.id)).status

    async def close(self) -> None:
        await self.pipeline.close()
        await self.events.close()


async def until(condition: Callable[[], bool], step: Callable[[], Awaitable[None]] | None = None) -> None:
    """Let real input and output go on until something holds; fails when it never does."""
    async with asyncio.timeout(PATIENCE_SECONDS):
        for _ in range(100_000):
            if condition():
                return
            if step is not None:
                await step()
            await asyncio.sleep(0.001)
