"""A condition over many values selects what IN selects, on every database."""

from __future__ import annotations

import uuid

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection

from deal_sdk.records.among import among, list_parameter
from deal_sdk.records.database import Database
from deal_sdk.records.tables import deal_meta, users

IDS = [uuid.UUID(int=number) for number in range(1, 6)]


async def add_users(database: Database) -> None:
    now = database.clock.now()
    rows = [{"id": user_id, "tier": "Gift", "created_at": now, "updated_at": now} for user_id in IDS]

    async def unit(connection: AsyncConnection) -> None:
        await connection.execute(users.insert(), rows)

    await database.run(unit)


class TestAmong:
    async def test_uuids(self, database: Database) -> None:
        await add_users(database)
        for wanted in ([], IDS[:1], IDS[1:4], [*IDS, uuid.uuid4()]):
            rows = await database.fetch(sa.select(users.c.id).where(among(users.c.id, wanted)))
            assert {row.id for row in rows} == set(wanted) & set(IDS)

    async def test_texts_with_every_character(self, database: Database) -> None:
        keys = ['quote " and \\ slash', "ünïcode 💰", "{brace},comma", "plain"]

        async def unit(connection: AsyncConnection) -> None:
            rows = [{"key": key, "value": "x"} for key in keys]
            await connection.execute(deal_meta.insert(), rows)

        await database.run(unit)
        for wanted in ([], keys[:2], keys):
            rows = await database.fetch(sa.select(deal_meta.c.key).where(among(deal_meta.c.key, wanted)))
            assert {row.key for row in rows} == set(wanted)

    async def test_a_named_parameter_in_an_update(self, database: Database) -> None:
        await add_users(database)
        update = users.update().where(among(users.c.id, list_parameter("b_ids", users.c.id)))

        async def unit(connection: AsyncConnection) -> None:
            await connection.execute(update.values(tier="Basic"), {"b_ids": IDS[:2]})

        await database.run(unit)
        rows = await database.fetch(sa.select(users.c.id).where(users.c.tier == "Basic"))
        assert {row.id for row in rows} == set(IDS[:2])

    async def test_the_index_is_used(self, database: Database) -> None:
        if database.dialect == "postgresql":
            return  # `= ANY` of an array is what IN becomes there by itself
        query = sa.select(users.c.tier).where(among(users.c.id, IDS))

        async def unit(connection: AsyncConnection) -> str:
            compiled = query.compile(dialect=connection.dialect)
            listed = str([user_id.hex for user_id in IDS]).replace("'", '"')
            plan = await connection.exec_driver_sql(f"EXPLAIN QUERY PLAN {compiled}", (listed,))
            return str(list(plan))

        assert "SEARCH users USING" in await database.read(unit)
