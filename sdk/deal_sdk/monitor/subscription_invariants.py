"""The rules that SQL alone can prove of what buys of watched wallets led to."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

import sqlalchemy as sa

from deal_sdk.records.invariants import BrokenRows, broken
from deal_sdk.records.purchase_tables import token_purchases
from deal_sdk.records.subscription_tables import subscription_purchases, subscriptions
from deal_sdk.records.uuid_texts import uuid_text

_TABLE: Final = "subscription_purchases"
_HANDED_OVER: Final = ("executing", "executed", "refunded", "unknown")
_NEED_A_REASON: Final = ("refunded", "skipped", "unknown")

_bought = subscription_purchases.c
_subscription = subscriptions.c
_counted = token_purchases.c


def _counted_before_handed_over() -> BrokenRows:
    is_limited = sa.and_(
        _subscription.watch_config.is_not(None), sa.func.coalesce(_subscription.token_buy_count, 0) > 0
    )
    return (
        broken(_TABLE, _bought.id, "was handed over uncounted, or counted without a limit")
        .join_from(subscription_purchases, subscriptions, _subscription.id == _bought.subscription_id)
        .where(
            sa.or_(
                sa.and_(is_limited, ~_bought.is_counted, _bought.state.in_((*_HANDED_OVER, "counted"))),
                sa.and_(~is_limited, _bought.is_counted),
            )
        )
    )


def _counted_as_bought() -> BrokenRows:
    return (
        broken(_TABLE, _bought.id, "was counted for another user, token or subscription, or by a payment")
        .join_from(subscription_purchases, subscriptions, _subscription.id == _bought.subscription_id)
        .join(token_purchases, _counted.reservation_id == uuid_text(_bought.id))
        .where(
            sa.or_(
                _counted.user_id != _subscription.user_id,
                _counted.token_mint != _bought.token_mint,
                _counted.subscription_id.is_distinct_from(uuid_text(_subscription.id)),
                _counted.payment_id.is_not(None),
            )
        )
    )


def _ended_with_a_reason() -> BrokenRows:
    return broken(_TABLE, _bought.id, "ended without a reason").where(
        _bought.state.in_(_NEED_A_REASON), _bought.reason.is_(None)
    )


SUBSCRIPTION_INVARIANTS: Final[Mapping[str, BrokenRows]] = {
    "subscription_purchases_are_counted_first": _counted_before_handed_over(),
    "subscription_purchases_are_counted_as_bought": _counted_as_bought(),
    "subscription_purchases_end_with_a_reason": _ended_with_a_reason(),
}
