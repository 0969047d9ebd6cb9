"""Transactions, shared commits and typed errors, the same on every database."""

from __future__ import annotations

import asyncio
import uuid
from typing import Any

import pytest
import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection

from deal_sdk.clock import ManualClock
from deal_sdk.errors import (
    ConstraintError,
    DatabaseBusyError,
    DatabaseError,
    DatabaseUnavailableError,
)
from deal_sdk.records.database import Database
from deal_sdk.records.tables import deal_meta, token_pricing, token_wallets, users


async def stored_keys(database: Database) -> set[str]:
    async with database.reading() as connection:
        return set(await connection.scalars(sa.select(deal_meta.c.key)))


def put(key: str, value: str = "x") -> Any:
    async def unit(connection: AsyncConnection) -> str:
        await connection.execute(sa.insert(deal_meta).values(key=key, value=value))
        return key

    return unit


def user_row(database: Database, **values: Any) -> dict[str, Any]:
    now = database.clock.now()
    return {"id": uuid.uuid4(), "tier": "Gift", "created_at": now, "updated_at": now, **values}


class TestTransaction:
    async def test_commits_at_the_end_and_rolls_back_on_an_error(self, database: Database) -> None:
        async with database.transaction() as connection:
            await put("kept")(connection)

        async def write_and_fail() -> None:
            async with database.transaction() as connection:
                await put("lost")(connection)
                raise RuntimeError("mine")

        with pytest.raises(RuntimeError, match="mine"):
            await write_and_fail()
        assert await stored_keys(database) == {"kept"}

    async def test_what_it_has_not_committed_is_not_read(self, database: Database) -> None:
        async with database.transaction() as connection:
            await put("early")(connection)
            assert await stored_keys(database) == set()
        assert await stored_keys(database) == {"early"}

    async def test_a_reader_keeps_its_snapshot_while_others_write(self, database: Database) -> None:
        async with database.reading() as connection:
            before = list(await connection.scalars(sa.select(deal_meta.c.key)))
            await database.run(put("later"))
            assert list(await connection.scalars(sa.select(deal_meta.c.key))) == before == []
        assert await stored_keys(database) == {"later"}

    async def test_a_reader_cannot_write(self, database: Database) -> None:
        with pytest.raises(DatabaseError):
            async with database.reading() as connection:
                await put("forbidden")(connection)
        assert await stored_keys(database) == set()

    async def test_fifty_writers_lose_no_update(self, database: Database) -> None:
        await database.run(put("counter", "0"))

        async def add_one(connection: AsyncConnection) -> None:
            counter = deal_meta.c.key == "counter"
            found = await connection.scalar(sa.select(deal_meta.c.value).where(counter).with_for_update())
            await connection.execute(
                sa.update(deal_meta).where(counter).values(value=str(int(found or "") + 1))
            )

        await asyncio.gather(*(database.run(add_one) for _ in range(50)))
        await asyncio.gather(*(database.write(add_one) for _ in range(50)))
        async with database.reading() as connection:
            assert await connection.scalar(sa.select(deal_meta.c.value)) == "100"

    async def test_a_cancelled_writer_leaves_nothing_and_blocks_nobody(self, database: Database) -> None:
        inside = asyncio.Event()

        async def write_slowly() -> None:
            async with database.transaction() as connection:
                await put("cancelled")(connection)
                inside.set()
                await asyncio.Event().wait()

        writer = asyncio.create_task(write_slowly())
        await inside.wait()
        writer.cancel()
        with pytest.raises(asyncio.CancelledError):
            await writer
        await database.run(put("next"))
        assert await stored_keys(database) == {"next"}

    async def test_writers_cancelled_at_every_moment_leave_the_database_usable(
        self, database: Database
    ) -> None:
        for steps in range(40):
            writer = asyncio.create_task(database.run(put(f"cancelled-{steps}")))
            for _ in range(steps):
                await asyncio.sleep(0)
            writer.cancel()
            await asyncio.gather(writer, return_exceptions=True)
            if not writer.cancelled():
                assert f"cancelled-{steps}" in await stored_keys(database)
        await database.run(put("usable"))
        assert "usable" in await stored_keys(database)


class TestSharedCommit:
    async def test_units_submitted_together_share_one_transaction(self, database: Database) -> None:
        connections: set[int] = set()

        async def unit(connection: AsyncConnection) -> int:
            connections.add(id(connection))
            return await put(f"key-{len(connections)}-{uuid.uuid4()}")(connection) and 1

        assert sum(await asyncio.gather(*(database.write(unit) for _ in range(50)))) == 50
        assert len(connections) == 1
        assert len(await stored_keys(database)) == 50

    async def test_one_unit_that_raises_undoes_no_neighbour(self, database: Database) -> None:
        async def refuse(connection: AsyncConnection) -> str:
            await put("refused")(connection)
            raise ValueError("refused")

        units = [put("a"), refuse, put("b"), put("a"), put("c")]
        results = await asyncio.gather(*(database.write(unit) for unit in units), return_exceptions=True)
        assert results[0] == "a"
        assert isinstance(results[1], ValueError)
        assert results[2] == "b"
        assert isinstance(results[3], ConstraintError)
        assert results[4] == "c"
        assert await stored_keys(database) == {"a", "b", "c"}

    async def test_a_returned_exception_is_a_result(self, database: Database) -> None:
        async def unit(connection: AsyncConnection) -> Exception:
            return ValueError("a value")

        first, second = await asyncio.gather(database.write(unit), database.write(unit))
        assert isinstance(first, ValueError)
        assert isinstance(second, ValueError)

    async def test_a_cancelled_caller_breaks_no_batch(self, database: Database) -> None:
        callers = [asyncio.create_task(database.write(put(f"key-{n}"))) for n in range(20)]
        await asyncio.sleep(0)
        for caller in callers[::2]:
            caller.cancel()
        await asyncio.gather(*callers, return_exceptions=True)
        assert [caller.cancelled() for caller in callers] == [True, False] * 10
        assert {f"key-{n}" for n in range(20)} == await stored_keys(database)

    async def test_units_run_in_the_order_of_their_lock_keys_and_answer_their_own_callers(
        self, database: Database
    ) -> None:
        ran: list[str] = []

        def unit(name: str) -> Any:
            async def run(connection: AsyncConnection) -> str:
                ran.append(name)
                return name

            return run

        names = ["c", "a", "b"]
        results = await asyncio.gather(*(database.write(unit(name), lock_key=name) for name in names))
        assert results == names
        assert ran == ["a", "b", "c"]

    async def test_what_was_submitted_is_finished_by_close(
        self, lasting_database_url: str, manual_clock: ManualClock
    ) -> None:
        database = await Database.open(lasting_database_url, clock=manual_clock, migrate=True)
        writers = [asyncio.create_task(database.write(put(f"key-{n}"))) for n in range(10)]
        await asyncio.sleep(0)
        await database.close()
        await asyncio.gather(*writers)
        again = await Database.open(lasting_database_url, clock=manual_clock)
        assert len(await stored_keys(again)) == 10
        await again.close()

    async def test_a_connection_still_open_at_close_is_closed_when_it_comes_back(
        self, database: Database
    ) -> None:
        inside, go_on = asyncio.Event(), asyncio.Event()

        async def read_slowly() -> int | None:
            async with database.reading() as connection:
                inside.set()
                await go_on.wait()
                found: int | None = await connection.scalar(sa.select(sa.literal(7)))
                return found

        reader = asyncio.create_task(read_slowly())
        await inside.wait()
        await database.close()
        go_on.set()
        assert await reader == 7


class TestErrors:
    async def test_a_unique_rule_is_named_the_same_everywhere(self, database: Database) -> None:
        row = user_row(database, external_id="secret-chat-77")
        await database.run(lambda connection: connection.execute(sa.insert(users).values(row)))
        twin = {**row, "id": uuid.uuid4()}
        with pytest.raises(ConstraintError) as caught:
            await database.run(lambda connection: connection.execute(sa.insert(users).values(twin)))
        assert (caught.value.kind, caught.value.constraint) == ("unique", "uq_users_external_id")
        with pytest.raises(ConstraintError) as caught:
            await database.run(
                lambda connection: connection.execute(
                    sa.insert(users).values({**row, "external_id": "other"})
                )
            )
        assert caught.value.constraint == "pk_users"

    async def test_a_partial_unique_index_is_named(self, database: Database) -> None:
        first, second = user_row(database), user_row(database)
        wallet = {
            "address": "A" * 44,
            "status": "active",
            "is_primary": False,
            "connected_at": database.clock.now(),
        }

        async def connect_both(connection: AsyncConnection) -> None:
            await connection.execute(sa.insert(users), [first, second])
            for user in (first, second):
                row = {**wallet, "id": uuid.uuid4(), "user_id": user["id"]}
                await connection.execute(sa.insert(token_wallets).values(row))

        with pytest.raises(ConstraintError) as caught:
            await database.run(connect_both)
        assert caught.value.constraint == "uq_token_wallets_active_address"

    @pytest.mark.parametrize(
        ("values", "kind", "constraint"),
        [
            ({"price": 0}, "check", "ck_token_pricing_price"),
            ({"price": None}, "not_null", None),
        ],
    )
    async def test_check_and_missing_values_are_told_apart(
        self, database: Database, values: dict[str, Any], kind: str, constraint: str | None
    ) -> None:
        now = database.clock.now()
        row = {"service_type": "search", "price": 1, "valid_from": now, "created_at": now, **values}
        with pytest.raises(ConstraintError) as caught:
            await database.run(lambda connection: connection.execute(sa.insert(token_pricing).values(row)))
        assert (caught.value.kind, caught.value.constraint) == (kind, constraint)

    async def test_a_foreign_key_is_kept(self, database: Database) -> None:
        wallet = {
            "id": uuid.uuid4(),
            "user_id": uuid.uuid4(),
            "address": "A" * 44,
            "status": "active",
            "is_primary": False,
            "connected_at": database.clock.now(),
        }
        with pytest.raises(ConstraintError) as caught:
            await database.run(lambda connection: connection.execute(sa.insert(token_wallets).values(wallet)))
        assert caught.value.kind == "foreign_key"

    async def test_no_error_repeats_a_value_that_was_bound(self, database: Database) -> None:
        secret = "hunter2-secret-value"
        row = user_row(database, external_id=secret)

        async def twice(connection: AsyncConnection) -> None:
            await connection.execute(sa.insert(users).values(row))
            await connection.execute(sa.insert(users).values({**row, "id": uuid.uuid4()}))

        async def not_there(connection: AsyncConnection) -> None:
            await connection.execute(sa.text("SELECT * FROM not_there WHERE x = :x"), {"x": secret})

        async def too_large(connection: AsyncConnection) -> None:
            values = {"service_type": secret, "price": 2**70, "valid_from": row["created_at"]}
            await connection.execute(sa.insert(token_pricing).values(**values, created_at=row["created_at"]))

        for unit in (twice, not_there, too_large):
            with pytest.raises(DatabaseError) as caught:
                await database.run(unit)
            error: BaseException | None = caught.value
            while error is not None:
                assert secret not in f"{error} {error!r} {getattr(error, 'facts', '')}"
                error = error.__cause__ or error.__context__

    async def test_a_unit_sees_the_typed_error_where_it_happens(self, database: Database) -> None:
        caught: list[str | None] = []

        async def unit(connection: AsyncConnection) -> None:
            await put("same")(connection)
            try:
                await put("same")(connection)
            except ConstraintError as error:
                caught.append(error.facts["constraint"])
                raise

        with pytest.raises(ConstraintError):
            await database.run(unit)
        assert caught == ["pk_deal_meta"]
        assert await stored_keys(database) == set()

    async def test_after_close_every_use_is_refused(self, database: Database) -> None:
        await database.close()
        for use in (database.run(put("late")), database.write(put("late"))):
            with pytest.raises(DatabaseUnavailableError):
                await use
        with pytest.raises(DatabaseUnavailableError):
            async with database.reading():
                raise AssertionError("never reached")
        await database.close()


class TestLockedByAnother:
    async def test_a_lock_held_elsewhere_ends_in_a_busy_error_and_nothing_is_recorded(
        self, lasting_database_url: str, manual_clock: ManualClock
    ) -> None:
        first = await Database.open(lasting_database_url, clock=manual_clock, migrate=True)
        second = await Database.open(lasting_database_url, clock=manual_clock, busy_timeout_seconds=0.2)
        await first.run(put("row", "0"))

        async def change(connection: AsyncConnection) -> None:
            await connection.execute(sa.update(deal_meta).values(value="changed"))

        async with first.transaction() as holder:
            await holder.execute(sa.update(deal_meta).values(value="held"))
            async with asyncio.timeout(20):
                for write in (second.run, second.write):
                    with pytest.raises(DatabaseBusyError):
                        await write(change)
        async with second.reading() as connection:
            assert await connection.scalar(sa.select(deal_meta.c.value)) == "held"
        await second.run(change)
        await second.close()
        await first.close()
