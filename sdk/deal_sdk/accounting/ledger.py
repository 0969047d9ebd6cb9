"""The ledger as its readers see it: entries by user, type and time, totals, and the balance at a time."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from contextlib import aclosing
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any, Final, TypedDict, Unpack
from uuid import UUID

import sqlalchemy as sa

from deal_sdk.accounting.commands import (
    RESERVED_TYPES,
    Command,
    LedgerEntry,
    OperationResult,
    check_credits,
    check_operation_type,
    complete,
)
from deal_sdk.accounting.folding import FoldReport, fold
from deal_sdk.accounting.journal import Journal
from deal_sdk.errors import InvalidInputError
from deal_sdk.records import Database, Page, UserId, parse_user_id
from deal_sdk.records.credit_tables import credit_openings, token_operations
from deal_sdk.records.export import ExportFormat, ExportTarget
from deal_sdk.records.inputs import check_limit, check_offset, check_period, check_time
from deal_sdk.records.listing import Listed, Listing
from deal_sdk.records.paging import Keyset

ENTRY_COLUMNS: Final = (
    "id",
    "transfer_id",
    "user_id",
    "operation_type",
    "amount",
    "balance_before",
    "balance_after",
    "sequence",
    "entry_hash",
    "metadata",
    "created_at",
)

_entry = token_operations.c
_opening = credit_openings.c


def to_entry(row: sa.Row[Any]) -> LedgerEntry:
    """Make the value from a row of `token_operations`."""
    return LedgerEntry(**row._mapping)


_LISTED: Final[Listed[LedgerEntry]] = Listed(
    table=token_operations,
    oldest_first=Keyset("token_operations", (_entry.id,), (UUID,)),
    item=to_entry,
    key=lambda entry: (entry.id,),
    columns=ENTRY_COLUMNS,
    amounts=(),
    times=("created_at",),
)


class EntryFilters(TypedDict, total=False):
    """What a reader of the ledger may ask for."""

    user_id: UserId | None
    operation_type: str | None
    since: datetime | None
    until: datetime | None


@dataclass(frozen=True, slots=True)
class UserStatistics:
    """What a user's entries come to."""

    total_spent: int
    total_earned: int
    net: int
    """What the balance changed by."""
    count: int
    total_expired: int = 0

    def to_dict(self) -> dict[str, int]:
        """Return the statistics as JSON-serialisable data."""
        return {
            "total_spent": self.total_spent,
            "total_earned": self.total_earned,
            "net": self.net,
            "count": self.count,
            "total_expired": self.total_expired,
        }


@dataclass(frozen=True, slots=True)
class Opening:
    """What an account's entries came to that were folded away."""

    sequence: int
    """Of the last of them."""
    balance: int
    folded_until: datetime
    """When the last of them was made."""
    folded_at: datetime

    def to_dict(self) -> dict[str, Any]:
        """Return the opening as JSON-serialisable data."""
        return {
            "sequence": self.sequence,
            "balance": self.balance,
            "folded_until": self.folded_until.isoformat(),
            "folded_at": self.folded_at.isoformat(),
        }


class TokenLedger:
    """Reads users' entries; a new one is made by the journal alone, with the balance that it changes."""

    def __init__(self, database: Database, journal: Journal) -> None:
        """Keep the parts."""
        self._database = database
        self._journal = journal
        self._listing = Listing(database, _LISTED, LedgerEntry.to_dict)

    async def create_entry(
        self,
        user_id: UserId,
        operation_type: str,
        amount: int,
        metadata: Mapping[str, Any] | None = None,
        *,
        idempotency_key: str | None = None,
    ) -> OperationResult:
        """Add one entry and move the balance with it.

        Args:
            user_id: whose account.
            operation_type: 1 to 64 characters.
            amount: credits, negative for a debit.
            metadata: a JSON object of at most 64 KiB.
            idempotency_key: the same key again returns the first result.

        Raises:
            IdempotencyConflictError: the key was used for another operation.
            InvalidInputError: for an amount that is no whole number, or metadata that is no JSON.
        """
        parsed, credits = parse_user_id(user_id), check_credits("amount", amount)
        command = Command("credit", parsed, operation_type, credits, "issuance")
        if credits < 0:
            command = replace(command, kind="debit", amount=-credits, operator="revenue")
        return await self._journal.run(complete(command, metadata, idempotency_key))

    async def get_user_entries(
        self,
        user_id: UserId,
        *,
        operation_type: str | None = None,
        since: datetime | None = None,
        until: datetime | None = None,
        limit: int = 100,
        offset: int = 0,
    ) -> list[LedgerEntry]:
        """Return a user's entries, the newest first.

        Args:
            user_id: whose account.
            operation_type: of one type alone.
            since: made at this time or later.
            until: made before this time.
            limit: 1 to 1000.
            offset: how many of the newest are left out; for long ways `query` is the faster one.

        Raises:
            InvalidInputError: for a limit, an offset or a time that cannot be one.
        """
        filters: EntryFilters = {
            "user_id": user_id,
            "operation_type": operation_type,
            "since": since,
            "until": until,
        }
        return await self._read(filters, limit, offset)

    async def get_entries_by_type(
        self,
        operation_type: str,
        *,
        since: datetime | None = None,
        until: datetime | None = None,
        limit: int = 100,
        offset: int = 0,
    ) -> list[LedgerEntry]:
        """Return every user's entries of a type, the newest first; arguments as for `get_user_entries`."""
        filters: EntryFilters = {"operation_type": operation_type, "since": since, "until": until}
        return await self._read(filters, limit, offset)

    async def query(
        self, *, limit: int = 100, cursor: str | None = None, **filters: Unpack[EntryFilters]
    ) -> Page[LedgerEntry]:
        """Return one page of the entries that match, oldest first.

        Args:
            limit: 1 to 1000.
            cursor: from the page before, with the same filters.
            filters: user_id, operation_type, since, until.
        """
        conditions = _conditions(filters)
        return await self._listing.page(conditions, newest_first=False, limit=limit, cursor=cursor)

    async def iterate(self, **filters: Unpack[EntryFilters]) -> AsyncIterator[LedgerEntry]:
        """Yield every matching entry, oldest first, holding one page in memory."""
        async with aclosing(self._listing.every(_conditions(filters)).each()) as entries:
            async for entry in entries:
                yield entry

    async def export(
        self, target: ExportTarget, format: ExportFormat = "csv", **filters: Unpack[EntryFilters]
    ) -> int:
        """Write every matching entry to a file, and return how many those were."""
        return await self._listing.every(_conditions(filters)).export(target, format)

    async def to_dataframe(self, **filters: Unpack[EntryFilters]) -> Any:
        """Return every matching entry as a pandas DataFrame.

        Raises:
            ConfigurationError: when pandas is not installed.
        """
        return await self._listing.every(_conditions(filters)).to_dataframe()

    async def get_user_statistics(
        self, user_id: UserId, *, since: datetime | None = None, until: datetime | None = None
    ) -> UserStatistics:
        """Return what a user spent and earned, and what expired, over all time or a period."""
        is_expiry = _entry.operation_type.in_(sorted(RESERVED_TYPES))
        expired = sa.func.sum(sa.case((is_expiry, -_entry.amount), else_=0))
        spent = sa.func.sum(sa.case((sa.and_(_entry.amount < 0, ~is_expiry), -_entry.amount), else_=0))
        earned = sa.func.sum(sa.case((_entry.amount > 0, _entry.amount), else_=0))
        filters: EntryFilters = {"user_id": user_id, "since": since, "until": until}
        query = sa.select(spent, earned, expired, sa.func.count()).where(*_conditions(filters))
        [(*sums, count)] = await self._database.fetch(query)
        total_spent, total_earned, total_expired = (int(found or 0) for found in sums)
        net = total_earned - total_spent - total_expired
        return UserStatistics(total_spent, total_earned, net, count, total_expired)

    async def get_total_spent(
        self, user_id: UserId, *, since: datetime | None = None, until: datetime | None = None
    ) -> int:
        """Return the sum of a user's debits, as a positive number; what expired is none."""
        return (await self.get_user_statistics(user_id, since=since, until=until)).total_spent

    async def get_total_earned(
        self, user_id: UserId, *, since: datetime | None = None, until: datetime | None = None
    ) -> int:
        """Return the sum of what a user was granted and given back."""
        return (await self.get_user_statistics(user_id, since=since, until=until)).total_earned

    async def balance_at(self, user_id: UserId, when: datetime) -> int:
        """Return what a user had at a time: 0 before the first entry.

        Args:
            user_id: whose account.
            when: a time with a zone; an entry counts from its own time on.

        Raises:
            InvalidInputError: for a time whose entries were folded away.
        """
        query = (
            sa.select(_entry.balance_after)
            .where(_entry.account_id == parse_user_id(user_id), _entry.created_at <= check_time("when", when))
            .order_by(_entry.sequence.desc())
            .limit(1)
        )
        rows = await self._database.fetch(query)
        if rows:
            return int(rows[0][0])
        opening = await self.get_opening(user_id)
        if opening is None:
            return 0
        if when < opening.folded_until:
            raise InvalidInputError(
                "the entries of that time were folded away", field="when", folded_until=opening.folded_until
            )
        return opening.balance

    async def get_opening(self, user_id: UserId) -> Opening | None:
        """Return what a user's folded entries came to, or None where none were folded."""
        query = sa.select(*(_opening[name] for name in Opening.__dataclass_fields__))
        rows = await self._database.fetch(query.where(_opening.account_id == parse_user_id(user_id)))
        return Opening(**rows[0]._mapping) if rows else None

    async def delete_old_entries(self, before: datetime, user_id: UserId | None = None) -> FoldReport:
        """Fold users' entries that are older than a time into an opening, and delete them.

        Balances, hashes and totals hold, and so does the operator's side of every transfer, which names
        nobody. Metadata of holds that ended before is deleted too. A key that was used is known for ever;
        a debit that was folded cannot be refunded any more.

        Args:
            before: a time with a zone, not in the future.
            user_id: of one user alone.

        Raises:
            InvalidInputError: for a time that cannot be one.
            DatabaseError: what was folded stays so, and running it again goes on.
        """
        return await fold(self._database, before, user_id)

    async def _read(self, filters: EntryFilters, limit: int, offset: int) -> list[LedgerEntry]:
        # The ids rise with time, and an account's entries with its sequence, by which it is indexed.
        order = _entry.sequence if filters.get("user_id") is not None else _entry.id
        query = (
            sa.select(token_operations)
            .where(*_conditions(filters))
            .order_by(order.desc())
            .limit(check_limit(limit))
            .offset(check_offset(offset))
        )
        return [to_entry(row) for row in await self._database.fetch(query)]


def _conditions(filters: EntryFilters) -> list[sa.ColumnElement[bool]]:
    """Return the conditions of the filters, on users' entries alone."""
    found: list[sa.ColumnElement[bool]] = []
    user_id, operation_type = filters.get("user_id"), filters.get("operation_type")
    since, until = filters.get("since"), filters.get("until")
    check_period(since, until)
    if user_id is None:
        found.append(_entry.user_id.is_not(None))
    else:
        found.append(_entry.account_id == parse_user_id(user_id))
    if operation_type is not None:
        found.append(_entry.operation_type == check_operation_type(operation_type))
    if since is not None:
        found.append(_entry.created_at >= since)
    if until is not None:
        found.append(_entry.created_at < until)
    return found
