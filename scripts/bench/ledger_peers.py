"""The peers of the ledger on one PostgreSQL: an ORM's select, update and insert, and a PL/pgSQL function."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any, Final

import asyncpg
import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncSession, async_sessionmaker, create_async_engine
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column

SCHEMA: Final = Path(__file__).with_name("peers") / "ledger.sql"
CONNECTIONS: Final = 16
PLENTY: Final = 10**12
RECEIVER: Final = 0


class Base(DeclarativeBase):
    """The ORM's tables."""


class OrmUser(Base):
    """A user with a balance."""

    __tablename__ = "orm_users"
    id: Mapped[int] = mapped_column(primary_key=True)
    balance: Mapped[int] = mapped_column(sa.BigInteger)


class OrmEntry(Base):
    """One line of a user's ledger."""

    __tablename__ = "orm_entries"
    id: Mapped[int] = mapped_column(primary_key=True)
    user_id: Mapped[int] = mapped_column(sa.ForeignKey("orm_users.id"), index=True)
    operation: Mapped[str]
    amount: Mapped[int] = mapped_column(sa.BigInteger)
    balance_after: Mapped[int] = mapped_column(sa.BigInteger)
    created_at: Mapped[Any] = mapped_column(sa.DateTime(timezone=True), server_default=sa.func.now())


class OrmLedger:
    """What most applications write first: read the row, change it, add a line, commit."""

    def __init__(self, url: str) -> None:
        """Prepare as many connections as the other peer has."""
        self._engine = create_async_engine(url, pool_size=CONNECTIONS, max_overflow=0)
        self._sessions = async_sessionmaker(self._engine, expire_on_commit=False)

    async def open(self, accounts: int) -> None:
        """Create the tables and the users."""
        async with self._engine.begin() as connection:
            await connection.run_sync(Base.metadata.create_all)
            rows = [{"id": number, "balance": PLENTY} for number in range(1, accounts + 1)]
            await connection.execute(sa.insert(OrmUser), rows)

    async def debit(self, account: int) -> None:
        """Take one credit."""
        session: AsyncSession
        async with self._sessions() as session, session.begin():
            user = await session.get_one(OrmUser, account, with_for_update=True)
            if user.balance < 1:
                raise ValueError("insufficient balance")
            user.balance -= 1
            entry = OrmEntry(user_id=account, operation="video", amount=-1, balance_after=user.balance)
            session.add(entry)

    async def close(self) -> None:
        """Give the connections back."""
        await self._engine.dispose()


class FunctionLedger:
    """A double-entry ledger that lives in the database; a transfer is one call and one commit."""

    def __init__(self, url: str) -> None:
        """Keep the URL."""
        self._url = url.replace("postgresql+asyncpg", "postgresql")
        self._pool: asyncpg.Pool[Any] | None = None

    async def open(self, accounts: int) -> None:
        """Create the schema and the accounts."""
        schema = await asyncio.to_thread(SCHEMA.read_text)
        self._pool = await asyncpg.create_pool(self._url, min_size=CONNECTIONS, max_size=CONNECTIONS)
        await self._pool.execute(schema)
        rows = [(RECEIVER, 0, 0, True), *((number, PLENTY, 0, False) for number in range(1, accounts + 1))]
        await self._pool.executemany("INSERT INTO peer_accounts VALUES ($1, $2, $3, $4)", rows)

    async def debit(self, account: int) -> None:
        """Take one credit."""
        assert self._pool is not None
        await self._pool.fetchval("SELECT peer_transfer($1, $2, $3, $4)", account, RECEIVER, 1, None)

    async def close(self) -> None:
        """Give the connections back."""
        if self._pool is not None:
            await self._pool.close()
