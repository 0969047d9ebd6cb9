"""What is personal handed over and erased on every database, beside what the whole package does on one."""

from __future__ import annotations

import asyncio
from uuid import uuid4

import pytest
import sqlalchemy as sa

from deal_sdk.accounting import Journal
from deal_sdk.accounting.erasure import erase
from deal_sdk.accounting.personal_rows import OWNED_TABLES, rows_of
from deal_sdk.clock import ManualClock
from deal_sdk.errors import DatabaseUnavailableError, UserNotFoundError
from deal_sdk.records import Database
from deal_sdk.records.credit_tables import credit_transfers
from deal_sdk.records.webhook_tables import webhook_events
from tests.contract.crashing import Crashing
from tests.contract.credit_world import Books


async def test_rows_are_handed_over_and_erased(database: Database, manual_clock: ManualClock) -> None:
    books = Books(database)
    user = await books.users.create(external_id="chat-7", username="alice")
    other = await books.users.create(external_id="chat-8")
    await books.credits.credit(user.id, "purchase", 9, {"for": "alice"}, idempotency_key="alice-1")
    await books.credits.debit(user.id, "video", 2, metadata={"for": "alice"})
    await books.credits.credit(other.id, "purchase", 9, {"for": "bob"}, idempotency_key="bob-1")
    body = b'{"data": {"user": "%s"}}' % str(user.id).encode()
    rows = [
        {"id": id_, "type": "token_spend", "body": said, "created_at": manual_clock.now()}
        for id_, said in ((uuid4(), body), (uuid4(), b'{"data": {"user": "somebody else"}}'))
    ]
    async with database.transaction() as connection:
        await connection.execute(webhook_events.insert(), rows)
    found = await database.read(lambda connection: rows_of(connection, user.id))
    assert set(found) == set(OWNED_TABLES)
    assert {name: len(rows) for name, rows in found.items() if rows} == {
        "users": 1,
        "credit_accounts": 1,
        "credit_transfers": 2,
        "token_operations": 2,
        "webhook_events": 1,
    }
    first, again = await asyncio.gather(*(erase(database, books.journal, user.id) for _ in range(2)))
    assert sorted([first.replayed, again.replayed]) == [False, True]
    assert first.erased == again.erased
    assert (first.erased["entries"], first.erased["keys"]) == (2, 1)
    assert await books.broken() == []
    keys = await database.fetch(sa.select(credit_transfers.c.idempotency_key).order_by(credit_transfers.c.id))
    hashed, *rest = [key for (key,) in keys]
    assert hashed.startswith("erased:")
    assert rest == [None, "bob-1", None]
    with pytest.raises(UserNotFoundError):
        await erase(database, books.journal, uuid4())
    await books.journal.close()


@pytest.mark.parametrize("dies", ["before", "after"])
async def test_an_erasure_is_made_whole_or_not_at_all(
    database: Database, manual_clock: ManualClock, dies: str
) -> None:
    books = Books(database)
    user = await books.users.create(external_id="chat-7")
    await books.credits.credit(user.id, "purchase", 9, {"for": "alice"})
    crashing = Crashing(database)
    journal = Journal(crashing)  # type: ignore[arg-type]
    crashing.dies = dies
    with pytest.raises(DatabaseUnavailableError, match="died"):
        await erase(database, journal, user.id)
    is_erased = (await books.users.get(user.id)).erased_at is not None
    assert is_erased == (dies == "after")
    assert (await books.balance(user.id) == 0) == is_erased
    assert await books.broken() == []
    report = await erase(database, journal, user.id)
    assert report.replayed == is_erased
    assert await books.broken() == []
    await journal.close()
    await books.journal.close()
