"""Takes expired credits off the balances, on time; what nobody took off yet is not spent all the same."""

from __future__ import annotations

from typing import Final
from uuid import UUID

from sqlalchemy.ext.asyncio import AsyncConnection

from deal_sdk.accounting.book import Book
from deal_sdk.accounting.commands import EXPIRY_TYPE, Command, OperationResult
from deal_sdk.accounting.journal import Journal
from deal_sdk.accounting.journal_rows import write_book
from deal_sdk.accounting.lot_listing import due_accounts
from deal_sdk.records import Database

PAGE_ACCOUNTS: Final = 100
"""Accounts of one commit."""

Outcome = tuple[int, list[tuple[Command, OperationResult]]]


async def expire_due(database: Database, journal: Journal) -> int:
    """Enter the expiry of every lot whose time is over, each once, whoever else does so at the moment.

    Returns:
        How many lots expired.

    Raises:
        DatabaseError: what was entered stays so.
    """
    count = 0
    after: UUID | None = None
    while True:
        query = due_accounts(database.clock.now(), after=after, limit=PAGE_ACCOUNTS)
        page = [row[0] for row in await database.fetch(query)]
        if not page:
            return count
        after = page[-1]

        async def unit(connection: AsyncConnection, book: Book) -> Outcome:
            # Opening the book decided all there is; under its locks nothing is expired twice.
            await write_book(connection, database, book)
            return len(book.expiries), []

        accounts = [Command("expire", user_id, EXPIRY_TYPE, 0, "expiry") for user_id in page]
        count += await journal.run_unit(accounts, unit)
