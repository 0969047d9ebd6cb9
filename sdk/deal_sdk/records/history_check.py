"""Proves that every account's history chains, page by page, whatever its length."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from typing import Final

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection

from deal_sdk.records.history_rows import HistoryRow, HistoryViolation, ViolationKind, history_from_row
from deal_sdk.records.tables import token_balance_history

_PAGE_ROWS: Final = 1_000
_table = token_balance_history


async def violations_of(
    connection: AsyncConnection, token_account: str | None
) -> AsyncIterator[HistoryViolation]:
    """Yield what is wrong with one account's rows, or with everyone's.

    Args:
        connection: a snapshot, so that rows appended meanwhile are no violation.
        token_account: None for all.
    """
    previous: HistoryRow | None = None
    while True:
        rows = await _next_rows(connection, token_account, previous)
        for row in rows:
            same_account = previous is not None and previous.token_account == row.token_account
            for violation in _violations(row, previous if same_account else None):
                yield violation
            previous = row
        if len(rows) < _PAGE_ROWS:
            return


async def _next_rows(
    connection: AsyncConnection, token_account: str | None, previous: HistoryRow | None
) -> list[HistoryRow]:
    order = (_table.c.token_account, _table.c.sequence)
    statement = sa.select(_table).order_by(*order).limit(_PAGE_ROWS)
    if token_account is not None:
        statement = statement.where(_table.c.token_account == token_account)
    if previous is not None:
        statement = statement.where(sa.tuple_(*order) > sa.tuple_(previous.token_account, previous.sequence))
    return [history_from_row(row) for row in await connection.execute(statement)]


def _violations(row: HistoryRow, previous: HistoryRow | None) -> Iterator[HistoryViolation]:
    expected_sequence = 1 if previous is None else previous.sequence + 1
    if row.sequence != expected_sequence:
        yield _violation("sequence", row, expected_sequence, row.sequence)
    if previous is not None and row.balance_before != previous.balance_after:
        yield _violation("balance", row, previous.balance_after, row.balance_before)
    if row.change != row.balance_after - row.balance_before or row.change == 0:
        yield _violation("change", row, row.balance_after - row.balance_before, row.change)
    if previous is not None and (row.slot, row.block_index) <= (previous.slot, previous.block_index):
        after = f"after slot {previous.slot} index {previous.block_index}"
        yield _violation("order", row, after, f"slot {row.slot} index {row.block_index}")


def _violation(kind: ViolationKind, row: HistoryRow, expected: object, found: object) -> HistoryViolation:
    return HistoryViolation(kind, row.id, row.token_account, row.sequence, str(expected), str(found))
