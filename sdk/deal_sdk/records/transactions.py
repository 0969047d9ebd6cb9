"""Reads the record of payments, and adds transfers that were found on the chain."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from contextlib import aclosing
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final, TypedDict, Unpack
from uuid import UUID

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection

from deal_sdk.amounts import DEAL_DECIMALS
from deal_sdk.errors import PaymentNotFoundError
from deal_sdk.records.attempts import Attempt, attempts_of
from deal_sdk.records.database import Database
from deal_sdk.records.export import ExportFormat, ExportTarget
from deal_sdk.records.inputs import (
    MAX_IDEMPOTENCY_KEY_LENGTH,
    UserId,
    check_choice,
    check_text,
    check_time,
    optional_user_id,
    parse_payment_id,
)
from deal_sdk.records.listing import Listed, Listing
from deal_sdk.records.paging import Keyset, Page, parse_time
from deal_sdk.records.tables import (
    ADDRESS_LENGTH,
    PAYMENT_STATUSES,
    PAYMENT_TYPES,
    SIGNATURE_LENGTH,
    token_transactions,
)
from deal_sdk.records.transaction_rows import (
    TRANSACTION_AMOUNTS,
    TRANSACTION_COLUMNS,
    TRANSACTION_TIMES,
    ExternalTransfer,
    Transaction,
    external_values,
    row_to_transaction,
)

_INSERT_ROWS: Final = 500

_table = token_transactions
_LISTED: Final[Listed[Transaction]] = Listed(
    table=_table,
    oldest_first=Keyset("transactions", (_table.c.created_at, _table.c.id), (parse_time, UUID)),
    item=lambda row: row_to_transaction(row._mapping),
    key=lambda transaction: (transaction.created_at, transaction.id),
    columns=TRANSACTION_COLUMNS,
    amounts=TRANSACTION_AMOUNTS,
    times=TRANSACTION_TIMES,
)


class TransactionFilters(TypedDict, total=False):
    """What a query may ask for; see `TransactionRecorder.query`."""

    user_id: UserId | None
    wallet: str | None
    type: str | None
    status: str | None
    since: datetime | None
    until: datetime | None


@dataclass(frozen=True, slots=True)
class _Filters:
    """What a query asks for, checked; every field that is None asks for nothing."""

    user_id: UserId | None = None
    wallet: str | None = None
    type: str | None = None
    status: str | None = None
    since: datetime | None = None
    until: datetime | None = None

    def conditions(self) -> list[sa.ColumnElement[bool]]:
        found: list[sa.ColumnElement[bool]] = []
        user_id = optional_user_id(self.user_id)
        if user_id is not None:
            found.append(sa.or_(_table.c.from_user_id == user_id, _table.c.to_user_id == user_id))
        if self.wallet is not None:
            wallet = check_text("wallet", self.wallet, max_length=ADDRESS_LENGTH)
            found.append(sa.or_(_table.c.from_address == wallet, _table.c.to_address == wallet))
        if self.type is not None:
            found.append(_table.c.type == check_choice("type", self.type, PAYMENT_TYPES))
        if self.status is not None:
            found.append(_table.c.status == check_choice("status", self.status, PAYMENT_STATUSES))
        if self.since is not None:
            found.append(_table.c.created_at >= check_time("since", self.since))
        if self.until is not None:
            found.append(_table.c.created_at < check_time("until", self.until))
        return found


class TransactionRecorder:
    """Answers every question about payments; the payments area alone writes them."""

    def __init__(self, database: Database, *, decimals: int = DEAL_DECIMALS) -> None:
        """Keep the database.

        Args:
            database: where payments are recorded.
            decimals: the mint's, for exported amounts.
        """
        self._database = database
        self._listing = Listing(database, _LISTED, lambda payment: payment.to_dict(decimals=decimals))

    async def get(self, payment_id: UUID | str) -> Transaction:
        """Return a payment.

        Raises:
            PaymentNotFoundError: no such payment.
            InvalidInputError: the id is no UUID.
        """
        parsed = parse_payment_id(payment_id)
        found = await self._listing.all(_table.c.id == parsed)
        if not found:
            raise PaymentNotFoundError("no such payment", payment_id=str(parsed))
        return found[0]

    async def get_by_idempotency_key(self, idempotency_key: str) -> Transaction:
        """Return the payment that was made under a key.

        Raises:
            PaymentNotFoundError: the key was never used.
        """
        key = check_text("idempotency_key", idempotency_key, max_length=MAX_IDEMPOTENCY_KEY_LENGTH)
        found = await self._listing.all(_table.c.idempotency_key == key)
        if not found:
            raise PaymentNotFoundError("no payment has this idempotency key", idempotency_key=key)
        return found[0]

    async def attempts(self, payment_id: UUID | str) -> list[Attempt]:
        """Return the transactions signed for a payment, the first one first; none while it has none.

        Raises:
            InvalidInputError: the id is no UUID.
        """
        async with self._database.reading() as connection:
            return await attempts_of(connection, parse_payment_id(payment_id))

    async def get_by_signature(self, signature: str) -> list[Transaction]:
        """Return the payments that a transaction carried: none, one or, in a batch, several."""
        text = check_text("signature", signature, max_length=SIGNATURE_LENGTH)
        return await self._listing.all(_table.c.signature == text)

    async def query(
        self,
        *,
        user_id: UserId | None = None,
        wallet: str | None = None,
        type: str | None = None,
        status: str | None = None,
        since: datetime | None = None,
        until: datetime | None = None,
        newest_first: bool = False,
        limit: int = 100,
        cursor: str | None = None,
    ) -> Page[Transaction]:
        """Return one page of the payments that match every filter given.

        Args:
            user_id: on either side.
            wallet: an address, on either side.
            type: one of `PAYMENT_TYPES`.
            status: one of `PAYMENT_STATUSES`.
            since: recorded at this time or later.
            until: recorded before this time.
            newest_first: the other way round; a cursor belongs to one direction.
            limit: 1 to 1000.
            cursor: from the page before, with the same filters.

        Raises:
            InvalidInputError: for a filter or a cursor that cannot be one.
        """
        filters = _Filters(user_id, wallet, type, status, since, until)
        return await self._listing.page(
            filters.conditions(), newest_first=newest_first, limit=limit, cursor=cursor
        )

    async def count(self, **filters: Unpack[TransactionFilters]) -> int:
        """Return how many payments match; the filters are those of `query`."""
        statement = sa.select(sa.func.count()).select_from(_table).where(*_Filters(**filters).conditions())
        async with self._database.reading() as connection:
            return int(await connection.scalar(statement) or 0)

    async def iterate(self, **filters: Unpack[TransactionFilters]) -> AsyncIterator[Transaction]:
        """Yield every matching payment, oldest first, holding one page in memory.

        Args:
            filters: those of `query`: user_id, wallet, type, status, since, until.
        """
        async with aclosing(self._listing.every(_Filters(**filters).conditions()).each()) as payments:
            async for payment in payments:
                yield payment

    async def export(
        self, target: ExportTarget, format: ExportFormat = "csv", **filters: Unpack[TransactionFilters]
    ) -> int:
        """Write every matching payment; amounts are decimal texts in whole tokens.

        Args:
            target: a path, whose file appears only when complete, or an open text file.
            format: "csv" or "json".
            filters: those of `query`.

        Returns:
            The number of payments written.
        """
        return await self._listing.every(_Filters(**filters).conditions()).export(target, format)

    async def to_dataframe(self, **filters: Unpack[TransactionFilters]) -> Any:
        """Return every matching payment as a pandas DataFrame.

        Raises:
            ConfigurationError: when pandas is not installed.
        """
        return await self._listing.every(_Filters(**filters).conditions()).to_dataframe()

    async def record_external(
        self, transfers: Sequence[ExternalTransfer], *, connection: AsyncConnection | None = None
    ) -> list[Transaction]:
        """Add finalized transfers that were made elsewhere, each once however often it is found.

        Args:
            transfers: what the chain shows.
            connection: a write transaction to take part in; one of its own by default.

        Returns:
            The payments that are new; those recorded before are left out.

        Raises:
            InvalidInputError: for a type other than deposit or withdrawal, or an amount out of range.
        """
        now = self._database.clock.now()
        values = [external_values(transfer, now) for transfer in transfers]
        if connection is not None:
            return await self._insert_new(connection, values)
        return await self._database.write(lambda own: self._insert_new(own, values))

    async def _insert_new(
        self, connection: AsyncConnection, values: list[dict[str, Any]]
    ) -> list[Transaction]:
        inserted: list[Transaction] = []
        for start in range(0, len(values), _INSERT_ROWS):
            statement = self._database.insert(_table).values(values[start : start + _INSERT_ROWS])
            result = await connection.execute(statement.on_conflict_do_nothing().returning(_table))
            inserted += [row_to_transaction(row._mapping) for row in result]
        return inserted
