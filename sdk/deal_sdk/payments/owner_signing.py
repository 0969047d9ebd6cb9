"""Payments that owners' wallets sign: recorded and reserved first, committed when the signature is there.

What a caller believes after an error of `submit`: nothing was sent unless the error says otherwise, and the
same signed transaction may be submitted again.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import replace
from typing import Any
from uuid import UUID, uuid4

from deal_sdk.chain import SignedTransaction
from deal_sdk.errors import DatabaseError, Outcome, TransactionExpiredError
from deal_sdk.payments.admission import Admission, Draft, PaymentOptions, identify
from deal_sdk.payments.intent_rows import Intent
from deal_sdk.payments.intents import IntentStore
from deal_sdk.payments.orders import Funds, Order, Plan, PurchaseLimit
from deal_sdk.payments.owner_messages import OwnerMessages
from deal_sdk.payments.parties import PartyResolver
from deal_sdk.payments.pipeline import PaymentPipeline
from deal_sdk.payments.prepared import Prepared
from deal_sdk.payments.prepared_expiry import PreparedExpiry
from deal_sdk.payments.proven_failures import error_of
from deal_sdk.records import Transaction
from deal_sdk.settings import WaitFor

Drafting = Callable[[], Awaitable[Draft]]


class OwnerSigning:
    """Admits payments whose signature comes from the owner's wallet."""

    def __init__(
        self,
        *,
        admission: Admission,
        parties: PartyResolver,
        intents: IntentStore,
        messages: OwnerMessages,
        expiry: PreparedExpiry,
        pipeline: PaymentPipeline,
    ) -> None:
        """Wire the parts; nothing runs yet."""
        self._admission = admission
        self._parties = parties
        self._intents = intents
        self._store = expiry.store
        self._messages = messages
        self._expiry = expiry
        self._pipeline = pipeline

    async def prepare(
        self,
        payment_type: str,
        inputs: Mapping[str, Any],
        options: PaymentOptions,
        draft: Drafting,
        *,
        purchase_limit: PurchaseLimit | None = None,
    ) -> tuple[Prepared, Transaction]:
        """Record a payment with what its owner is to sign, or find the one that its key stands for.

        A payment that expired is prepared anew, as the next attempt: its expiry is the proof that no
        earlier one landed, whoever may have sent it.

        Args:
            payment_type: as in `token_transactions.type`.
            inputs: what the caller gave; its hash guards the idempotency key.
            options: reason and key; nothing is waited for.
            draft: resolves amount and parties; called only when the key is new.
            purchase_limit: the draft's, for a payment that is prepared anew.

        Raises:
            TransactionFailedError: the key stands for a payment that landed and failed.
            TokenError: as `Admission.pay`.
        """
        identity = identify(payment_type, inputs, options)
        payment = await self._admission.find(identity)
        if payment is None:
            order, debits = await self._admission.decide(identity, draft)
            return await self._begin(order, debits=debits)
        if payment.status == "pending":
            await self._expiry.sweep(payment.id)
            payment = await self._store.payment(payment.id)
        if payment.status == "expired":
            again = await self._admission.decide(identity, lambda: self._draft_again(payment, purchase_limit))
            return await self._begin_again(_same_payment(again[0], payment), debits=again[1])
        return await self._found(payment)

    async def submit(self, prepared_id: UUID, returned: bytes, wait_for: WaitFor) -> Transaction:
        """Commit what an owner's wallet signed, then send and follow it like every payment.

        Args:
            prepared_id: as `prepare` gave it.
            returned: the whole signed transaction.
            wait_for: how far to wait.

        Raises:
            PreparedTransactionNotFoundError: for another id.
            PreparedTransactionChangedError, InvalidSignatureError, InvalidInputError: nothing was taken.
            PaymentsPausedError, KeystoreError, DatabaseError: submit it again later.
            TransactionExpiredError: it came too late; prepare it again.
            PaymentPendingError, TransactionFailedError: after it was committed; see each.
        """
        prepared = await self._store.get(prepared_id)
        payment = await self._store.payment(prepared.payment_id)
        plan = Plan.from_json(payment.instruction or {})
        self._messages.check(prepared.transaction, plan, returned)
        if prepared.status == "open":
            signed = await self._messages.complete(prepared.transaction, plan, returned)
            await self._pipeline.admit(lambda _: self._commit(prepared, signed))
            prepared = await self._store.get(prepared_id)
        if prepared.status == "expired":
            raise _too_late(prepared, payment)
        payment = await self._store.payment(prepared.payment_id)
        return await self._admission.wait(payment, wait_for)

    async def _draft_again(self, payment: Transaction, purchase_limit: PurchaseLimit | None) -> Draft:
        """Draft a recorded payment: its amount and its wallets are those of the first time."""
        sender_address, recipient_address = payment.from_address, payment.to_address
        assert sender_address is not None
        assert recipient_address is not None
        if payment.from_user_id is None:
            sender = await self._parties.resolve(sender_address)
        else:
            sender = await self._parties.resolve(payment.from_user_id, wallet=sender_address)
        recipient = await self._parties.resolve(recipient_address)
        plan = Plan.from_json(payment.instruction or {})
        return Draft(payment.amount, plan, sender, recipient, debits=True, purchase_limit=purchase_limit)

    async def _commit(self, prepared: Prepared, signed: SignedTransaction) -> None:
        if await self._store.commit(prepared, signed):
            await self._pipeline.take_up([prepared.payment_id])

    async def _begin(self, order: Order, *, debits: bool) -> tuple[Prepared, Transaction]:
        prepared = await self._compose(order, number=1)

        async def record(funds: Funds | None) -> Transaction:
            recorded = await self._intents.create(Intent(order, funds, prepared))
            if recorded.is_new:
                self._pipeline.announce(recorded.payment)
            return recorded.payment

        return await self._admit(order, record, debits=debits)

    async def _begin_again(self, order: Order, *, debits: bool) -> tuple[Prepared, Transaction]:
        last = await self._store.latest(order.payment_id)
        prepared = await self._compose(order, number=1 if last is None else last.number + 1)

        async def record(funds: Funds | None) -> Transaction:
            return await self._store.revive(Intent(order, funds, prepared))

        return await self._admit(order, record, debits=debits)

    async def _compose(self, order: Order, *, number: int) -> Prepared:
        transaction = await self._messages.compose(order.payment_id, order.plan, order.amount, number=number)
        return Prepared(uuid4(), order.payment_id, number, "open", transaction)

    async def _admit(
        self, order: Order, record: Callable[[Funds | None], Awaitable[Transaction]], *, debits: bool
    ) -> tuple[Prepared, Transaction]:
        try:
            payment = await self._pipeline.admit(
                lambda _: self._admission.admit(order, record, debits=debits)
            )
        finally:
            # After the commit, or what may have been one: a sweep before it would have seen nothing.
            self._expiry.note()
        try:
            return await self._found(payment)
        except DatabaseError as error:
            raise error.told(outcome=Outcome.UNKNOWN, payment_id=str(payment.id)) from error

    async def _found(self, payment: Transaction) -> tuple[Prepared, Transaction]:
        error = error_of(payment)
        if error is not None:
            raise error
        prepared = await self._store.latest(payment.id)
        assert prepared is not None
        return prepared, payment


def _same_payment(order: Order, payment: Transaction) -> Order:
    """Return an order that stands for a payment that is recorded already."""
    return replace(order, payment_id=payment.id, created_at=payment.created_at)


def _too_late(prepared: Prepared, payment: Transaction) -> TransactionExpiredError:
    return TransactionExpiredError(
        "the prepared transaction's blockhash ran out before it was submitted; prepare it again",
        payment_id=str(payment.id),
        prepared_id=str(prepared.id),
        last_valid_block_height=prepared.transaction.last_valid_block_height,
    )
