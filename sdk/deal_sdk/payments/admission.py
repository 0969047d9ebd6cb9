"""The one way into the pipeline: key, limits, balance, record, in that order, and nothing half done.

What a caller believes after an error here: a refusal or a chain error means that nothing was recorded
and the limits were given back; a database error means that it may have been recorded, and says so.
"""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, Protocol, TypeVar
from uuid import UUID, uuid4

from deal_sdk.amounts import BaseUnits
from deal_sdk.clock import Clock
from deal_sdk.errors import (
    DatabaseError,
    DelegationError,
    InsufficientBalanceError,
    Outcome,
    StoreUnavailableError,
    TokenError,
)
from deal_sdk.limits import Gate, RateLimiter, Reservation, Rule
from deal_sdk.payments.accruals import AccrualStore, AccruedFee
from deal_sdk.payments.intent_rows import Intent
from deal_sdk.payments.intents import IntentStore
from deal_sdk.payments.orders import (
    FeeClaim,
    Funds,
    Order,
    Party,
    Plan,
    PurchaseLimit,
    check_reason,
)
from deal_sdk.payments.pipeline import PaymentPipeline
from deal_sdk.payments.places import Place
from deal_sdk.payments.rails import SafetyRails
from deal_sdk.payments.signing import PaymentSigner
from deal_sdk.records import Transaction
from deal_sdk.records.fingerprint import fingerprint_of
from deal_sdk.records.inputs import check_idempotency_key
from deal_sdk.settings import WaitFor

logger = logging.getLogger(__name__)

T = TypeVar("T")

MAX_PROVISIONAL_REFUSALS: Final = 8
PROVISIONAL_REFUSAL_SECONDS: Final = 0.15
"""Eight looks in a second, in which payments under way land and are settled."""

UNLIMITED_TYPES: Final = frozenset({"reward", "mint", "burn"})
"""Payments of the operator: bound by safety rails instead of user limits."""


class BalanceRead(Protocol):
    """Reads a token account at the confirmed commitment."""

    async def __call__(self, token_account: str) -> Funds:
        """Return its balance and the slot it was read at."""
        ...


class PurchasePolicyLookup(Protocol):
    """Answers whether a user has a stored purchase policy."""

    async def __call__(self, user_id: UUID) -> PurchaseLimit | None:
        """Return the policy for the mint, if there is one."""
        ...


@dataclass(frozen=True, slots=True)
class Draft:
    """What a paying method decided: who, how much, what to sign, which limits."""

    amount: BaseUnits
    plan: Plan
    sender: Party | None
    recipient: Party | None
    debits: bool
    purchase_limit: PurchaseLimit | None = None
    reward_type: str | None = None
    refund_of: UUID | None = None
    claim: FeeClaim | None = None


@dataclass(frozen=True, slots=True)
class PaymentOptions:
    """What every paying method takes besides its own arguments."""

    reason: str | None = None
    idempotency_key: str | None = None
    wait_for: WaitFor = "confirmed"


@dataclass(frozen=True, slots=True)
class Identity:
    """What a call stands for: its kind, its key, and the hash of its input that guards the key."""

    payment_type: str
    key: str | None
    reason: str | None
    fingerprint: str


def identify(payment_type: str, inputs: Mapping[str, Any], options: PaymentOptions) -> Identity:
    """Check key and reason and hash what the caller gave.

    Args:
        payment_type: as in `token_transactions.type`.
        inputs: what the caller gave, as it was given.
        options: reason and key.

    Raises:
        InvalidInputError: for a key, a reason or an input that cannot be recorded.
    """
    key = check_idempotency_key(options.idempotency_key)
    reason = check_reason(options.reason)
    fingerprint = fingerprint_of(type=payment_type, reason=reason, **inputs)
    return Identity(payment_type, key, reason, fingerprint)


class Admission:
    """Admits payments: the same steps for every paying method."""

    def __init__(
        self,
        *,
        intents: IntentStore,
        pipeline: PaymentPipeline,
        signer: PaymentSigner,
        gate: Gate,
        read_balance: BalanceRead,
        rails: SafetyRails,
        find_policy: PurchasePolicyLookup,
        rates: RateLimiter,
        purchase_period_seconds: int,
        confirm_timeout_seconds: float,
        clock: Clock,
    ) -> None:
        """Wire the parts; nothing runs yet."""
        self._intents = intents
        self._pipeline = pipeline
        self._signer = signer
        self._gate = gate
        self._read_balance = read_balance
        self._rails = rails
        self._find_policy = find_policy
        self._rates = rates
        self._purchase_period_seconds = purchase_period_seconds
        self._confirm_timeout_seconds = confirm_timeout_seconds
        self._clock = clock

    async def pay(
        self,
        payment_type: str,
        inputs: Mapping[str, Any],
        options: PaymentOptions,
        draft: Callable[[], Awaitable[Draft]],
    ) -> Transaction:
        """Admit a payment, or find the one that its key stands for, and wait as asked.

        Args:
            payment_type: as in `token_transactions.type`.
            inputs: what the caller gave, as it was given; its hash guards the idempotency key.
            options: reason, key and wait.
            draft: resolves amount and parties; called only when the key is new, so that a replay costs
                nothing and finds its payment whatever has changed since.

        Raises:
            LimitExceededError, InsufficientBalanceError, SignatureRequiredError, FeePayerError,
                StoreUnavailableError, ChainError: nothing was recorded.
            DatabaseError: it may have been recorded; `facts["payment_id"]` names it.
            PaymentPendingError, TransactionFailedError: after it was recorded; see each.
        """
        identity = identify(payment_type, inputs, options)
        payment = await self.find(identity)
        if payment is None:
            order, debits = await self.decide(identity, draft)
            payment = await self._pipeline.admit(
                lambda place: self.admit(
                    order, lambda funds: self._sign_and_submit(order, funds, place), debits=debits
                )
            )
        return await self.wait(payment, options.wait_for)

    async def _sign_and_submit(self, order: Order, funds: Funds | None, place: Place) -> Transaction:
        signed = await self._signer.sign_early(order.payment_id, order.plan, order.amount)
        return await self._pipeline.submit(Intent(order, funds, signed=signed), place)

    async def wait(self, payment: Transaction, wait_for: WaitFor) -> Transaction:
        """Return a payment once it got as far as asked.

        Raises:
            PaymentPendingError, TransactionFailedError: see each.
        """
        return await self._pipeline.wait(payment, wait_for, timeout_seconds=self._confirm_timeout_seconds)

    async def find(self, identity: Identity) -> Transaction | None:
        """Return the payment that an idempotency key stands for, if there is one.

        Raises:
            IdempotencyConflictError: when the key was used with other input.
        """
        if identity.key is None:
            return None
        return await self._intents.find_by_key(identity.key, identity.fingerprint)

    async def accrue(self, order: Order, store: AccrualStore) -> AccruedFee:
        """Admit a fee that is settled later: the rate limit and the balance bind now, the chain not yet.

        Raises:
            LimitExceededError, InsufficientBalanceError, DelegationError, SafetyRailError, ChainError:
                nothing was recorded.
            DatabaseError: it may have been recorded; the same idempotency key tells.
        """
        self._rails.check(order)
        reservation = await self._reserved(order)
        try:
            accrued = await self._covered(order, lambda funds: store.create(order, funds))
        except DatabaseError as error:
            raise error.told(outcome=Outcome.UNKNOWN, reference=str(order.payment_id)) from error
        except TokenError as error:
            await self._cancel(reservation)
            raise error.told(outcome=Outcome.NOT_SENT) from error
        if accrued.reference != order.payment_id:
            await self._cancel(reservation)
        elif reservation is not None:
            await self._commit(reservation)
        return accrued

    async def decide(self, identity: Identity, draft: Callable[[], Awaitable[Draft]]) -> tuple[Order, bool]:
        """Turn a draft into an order that may be admitted, and say whether it debits a token account.

        Raises:
            TokenError: nothing is recorded, whichever it is.
        """
        try:
            found = await draft()
            order = Order(
                payment_id=uuid4(),
                type=identity.payment_type,
                amount=found.amount,
                plan=found.plan,
                sender=found.sender,
                recipient=found.recipient,
                reason=identity.reason,
                idempotency_key=identity.key,
                fingerprint=identity.fingerprint,
                created_at=self._clock.now(),
                reward_type=found.reward_type,
                purchase=await self._purchase_limit(identity.payment_type, found),
                refund_of=found.refund_of,
                claim=found.claim,
            )
            self._rails.check(order)
            await self._signer.check(order.plan)
        except TokenError as error:
            # Nothing is recorded yet, whatever an error of the chain or the database means elsewhere.
            raise error.told(outcome=Outcome.NOT_SENT) from error
        return order, found.debits

    async def _purchase_limit(self, payment_type: str, found: Draft) -> PurchaseLimit | None:
        if payment_type in UNLIMITED_TYPES or found.sender is None or found.sender.user_id is None:
            return None
        if found.refund_of is not None or found.claim is not None:
            return None
        return found.purchase_limit or await self._find_policy(found.sender.user_id)

    async def admit(
        self, order: Order, record: Callable[[Funds | None], Awaitable[Transaction]], *, debits: bool
    ) -> Transaction:
        """Reserve limits and read the balance, then record an order; a refusal leaves nothing behind.

        Args:
            order: as `decide` returned it.
            record: records it against the balance, or finds the payment that its key stands for.
            debits: whether a token account is debited, so that its balance is needed.

        Raises:
            LimitExceededError, InsufficientBalanceError, StoreUnavailableError, ChainError: nothing was
                recorded.
            DatabaseError: it may have been recorded; `facts["payment_id"]` names it.
        """
        reservation = await self._reserved(order)
        try:
            payment = await self._record(order, record, debits=debits)
        except DatabaseError as error:
            # Whether the commit went through is unknown, so the limits stay used.
            raise error.told(outcome=Outcome.UNKNOWN, payment_id=str(order.payment_id)) from error
        except TokenError as error:
            await self._cancel(reservation)
            raise error.told(outcome=Outcome.NOT_SENT) from error
        if payment.id != order.payment_id:
            # Another call with the same key was faster; this one's limits were never needed.
            await self._cancel(reservation)
        else:
            self._rails.note(order)
        return payment

    async def _record(
        self, order: Order, record: Callable[[Funds | None], Awaitable[Transaction]], *, debits: bool
    ) -> Transaction:
        return await self._covered(order, record) if debits else await record(None)

    async def _covered(self, order: Order, record: Callable[[Funds], Awaitable[T]]) -> T:
        """Record against the balance, and refuse for good only what no payment under way explains."""
        for _ in range(MAX_PROVISIONAL_REFUSALS):
            try:
                return await record(await self._funds(order))
            except (InsufficientBalanceError, DelegationError) as error:
                if not error.is_provisional:
                    raise
                refusal: TokenError = error
            await self._clock.sleep(PROVISIONAL_REFUSAL_SECONDS)
        raise refusal

    async def _reserved(self, order: Order) -> Reservation | None:
        rules = self._rules(order)
        if not rules:
            return None
        decision = await self._gate.reserve(str(order.payment_id), rules)
        decision.raise_if_refused()
        return decision.reservation

    def _rules(self, order: Order) -> list[Rule]:
        sender = order.sender
        if order.type in UNLIMITED_TYPES or sender is None or sender.user_id is None or sender.tier is None:
            return []
        if order.refund_of is not None or order.claim is not None:
            # Giving back is bounded by what was paid, and must not wait for a limit; accrued fees had
            # theirs when they accrued.
            return []
        user = str(sender.user_id)
        rules: list[Rule] = [self._rates.rule_for(user, sender.tier, order.type)]
        if order.purchase is not None:
            rules += order.purchase.rules(user, order.amount, self._purchase_period_seconds)
        return rules

    async def _funds(self, order: Order) -> Funds:
        assert order.sender is not None
        return await self._read_balance(order.sender.token_account)

    async def _commit(self, reservation: Reservation) -> None:
        try:
            await self._gate.commit(reservation)
        except StoreUnavailableError as error:
            # One that is never committed counts as used when it runs out.
            logger.warning("limits of %s stay reserved: %s", reservation.reservation_id, error.message)

    async def _cancel(self, reservation: Reservation | None) -> None:
        if reservation is None:
            return
        try:
            await self._gate.cancel(reservation)
        except StoreUnavailableError as error:
            logger.warning("limits of %s stay used: %s", reservation.reservation_id, error.message)


class LimitSettlement:
    """Ends the limits of payments whose end is proven; everything else stays reserved."""

    def __init__(self, gate: Gate) -> None:
        """Settle through a gate."""
        self._gate = gate

    async def __call__(self, payments: Sequence[Transaction]) -> None:
        """Commit at finalized, cancel on proven failure or expiry."""
        ended: dict[str, list[Reservation]] = {"finalized": [], "failed": [], "expired": []}
        for payment in payments:
            if payment.from_user_id is None or payment.type in UNLIMITED_TYPES:
                continue
            if payment.status in ended:
                ended[payment.status].append(Reservation(str(payment.id), str(payment.from_user_id)))
        await self._gate.cancel_many(ended["failed"] + ended["expired"])
        await self._gate.commit_many(ended["finalized"])
