"""What callers want in a run, how they insist on it, and what they were told."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from random import Random
from typing import Final, Literal
from uuid import UUID

from deal_sdk import Deal
from deal_sdk.clock import Clock
from deal_sdk.errors import (
    AllowanceError,
    DelegationError,
    IdempotencyConflictError,
    InsufficientBalanceError,
    LimitExceededError,
    PaymentPendingError,
    RefundError,
    SafetyRailError,
    TokenError,
    TransactionExpiredError,
    TransactionFailedError,
)
from deal_sdk.payments.batches import BatchReport
from deal_sdk.records import Transaction
from deal_sdk.settings import WaitFor
from tests.simulation.asking import LINES_OF_KIND, ORDER, ask
from tests.simulation.charges import CHARGED_USERS
from tests.simulation.prepared import Prepared

PAYMENTS: Final = 20
BUSY_SECONDS: Final = 11.0
MAX_CALLS: Final = 12
WISH_PREFIX: Final = "wish-"
KINDS: Final = (
    *("transfer", "transfer", "purchase", "purchase", "fee", "reward", "mint", "burn", "pay_in"),
    *("refund", "delegated", "batch", "prepared", "accrued"),
)
ALWAYS_KEYED: Final = frozenset({"fee", "refund", "batch", "prepared", "accrued", "charges"})
REFUSALS: Final = (
    AllowanceError,
    InsufficientBalanceError,
    LimitExceededError,
    SafetyRailError,
    DelegationError,
    RefundError,
)
FINAL_ANSWERS: Final = frozenset({"paid", "not_paid", "refused"})

Answer = Literal["paid", "not_paid", "refused", "pending", "unknown"]


@dataclass(frozen=True, slots=True)
class Told:
    """What one call was told, and by which status."""

    answer: Answer
    status: str
    payment_id: str | None


@dataclass(slots=True)
class Wish:
    """One payment that somebody wants exactly once."""

    index: int
    kind: str
    payer: UUID
    payee: UUID
    amount_base_units: int
    at_seconds: float
    wait_for: WaitFor
    callers: int
    gives_up_after_seconds: float | None
    has_key: bool
    calls: int = 0
    told: list[Told] = field(default_factory=list)

    @property
    def name(self) -> str:
        """Return what the records know it by: the reason, the reward's type and the key."""
        return f"{WISH_PREFIX}{self.index}"

    @property
    def payments(self) -> int:
        """Return how many payments it takes."""
        return {"refund": 2, "charges": CHARGED_USERS, **LINES_OF_KIND}.get(self.kind, 1)

    @property
    def key(self) -> str | None:
        return self.name if self.has_key else None

    @property
    def is_settled(self) -> bool:
        """Tell whether its caller needs no more calls."""
        answers = {told.answer for told in self.told}
        return (
            bool(answers & FINAL_ANSWERS) or self.calls >= MAX_CALLS or (not self.has_key and self.calls > 0)
        )


def draw_wishes(
    random: Random, prepared: Prepared, payments: int, kinds: Sequence[str] = KINDS
) -> list[Wish]:
    """Draw what is wanted in a run: wishes of some kinds that take so many payments or a few more."""
    wishes: list[Wish] = []
    while sum(wish.payments for wish in wishes) < payments:
        wishes.append(_draw(random, prepared, len(wishes), kinds))
    return wishes


def _draw(random: Random, prepared: Prepared, index: int, kinds: Sequence[str]) -> Wish:
    payer, payee = random.sample(prepared.users, 2)
    kind = random.choice(kinds)
    tokens = random.choice((1, 3, 10, 30, 90)) / 10 * random.uniform(0.5, 1.0)
    has_key = kind in ALWAYS_KEYED or random.random() < 0.9
    return Wish(
        index=index,
        kind=kind,
        payer=prepared.users[0] if kind == "purchase" else payer,
        payee=prepared.users[1] if kind == "purchase" else payee,
        # The last digits tell the wishes apart.
        amount_base_units=int(tokens * 10**8) // 1000 * 1000 + index,
        at_seconds=round(random.uniform(0.0, BUSY_SECONDS), 1) if random.random() < 0.6 else 1.0,
        wait_for=random.choice(("confirmed", "confirmed", "finalized", "recorded")),
        callers=2 if has_key and random.random() < 0.2 else 1,
        gives_up_after_seconds=random.uniform(0.1, 4.0) if has_key and random.random() < 0.2 else None,
        has_key=has_key,
    )


async def pursue(deal: Deal, clock: Clock, wishes: Sequence[Wish], *, lanes: int = 1) -> None:
    """Be every caller at once, as one process is; a call that told nothing certain is made again.

    Args:
        deal: the process's.
        clock: the simulation's.
        wishes: what its callers want.
        lanes: how many processes share the callers of one wish.
    """
    await asyncio.gather(*(task for wish in wishes for task in _callers(deal, clock, wish, lanes)))


def _callers(deal: Deal, clock: Clock, wish: Wish, lanes: int) -> Iterator[asyncio.Task[None]]:
    for number in range(max(wish.callers // lanes, 1)):
        if not wish.is_settled:
            yield asyncio.create_task(_insist(deal, clock, wish, impatient=number == 0))


async def _insist(deal: Deal, clock: Clock, wish: Wish, *, impatient: bool) -> None:
    await clock.sleep(wish.at_seconds - clock.monotonic())
    pause_seconds = 0.5
    is_first = True
    while is_first or not wish.is_settled:
        is_first = False
        wish.calls += 1
        call = asyncio.ensure_future(ask(deal, wish))
        if impatient and wish.gives_up_after_seconds is not None and wish.calls == 1:
            await clock.sleep(wish.gives_up_after_seconds)
            call.cancel()
        try:
            wish.told.append(_heard(await call))
        except asyncio.CancelledError:
            current = asyncio.current_task()
            if current is not None and current.cancelling():
                call.cancel()
                raise
        except TokenError as error:
            wish.told.append(_heard_error(wish, error))
        if not wish.is_settled:
            await clock.sleep(pause_seconds)
            pause_seconds = min(pause_seconds * 2, 20.0)


def _heard(payment: Transaction | BatchReport) -> Told:
    if isinstance(payment, BatchReport):
        return _heard_report(payment)
    # "recorded" was asked for: a payment that is pending was promised, not made.
    answer: Answer = "paid" if payment.status in ("confirmed", "finalized") else "pending"
    return Told(answer, payment.status, str(payment.id))


def _heard_report(report: BatchReport) -> Told:
    # One line speaks for the batch: one that was not paid, or one that is behind, or any.
    line = min(report.recipients, key=lambda found: ORDER.index(found.status))
    answers: dict[str, Answer] = {"confirmed": "paid", "finalized": "paid", "pending": "pending"}
    return Told(answers.get(line.status, "not_paid"), line.status, str(line.payment_id))


def _heard_error(wish: Wish, error: TokenError) -> Told:
    payment_id = error.facts.get("payment_id")
    answer: Answer = "unknown"
    if isinstance(error, TransactionExpiredError) and wish.kind == "prepared":
        # It is prepared again under its key, as the same payment, and may land yet.
        answer = "unknown"
    elif isinstance(error, TransactionFailedError):
        answer = "not_paid"
    elif isinstance(error, PaymentPendingError):
        answer = "pending"
    elif isinstance(error, REFUSALS):
        answer = "refused"
    assert not isinstance(error, IdempotencyConflictError), error
    return Told(answer, error.code, None if payment_id is None else str(payment_id))
