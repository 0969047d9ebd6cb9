"""The rules of credit lots that SQL can prove on any database."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any, Final

import sqlalchemy as sa

from deal_sdk.records.credit_tables import credit_accounts, credit_holds
from deal_sdk.records.invariants import BrokenRows, broken
from deal_sdk.records.lot_tables import credit_lot_burns, credit_lot_holds, credit_lots

_account = credit_accounts.c
_hold = credit_holds.c
_lot = credit_lots.c
_burn = credit_lot_burns.c
_part = credit_lot_holds.c


def _text(value: sa.ColumnElement[Any]) -> sa.ColumnElement[str]:
    return sa.cast(value, sa.String(40))


def _lots_add_up() -> BrokenRows:
    """An account's lots are as much as it counts in them, and no free one stands beside a debt."""
    total = sa.func.coalesce(sa.func.sum(_lot.remaining), 0)
    free = sa.func.coalesce(sa.func.sum(_lot.remaining - _lot.held), 0)
    problem = sa.literal("counts ") + _text(_account.in_lots) + " in lots, which hold " + _text(total)
    stands_beside_debt = sa.and_(_account.balance < _account.in_lots, free > 0)
    return (
        broken("credit_accounts", _account.id, problem)
        .join_from(credit_accounts, credit_lots, _lot.account_id == _account.id, isouter=True)
        .group_by(_account.id, _account.in_lots, _account.balance)
        .having(sa.or_(total != _account.in_lots, stands_beside_debt))
    )


def _within_their_grants() -> BrokenRows:
    """What is left of a lot and what debits took of it are together no more than was granted."""
    burned = sa.func.coalesce(sa.func.sum(_burn.amount - _burn.returned), 0)
    problem = (
        (sa.literal("granted ") + _text(_lot.amount) + ", holds " + _text(_lot.remaining))
        + sa.literal(", and gave ")
        + _text(burned)
    )
    return (
        broken("credit_lots", _lot.id, problem)
        .join_from(credit_lots, credit_lot_burns, _burn.lot_id == _lot.id, isouter=True)
        .group_by(_lot.id, _lot.amount, _lot.remaining)
        .having(_lot.remaining + burned > _lot.amount)
    )


def _held_is_on_hold() -> BrokenRows:
    """What a lot counts as held is what live holds put aside of it."""
    total = sa.func.coalesce(sa.func.sum(sa.case((_hold.state == "live", _part.amount), else_=0)), 0)
    problem = sa.literal("counts ") + _text(_lot.held) + " as held, live holds have " + _text(total)
    return (
        broken("credit_lots", _lot.id, problem)
        .join_from(credit_lots, credit_lot_holds, _part.lot_id == _lot.id, isouter=True)
        .join(credit_holds, _hold.id == _part.hold_id, isouter=True)
        .group_by(_lot.id, _lot.held)
        .having(total != _lot.held)
    )


def _expired_are_empty() -> BrokenRows:
    """Nothing is left of a lot after its expiry was entered, but for what is on hold."""
    problem = sa.literal("expired, and still has ") + _text(_lot.remaining - _lot.held)
    is_left = sa.and_(_lot.expired_at.is_not(None), _lot.remaining > _lot.held)
    is_early = _lot.expired_at < _lot.expires_at
    return broken("credit_lots", _lot.id, problem).where(sa.or_(is_left, is_early))


LOT_INVARIANTS: Final[Mapping[str, BrokenRows]] = MappingProxyType(
    {
        "credit_lots_add_up": _lots_add_up(),
        "credit_lots_are_within_their_grants": _within_their_grants(),
        "credit_lots_hold_what_is_held": _held_is_on_hold(),
        "credit_lots_that_expired_are_empty": _expired_are_empty(),
    }
)
