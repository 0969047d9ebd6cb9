"""The purchase limits that a user has used, with their windows, as rows remember them; on every database."""

from __future__ import annotations

from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from deal_sdk.clock import ManualClock
from deal_sdk.errors import StoreUnavailableError
from deal_sdk.limits import (
    CalendarWindow,
    CurrentLimit,
    Gate,
    LimitKind,
    PurchaseRecords,
    PurchaseTerms,
    Store,
    TokenPurchaseTracker,
    open_store,
)
from deal_sdk.metrics import Metrics
from deal_sdk.records import Database

USER = "user-123"
LARGEST = 2**63 - 1
BERLIN = CalendarWindow("day", "Europe/Berlin")
EVERYTHING = PurchaseTerms(
    calendar=BERLIN,
    category="memes",
    max_in_category=7,
    amount_base_units=2**53 + 1,
    max_amount_base_units=LARGEST,
    max_amount_in_category_base_units=LARGEST - 1,
)


@pytest.fixture
async def store(manual_clock: ManualClock) -> AsyncIterator[Store]:
    async with open_store("memory://", test_clock=manual_clock) as store:
        yield store


def tracker_on(store: Store, database: Database, clock: ManualClock) -> TokenPurchaseTracker:
    records = PurchaseRecords(database)
    gate = Gate(store, clock=clock, metrics=Metrics(), history=records)
    return TokenPurchaseTracker(gate, store, records, clock=clock)


@pytest.fixture
def tracker(store: Store, database: Database, manual_clock: ManualClock) -> TokenPurchaseTracker:
    return tracker_on(store, database, manual_clock)


def named(limits: tuple[CurrentLimit, ...]) -> dict[str, tuple[int, int]]:
    return {limit.name: (limit.used, limit.maximum) for limit in limits}


async def buy(tracker: TokenPurchaseTracker, mint: str, maximum: int, **options: Any) -> None:
    assert (await tracker.increment_and_validate_purchase(USER, mint, maximum, **options)).success


async def test_every_term_is_told_with_its_window(
    tracker: TokenPurchaseTracker, manual_clock: ManualClock
) -> None:
    await buy(tracker, "A", 5, terms=EVERYTHING)
    await buy(tracker, "B", 5)
    count, amount, rolling, in_category, amount_in_category = await tracker.current_limits(USER)
    ends_at = BERLIN.current(manual_clock.now())[1]
    assert count == CurrentLimit(
        "purchase:A:day",
        LimitKind.PURCHASE,
        "A",
        None,
        BERLIN,
        None,
        used=1,
        maximum=5,
        reset_after_seconds=(ends_at - manual_clock.now()).total_seconds(),
        ends_at=ends_at,
        shadow=False,
    )
    assert (amount.name, amount.kind, amount.used) == ("amount:A:day", LimitKind.AMOUNT, 2**53 + 1)
    assert amount.remaining == LARGEST - 2**53 - 1
    assert amount.to_dict()["maximum"] == str(LARGEST)
    assert (in_category.name, in_category.category, in_category.remaining) == (
        "purchase:memes:day",
        "memes",
        6,
    )
    assert (amount_in_category.category, amount_in_category.maximum) == ("memes", LARGEST - 1)
    assert (rolling.token_mint, rolling.calendar, rolling.period_seconds) == ("B", None, 86_400)
    assert rolling.ends_at == manual_clock.now() + timedelta(days=1)
    assert rolling.to_dict() == {
        "limit": "purchase:B",
        "token_mint": "B",
        "category": None,
        "window": "rolling",
        "time_zone": None,
        "period_seconds": 86_400,
        "ends_at": rolling.ends_at.isoformat(timespec="seconds"),
        "used": 1,
        "maximum": 5,
        "remaining": 4,
        "reset_after_seconds": 86_400.0,
        "shadow": False,
    }


async def test_the_latest_purchase_says_the_maximum_and_every_window_stays(
    tracker: TokenPurchaseTracker, manual_clock: ManualClock
) -> None:
    await buy(tracker, "A", 5, terms=EVERYTHING)
    await manual_clock.advance(1)
    await buy(tracker, "B", 2, terms=PurchaseTerms(calendar=BERLIN, category="memes", max_in_category=3))
    await manual_clock.advance(1)
    await buy(tracker, "A", 9, terms=PurchaseTerms(period_seconds=3_600, shadow=True))
    found = await tracker.current_limits(USER)
    assert named(found) == {
        # A window that begins goes on from what the rows know of its time.
        "purchase:A": (2, 9),
        "purchase:A:day": (1, 5),
        "amount:A:day": (2**53 + 1, LARGEST),
        "purchase:B:day": (1, 2),
        "purchase:memes:day": (2, 3),
        "amount:memes:day": (2**53 + 1, LARGEST - 1),
    }
    (shadow,) = [limit for limit in found if limit.shadow]
    assert (shadow.name, shadow.period_seconds) == ("purchase:A", 3_600)


async def test_a_lowered_maximum_leaves_nothing(
    tracker: TokenPurchaseTracker, manual_clock: ManualClock
) -> None:
    await buy(tracker, "A", 5)
    await buy(tracker, "A", 5)
    (limit,) = await tracker.current_limits(USER)
    assert (limit.used, limit.remaining) == (2, 3)
    await manual_clock.advance(1)
    await buy(tracker, "A", 1, terms=PurchaseTerms(shadow=True))
    (limit,) = await tracker.current_limits(USER)
    assert (limit.used, limit.maximum, limit.remaining, limit.shadow) == (2, 1, 0, True)


async def test_periods_that_are_over_are_not_told(
    tracker: TokenPurchaseTracker, manual_clock: ManualClock
) -> None:
    await manual_clock.advance((datetime(2027, 10, 31, 12, tzinfo=UTC) - manual_clock.now()).total_seconds())
    await buy(tracker, "A", 5, terms=EVERYTHING)
    await buy(tracker, "B", 5)
    # Clocks went back that night: the day has 25 hours, and ends at 23:00 UTC.
    await manual_clock.advance(11 * 3_600 - 1)
    assert len(await tracker.current_limits(USER)) == 5
    await manual_clock.advance(1)
    assert named(await tracker.current_limits(USER)) == {"purchase:B": (1, 5)}
    await manual_clock.advance(13 * 3_600)
    assert await tracker.current_limits(USER) == ()
    assert await tracker.current_limits("nobody") == ()


async def test_what_the_store_lost_is_told_from_the_rows(tracker: TokenPurchaseTracker, store: Store) -> None:
    await buy(tracker, "A", 5, terms=EVERYTHING)
    before = await tracker.current_limits(USER)
    await store.command("FLUSHALL")
    assert await tracker.current_limits(USER) == before


async def test_a_reset_begins_every_window_of_a_token_anew(
    tracker: TokenPurchaseTracker, database: Database, manual_clock: ManualClock
) -> None:
    await buy(tracker, "A", 1, terms=EVERYTHING)
    await buy(tracker, "B", 1, terms=PurchaseTerms(calendar=BERLIN))
    async with open_store("redis://127.0.0.1:1/0") as down:
        with pytest.raises(StoreUnavailableError):
            await tracker_on(down, database, manual_clock).reset_purchase_count(USER, "A")
    # The rows are cancelled by now; their terms are found all the same.
    await tracker.reset_purchase_count(USER, "A")
    assert named(await tracker.current_limits(USER)) == {"purchase:B:day": (1, 1)}
    await buy(tracker, "A", 1, terms=EVERYTHING)


async def test_one_tokens_reset_leaves_the_others(tracker: TokenPurchaseTracker) -> None:
    await buy(tracker, "A", 2)
    await buy(tracker, "B", 2)
    await tracker.reset_purchase_count(USER, "A", terms=PurchaseTerms())
    assert named(await tracker.current_limits(USER)) == {"purchase:B": (1, 2)}
