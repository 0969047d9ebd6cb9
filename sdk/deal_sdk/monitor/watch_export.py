"""What was counted for a wallet, as CSV or JSON."""

from __future__ import annotations

import io
from collections.abc import AsyncIterator, Sequence
from typing import Any, Final

from deal_sdk.monitor.watch_values import TRANSACTION_COLUMNS, WatchedTransaction
from deal_sdk.records.export import ExportFormat, export_rows

_FORMULA_STARTS: Final = ("=", "+", "-", "@", "\t", "\r")


async def exported(transactions: Sequence[WatchedTransaction], export_format: ExportFormat) -> str:
    """Return transactions in the order in which they were counted, as a text.

    Raises:
        InvalidInputError: for another format than "csv" and "json".
    """
    rows = [transaction.to_dict() for transaction in transactions]
    if export_format == "csv":
        for row in rows:
            row["memo"] = _harmless(row["memo"])

    async def pages() -> AsyncIterator[Sequence[dict[str, Any]]]:
        yield sorted(rows, key=lambda row: int(row["number"]))

    target = io.StringIO(newline="")
    await export_rows(pages(), target, export_format, TRANSACTION_COLUMNS)
    return target.getvalue()


def _harmless(memo: str | None) -> str | None:
    # Anyone may write a memo; a spreadsheet would run one that begins like a formula.
    return f"'{memo}" if memo and memo.startswith(_FORMULA_STARTS) else memo
