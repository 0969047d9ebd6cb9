"""Old entries folded into openings, on every database: what they came to stays, what they said goes."""

from __future__ import annotations

from collections.abc import AsyncIterator
from datetime import timedelta
from typing import Any
from uuid import UUID

import pytest
import sqlalchemy as sa

from deal_sdk.accounting import TokenLedger
from deal_sdk.clock import ManualClock
from deal_sdk.errors import DatabaseUnavailableError, IdempotencyConflictError, InvalidInputError
from deal_sdk.records import Database
from deal_sdk.records.credit_tables import credit_holds, credit_transfers, token_operations
from deal_sdk.records.tables import metadata
from tests.contract.crashing import Crashing
from tests.contract.credit_world import Books, refused

YEAR = 365 * 86_400


class Shelf(Books):
    """A ledger with entries of two years."""

    async def rows(self, user_id: UUID) -> list[tuple[int, int, int]]:
        entries = await self.ledger.get_user_entries(user_id)
        return [(entry.sequence, entry.amount, entry.balance_after) for entry in reversed(entries)]


@pytest.fixture
async def books(database: Database) -> AsyncIterator[Shelf]:
    opened = Shelf(database)
    yield opened
    await opened.journal.close()
    assert await opened.broken() == []


async def test_balances_statistics_and_chains_hold(books: Shelf, manual_clock: ManualClock) -> None:
    user_id, other = await books.user(100), await books.user(40)
    for amount in (10, 20):
        await books.credits.debit(user_id, "video", amount, metadata={"prompt": "my house"})
    old = manual_clock.now()
    await manual_clock.advance(YEAR)
    cut = manual_clock.now()
    await books.credits.debit(user_id, "video", 5)
    await manual_clock.advance(1)
    report = await books.ledger.delete_old_entries(cut)
    assert report.to_dict() == {"users": 2, "entries": 4}
    assert await books.broken() == []
    assert await books.rows(user_id) == [(4, -5, 65)]
    assert await books.rows(other) == []
    assert [await books.balance(one) for one in (user_id, other)] == [65, 40]
    assert (await books.credits.get_balance(user_id)).tokens_spent == 35
    opening = await books.ledger.get_opening(user_id)
    assert opening is not None
    assert opening.to_dict() == {
        "sequence": 3,
        "balance": 70,
        "folded_until": old.isoformat(),
        "folded_at": manual_clock.now().isoformat(),
    }
    statistics = await books.ledger.get_user_statistics(user_id, since=cut)
    assert (statistics.total_spent, statistics.count) == (5, 1)
    # Another year, on top of the first.
    await manual_clock.advance(YEAR)
    await books.credits.credit(user_id, "purchase", 7)
    assert (await books.ledger.delete_old_entries(manual_clock.now(), user_id)).entries == 1
    assert (await books.ledger.delete_old_entries(manual_clock.now(), user_id)).to_dict() == {
        "users": 0,
        "entries": 0,
    }
    assert await books.rows(user_id) == [(5, 7, 72)]


async def test_the_balance_at_a_time(books: Shelf, manual_clock: ManualClock) -> None:
    user_id = await books.user(100)
    await manual_clock.advance(60)
    folded_until = manual_clock.now()
    await books.credits.debit(user_id, "video", 30)
    await manual_clock.advance(60)
    cut = manual_clock.now()
    await books.credits.debit(user_id, "video", 5)
    await books.ledger.delete_old_entries(cut, user_id)
    times = (folded_until, cut - timedelta(seconds=1), cut)
    assert [await books.ledger.balance_at(user_id, when) for when in times] == [70, 70, 65]
    with pytest.raises(InvalidInputError, match="folded"):
        await books.ledger.balance_at(user_id, folded_until - timedelta(seconds=1))
    assert await books.ledger.get_opening(await books.user()) is None


async def test_a_key_that_was_folded_never_charges_again(books: Shelf, manual_clock: ManualClock) -> None:
    user_id = await books.user(100)
    first = await books.credits.debit(user_id, "video", 30, idempotency_key="one")
    held = await books.billing.hold(user_id, "video", 10, idempotency_key="two")
    assert held.hold_id is not None
    posted = await books.billing.post(held.hold_id)
    await manual_clock.advance(YEAR)
    await books.credits.debit(user_id, "video", 1)
    await books.ledger.delete_old_entries(manual_clock.now())
    again = await books.credits.debit(user_id, "video", 30, idempotency_key="one")
    assert (again.success, again.replayed, again.new_balance) == (True, True, 59)
    assert again.ledger_entry_id == first.ledger_entry_id
    with pytest.raises(IdempotencyConflictError):
        await books.credits.debit(user_id, "video", 31, idempotency_key="one")
    again = await books.billing.hold(user_id, "video", 10, idempotency_key="two")
    assert (again.hold_id, again.replayed) == (held.hold_id, True)
    again = await books.billing.post(held.hold_id)
    assert (again.ledger_entry_id, again.replayed, again.new_balance) == (posted.ledger_entry_id, True, 59)
    assert await books.balance(user_id) == 59


async def test_a_folded_debit_is_refunded_no_more(books: Shelf, manual_clock: ManualClock) -> None:
    user_id = await books.user(100)
    taken = await books.credits.debit(user_id, "video", 30)
    assert taken.ledger_entry_id is not None
    await books.credits.refund(user_id, 10, taken.ledger_entry_id)
    await manual_clock.advance(YEAR)
    await books.ledger.delete_old_entries(manual_clock.now())
    refund = await books.credits.refund(user_id, 5, taken.ledger_entry_id)
    assert refused(refund) == (
        "Operation is too old to be refunded: it was folded away",
        "operation_folded",
        80,
    )


async def test_what_was_said_is_gone_and_the_operator_s_side_stays(
    books: Shelf, manual_clock: ManualClock
) -> None:
    user_id = await books.user(100)
    await books.credits.debit(user_id, "video", 30, metadata={"prompt": "my house"})
    for ended in (books.billing.post, books.billing.void):
        held = await books.billing.hold(user_id, "video", 10, {"prompt": "my garden"})
        assert held.hold_id is not None
        await ended(held.hold_id)
    await books.credits.credit(user_id, "purchase", 5, expires_in=timedelta(days=1))
    await books.credits.debit(user_id, "video", 2)
    await manual_clock.advance(YEAR)
    await books.ledger.delete_old_entries(manual_clock.now())
    said = sa.select(token_operations.c.metadata).where(token_operations.c.metadata.is_not(None))
    assert await books.database.fetch(said) == []
    kept = sa.select(credit_holds.c.metadata).where(credit_holds.c.metadata.is_not(None))
    assert await books.database.fetch(kept) == []
    entries = await books.database.fetch(sa.select(token_operations.c.user_id))
    transfers = await books.database.fetch(sa.select(credit_transfers.c.folded_entry_id))
    assert {row[0] for row in entries} == {None}
    assert len(entries) == len([row for row in transfers if row[0] is not None]) == 5


def dying_at(database: Database, step: int, dies: str) -> Any:
    """Return a database whose commit of that number dies."""
    crashing: Any = Crashing(database)
    run, commits = crashing.run, 0

    async def counted(unit: Any) -> Any:
        nonlocal commits
        commits += 1
        crashing.dies = dies if commits == step else None
        return await run(unit)

    crashing.run = counted
    return crashing


@pytest.mark.parametrize("dies", ["before", "after"])
async def test_a_fold_that_was_broken_off_goes_on(
    books: Shelf, manual_clock: ManualClock, monkeypatch: pytest.MonkeyPatch, dies: str
) -> None:
    monkeypatch.setattr("deal_sdk.accounting.folding.MAX_ENTRIES_PER_STEP", 3)
    user_id = await books.user(100)
    for entries in (10, 9, 9):
        for _ in range(9):
            await books.credits.debit(user_id, "video", 1)
        await manual_clock.advance(YEAR)
        step = 10 - entries + 2
        broken_off = TokenLedger(dying_at(books.database, step, dies), books.journal)
        with pytest.raises(DatabaseUnavailableError):
            await broken_off.delete_old_entries(manual_clock.now(), user_id)
        assert await books.broken() == []
        done = 3 * (step if dies == "after" else step - 1)
        assert len(await books.rows(user_id)) == entries - done
        report = await books.ledger.delete_old_entries(manual_clock.now(), user_id)
        assert report.entries == entries - done
        assert await books.broken() == []
    assert await books.balance(user_id) == 73


async def test_what_cannot_be_folded(books: Shelf, manual_clock: ManualClock) -> None:
    for before in (manual_clock.now() + timedelta(seconds=1), manual_clock.now().replace(tzinfo=None)):
        with pytest.raises(InvalidInputError):
            await books.ledger.delete_old_entries(before)


def test_every_row_outlives_the_entry_that_it_names() -> None:
    keys = [key for table in metadata.tables.values() for key in table.foreign_keys]
    of_entries = [key for key in keys if key.column is token_operations.c.id]
    assert of_entries
    assert [str(key.parent) for key in of_entries if key.ondelete != "SET NULL"] == []
