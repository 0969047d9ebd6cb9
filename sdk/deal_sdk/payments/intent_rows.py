"""An intent as rows: the payment itself, and what is recorded together with it."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final
from uuid import UUID

from deal_sdk.chain import SignedTransaction
from deal_sdk.limits.purchase_listings import stored_terms
from deal_sdk.payments.orders import Funds, Order
from deal_sdk.payments.prepared import Prepared
from deal_sdk.records.accrual_tables import service_fee_settlements
from deal_sdk.records.purchase_tables import token_purchases
from deal_sdk.records.tables import (
    balance_reservations,
    payment_attempts,
    prepared_transactions,
    token_rewards,
)


@dataclass(frozen=True, slots=True)
class Intent:
    """An order with the balance that it is admitted against; no funds means that nothing is debited."""

    order: Order
    funds: Funds | None
    prepared: Prepared | None = None
    signed: SignedTransaction | None = None
    """The first attempt, where it could be signed beforehand: it is committed with the payment itself."""


def transaction_row(order: Order, signed: SignedTransaction | None = None) -> dict[str, Any]:
    """Return the row of `token_transactions` with which a payment begins."""
    sender, recipient = order.sender, order.recipient
    return {
        "id": order.payment_id,
        "idempotency_key": order.idempotency_key,
        "fingerprint": order.fingerprint,
        "type": order.type,
        "status": "pending",
        "from_user_id": sender.user_id if sender else None,
        "to_user_id": recipient.user_id if recipient else None,
        "from_address": sender.address if sender else None,
        "to_address": recipient.address if recipient else None,
        "amount": order.amount,
        "reason": order.reason,
        "instruction": order.plan.to_json(),
        "refund_of": order.refund_of,
        "signature": signed.signature if signed else None,
        "slot": None,
        "evidence": None,
        "created_at": order.created_at,
        "updated_at": order.created_at,
        "confirmed_at": None,
        "finalized_at": None,
    }


def _reservation_row(intent: Intent) -> dict[str, Any] | None:
    if intent.funds is None or intent.order.sender is None:
        return None
    return {
        "payment_id": intent.order.payment_id,
        "token_account": intent.order.sender.token_account,
        "delegate": intent.order.delegate,
        "amount": intent.order.amount,
        "state": "live",
        "created_at": intent.order.created_at,
    }


def _reward_row(intent: Intent) -> dict[str, Any] | None:
    order = intent.order
    if order.reward_type is None:
        return None
    return {
        "payment_id": order.payment_id,
        "user_id": order.recipient.user_id if order.recipient else None,
        "reward_type": order.reward_type,
        "amount": order.amount,
        "created_at": order.created_at,
    }


def _purchase_row(intent: Intent) -> dict[str, Any] | None:
    order = intent.order
    if order.purchase is None or order.sender is None:
        return None
    created: datetime = order.created_at
    return {
        "reservation_id": str(order.payment_id),
        "payment_id": order.payment_id,
        "user_id": str(order.sender.user_id or order.sender.address),
        "token_mint": order.purchase.token_mint,
        "subscription_id": order.purchase.subscription_id,
        "max_purchases": order.purchase.max_purchases,
        "amount": order.amount,
        "state": "reserved",
        "created_at": created,
        "updated_at": created,
        "counts_until": order.purchase.counts_until(created),
        "terms": stored_terms(order.purchase.terms(order.amount)),
    }


def _prepared_row(intent: Intent) -> dict[str, Any] | None:
    if intent.prepared is None:
        return None
    return intent.prepared.to_row(intent.order.created_at)


def attempt_row(
    payment_id: UUID, number: int, transaction: SignedTransaction, now: datetime
) -> dict[str, Any]:
    """Return the row of `payment_attempts` that must be committed before the bytes are sent."""
    return {
        "payment_id": payment_id,
        "number": number,
        "status": "signed",
        "signature": transaction.signature,
        "signed_bytes": transaction.raw_bytes,
        "last_valid_block_height": transaction.last_valid_block_height,
        "context_slot": transaction.context_slot,
        "created_at": now,
        "updated_at": now,
    }


def _first_attempt_row(intent: Intent) -> dict[str, Any] | None:
    if intent.signed is None:
        return None
    return attempt_row(intent.order.payment_id, 1, intent.signed, intent.order.created_at)


def _settlement_row(intent: Intent) -> dict[str, Any] | None:
    order = intent.order
    if order.claim is None or order.sender is None:
        return None
    return {
        "payment_id": order.payment_id,
        "token_account": order.sender.token_account,
        "fees": order.claim.fees,
        "created_at": order.created_at,
    }


COMPANIONS: Final = (
    (prepared_transactions, _prepared_row),
    (balance_reservations, _reservation_row),
    (token_rewards, _reward_row),
    (token_purchases, _purchase_row),
    (payment_attempts, _first_attempt_row),
    (service_fee_settlements, _settlement_row),
)
"""The tables that an intent may have a row in, each with the function that makes it."""
