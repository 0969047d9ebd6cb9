"""Accrued fees and the one settlement that pays them: claimed with its intent, given back when it failed.

A fee belongs to no settlement or to one; both changes happen in the transaction that records or ends the
payment, so that no crash leaves a fee paid twice, or never.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypeAlias
from uuid import UUID

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection

from deal_sdk.errors import SettlementConflictError
from deal_sdk.payments.orders import Order
from deal_sdk.records.accrual_tables import service_fee_accruals
from deal_sdk.records.among import among

OwedFees: TypeAlias = dict[UUID, list[tuple[int, int]]]
"""The fees that each settlement claims and that are still owed: row and base units, by payment."""

_accrual = service_fee_accruals.c


async def owed_fees(connection: AsyncConnection, orders: Sequence[Order]) -> OwedFees:
    """Return what is still owed of the fees that orders claim.

    Args:
        connection: of the transaction that holds the debited accounts' locks.
        orders: those about to be recorded; one without a claim claims nothing.
    """
    owed: OwedFees = {}
    for order in orders:
        if order.claim is None or order.sender is None:
            continue
        query = (
            sa.select(_accrual.id, _accrual.amount)
            .where(_accrual.token_account == order.sender.token_account, _accrual.payment_id.is_(None))
            .where(_accrual.user_id == order.sender.user_id, _accrual.id <= order.claim.through_id)
            .with_for_update()
        )
        owed[order.payment_id] = [(row_id, amount) for row_id, amount in await connection.execute(query)]
    return owed


def take_claim(owed: OwedFees, order: Order) -> SettlementConflictError | None:
    """Take an order's fees out of what is owed, or return the refusal.

    Args:
        owed: as `owed_fees` returned it; changed in place, so that two settlements share no fee.
        order: the next one to record.
    """
    if order.claim is None:
        return None
    fees = owed[order.payment_id]
    if len(fees) != order.claim.fees or sum(amount for _, amount in fees) != order.amount:
        owed[order.payment_id] = []
        return SettlementConflictError("the fees changed while their settlement was prepared; settle again")
    mine = {row_id for row_id, _ in fees}
    for payment_id, others in owed.items():
        if payment_id != order.payment_id:
            owed[payment_id] = [fee for fee in others if fee[0] not in mine]
    return None


async def attach_fees(connection: AsyncConnection, accepted: Sequence[Order], owed: OwedFees) -> None:
    """Give fees to the settlements that were just recorded."""
    for order in accepted:
        if order.claim is None:
            continue
        ids = [row_id for row_id, _ in owed[order.payment_id]]
        attach = service_fee_accruals.update().where(_accrual.id.in_(ids), _accrual.payment_id.is_(None))
        await connection.execute(attach.values(payment_id=order.payment_id))


def fees_given_back(payment_ids: sa.BindParameter[UUID]) -> sa.Update:
    """Return the statement by which the fees of settlements that provably did not happen are owed again.

    Args:
        payment_ids: the parameter for the settlements, as `list_parameter` names it.
    """
    return (
        service_fee_accruals.update().where(among(_accrual.payment_id, payment_ids)).values(payment_id=None)
    )
