"""What is promised to payments and not yet in a balance that was read, and what that leaves to spend.

Owns the rule by which a reservation counts. Rows are written by intents and attempts.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final, TypeAlias

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection

from deal_sdk.amounts import format_amount
from deal_sdk.errors import DelegationError, InsufficientBalanceError
from deal_sdk.payments.approvals import refuse_delegate
from deal_sdk.payments.orders import Funds, Order, Party
from deal_sdk.records import Database
from deal_sdk.records.tables import balance_reservations, token_accounts

_HALF: Final = 2**32

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
    known = sa.select(token_accounts.c.address).where(token_accounts.c.address.in_(list(senders)))
    new = set(senders).difference(await connection.scalars(known))
    if new:
        # Before any lock is held, so that nobody waits for a new account with another one in hand.
        await _add_accounts(connection, database, [(account, senders[account]) for account in sorted(new)])
    await connection.execute(known.order_by(token_accounts.c.address).with_for_update())


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
    column = balance_reservations.c
    # Summed by halves, because a balance may be beyond BIGINT and SQLite's sum then overflows.
    high, low = column.amount // _HALF, column.amount % _HALF
    query = (
        sa.select(
            column.token_account, column.delegate, column.landed_slot, sa.func.sum(high), sa.func.sum(low)
        )
        .where(column.token_account.in_(accounts), unreleased(oldest_slot))
        .group_by(column.token_account, column.delegate, column.landed_slot)
    )
    sums: Reserved = {}
    for account, delegate, landed_slot, high_sum, low_sum in await connection.execute(query):
        _hold(sums, account, delegate, (landed_slot, int(high_sum) * _HALF + int(low_sum)))
    return sums


def unreleased(slot: int) -> sa.ColumnElement[bool]:
    """Select the reservations that count against a balance read at a slot."""
    column = balance_reservations.c
    return sa.or_(column.state == "live", sa.and_(column.state == "landed", column.landed_slot > slot))


def _hold(reserved: Reserved, account: str, delegate: str | None, held: Held) -> None:
    """Count a reservation against its account and, when a delegate moves it, against the approval too."""
    for whose in {None, delegate}:
        reserved.setdefault((account, whose), []).append(held)


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
    available = spendable(funds, held)
    if delegate is not None:
        approved = Funds(funds.delegated_base_units, funds.slot)
        left = spendable(approved, reserved.get((account, delegate), ()))
        refusal = refuse_delegate(order, funds, left)
        if refusal is not None:
            return refusal
    if order.amount > available:
        live = sum(amount for slot, amount in held if slot is None)
        return insufficient(order.amount, available, is_provisional=order.amount <= available + live)
    _hold(reserved, account, delegate, (None, order.amount))
    return None


def admit_total(funds: Funds, account: str, reserved: Reserved, required: int) -> None:
    """Refuse what an account's balance does not cover, without counting it.

    Raises:
        InsufficientBalanceError: when less is left than required.
    """
    available = spendable(funds, reserved.get((account, None), ()))
    if required > available:
        raise insufficient(required, available)


def insufficient(required: int, available: int, *, is_provisional: bool = False) -> InsufficientBalanceError:
    """Build the refusal that names what is required, available and missing."""
    shown = max(available, 0)
    return InsufficientBalanceError(
        required=format_amount(required),
        available=format_amount(shown),
        deficit=format_amount(required - shown),
        is_provisional=is_provisional,
    )
