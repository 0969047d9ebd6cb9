"""Writes rows as CSV, JSON or a DataFrame, page by page and away from the event loop."""

from __future__ import annotations

import asyncio
import csv
import json
import os
from collections.abc import AsyncIterator, Mapping, Sequence
from decimal import Decimal
from pathlib import Path
from typing import IO, Any, Final, Literal, Protocol, TypeAlias

from deal_sdk.errors import ConfigurationError
from deal_sdk.records.inputs import check_choice

ExportFormat = Literal["csv", "json"]
ExportTarget: TypeAlias = str | os.PathLike[str] | IO[str]

EXPORT_FORMATS: Final = ("csv", "json")

Rows: TypeAlias = Sequence[Mapping[str, Any]]


class _Writer(Protocol):
    def begin(self) -> None: ...

    def write(self, rows: Rows) -> None: ...

    def end(self) -> None: ...


class _CsvWriter:
    def __init__(self, file: IO[str], columns: Sequence[str]) -> None:
        self._rows = csv.DictWriter(file, columns, lineterminator="\n")

    def begin(self) -> None:
        self._rows.writeheader()

    def write(self, rows: Rows) -> None:
        for row in rows:
            self._rows.writerow({name: _csv_value(value) for name, value in row.items()})

    def end(self) -> None:
        return None


class _JsonWriter:
    def __init__(self, file: IO[str], _columns: Sequence[str]) -> None:
        self._file = file
        self._separator = ""

    def begin(self) -> None:
        self._file.write("[")

    def write(self, rows: Rows) -> None:
        for row in rows:
            self._file.write(f"{self._separator}\n{json.dumps(row, ensure_ascii=False)}")
            self._separator = ","

    def end(self) -> None:
        self._file.write("\n]\n")


async def export_rows(
    pages: AsyncIterator[Rows], target: ExportTarget, export_format: ExportFormat, columns: Sequence[str]
) -> int:
    """Write every row; a file that is named appears only once it is complete.

    Args:
        pages: rows as JSON-serialisable mappings with the given columns.
        target: a path, or an open text file, which stays open.
        export_format: "csv" or "json" (one array).
        columns: the order of the CSV's columns.

    Returns:
        The number of rows.

    Raises:
        InvalidInputError: for another format.
    """
    check_choice("format", export_format, EXPORT_FORMATS)
    if not isinstance(target, str | os.PathLike):
        return await _write(pages, target, export_format, columns)
    path = Path(target)
    partial_path = path.with_name(f"{path.name}.part")
    file = await asyncio.to_thread(partial_path.open, "w", encoding="utf-8", newline="")
    try:
        try:
            count = await _write(pages, file, export_format, columns)
        finally:
            file.close()
        await asyncio.to_thread(os.replace, partial_path, path)
    except BaseException:
        partial_path.unlink(missing_ok=True)
        raise
    return count


async def to_dataframe(
    pages: AsyncIterator[Rows], columns: Sequence[str], *, amounts: Sequence[str], times: Sequence[str]
) -> Any:
    """Return the rows as a pandas DataFrame: amounts as exact `Decimal`, times as UTC timestamps.

    Raises:
        ConfigurationError: when pandas is not installed.
    """
    rows = [row async for page in pages for row in page]
    return await asyncio.to_thread(_build_dataframe, rows, columns, amounts, times)


def _build_dataframe(
    rows: list[Mapping[str, Any]], columns: Sequence[str], amounts: Sequence[str], times: Sequence[str]
) -> Any:
    try:
        import pandas
    except ImportError:
        raise ConfigurationError(
            "a DataFrame needs pandas, which is an extra: install deal-sdk[notebook]"
        ) from None
    frame = pandas.DataFrame(rows, columns=list(columns))
    for name in amounts:
        frame[name] = [Decimal(row[name]) for row in rows]
    for name in times:
        frame[name] = pandas.to_datetime(frame[name], utc=True, format="ISO8601")
    return frame


async def _write(
    pages: AsyncIterator[Rows], file: IO[str], export_format: ExportFormat, columns: Sequence[str]
) -> int:
    writer: _Writer = _CsvWriter(file, columns) if export_format == "csv" else _JsonWriter(file, columns)
    count = 0
    await asyncio.to_thread(writer.begin)
    async for rows in pages:
        await asyncio.to_thread(writer.write, rows)
        count += len(rows)
    await asyncio.to_thread(writer.end)
    return count


def _csv_value(value: Any) -> Any:
    return json.dumps(value, ensure_ascii=False) if isinstance(value, dict | list) else value
