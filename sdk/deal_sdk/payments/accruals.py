"""Accrued fees: what users owe for services, recorded one by one and held against their balance.

Owns their rows and the questions about them. A fee moves nothing; the settlement that later pays it is a
payment like any other.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from datetime import datetime
from typing import Any, Final
from uuid import UUID

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection

from deal_sdk.amounts import DEAL_DECIMALS, MAX_PAYMENT_BASE_UNITS, format_amount
from deal_sdk.batching import Collector
from deal_sdk.errors import ConstraintError, IdempotencyConflictError
from deal_sdk.payments.orders import FeeClaim, Funds, Order
from deal_sdk.payments.rails import refuse_when_paused
from deal_sdk.payments.reservations import (
    admit_accrual,
    halves_summed,
    joined,
    lock_accounts,
    sum_reservations,
)
from deal_sdk.records import Database
from deal_sdk.records.accrual_tables import service_fee_accruals, service_fee_settlements

MAX_ACCRUALS_PER_TRANSACTION: Final = 256
MAX_FEES_PER_SETTLEMENT: Final = 1_000
MAX_TOTALS_PER_QUERY: Final = 1_000

_accrual = service_fee_accruals.c


@dataclass(frozen=True, slots=True)
class AccruedFee:
    """A fee that a user owes, or that a settlement took on."""

    id: int
    reference: UUID
    idempotency_key: str | None
    fingerprint: str
    user_id: UUID
    owner_address: str
    token_account: str
    service_type: str
    amount: int
    payment_id: UUID | None
    """The settlement that pays it; None while it is owed."""
    created_at: datetime

    def to_dict(self, *, decimals: int = DEAL_DECIMALS) -> dict[str, Any]:
        """Return the fee as JSON-serialisable data, the amount as text in whole tokens."""
        return {
            "reference": str(self.reference),
            "user_id": str(self.user_id),
            "address": self.owner_address,
            "service_type": self.service_type,
            "amount": format_amount(self.amount, decimals=decimals),
            "payment_id": None if self.payment_id is None else str(self.payment_id),
            "idempotency_key": self.idempotency_key,
            "created_at": self.created_at.isoformat(),
        }


@dataclass(frozen=True, slots=True)
class AccruedTotal:
    """What one user owes out of one token account."""

    user_id: UUID
    owner_address: str
    token_account: str
    fees: int
    amount: int
    oldest_at: datetime

    def to_dict(self, *, decimals: int = DEAL_DECIMALS) -> dict[str, Any]:
        """Return the total as JSON-serialisable data, the amount as text in whole tokens."""
        return {
            "user_id": str(self.user_id),
            "address": self.owner_address,
            "fees": self.fees,
            "amount": format_amount(self.amount, decimals=decimals),
            "oldest_at": self.oldest_at.isoformat(),
        }


@dataclass(frozen=True, slots=True)
class DueFees:
    """From when on fees are due, all three together."""

    amount_base_units: int
    """So much is due at once."""
    accrued_before: datetime
    """Fees as old as this are due, however little they are."""
    unsettled_since: datetime
    """Accounts with a settlement since then wait, so that one that fails is not repeated all the time."""
    after_account: str = ""
    """Only token accounts beyond this one, so that those who cannot pay never hide the others."""


@dataclass(frozen=True, slots=True)
class _NewAccrual:
    order: Order
    funds: Funds


class AccrualStore:
    """Records accrued fees, many in one transaction, and adds them up."""

    def __init__(self, database: Database) -> None:
        """Record into a database."""
        self._database = database
        self._lane: Collector[_NewAccrual, AccruedFee] = Collector(
            self._create_batch, max_items=MAX_ACCRUALS_PER_TRANSACTION
        )

    async def create(self, order: Order, funds: Funds) -> AccruedFee:
        """Record a fee that the balance covers, or return the one that its key stands for.

        Args:
            order: the settlement of this fee alone; `payment_id` becomes the fee's reference, and the
                reason is its service type.
            funds: the balance that it is admitted against.

        Raises:
            InsufficientBalanceError, DelegationError: when balance or approval, less reservations and
                fees already owed, do not cover it; nothing was recorded.
            IdempotencyConflictError: when the key was used with other input.
            DatabaseError: whether it was recorded is unknown.
        """
        return await self._lane.submit(_NewAccrual(order, funds))

    async def find_by_key(self, idempotency_key: str, fingerprint: str) -> AccruedFee | None:
        """Return the fee that a key stands for.

        Raises:
            IdempotencyConflictError: when the key was used with other input.
        """
        query = sa.select(service_fee_accruals).where(_accrual.idempotency_key == idempotency_key)
        rows = await self._database.fetch(query)
        return _replayed(_fee(rows[0]._mapping), fingerprint) if rows else None

    async def totals(
        self, *, user_id: UUID | None = None, due: DueFees | None = None, limit: int = MAX_TOTALS_PER_QUERY
    ) -> list[AccruedTotal]:
        """Return what is owed by user and token account, the oldest first.

        Args:
            user_id: only what this user owes.
            due: only what is due, then by token account.
            limit: how many at most.
        """
        high, low = halves_summed(_accrual.amount)
        oldest = sa.func.min(_accrual.created_at)
        query = (
            sa.select(
                _accrual.user_id,
                _accrual.owner_address,
                _accrual.token_account,
                sa.func.count(),
                high,
                low,
                oldest,
            )
            .where(_accrual.payment_id.is_(None))
            .group_by(_accrual.user_id, _accrual.owner_address, _accrual.token_account)
            .order_by(*((oldest,) if due is None else ()), _accrual.token_account)
            .limit(limit)
        )
        if user_id is not None:
            query = query.where(_accrual.user_id == user_id)
        if due is not None:
            query = query.where(_accrual.token_account > due.after_account)
            query = query.where(_accrual.token_account.not_in(_settled_since(due.unsettled_since)))
            enough = high * 2**32 + low >= due.amount_base_units
            query = query.having(sa.or_(enough, oldest <= due.accrued_before))
        return [
            AccruedTotal(row[0], row[1], row[2], row[3], joined(row[4], row[5]), row[6])
            for row in await self._database.fetch(query)
        ]

    async def next_claim(
        self, total: AccruedTotal, *, cap_base_units: int | None
    ) -> tuple[FeeClaim, int] | None:
        """Choose the oldest fees of a total that one payment can settle.

        Args:
            total: whose fees.
            cap_base_units: the most that one payment may move, if there is a cap.

        Returns:
            The claim and its amount in base units; None when nothing is owed any more.
        """
        query = (
            sa.select(_accrual.id, _accrual.amount)
            .where(_accrual.token_account == total.token_account, _accrual.user_id == total.user_id)
            .where(_accrual.payment_id.is_(None))
            .order_by(_accrual.id)
            .limit(MAX_FEES_PER_SETTLEMENT)
        )
        bound = MAX_PAYMENT_BASE_UNITS if cap_base_units is None else cap_base_units
        through_id = fees = amount = 0
        for row_id, fee in await self._database.fetch(query):
            # The first is taken in any case: when the cap has been lowered since, the rail says so.
            if fees and amount + fee > bound:
                break
            through_id, fees, amount = row_id, fees + 1, amount + fee
        return (FeeClaim(through_id, fees), amount) if fees else None

    async def close(self) -> None:
        """Finish what was submitted."""
        await self._lane.close()

    async def _create_batch(self, accruals: Sequence[_NewAccrual]) -> Sequence[AccruedFee | BaseException]:
        try:
            return await self._database.run(lambda connection: self._create_in(connection, accruals))
        except ConstraintError as error:
            if len(accruals) == 1:
                return [error]
        return [(await self._create_batch([accrual]))[0] for accrual in accruals]

    async def _create_in(
        self, connection: AsyncConnection, accruals: Sequence[_NewAccrual]
    ) -> list[AccruedFee | BaseException]:
        await refuse_when_paused(connection)
        senders = {one.order.sender.token_account: one.order.sender for one in accruals if one.order.sender}
        await lock_accounts(connection, self._database, senders)
        oldest_slot = min(one.funds.slot for one in accruals)
        reserved = await sum_reservations(connection, list(senders), oldest_slot)
        # Read under the locks, so that a fee which another process just recorded is found by its key.
        keys = {one.order.idempotency_key for one in accruals} - {None}
        taken = {fee.idempotency_key for fee in await _select(connection, _accrual.idempotency_key.in_(keys))}
        refused: dict[UUID, BaseException] = {}
        rows: list[dict[str, Any]] = []
        for one in accruals:
            if one.order.idempotency_key in taken:
                continue
            refusal = admit_accrual(one.order, one.funds, reserved)
            if refusal is not None:
                refused[one.order.payment_id] = refusal
                continue
            rows.append(_row(one.order))
            taken |= {one.order.idempotency_key} - {None}
        if rows:
            insert = self._database.insert(service_fee_accruals)
            await connection.execute(insert.on_conflict_do_nothing(index_elements=["idempotency_key"]), rows)
        references = [row["reference"] for row in rows]
        mine = sa.or_(_accrual.reference.in_(references), _accrual.idempotency_key.in_(keys))
        recorded = await _select(connection, mine)
        return [refused.get(one.order.payment_id) or _result(one.order, recorded) for one in accruals]


def _settled_since(time: datetime) -> sa.Select[Any]:
    column = service_fee_settlements.c
    return sa.select(column.token_account).where(column.created_at > time)


async def _select(connection: AsyncConnection, condition: Any) -> list[AccruedFee]:
    rows = (await connection.execute(sa.select(service_fee_accruals).where(condition))).mappings()
    return [_fee(row) for row in rows]


_COLUMNS: Final = tuple(field.name for field in fields(AccruedFee))


def _fee(row: Mapping[Any, Any]) -> AccruedFee:
    return AccruedFee(**{name: row[name] for name in _COLUMNS})


def _row(order: Order) -> dict[str, Any]:
    assert order.sender is not None
    return {
        "reference": order.payment_id,
        "idempotency_key": order.idempotency_key,
        "fingerprint": order.fingerprint,
        "user_id": order.sender.user_id,
        "owner_address": order.sender.address,
        "token_account": order.sender.token_account,
        "service_type": order.reason,
        "amount": order.amount,
        "payment_id": None,
        "created_at": order.created_at,
    }


def _result(order: Order, recorded: Sequence[AccruedFee]) -> AccruedFee | BaseException:
    for fee in recorded:
        if fee.reference == order.payment_id:
            return fee
    [known] = [fee for fee in recorded if fee.idempotency_key == order.idempotency_key]
    try:
        return _replayed(known, order.fingerprint)
    except IdempotencyConflictError as error:
        return error


def _replayed(fee: AccruedFee, fingerprint: str) -> AccruedFee:
    if fee.fingerprint != fingerprint:
        raise IdempotencyConflictError(
            "the idempotency key was used before with other input",
            idempotency_key=fee.idempotency_key,
            reference=str(fee.reference),
        )
    return fee
