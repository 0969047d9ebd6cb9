"""The rules of watched wallets that SQL alone can prove, each a query for the rows that break it."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any, Final

import sqlalchemy as sa

from deal_sdk.records.invariants import BrokenRows, broken
from deal_sdk.records.watch_tables import (
    watch_cursors,
    watch_events,
    watch_state,
    watched_transactions,
    watched_wallets,
)

_wallet = watched_wallets.c
_seen = watched_transactions.c
_cursor = watch_cursors.c
_event = watch_events.c


def _text(value: sa.ColumnElement[Any]) -> sa.ColumnElement[str]:
    return sa.cast(value, sa.String(40))


def _counts_are_transactions() -> BrokenRows:
    """A wallet's count is what was cleaned up and its numbered transactions, which follow without a gap."""
    deleted = _wallet.deleted_number
    counted, last = sa.func.count(_seen.id), sa.func.coalesce(sa.func.max(_seen.number), deleted)
    first = sa.func.coalesce(sa.func.min(_seen.number), deleted + 1)
    problem = (
        sa.literal("counts ") + _text(_wallet.transaction_count) + ", has " + _text(counted) + " transactions"
    )
    is_whole = sa.and_(
        counted + deleted == _wallet.transaction_count,
        last == _wallet.transaction_count,
        first == deleted + 1,
    )
    return (
        broken("watched_wallets", _wallet.address, problem)
        .join_from(
            watched_wallets,
            watched_transactions,
            sa.and_(_seen.wallet == _wallet.address, _seen.generation == _wallet.generation),
            isouter=True,
        )
        .group_by(_wallet.address, _wallet.transaction_count, deleted)
        .having(~is_whole)
    )


def _wallets_are_followed() -> BrokenRows:
    """Each wallet has a cursor for its address and one for its token account."""
    right = (
        sa.select(sa.func.count())
        .where(
            _cursor.wallet == _wallet.address,
            _cursor.followed.in_((_wallet.address, _wallet.token_account)),
        )
        .scalar_subquery()
    )
    return broken("watched_wallets", _wallet.address, "an address of it is not followed").where(right != 2)


def _events_have_no_gaps() -> BrokenRows:
    """Events run from the cleaned-up ones to the last id that was given, none missing and none beyond."""
    pruned = sa.func.coalesce(watch_state.c.pruned_event_id, 0)
    count = sa.select(sa.func.count(_event.id)).where(_event.id > pruned).scalar_subquery()
    newest = sa.func.coalesce(sa.select(sa.func.max(_event.id)).scalar_subquery(), 0)
    last = watch_state.c.last_event_id
    # Of what was cleaned up, overrides alone stay.
    left = sa.exists().where(_event.id <= pruned, _event.type != "wallet:overridden")
    problem = sa.literal("gave ") + _text(last) + " ids, has " + _text(count) + " events of those it keeps"
    return broken("watch_state", _text(watch_state.c.id), problem).where(
        sa.or_(count != last - pruned, newest != last, left)
    )


def _stops_are_told() -> BrokenRows:
    """A wallet that stopped by itself says so in the log, as far as the log goes back."""
    is_gone = sa.exists().where(_wallet.stopped_at <= watch_state.c.pruned_through)
    told = sa.exists().where(_event.address == _wallet.address, _event.type == "wallet:limit-reached")
    return broken("watched_wallets", _wallet.address, "stopped at its limit without an event").where(
        _wallet.stop_reason == "limit-reached", ~told, ~is_gone
    )


WATCH_INVARIANTS: Final[Mapping[str, BrokenRows]] = MappingProxyType(
    {
        "watch_counts_are_transactions": _counts_are_transactions(),
        "watched_wallets_are_followed": _wallets_are_followed(),
        "watch_events_have_no_gaps": _events_have_no_gaps(),
        "watch_stops_are_told": _stops_are_told(),
    }
)
"""By the names under which `dealctl verify` reports them."""
