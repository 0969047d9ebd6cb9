"""Keeps what a database belongs to, so that one chain's records are never continued on another."""

from __future__ import annotations

from typing import Final

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection

from deal_sdk.errors import ChainMismatchError
from deal_sdk.records.database import Database
from deal_sdk.records.inputs import check_text
from deal_sdk.records.tables import deal_meta

GENESIS_HASH: Final = "genesis_hash"
MINT: Final = "mint"
TOKEN_PROGRAM: Final = "token_program"
DECIMALS: Final = "decimals"

_MAX_KEY_LENGTH: Final = 64
_MAX_VALUE_LENGTH: Final = 65_536


async def bind_chain(
    database: Database,
    genesis_hash: str,
    mint: str | None = None,
    *,
    token_program: str | None = None,
    decimals: int | None = None,
) -> None:
    """Tie the database to a chain and a mint at first, and insist on the same ones from then on.

    A value that is not given is neither stored nor compared; one that is given for the first time
    later, such as a mint that was only then deployed, is stored then.

    Args:
        database: the database.
        genesis_hash: the chain's identity.
        mint: the token's address.
        token_program: the program that owns the mint.
        decimals: the mint's decimals, 0 to 19.

    Raises:
        ChainMismatchError: naming what differs, with both values; nothing was stored.
    """
    given = {
        GENESIS_HASH: genesis_hash,
        MINT: mint,
        TOKEN_PROGRAM: token_program,
        DECIMALS: None if decimals is None else str(decimals),
    }
    wanted = {
        key: check_text(key, value, max_length=255) for key, value in given.items() if value is not None
    }

    async def bind(connection: AsyncConnection) -> None:
        rows = [{"key": key, "value": value} for key, value in wanted.items()]
        await connection.execute(database.insert(deal_meta).values(rows).on_conflict_do_nothing())
        found = await connection.execute(sa.select(deal_meta).where(deal_meta.c.key.in_(wanted)))
        for key, stored in found:
            if stored != wanted[key]:
                raise _mismatch(key, stored, wanted[key])

    await database.run(bind)


async def get_meta(database: Database, key: str) -> str | None:
    """Return the value kept under a key, or None."""
    async with database.reading() as connection:
        value: str | None = await connection.scalar(
            sa.select(deal_meta.c.value).where(
                deal_meta.c.key == check_text("key", key, max_length=_MAX_KEY_LENGTH)
            )
        )
        return value


async def put_meta(database: Database, key: str, value: str) -> None:
    """Keep a value under a key, in place of the one before.

    Args:
        database: the database.
        key: 1 to 64 characters.
        value: 1 to 65536 characters.

    Raises:
        InvalidInputError: for a key or value of another length.
    """
    row = {
        "key": check_text("key", key, max_length=_MAX_KEY_LENGTH),
        "value": check_text("value", value, max_length=_MAX_VALUE_LENGTH),
    }

    async def put(connection: AsyncConnection) -> None:
        statement = database.insert(deal_meta).values(row)
        await connection.execute(
            statement.on_conflict_do_update(index_elements=["key"], set_={"value": statement.excluded.value})
        )

    await database.write(put)


def _mismatch(key: str, stored: str, given: str) -> ChainMismatchError:
    return ChainMismatchError(
        f"this database belongs to {key} {stored}, but was opened against {given}",
        key=key,
        stored=stored,
        given=given,
    )
