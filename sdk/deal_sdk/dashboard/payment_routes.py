"""Payments: their states, searched and paged, and the evidence of each attempt."""

from __future__ import annotations

from typing import Any, Final
from uuid import UUID

from deal_sdk.dashboard.endpoints import API_PREFIX, Call, Endpoint
from deal_sdk.dashboard.models import Attempt, Payment, PaymentDetail, Payments, PaymentsQuery
from deal_sdk.dashboard.service import Service
from deal_sdk.errors import PaymentNotFoundError
from deal_sdk.records import Transaction
from deal_sdk.records.tables import ADDRESS_LENGTH, SIGNATURE_LENGTH

_PATH: Final = f"{API_PREFIX}/payments"
_TAG: Final = "payments"
_SHORTEST_SIGNATURE: Final = 64


async def list_payments(service: Service, call: Call) -> Payments:
    """Return a page of payments, the newest first."""
    query: PaymentsQuery = call.query
    decimals = service.deal.mint.decimals
    named = None if query.q is None else await _named(service, query.q)
    if named is not None:
        kept = [payment for payment in named if _matches(payment, query)]
        return Payments(items=[Payment.of(payment, decimals) for payment in kept], next_cursor=None)
    if query.q is not None and len(query.q) > ADDRESS_LENGTH:
        return Payments(items=[], next_cursor=None)
    page = await service.deal.transactions.query(
        **_whose(query.q),
        status=query.status,
        type=query.type,
        since=query.since,
        until=query.until,
        newest_first=True,
        limit=query.limit,
        cursor=query.cursor,
    )
    return Payments(
        items=[Payment.of(payment, decimals) for payment in page.items], next_cursor=page.next_cursor
    )


async def show(service: Service, call: Call) -> PaymentDetail:
    """Return a payment with its evidence and its attempts."""
    transactions = service.deal.transactions
    payment = await transactions.get(call.path("payment_id"))
    attempts = await transactions.attempts(payment.id)
    return PaymentDetail(
        payment=Payment.of(payment, service.deal.mint.decimals),
        idempotency_key=payment.idempotency_key,
        refund_of=None if payment.refund_of is None else str(payment.refund_of),
        evidence=None if payment.evidence is None else dict(payment.evidence),
        attempts=[Attempt.model_validate(attempt.to_dict()) for attempt in attempts],
    )


async def _named(service: Service, text: str) -> list[Transaction] | None:
    """Return the payments that a text names by itself; None where it may be a user's id or an address."""
    transactions = service.deal.transactions
    try:
        if _is_uuid(text):
            return [await transactions.get(text)]
        may_be_signature = _SHORTEST_SIGNATURE <= len(text) <= SIGNATURE_LENGTH
        if may_be_signature and (found := await transactions.get_by_signature(text)):
            return found
        return [await transactions.get_by_idempotency_key(text)]
    except PaymentNotFoundError:
        return None


def _whose(text: str | None) -> dict[str, Any]:
    if text is None:
        return {}
    return {"user_id": text} if _is_uuid(text) else {"wallet": text}


def _matches(payment: Transaction, query: PaymentsQuery) -> bool:
    return (
        query.status in (None, payment.status)
        and query.type in (None, payment.type)
        and (query.since is None or payment.created_at >= query.since)
        and (query.until is None or payment.created_at < query.until)
    )


def _is_uuid(text: str) -> bool:
    try:
        UUID(text)
    except ValueError:
        return False
    return True


ENDPOINTS: Final = (
    Endpoint(
        method="GET",
        path=_PATH,
        summary="List or search payments",
        tag=_TAG,
        handler=list_payments,
        query=PaymentsQuery,
        answer=Payments,
    ),
    Endpoint(
        method="GET",
        path=f"{_PATH}/{{payment_id}}",
        summary="Show a payment with its evidence",
        tag=_TAG,
        handler=show,
        answer=PaymentDetail,
    ),
)
