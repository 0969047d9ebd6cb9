"""Refunds: how much of a payment may still be given back, asked under the payment's lock."""

from __future__ import annotations

from collections.abc import Collection
from typing import Final
from uuid import UUID

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection

from deal_sdk.amounts import format_amount
from deal_sdk.errors import RefundError
from deal_sdk.payments.orders import Order
from deal_sdk.records.tables import token_transactions

REFUNDABLE_TYPES: Final = ("transfer", "service_fee", "reward", "purchase")
_PAID: Final = "finalized"
"""A confirmed payment may still be taken back by a fork, and what was given back for it is gone."""
_GIVEN_UP: Final = ("failed", "expired")


async def refundable(connection: AsyncConnection, payment_ids: Collection[UUID]) -> dict[UUID, int]:
    """Lock payments and return what is left of each to refund.

    Refunds under way count, because they may happen; those that provably did not happen do not.

    Args:
        connection: of a write transaction.
        payment_ids: the payments to refund; one that was not paid, or is no payment of ours that can be
            refunded, is left out.

    Returns:
        Base units by payment.
    """
    if not payment_ids:
        return {}
    column = token_transactions.c
    paid = (
        sa.select(column.id, column.amount)
        .where(column.id.in_(payment_ids), column.status == _PAID, column.type.in_(REFUNDABLE_TYPES))
        .where(column.instruction.is_not(None), column.refund_of.is_(None))
        .order_by(column.id)
        .with_for_update()
    )
    left: dict[UUID, int] = {payment_id: amount for payment_id, amount in await connection.execute(paid)}
    given_back = sa.select(column.refund_of, column.amount).where(
        column.refund_of.in_(payment_ids), column.status.not_in(_GIVEN_UP)
    )
    for payment_id, amount in await connection.execute(given_back):
        if payment_id in left:
            left[payment_id] -= amount
    return left


def take_refund(left: dict[UUID, int], order: Order) -> RefundError | None:
    """Take a refund out of what is left of its payment, or return the refusal.

    Args:
        left: as `refundable` returned it; changed in place.
        order: the next one to record.
    """
    if order.refund_of is None:
        return None
    payment_id = str(order.refund_of)
    if order.refund_of not in left:
        return RefundError("the payment was not paid, or is none that can be refunded", payment_id=payment_id)
    available = left[order.refund_of]
    if order.amount > available:
        return RefundError(
            f"only {format_amount(available)} is left of the payment to refund",
            payment_id=payment_id,
            refundable=format_amount(available),
        )
    left[order.refund_of] = available - order.amount
    return None
