"""Thousands of small lots: an operation reads those that it can spend, and spends them in the same order."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any
from uuid import UUID, uuid4

import pytest
from sqlalchemy.dialects import sqlite
from sqlalchemy.sql.compiler import SQLCompiler

from deal_sdk.accounting import Charge, lot_rows
from deal_sdk.accounting.lot_rows import LOTS_PER_PAGE
from deal_sdk.accounting.lots import Lot, Lots
from deal_sdk.clock import ManualClock
from deal_sdk.records import Database
from tests.contract.credit_world import LotBooks, refused

LOTS = 400
CREDITS = 10
PLAIN = 7


class Reads:
    """Counts the lots that operations read."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.count = 0

        def lot(**columns: Any) -> Lot:
            self.count += 1
            return Lot(**columns)

        monkeypatch.setattr(lot_rows, "Lot", lot)

    async def of(self, call: Callable[[], Awaitable[Any]]) -> int:
        self.count = 0
        await call()
        return self.count


@pytest.fixture
async def books(database: Database) -> AsyncIterator[LotBooks]:
    opened = LotBooks(database)
    yield opened
    await opened.journal.close()
    assert await opened.broken() == []


@pytest.fixture
async def user_id(books: LotBooks) -> UUID:
    """A user with 400 lots of ten, each day one more that lasts a day longer, and a few plain credits."""
    user_id = await books.user()
    await books.grant(user_id, PLAIN)
    await asyncio.gather(*(books.grant(user_id, CREDITS, days=day + 1) for day in range(LOTS)))
    return user_id


async def test_an_operation_reads_no_more_lots_than_it_can_spend(
    books: LotBooks, user_id: UUID, monkeypatch: pytest.MonkeyPatch
) -> None:
    reads = Reads(monkeypatch)
    assert await reads.of(lambda: books.spend(user_id, 15)) == LOTS_PER_PAGE
    assert await reads.of(lambda: books.grant(user_id, 5, days=1)) == 0
    assert await reads.of(lambda: books.credits.debit(user_id, "video", 10**9)) == 0
    charges = [Charge(user_id, "video", 1)] * 50
    assert await reads.of(lambda: books.credits.charge_many(charges)) == LOTS_PER_PAGE
    more = LOTS_PER_PAGE * CREDITS + 1
    assert await reads.of(lambda: books.spend(user_id, more)) <= LOTS_PER_PAGE + 8 * LOTS_PER_PAGE
    held = await books.hold(user_id, 25)
    assert 3 <= await reads.of(lambda: books.billing.post(held)) <= 4, "those that it put aside"
    spent = await books.spend(user_id, 20)
    assert await reads.of(lambda: books.credits.refund(user_id, 20, spent, "late")) <= 4
    held = await books.hold(user_id, 25)
    assert await reads.of(lambda: books.spend(user_id, 5)) <= LOTS_PER_PAGE
    await books.billing.void(held)


async def test_they_are_spent_in_their_turn_to_the_last_and_beyond(books: LotBooks, user_id: UUID) -> None:
    total = LOTS * CREDITS + PLAIN
    await books.spend(user_id, 25)
    assert (await books.left(user_id))[:3] == [5, 10, 10]
    await books.spend(user_id, total - 25 - 3)
    assert await books.left(user_id) == [3], "the plain ones, which never expire, come last"
    overdrawn = await books.credits.debit(user_id, "video", 10, allow_overdraft=True)
    assert overdrawn.new_balance == -7


async def test_an_overdraft_empties_every_lot(books: LotBooks, user_id: UUID) -> None:
    result = await books.credits.debit(user_id, "video", 10_000, allow_overdraft=True)
    assert result.new_balance == LOTS * CREDITS + PLAIN - 10_000
    assert await books.left(user_id) == [result.new_balance]


async def test_a_reset_empties_what_it_takes(books: LotBooks, user_id: UUID) -> None:
    assert (await books.credits.reset_balance(user_id, 30)).new_balance == 30
    assert await books.left(user_id) == [3, 10, 10, 7]


async def test_holds_on_lots_that_were_not_read_count(books: LotBooks, user_id: UUID) -> None:
    first = await books.hold(user_id, LOTS * CREDITS - 50)
    assert refused(await books.credits.debit(user_id, "video", 58))[1] == "insufficient_tokens"
    await books.spend(user_id, 57)
    await books.billing.void(first)
    assert len(await books.left(user_id)) == LOTS - 5


async def test_those_whose_time_is_over_are_read_all_and_go_first(
    books: LotBooks, user_id: UUID, manual_clock: ManualClock
) -> None:
    await manual_clock.advance(100 * 86_400 + 1)
    await books.spend(user_id, 15)
    left = await books.left(user_id)
    assert (left[:2], len(left)) == ([5, 10], LOTS - 100 - 1 + 1)
    assert await books.balance(user_id) == (LOTS - 100) * CREDITS + PLAIN - 15


async def test_accounts_with_few_and_many_lots_share_a_commit(books: LotBooks, user_id: UUID) -> None:
    others = [await books.user() for _ in range(3)]
    await books.grant(others[0], 8)
    await books.grant(others[1], 8, days=1)
    await asyncio.gather(*(books.grant(others[2], 1, days=day) for day in range(1, 40)))
    charges = [Charge(one, "video", 8) for one in (user_id, *others)]
    assert all(result.success for result in await books.credits.charge_many(charges))
    assert (await books.left(user_id))[:2] == [2, 10]
    assert [sum(await books.left(one)) for one in others] == [0, 0, 31]


async def test_sqlite_finds_the_first_lots_by_their_turn(manual_clock: ManualClock) -> None:
    front = lot_rows._FRONTS["sqlite"].params(owners=[uuid4()], now=manual_clock.now(), page=1)
    text = front.compile(dialect=sqlite.dialect(), compile_kwargs={"render_postcompile": True})
    assert isinstance(text, SQLCompiler)
    assert text.positiontup is not None
    database = await Database.open("sqlite+aiosqlite://", clock=manual_clock)
    async with database.reading() as connection:
        given = (1,) * len(text.positiontup)
        plan = [row[3] for row in await connection.exec_driver_sql(f"EXPLAIN QUERY PLAN {text}", given)]
    await database.close()
    assert any("ix_credit_lots_turn" in step for step in plan), plan
    assert not any(step.startswith("SCAN") for step in plan), plan


def test_lots_that_were_not_read_are_never_spent() -> None:
    lots, account = Lots(), LotHolder()
    lots.fronts[account.id] = 3
    with pytest.raises(RuntimeError):
        lots.burn(account, uuid4(), 4)


class LotHolder:
    """An account whose lots were not read."""

    def __init__(self) -> None:
        self.id, self.balance, self.held, self.in_lots = uuid4(), 10, 0, 10
