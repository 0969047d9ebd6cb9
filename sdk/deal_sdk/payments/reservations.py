"""What is promised to payments and not yet in a balance that was read, and what that leaves to spend.

Owns the rule by which a reservation counts. Rows are written by intents and attempts.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final, TypeAlias

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection

from deal_sdk.amounts import format_amount
from deal_sdk.errors import DelegationError, InsufficientBalanceError
from deal_sdk.payments.approvals import refuse_delegate
from deal_sdk.payments.orders import Funds, Order, Party
from deal_sdk.records import Database
from deal_sdk.records.accrual_tables import service_fee_accruals
from deal_sdk.records.among import among, list_parameter
from deal_sdk.records.packed_rows import PackedQuery
from deal_sdk.records.tables import balance_reservations, token_accounts

_HALF: Final = 2**32
_ACCRUED: Final = "accrued"
"""Stands in a delegate's place for what users owe in accrued fees, which no address looks like."""
_ACCOUNTS: Final = list_parameter("b_accounts", token_accounts.c.address)

Held: TypeAlias = tuple[int | None, int]
"""A reservation: the slot it landed at, None while it is live, and base units."""
Reserved: TypeAlias = dict[tuple[str, str | None], list[Held]]
"""Reservations by token account and delegate; under no delegate stand all of the account."""


async def lock_accounts(
    connection: AsyncConnection, database: Database, senders: Mapping[str, Party]
) -> None:
    """Lock the token accounts that are about to be debited, in one order, so that debits queue for them.

    Args:
        connection: of a write transaction.
        database: the one that it belongs to.
        senders: whose account each is; one that is not tracked yet becomes so.
    """
    known = {address for (address,) in await _KNOWN.rows(connection, {"b_accounts": list(senders)})}
    new = senders.keys() - known
    if new:
        # Before any lock is held, so that nobody waits for a new account with another one in hand.
        await _add_accounts(connection, database, [(account, senders[account]) for account in sorted(new)])
    if database.dialect == "postgresql":
        # SQLite has one writer, which holds every lock.
        locked = sa.select(token_accounts.c.address).where(among(token_accounts.c.address, list(senders)))
        await connection.execute(locked.order_by(token_accounts.c.address).with_for_update())


async def _add_accounts(
    connection: AsyncConnection, database: Database, owners: Sequence[tuple[str, Party]]
) -> None:
    now = database.clock.now()
    rows = [
        {"address": account, "owner_address": party.address, "user_id": party.user_id, "created_at": now}
        for account, party in owners
    ]
    insert = database.insert(token_accounts).on_conflict_do_nothing(index_elements=["address"])
    await connection.execute(insert, rows)


async def sum_reservations(connection: AsyncConnection, accounts: list[str], oldest_slot: int) -> Reserved:
    """Sum what counts against token accounts, by delegate and landed slot.

    Args:
        connection: of the transaction that holds the accounts' locks.
        accounts: the token accounts.
        oldest_slot: the oldest slot that one of their balances was read at.
    """
    sums: Reserved = {}
    parameters = {"b_accounts": accounts, "b_slot": oldest_slot}
    for account, delegate, landed_slot, high_sum, low_sum in await _HELD.rows(connection, parameters):
        _hold(sums, account, delegate, (landed_slot, joined(high_sum, low_sum)))
    return sums


async def held_now(database: Database, token_account: str, slot: int) -> int:
    """Return what counts against a token account's balance read at a slot, in base units."""
    parameters = {"b_accounts": [token_account], "b_slot": slot}
    rows = await database.read(lambda connection: _HELD.rows(connection, parameters))
    held = [(landed_slot, joined(high, low)) for _, _, landed_slot, high, low in rows]
    return -spendable(Funds(0, slot), held)


def halves_summed(amount: Any) -> tuple[sa.Function[Any], sa.Function[Any]]:
    """Return the sums of a column's upper and lower halves, because SQLite's sum overflows beyond BIGINT."""
    return sa.func.sum(amount // _HALF), sa.func.sum(amount % _HALF)


def joined(high: Any, low: Any) -> int:
    """Return the sum that `halves_summed` took apart."""
    return int(high) * _HALF + int(low)


def unreleased(slot: int | sa.BindParameter[int]) -> sa.ColumnElement[bool]:
    """Select the reservations that count against a balance read at a slot."""
    column = balance_reservations.c
    return sa.or_(column.state == "live", sa.and_(column.state == "landed", column.landed_slot > slot))


def _held_query() -> sa.CompoundSelect[Any]:
    """Select reservations and accrued fees at once, so that both are of one moment.

    A settlement that fails turns the one into the other, and read apart neither might be seen.
    """
    held, owed = balance_reservations.c, service_fee_accruals.c
    slot = sa.bindparam("b_slot", type_=sa.BigInteger())
    reservations = (
        sa.select(held.token_account, held.delegate, held.landed_slot, *halves_summed(held.amount))
        .where(among(held.token_account, _ACCOUNTS), unreleased(slot))
        .group_by(held.token_account, held.delegate, held.landed_slot)
    )
    accruals = (
        sa.select(
            owed.token_account,
            sa.literal(_ACCRUED),
            sa.cast(sa.null(), sa.BigInteger),
            *halves_summed(owed.amount),
        )
        .where(among(owed.token_account, _ACCOUNTS), owed.payment_id.is_(None))
        .group_by(owed.token_account)
    )
    return sa.union_all(reservations, accruals)


_HELD: Final = PackedQuery(_held_query())
_KNOWN: Final = PackedQuery(
    sa.select(token_accounts.c.address).where(among(token_accounts.c.address, _ACCOUNTS))
)


def _hold(reserved: Reserved, account: str, delegate: str | None, held: Held) -> None:
    """Count a reservation against its account and, when a delegate moves it, against the approval too."""
    for whose in {None, delegate}:
        reserved.setdefault((account, whose), []).append(held)


def _live(held: Sequence[Held]) -> int:
    return sum(amount for slot, amount in held if slot is None)


def spendable(funds: Funds, reservations: Sequence[tuple[int | None, int]]) -> int:
    """Return what a balance read at a slot leaves to spend.

    A live reservation always counts; a landed one counts while the balance is older than its slot.

    Args:
        funds: the balance and the slot it was read at.
        reservations: pairs of landed slot (None while live) and amount in base units.
    """
    held = sum(amount for slot, amount in reservations if slot is None or slot > funds.slot)
    return funds.balance_base_units - held


def admit(
    order: Order, funds: Funds | None, reserved: Reserved
) -> InsufficientBalanceError | DelegationError | None:
    """Return why balance or approval do not cover an order; where they do, it counts from now on.

    Args:
        order: the next one to record.
        funds: as read from the chain; none when nothing is debited.
        reserved: as `sum_reservations` returned it; changed in place.
    """
    if funds is None or order.sender is None:
        return None
    account, delegate = order.sender.token_account, order.delegate
    held = reserved.get((account, None), ())
    # The fees that a settlement pays are held already, as accrued ones.
    owed = 0 if order.claim is None else order.amount
    available = spendable(funds, held) + owed
    if delegate is not None:
        approved = Funds(funds.delegated_base_units, funds.slot)
        drawn = reserved.get((account, delegate), ())
        left = spendable(approved, drawn)
        refusal = refuse_delegate(order, funds, left, live_base_units=_live(drawn))
        if refusal is not None:
            return refusal
    if order.amount > available:
        return _short(order, available, account, reserved)
    _hold(reserved, account, delegate, (None, order.amount))
    if owed:
        _hold(reserved, account, _ACCRUED, (None, -owed))
    return None


def admit_total(funds: Funds, account: str, reserved: Reserved, required: int) -> None:
    """Refuse what an account's balance does not cover, without counting it.

    Raises:
        InsufficientBalanceError: when less is left than required.
    """
    available = spendable(funds, reserved.get((account, None), ()))
    if required > available:
        raise insufficient(required, available)


def admit_accrual(
    order: Order, funds: Funds, reserved: Reserved
) -> InsufficientBalanceError | DelegationError | None:
    """Return why balance or approval do not cover a fee that is to be settled later; else it counts.

    Args:
        order: the settlement of this fee alone.
        funds: as read from the chain.
        reserved: as `sum_reservations` returned it; changed in place.
    """
    assert order.sender is not None
    account, delegate = order.sender.token_account, order.delegate
    available = spendable(funds, reserved.get((account, None), ()))
    if delegate is not None:
        approved = Funds(funds.delegated_base_units, funds.slot)
        # Whatever is owed will be taken by the approval as well.
        drawn = reserved.get((account, delegate), ())
        left = spendable(approved, [*drawn, *reserved.get((account, _ACCRUED), ())])
        refusal = refuse_delegate(order, funds, left, live_base_units=_live(drawn))
        if refusal is not None:
            return refusal
    if order.amount > available:
        return _short(order, available, account, reserved)
    _hold(reserved, account, _ACCRUED, (None, order.amount))
    return None


def _short(order: Order, available: int, account: str, reserved: Reserved) -> InsufficientBalanceError:
    """Refuse, provisionally where payments under way would explain what is missing; fees owed never do."""
    live = _live(reserved.get((account, None), ()))
    live -= sum(amount for _, amount in reserved.get((account, _ACCRUED), ()))
    return insufficient(order.amount, available, is_provisional=order.amount <= available + live)


def insufficient(required: int, available: int, *, is_provisional: bool = False) -> InsufficientBalanceError:
    """Build the refusal that names what is required, available and missing."""
    shown = max(available, 0)
    return InsufficientBalanceError(
        required=format_amount(required),
        available=format_amount(shown),
        deficit=format_amount(required - shown),
        is_provisional=is_provisional,
    )
