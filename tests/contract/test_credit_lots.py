"""Lots of credits, on every database: which are spent first, what expires, and what comes back to them."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID, uuid4

import pytest

from deal_sdk.accounting import Journal, TokenAccountingService
from deal_sdk.clock import ManualClock
from deal_sdk.errors import IdempotencyConflictError, InvalidInputError
from deal_sdk.records import Database
from tests.contract.credit_world import DAY, LotBooks, refused


@pytest.fixture
async def books(database: Database) -> AsyncIterator[LotBooks]:
    opened = LotBooks(database)
    yield opened
    await opened.journal.close()
    assert await opened.broken() == []


class TestOrder:
    async def test_priority_then_expiry_then_age(self, books: LotBooks) -> None:
        user_id = await books.user()
        await books.grant(user_id, 1)  # never expires, and is in no lot
        await books.grant(user_id, 2, priority=60)
        await books.grant(user_id, 4, days=9)
        await books.grant(user_id, 8, days=3)
        await books.grant(user_id, 16, days=3)
        await books.grant(user_id, 32, days=90, priority=10)
        assert await books.left(user_id) == [32, 8, 16, 4, 1, 2]
        assert [lot.id is None for lot in await books.credits.get_lots(user_id)].index(True) == 4
        taken = []
        for amount in (31, 2, 8, 17, 3, 2):
            await books.spend(user_id, amount)
            taken.append(await books.left(user_id))
        assert taken == [
            [1, 8, 16, 4, 1, 2],
            [7, 16, 4, 1, 2],
            [15, 4, 1, 2],
            [2, 1, 2],
            [2],
            [],
        ]

    async def test_a_lot_shows_what_it_is(self, books: LotBooks, manual_clock: ManualClock) -> None:
        user_id = await books.user(5)
        now = manual_clock.now()
        await books.credits.credit(user_id, "purchase", 10, expires_at=now + DAY, priority=7)
        await books.spend(user_id, 4)
        lot, plain = [one.to_dict() for one in await books.credits.get_lots(str(user_id))]
        assert UUID(lot.pop("id"))
        assert lot == {
            "priority": 7,
            "granted": 10,
            "remaining": 6,
            "held": 0,
            "expires_at": (now + DAY).isoformat(),
            "created_at": now.isoformat(),
            "expired_at": None,
        }
        assert (plain["id"], plain["granted"], plain["remaining"], plain["priority"]) == (None, None, 5, 50)
        assert await books.credits.get_lots(uuid4()) == []

    async def test_plain_credits_make_no_lot(self, books: LotBooks) -> None:
        user_id = await books.user(100)
        await books.grant(user_id, 50)
        [plain] = await books.credits.get_lots(user_id)
        assert (plain.id, plain.remaining) == (None, 150)

    async def test_a_reset_takes_from_lots_in_their_turn(self, books: LotBooks) -> None:
        user_id = await books.user(10)
        await books.grant(user_id, 20, days=1)
        await books.credits.reset_balance(user_id, 15)
        assert await books.left(user_id) == [5, 10]
        await books.credits.reset_balance(user_id, 40)
        assert await books.left(user_id) == [5, 35]


class TestExpiry:
    async def test_what_expired_is_not_spent_though_nobody_took_it_off(
        self, books: LotBooks, manual_clock: ManualClock
    ) -> None:
        user_id = await books.user(5)
        await books.grant(user_id, 20, days=1)
        await manual_clock.advance(86_399)
        assert (await books.credits.can_afford(user_id, amount=25)).can_afford
        await manual_clock.advance(1)
        found = await books.credits.get_balance(user_id)
        assert (found.tokens_balance, found.tokens_lapsed, found.tokens_available) == (25, 20, 5)
        assert await books.left(user_id) == [5]
        result = await books.credits.debit(user_id, "video", 6)
        assert refused(result) == ("Insufficient tokens. Required: 6, Available: 5", "insufficient_tokens", 5)
        # The refusal itself took them off, by an entry of their own.
        assert await books.types(user_id) == [("purchase", 5), ("purchase", 20), ("credit_expiry", -20)]
        found = await books.credits.get_balance(user_id)
        assert (found.tokens_balance, found.tokens_lapsed, found.tokens_spent) == (5, 0, 0)
        [spent] = [lot for lot in await books.credits.get_lots(user_id, include_spent=True) if lot.id]
        assert (spent.remaining, spent.expired_at) == (0, manual_clock.now())

    async def test_expiry_is_entered_once_whoever_does_it(
        self, books: LotBooks, manual_clock: ManualClock
    ) -> None:
        users = [await books.user(1) for _ in range(4)]
        for number, user_id in enumerate(users):
            await books.grant(user_id, 10, days=number + 1)
            await books.grant(user_id, 10, days=number + 1)
        await manual_clock.advance(2 * 86_400)
        others = [TokenAccountingService(books.database, Journal(books.database)) for _ in range(2)]
        counts = await asyncio.gather(*(one.expire_lots() for one in (books.credits, *others)))
        assert sum(counts) == 4
        assert await books.credits.expire_lots() == 0
        assert [await books.balance(user_id) for user_id in users] == [1, 1, 21, 21]
        statistics = await books.ledger.get_user_statistics(users[0])
        assert (statistics.total_spent, statistics.total_expired, statistics.net) == (0, 20, 1)
        assert await books.ledger.get_total_spent(users[0]) == 0

    async def test_watchers_are_told_of_an_expiry(self, books: LotBooks, manual_clock: ManualClock) -> None:
        user_id = await books.user()
        await books.grant(user_id, 10, days=1)
        await books.grant(user_id, 7, days=1)
        books.told.clear()
        await manual_clock.advance(86_400)
        await books.credits.debit(user_id, "video", 1)
        told = [(one.command.kind, one.command.amount, one.result.success) for one in books.told]
        assert told == [("debit", 1, False), ("expire", 10, True), ("expire", 7, True)]
        books.told.clear()
        await books.grant(user_id, 5, days=1)
        await manual_clock.advance(86_400)
        await books.credits.expire_lots()
        assert [one.command.kind for one in books.told] == ["credit", "expire"]

    async def test_an_expiry_is_no_debit_to_be_refunded(
        self, books: LotBooks, manual_clock: ManualClock
    ) -> None:
        user_id = await books.user()
        await books.grant(user_id, 10, days=1)
        await manual_clock.advance(86_400)
        await books.credits.expire_lots()
        [entry, _] = await books.ledger.get_user_entries(user_id)
        refund = await books.credits.refund(user_id, 10, entry.id)
        assert refused(refund)[:2] == ("Operation not found", "operation_not_found")

    async def test_credits_cannot_be_granted_expired(
        self, books: LotBooks, manual_clock: ManualClock
    ) -> None:
        user_id, now = await books.user(), manual_clock.now()
        key = "one"
        late = await books.credits.credit(user_id, "purchase", 10, expires_at=now, idempotency_key=key)
        assert refused(late)[1] == "expiry_in_the_past"
        made = await books.credits.credit(user_id, "purchase", 10, expires_at=now + DAY, idempotency_key=key)
        await manual_clock.advance(2 * 86_400)
        again = await books.credits.credit(user_id, "purchase", 10, expires_at=now + DAY, idempotency_key=key)
        assert (again.replayed, again.ledger_entry_id) == (True, made.ledger_entry_id)
        for other in ({"expires_at": now + 2 * DAY}, {"expires_in": DAY}, {"priority": 3}, {}):
            with pytest.raises(IdempotencyConflictError):
                await books.credits.credit(user_id, "purchase", 10, idempotency_key=key, **other)  # type: ignore[arg-type]

    async def test_what_cannot_be_a_lot(self, books: LotBooks) -> None:
        user_id = await books.user()
        unlike: Sequence[dict[str, Any]] = (
            *({"priority": priority} for priority in (-1, 101, True, 1.5)),
            *({"expires_in": time} for time in (timedelta(0), timedelta(days=36_501), 60)),
            *({"expires_at": time} for time in (datetime(2030, 1, 1), "tomorrow")),
            {"expires_in": DAY, "expires_at": datetime(2030, 1, 1).astimezone()},
        )
        for lot in unlike:
            with pytest.raises(InvalidInputError):
                await books.credits.credit(user_id, "purchase", 10, **lot)
        with pytest.raises(InvalidInputError):
            await books.credits.debit(user_id, "credit_expiry", 10)


class TestHolds:
    async def test_a_hold_reserves_from_lots_and_posts_from_them(self, books: LotBooks) -> None:
        user_id = await books.user(10)
        await books.grant(user_id, 20, days=1)
        hold_id = await books.hold(user_id, 25)
        assert [(lot.remaining, lot.held) for lot in await books.credits.get_lots(user_id)] == [
            (20, 20),
            (10, 5),
        ]
        await books.grant(user_id, 7, days=1, priority=0)
        await books.spend(user_id, 7)
        assert (await books.billing.post(hold_id, 22)).success
        assert await books.left(user_id) == [8]

    async def test_a_void_returns_to_the_same_lots(self, books: LotBooks) -> None:
        user_id = await books.user(10)
        await books.grant(user_id, 20, days=1)
        hold_id = await books.hold(user_id, 25)
        await books.spend(user_id, 5)
        assert (await books.billing.void(hold_id)).success
        assert await books.left(user_id) == [20, 5]

    async def test_what_is_held_outlives_its_lot_until_the_hold_ends(
        self, books: LotBooks, manual_clock: ManualClock
    ) -> None:
        user_id = await books.user()
        await books.grant(user_id, 20, days=1)
        await manual_clock.advance(86_390)
        kept, given_back, forgotten = [await books.hold(user_id, 5) for _ in range(3)]
        await manual_clock.advance(20)
        assert await books.credits.expire_lots() == 1  # the five that nobody holds
        assert await books.balance(user_id) == 15
        assert (await books.billing.post(kept, 3)).success  # and two expire with it
        assert await books.balance(user_id) == 10
        assert (await books.billing.void(given_back)).success
        assert await books.balance(user_id) == 5
        found = await books.credits.get_balance(user_id)
        assert (found.tokens_held, found.tokens_available) == (5, 0)
        await manual_clock.advance(60)
        found = await books.credits.get_balance(user_id)
        assert (found.tokens_held, found.tokens_lapsed, found.tokens_available) == (0, 5, 0)
        assert await books.credits.expire_lots() == 1
        assert await books.balance(user_id) == 0
        assert refused(await books.billing.post(forgotten))[1] == "hold_not_live"
        amounts = [amount for kind, amount in await books.types(user_id) if kind == "credit_expiry"]
        assert amounts == [-5, -2, -5, -5]


class TestRefunds:
    async def test_a_refund_returns_to_the_lots_last_burned_first(self, books: LotBooks) -> None:
        user_id = await books.user(10)
        await books.grant(user_id, 20, days=1)
        await books.grant(user_id, 5, priority=90)
        entry = await books.spend(user_id, 33)
        assert await books.left(user_id) == [2]
        lefts = []
        for amount in (1, 4, 8, 20):
            assert (await books.credits.refund(user_id, amount, entry)).success
            lefts.append(await books.left(user_id))
        assert lefts == [[3], [2, 5], [10, 5], [20, 10, 5]]

    async def test_a_refund_to_a_lot_that_expired_expires(
        self, books: LotBooks, manual_clock: ManualClock
    ) -> None:
        user_id = await books.user(10)
        await books.grant(user_id, 20, days=1)
        entry = await books.spend(user_id, 24)
        await manual_clock.advance(86_400)
        first = await books.credits.refund(user_id, 14, entry, idempotency_key="back")
        assert first.new_balance == 20
        assert await books.balance(user_id) == 10
        assert (await books.types(user_id))[-2:] == [("refund", 14), ("credit_expiry", -10)]
        again = await books.credits.refund(user_id, 14, entry, idempotency_key="back")
        assert (again.new_balance, again.replayed) == (20, True)

    async def test_a_posted_hold_is_refunded_to_its_lots(self, books: LotBooks) -> None:
        user_id = await books.user(10)
        await books.grant(user_id, 20, days=1)
        posted = await books.billing.post(await books.hold(user_id, 30))
        assert posted.ledger_entry_id is not None
        await books.credits.refund(user_id, 15, posted.ledger_entry_id)
        assert await books.left(user_id) == [5, 10]


class TestOverdrafts:
    async def test_a_debt_is_in_no_lot_and_the_next_one_pays_it(self, books: LotBooks) -> None:
        user_id = await books.user()
        await books.grant(user_id, 20, days=1)
        await books.credits.debit(user_id, "video", 50, allow_overdraft=True)
        assert await books.left(user_id) == [-30]
        await books.grant(user_id, 10, days=1)
        assert await books.left(user_id) == [-20]
        await books.grant(user_id, 25, days=1)
        assert await books.left(user_id) == [5]
        assert await books.balance(user_id) == 5

    async def test_a_debt_waits_for_a_lot_that_is_on_hold(self, books: LotBooks) -> None:
        user_id = await books.user()
        await books.grant(user_id, 20, days=1)
        hold_id = await books.hold(user_id, 20)
        await books.credits.debit(user_id, "video", 5, allow_overdraft=True)
        assert await books.left(user_id) == [20, -5]
        await books.billing.void(hold_id)
        assert await books.left(user_id) == [15]


async def test_two_services_never_spend_a_lot_twice(books: LotBooks) -> None:
    user_id = await books.user(10)
    for days in (1, 2, 3):
        await books.grant(user_id, 30, days=days)
    journals = [Journal(books.database) for _ in range(2)]
    services: Sequence[TokenAccountingService] = [
        TokenAccountingService(books.database, journal) for journal in journals
    ]
    results = await asyncio.gather(
        *(service.debit(user_id, "video", 3) for service in services for _ in range(25))
    )
    await asyncio.gather(*(journal.close() for journal in journals))
    assert sum(result.success for result in results) == 33
    assert await books.left(user_id) == [1]
