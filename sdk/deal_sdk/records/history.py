"""The history of every tracked balance: appended from finalized transactions, read by anyone.

Each token account's rows are numbered 1, 2, 3, ... and chain: the balance after one is the balance
before the next. Rows are only ever added.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from contextlib import aclosing
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final, TypedDict, Unpack

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection

from deal_sdk.amounts import DEAL_DECIMALS, BaseUnits
from deal_sdk.records.among import among, list_parameter
from deal_sdk.records.database import Database
from deal_sdk.records.export import ExportFormat, ExportTarget
from deal_sdk.records.history_append import Cursors, append_changes, check_changes, read_rows
from deal_sdk.records.history_check import violations_of
from deal_sdk.records.history_rows import (
    HISTORY_AMOUNTS,
    HISTORY_COLUMNS,
    HISTORY_TIMES,
    MAX_TYPE_LENGTH,
    BalanceChange,
    HistoryRow,
    HistoryViolation,
    TrackedAccount,
    history_from_row,
)
from deal_sdk.records.inputs import UserId, check_limit, check_text, check_time, optional_user_id
from deal_sdk.records.listing import Listed, Listing
from deal_sdk.records.packed_rows import PackedQuery
from deal_sdk.records.paging import Keyset, Page, parse_row_id
from deal_sdk.records.tables import ADDRESS_LENGTH, token_accounts, token_balance_history

_table = token_balance_history
_LISTED: Final[Listed[HistoryRow]] = Listed(
    table=_table,
    oldest_first=Keyset("history", (_table.c.id,), (parse_row_id,)),
    item=history_from_row,
    key=lambda row: (row.id,),
    columns=HISTORY_COLUMNS,
    amounts=HISTORY_AMOUNTS,
    times=HISTORY_TIMES,
)
_TRACKED: Final = (
    token_accounts.c.address,
    token_accounts.c.owner_address,
    token_accounts.c.user_id,
    token_accounts.c.history_signature,
    token_accounts.c.history_slot,
)
_TRACKED_AMONG: Final = PackedQuery(
    sa.select(*_TRACKED).where(
        among(token_accounts.c.address, list_parameter("b_accounts", token_accounts.c.address)),
        token_accounts.c.address > sa.bindparam("b_after"),
    )
)


class HistoryFilters(TypedDict, total=False):
    """What a query may ask for; see `BalanceHistoryRecorder.query`."""

    user_id: UserId | None
    wallet: str | None
    token_account: str | None
    type: str | None
    since: datetime | None
    until: datetime | None


@dataclass(frozen=True, slots=True)
class _Filters:
    """What a query asks for, checked; every field that is None asks for nothing."""

    user_id: UserId | None = None
    wallet: str | None = None
    token_account: str | None = None
    type: str | None = None
    since: datetime | None = None
    until: datetime | None = None

    def conditions(self) -> list[sa.ColumnElement[bool]]:
        found: list[sa.ColumnElement[bool]] = []
        user_id = optional_user_id(self.user_id)
        if user_id is not None:
            found.append(_table.c.user_id == user_id)
        if self.wallet is not None:
            found.append(
                _table.c.owner_address == check_text("wallet", self.wallet, max_length=ADDRESS_LENGTH)
            )
        if self.token_account is not None:
            found.append(_table.c.token_account == _address(self.token_account))
        if self.type is not None:
            found.append(_table.c.type == check_text("type", self.type, max_length=MAX_TYPE_LENGTH))
        if self.since is not None:
            found.append(_table.c.block_time >= check_time("since", self.since))
        if self.until is not None:
            found.append(_table.c.block_time < check_time("until", self.until))
        return found


class BalanceHistoryRecorder:
    """Keeps the history of balances and answers questions about it."""

    def __init__(self, database: Database, *, decimals: int = DEAL_DECIMALS) -> None:
        """Keep the database.

        Args:
            database: where the history is.
            decimals: the mint's, for exported amounts.
        """
        self._database = database
        self._listing = Listing(database, _LISTED, lambda row: row.to_dict(decimals=decimals))

    async def append(
        self,
        changes: Sequence[BalanceChange],
        *,
        cursors: Cursors | None = None,
        connection: AsyncConnection | None = None,
    ) -> list[HistoryRow]:
        """Add what finalized transactions did to balances: all of it, or nothing.

        A change that is recorded already is skipped, so that the same transactions may be appended
        again after a crash; so is one that leaves the balance as it was. An account that is not tracked
        yet becomes so. An account's first row may start at any balance.

        Args:
            changes: per account in the order of slot and index in the block.
            cursors: per tracked account the newest signature that was looked at and its slot, also
                where nothing changed; it wins over the last of the changes and never moves backwards.
            connection: a write transaction to take part in; one of its own by default.

        Returns:
            The rows that were added, in the order of the changes.

        Raises:
            HistoryGapError: a change does not continue its account's chain.
            InvalidInputError: changes out of order or malformed, or a cursor of an account not tracked.
        """
        check_changes(changes)
        moved: Cursors = cursors or {}

        async def append(connection: AsyncConnection) -> list[HistoryRow]:
            added = await append_changes(connection, self._database, changes, moved)
            return await read_rows(connection, added)

        return await (self._database.run(append) if connection is None else append(connection))

    async def extend(
        self, changes: Sequence[BalanceChange], *, cursors: Cursors, connection: AsyncConnection
    ) -> int:
        """Add changes as `append` does, and return how many rows were added, without reading them back.

        Args:
            changes: per account in the order of slot and index in the block.
            cursors: as for `append`.
            connection: a write transaction to take part in.

        Raises:
            HistoryGapError, InvalidInputError: as `append`.
        """
        check_changes(changes)
        return len(await append_changes(connection, self._database, changes, cursors))

    async def track(
        self,
        token_account: str,
        owner_address: str,
        user_id: UserId | None = None,
        *,
        connection: AsyncConnection | None = None,
    ) -> TrackedAccount:
        """Keep the history of an account from now on, or correct whose account it is.

        Args:
            token_account: the account's address.
            owner_address: the wallet that owns it.
            user_id: the user whose wallet that is; None leaves the one that is known.
            connection: a write transaction to take part in; one of its own by default.
        """
        statement = self._database.insert(token_accounts).values(
            address=_address(token_account),
            owner_address=check_text("owner_address", owner_address, max_length=ADDRESS_LENGTH),
            user_id=optional_user_id(user_id),
            created_at=self._database.clock.now(),
        )
        upsert = statement.on_conflict_do_update(
            index_elements=["address"],
            set_={
                "owner_address": statement.excluded.owner_address,
                "user_id": sa.func.coalesce(statement.excluded.user_id, token_accounts.c.user_id),
            },
        ).returning(*_TRACKED)

        async def track(connection: AsyncConnection) -> TrackedAccount:
            return TrackedAccount(**(await connection.execute(upsert)).one()._mapping)

        if connection is not None:
            return await track(connection)
        return await self._database.write(track, lock_key=token_account)

    async def tracked(
        self, *, addresses: Sequence[str] | None = None, after: str | None = None, limit: int = 1_000
    ) -> list[TrackedAccount]:
        """Return tracked accounts in the order of their addresses.

        Args:
            addresses: only those of these that are tracked, up to 30,000.
            after: the last address of the page before.
            limit: 1 to 1000; with `addresses`, all of them are returned.
        """
        after = "" if after is None else _address(after)
        if addresses is not None:
            parameters = {"b_accounts": addresses, "b_after": after}
            rows = await self._database.read(lambda connection: _TRACKED_AMONG.rows(connection, parameters))
            return sorted((TrackedAccount(*row) for row in rows), key=lambda account: account.address)
        address = token_accounts.c.address
        page = sa.select(*_TRACKED).where(address > after).order_by(address).limit(check_limit(limit))
        return [TrackedAccount(**row._mapping) for row in await self._database.fetch(page)]

    async def query(
        self,
        *,
        user_id: UserId | None = None,
        wallet: str | None = None,
        token_account: str | None = None,
        type: str | None = None,
        since: datetime | None = None,
        until: datetime | None = None,
        newest_first: bool = False,
        limit: int = 100,
        cursor: str | None = None,
    ) -> Page[HistoryRow]:
        """Return one page of the changes that match every filter given, in the order they were recorded.

        Args:
            user_id: whose balance.
            wallet: the address of the account's owner.
            token_account: one account.
            type: as recorded.
            since: in a block of this time or later; changes without a block time match no period.
            until: in a block before this time.
            newest_first: the other way round; a cursor belongs to one direction.
            limit: 1 to 1000.
            cursor: from the page before, with the same filters.

        Raises:
            InvalidInputError: for a filter or a cursor that cannot be one.
        """
        filters = _Filters(user_id, wallet, token_account, type, since, until)
        return await self._listing.page(
            filters.conditions(), newest_first=newest_first, limit=limit, cursor=cursor
        )

    async def balance_at(self, token_account: str, when: datetime) -> BaseUnits | None:
        """Return an account's balance at a time, or None when its history begins later.

        Args:
            token_account: the account's address.
            when: a time with a zone; a change counts from its block's time on.
        """
        row = await self._newest(
            _table.c.token_account == _address(token_account),
            _table.c.block_time <= check_time("when", when),
        )
        return None if row is None else row.balance_after

    async def latest(self, token_account: str) -> HistoryRow | None:
        """Return an account's newest change, or None when it has none."""
        return await self._newest(_table.c.token_account == _address(token_account))

    async def check_chain(self, token_account: str | None = None) -> list[HistoryViolation]:
        """Prove that the rows chain, and name every one that does not.

        Args:
            token_account: one account; all of them by default.

        Returns:
            Nothing when every chain is whole.
        """
        address = None if token_account is None else _address(token_account)
        async with self._database.reading() as connection:
            return [violation async for violation in violations_of(connection, address)]

    async def iterate(self, **filters: Unpack[HistoryFilters]) -> AsyncIterator[HistoryRow]:
        """Yield every matching change, oldest first, holding one page in memory."""
        async with aclosing(self._listing.every(_Filters(**filters).conditions()).each()) as rows:
            async for row in rows:
                yield row

    async def export(
        self, target: ExportTarget, format: ExportFormat = "csv", **filters: Unpack[HistoryFilters]
    ) -> int:
        """Write every matching change; amounts are decimal texts in whole tokens.

        Args:
            target: a path, whose file appears only when complete, or an open text file.
            format: "csv" or "json".
            filters: those of `query`.

        Returns:
            The number of changes written.
        """
        return await self._listing.every(_Filters(**filters).conditions()).export(target, format)

    async def to_dataframe(self, **filters: Unpack[HistoryFilters]) -> Any:
        """Return every matching change as a pandas DataFrame.

        Raises:
            ConfigurationError: when pandas is not installed.
        """
        return await self._listing.every(_Filters(**filters).conditions()).to_dataframe()

    async def _newest(self, *conditions: sa.ColumnElement[bool]) -> HistoryRow | None:
        statement = sa.select(_table).where(*conditions).order_by(_table.c.sequence.desc()).limit(1)
        async with self._database.reading() as connection:
            row = (await connection.execute(statement)).one_or_none()
        return None if row is None else history_from_row(row)


def _address(token_account: str) -> str:
    return check_text("token_account", token_account, max_length=ADDRESS_LENGTH)
