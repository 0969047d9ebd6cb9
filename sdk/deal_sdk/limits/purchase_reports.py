"""Recorded purchases summed up: by token, user, subscription, category, state or day.

Owns the query and the forms of its answer. It reads the SQL record alone, so a report is right whatever
became of the counters.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final, Literal, get_args

import sqlalchemy as sa

from deal_sdk.errors import ConfigurationError, InvalidInputError
from deal_sdk.records.purchase_tables import token_purchases

PurchaseDimension = Literal["token_mint", "user_id", "subscription_id", "category", "state", "day"]
PURCHASE_DIMENSIONS: Final[tuple[str, ...]] = get_args(PurchaseDimension)
_SUMS: Final = ("purchases", "users", "tokens", "amount_base_units", "first_at", "last_at")
_AMOUNT_PARTS: Final = ("amount_high", "amount_low")
_LIMB: Final = 10**9


@dataclass(frozen=True, slots=True)
class PurchaseReport:
    """One row for each group, with its purchases, users, tokens, amount, and first and last time."""

    by: tuple[str, ...]
    rows: Sequence[Mapping[str, Any]]
    """Amounts as integers, days as YYYY-MM-DD, times as aware datetimes."""

    @property
    def columns(self) -> tuple[str, ...]:
        """Return the names of a row's values, in order."""
        return (*self.by, *_SUMS)

    def to_dicts(self) -> list[dict[str, Any]]:
        """Return the rows as JSON-serialisable data: amounts and times as text, so that no digit is lost."""
        return [
            {
                **row,
                "amount_base_units": str(row["amount_base_units"]),
                "first_at": row["first_at"].isoformat(),
                "last_at": row["last_at"].isoformat(),
            }
            for row in self.rows
        ]

    def to_json(self) -> str:
        """Return the rows as one JSON array."""
        return json.dumps(self.to_dicts())

    async def to_dataframe(self) -> Any:
        """Return the rows as a pandas DataFrame, amounts as exact integers.

        Raises:
            ConfigurationError: when pandas is not installed.
        """
        return await asyncio.to_thread(self._build_dataframe)

    def _build_dataframe(self) -> Any:
        try:
            import pandas
        except ImportError:
            raise ConfigurationError(
                "a DataFrame needs pandas, which is an extra: install deal-sdk[notebook]"
            ) from None
        frame = pandas.DataFrame([dict(row) for row in self.rows], columns=list(self.columns))
        # Sums may leave 64 bits, so these stay Python's integers.
        frame["amount_base_units"] = frame["amount_base_units"].astype(object)
        return frame


def report_query(
    dialect: str, by: Sequence[str], since: datetime | None, until: datetime | None
) -> sa.Select[Any]:
    """Return the query of a report; cancelled purchases are left out unless states are asked for.

    Raises:
        InvalidInputError: for an unknown dimension, one that is named twice, or a naive time.
    """
    if len(set(by)) < len(by) or not set(by) <= set(PURCHASE_DIMENSIONS):
        raise InvalidInputError(f"purchases are summed up by {', '.join(PURCHASE_DIMENSIONS)}, each once")
    if any(moment is not None and moment.tzinfo is None for moment in (since, until)):
        raise InvalidInputError("since and until need a time zone")
    column = token_purchases.c
    groups = [_dimension(dialect, name).label(name) for name in by]
    sums = (
        sa.func.count().label("purchases"),
        sa.func.count(column.user_id.distinct()).label("users"),
        sa.func.count(column.token_mint.distinct()).label("tokens"),
        *(part.label(name) for name, part in zip(_AMOUNT_PARTS, amount_parts(), strict=True)),
        sa.func.min(column.created_at, type_=column.created_at.type).label("first_at"),
        sa.func.max(column.created_at, type_=column.created_at.type).label("last_at"),
    )
    query = sa.select(*groups, *sums).having(sa.func.count() > 0)
    if groups:
        query = query.group_by(*groups).order_by(*groups)
    if "state" not in by:
        query = query.where(column.state != "cancelled")
    if since is not None:
        query = query.where(column.created_at >= since)
    return query if until is None else query.where(column.created_at < until)


def report_of(by: Sequence[str], rows: Sequence[sa.Row[Any]]) -> PurchaseReport:
    """Make the report of a query's rows."""
    return PurchaseReport(
        tuple(by),
        [_row(row._asdict(), [*by, *_SUMS]) for row in rows],
    )


def amount_parts() -> tuple[sa.ColumnElement[Any], sa.ColumnElement[Any]]:
    """Return the sum of amounts in two parts, for `amount_of`: SQLite's own ends at 64 bits."""
    amount = token_purchases.c.amount
    high, low = sa.func.sum(amount // _LIMB), sa.func.sum(amount % _LIMB)
    return sa.func.coalesce(high, 0), sa.func.coalesce(low, 0)


def amount_of(high: Any, low: Any) -> int:
    """Put the two parts of a sum together."""
    return int(high) * _LIMB + int(low)


def _row(found: Mapping[str, Any], columns: Sequence[str]) -> dict[str, Any]:
    amount = amount_of(*(found[name] for name in _AMOUNT_PARTS))
    return {name: amount if name == "amount_base_units" else found[name] for name in columns}


def _dimension(dialect: str, name: str) -> sa.ColumnElement[Any]:
    if name != "day":
        return token_purchases.c[name]
    created_at = token_purchases.c.created_at
    if dialect == "sqlite":
        # Times are kept as UTC text, which begins with the day.
        return sa.func.substr(sa.type_coerce(created_at, sa.String), 1, 10, type_=sa.String)
    return sa.func.to_char(sa.func.timezone("UTC", created_at), "YYYY-MM-DD", type_=sa.String)
