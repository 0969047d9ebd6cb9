"""Balance histories that chain, the same on every database."""

from __future__ import annotations

import asyncio
import csv
import io
import random
import uuid
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection

from deal_sdk.errors import HistoryGapError, InvalidInputError
from deal_sdk.records.database import Database
from deal_sdk.records.history import BalanceHistoryRecorder
from deal_sdk.records.history_rows import BalanceChange, HistoryRow
from deal_sdk.records.tables import token_balance_history
from deal_sdk.records.users import UserDirectory

ACCOUNT, OTHER, OWNER = "A" * 44, "B" * 44, "W" * 44
START = datetime(2026, 1, 1, tzinfo=UTC)


@pytest.fixture
def history(database: Database) -> BalanceHistoryRecorder:
    return BalanceHistoryRecorder(database)


def change(before: int, after: int, slot: int, **values: Any) -> BalanceChange:
    return BalanceChange(
        **{
            "token_account": ACCOUNT,
            "owner_address": OWNER,
            "signature": f"signature-{slot}-{values.get('block_index', 0)}",
            "slot": slot,
            "block_index": 0,
            "balance_before": before,
            "balance_after": after,
            "type": "transfer",
            "block_time": START + timedelta(seconds=slot),
            **values,
        }
    )


async def rows_of(history: BalanceHistoryRecorder, account: str = ACCOUNT) -> list[HistoryRow]:
    return [row async for row in history.iterate(token_account=account)]


class TestAppend:
    async def test_rows_chain_and_number_each_account(self, history: BalanceHistoryRecorder) -> None:
        added = await history.append(
            [
                change(7, 10, 1),
                change(0, 2**64 - 1, 1, token_account=OTHER),
                change(10, 4, 1, block_index=3),
                change(4, 9, 2),
            ]
        )
        assert [(row.token_account, row.sequence, row.change) for row in added] == [
            (ACCOUNT, 1, 3),
            (OTHER, 1, 2**64 - 1),
            (ACCOUNT, 2, -6),
            (ACCOUNT, 3, 5),
        ]
        (more,) = await history.append([change(9, 0, 3)])
        assert more.sequence == 4
        latest = await history.latest(ACCOUNT)
        assert latest == more
        assert await history.check_chain() == []
        assert await history.latest("C" * 44) is None

    async def test_what_is_recorded_is_skipped_and_the_rest_continues(
        self, history: BalanceHistoryRecorder
    ) -> None:
        first = [change(0, 5, 1), change(5, 8, 2)]
        await history.append(first)
        added = await history.append([*first, change(8, 9, 3)])
        assert [row.slot for row in added] == [3]
        assert await history.append([*first, change(8, 9, 3)]) == []
        assert await history.append([]) == []

    async def test_a_change_of_nothing_leaves_no_row_but_must_fit(
        self, history: BalanceHistoryRecorder
    ) -> None:
        added = await history.append([change(5, 5, 1), change(5, 6, 2), change(6, 6, 3), change(6, 7, 4)])
        assert [(row.sequence, row.slot) for row in added] == [(1, 2), (2, 4)]
        with pytest.raises(HistoryGapError):
            await history.append([change(8, 8, 5)])

    async def test_a_gap_is_refused_with_its_facts_and_nothing_is_kept(
        self, history: BalanceHistoryRecorder
    ) -> None:
        await history.append([change(0, 5, 1)])
        with pytest.raises(HistoryGapError) as caught:
            await history.append(
                [change(0, 1, 2, token_account=OTHER), change(5, 6, 2), change(9, 10, 3)],
                cursors={ACCOUNT: ("newer", 9)},
            )
        error = caught.value
        assert (error.token_account, error.expected, error.found) == (ACCOUNT, 6, 9)
        assert error.signature == "signature-3-0"
        assert len(await rows_of(history)) == 1
        assert await rows_of(history, OTHER) == []
        assert [account.history_slot for account in await history.tracked()] == [1]

    async def test_a_change_from_before_the_recorded_end_is_refused_even_if_it_fits(
        self, history: BalanceHistoryRecorder
    ) -> None:
        await history.append([change(0, 5, 10)])
        for earlier in (change(5, 6, 9), change(5, 6, 10, signature="same place")):
            with pytest.raises(HistoryGapError):
                await history.append([earlier])

    async def test_input_out_of_order_or_out_of_range_is_refused(
        self, history: BalanceHistoryRecorder
    ) -> None:
        refused = [
            [change(0, 1, 2), change(1, 2, 1)],
            [change(0, 1, 2), change(1, 2, 2)],
            [change(-1, 1, 1)],
            [change(0, 2**64, 1)],
            [change(0, 1, -1)],
            [change(0, 1, 1, block_index=2**31)],
            [change(0, 1, 1, type="t" * 17)],
            [change(0, 1, 1, token_account="")],
            [change(0, 1, 1, block_time=datetime(2026, 1, 1))],
            [change(True, 1, 1)],
        ]
        for changes in refused:
            with pytest.raises(InvalidInputError):
                await history.append(changes)
        assert await history.tracked() == []

    async def test_appenders_that_race_record_each_change_once(self, history: BalanceHistoryRecorder) -> None:
        changes = [
            change(slot, slot + 1, slot, token_account=account)
            for slot in range(1, 6)
            for account in (ACCOUNT, OTHER)
        ]
        results = await asyncio.gather(*(history.append(changes) for _ in range(8)))
        assert sum(map(len, results)) == 10
        assert await history.check_chain() == []

    async def test_it_takes_part_in_a_transaction(
        self, database: Database, history: BalanceHistoryRecorder
    ) -> None:
        async def append_and_fail() -> None:
            async with database.transaction() as connection:
                await history.append([change(0, 1, 1)], connection=connection)
                raise RuntimeError("mine")

        with pytest.raises(RuntimeError, match="mine"):
            await append_and_fail()
        assert await rows_of(history) == []

    async def test_thousands_of_changes_take_few_statements(
        self, database: Database, history: BalanceHistoryRecorder
    ) -> None:
        statements: list[str] = []

        def count(_connection: Any, _cursor: Any, statement: str, *_rest: Any) -> None:
            statements.append(statement)

        changes = [
            change(slot, slot + 1, slot, token_account=f"{account:044d}")
            for slot in range(1, 21)
            for account in range(200)
        ]
        async with database.transaction() as connection:
            engine = connection.sync_connection.engine  # type: ignore[union-attr]
            sa.event.listen(engine, "before_cursor_execute", count)
            try:
                added = await history.append(changes, connection=connection)
            finally:
                sa.event.remove(engine, "before_cursor_execute", count)
        assert [(row.token_account, row.slot) for row in added] == [
            (one.token_account, one.slot) for one in changes
        ]
        assert len(statements) <= 20
        assert await history.check_chain() == []

    @pytest.mark.parametrize("seed", range(3))
    async def test_any_overlap_of_batches_leads_to_the_one_history(
        self, history: BalanceHistoryRecorder, seed: int
    ) -> None:
        dice = random.Random(seed)
        accounts = [f"{number:044d}" for number in range(4)]
        balances = {account: dice.randrange(100) for account in accounts}
        changes: list[BalanceChange] = []
        for slot in range(1, 60):
            for index, account in enumerate(dice.sample(accounts, dice.randrange(1, 4))):
                before, after = balances[account], dice.choice([balances[account], dice.randrange(2**64)])
                balances[account] = after
                changes.append(change(before, after, slot, token_account=account, block_index=index))
        end = 0
        while end < len(changes):
            start, end = max(0, end - dice.randrange(30)), min(len(changes), end + dice.randrange(1, 40))
            await history.append(changes[start:end])
        assert await history.check_chain() == []
        for account in accounts:
            expected = [
                (one.balance_before, one.balance_after, one.signature)
                for one in changes
                if one.token_account == account and one.balance_before != one.balance_after
            ]
            found = await rows_of(history, account)
            assert [(row.balance_before, row.balance_after, row.signature) for row in found] == expected
            assert [row.sequence for row in found] == list(range(1, len(expected) + 1))


class TestTracking:
    async def test_an_account_is_tracked_and_its_owner_corrected(
        self, database: Database, history: BalanceHistoryRecorder
    ) -> None:
        user = await UserDirectory(database).create()
        first = await history.track(ACCOUNT, OWNER, user.id)
        assert (first.user_id, first.history_signature, first.history_slot) == (user.id, None, 0)
        again = await history.track(ACCOUNT, "V" * 44)
        assert (again.owner_address, again.user_id) == ("V" * 44, user.id)
        await history.track(OTHER, OWNER)
        assert [account.address for account in await history.tracked()] == [ACCOUNT, OTHER]
        assert [account.address for account in await history.tracked(after=ACCOUNT, limit=1)] == [OTHER]

    async def test_cursors_move_forward_with_and_without_changes(
        self, history: BalanceHistoryRecorder
    ) -> None:
        await history.track(ACCOUNT, OWNER)
        await history.track(OTHER, OWNER)
        await history.append([change(0, 1, 5)], cursors={OTHER: ("looked-at", 7)})
        assert await cursors(history) == {ACCOUNT: ("signature-5-0", 5), OTHER: ("looked-at", 7)}
        await history.append([change(1, 2, 6)], cursors={ACCOUNT: ("further", 8), OTHER: ("older", 6)})
        assert await cursors(history) == {ACCOUNT: ("further", 8), OTHER: ("looked-at", 7)}
        await history.append([change(0, 1, 5)])
        assert (await cursors(history))[ACCOUNT] == ("further", 8)

    async def test_a_cursor_of_an_account_that_is_not_tracked_is_refused(
        self, history: BalanceHistoryRecorder
    ) -> None:
        with pytest.raises(InvalidInputError):
            await history.append([], cursors={"C" * 44: ("s", 1)})


async def cursors(history: BalanceHistoryRecorder) -> dict[str, tuple[str | None, int]]:
    return {
        account.address: (account.history_signature, account.history_slot)
        for account in await history.tracked()
    }


class TestQueries:
    async def test_filters_combine_and_pages_continue(
        self, database: Database, history: BalanceHistoryRecorder
    ) -> None:
        user = await UserDirectory(database).create()
        await history.append(
            [
                change(0, 1, 1, user_id=user.id),
                change(1, 2, 2, type="deposit"),
                change(0, 3, 3, token_account=OTHER, owner_address="V" * 44),
                change(2, 1, 4, block_time=None),
            ]
        )
        for filters, slots in [
            ({}, [1, 2, 3, 4]),
            ({"user_id": str(user.id)}, [1]),
            ({"wallet": OWNER}, [1, 2, 4]),
            ({"token_account": OTHER}, [3]),
            ({"type": "deposit"}, [2]),
            ({"since": START + timedelta(seconds=2)}, [2, 3]),
            ({"until": START + timedelta(seconds=2)}, [1]),
            ({"wallet": OWNER, "since": START + timedelta(seconds=2)}, [2]),
            ({"user_id": uuid.uuid4()}, []),
        ]:
            page = await history.query(**filters)  # type: ignore[arg-type]
            assert [row.slot for row in page.items] == slots
        first = await history.query(limit=3)
        assert first.next_cursor is not None
        assert [row.slot for row in (await history.query(cursor=first.next_cursor)).items] == [4]
        assert [row.slot for row in (await history.query(newest_first=True, limit=2)).items] == [4, 3]
        with pytest.raises(InvalidInputError):
            await history.query(cursor="e30")

    async def test_the_balance_at_a_time(self, history: BalanceHistoryRecorder) -> None:
        await history.append([change(3, 10, 10), change(10, 4, 20), change(4, 2**64 - 1, 20, block_index=1)])
        at = [START + timedelta(seconds=seconds) for seconds in (9.999, 10, 19.999, 20, 1_000)]
        found = [await history.balance_at(ACCOUNT, when) for when in at]
        assert found == [None, 10, 10, 2**64 - 1, 2**64 - 1]
        assert await history.balance_at(OTHER, START) is None
        with pytest.raises(InvalidInputError):
            await history.balance_at(ACCOUNT, datetime(2026, 1, 1))

    async def test_export_writes_whole_tokens_and_signs(self, history: BalanceHistoryRecorder) -> None:
        await history.append([change(150_000_000, 50_000_000, 1), change(50_000_000, 2**64 - 1, 2)])
        file = io.StringIO()
        assert await history.export(file, token_account=ACCOUNT) == 2
        rows = list(csv.DictReader(io.StringIO(file.getvalue())))
        assert [row["change"] for row in rows] == ["-1", "184467440736.59551615"]
        assert rows[1]["balance_after"] == "184467440737.09551615"
        frame = await history.to_dataframe()
        assert str(frame["balance_before"][0]) == "1.5"


class TestCheckChain:
    @pytest.mark.parametrize(
        ("damage", "kinds"),
        [
            ({"balance_before": 99}, {"balance", "change"}),
            ({"change": 99}, {"change"}),
            ({"sequence": 99}, {"sequence"}),
            ({"slot": 1}, {"order"}),
        ],
    )
    async def test_a_damaged_row_is_named(
        self,
        database: Database,
        history: BalanceHistoryRecorder,
        damage: dict[str, int],
        kinds: set[str],
    ) -> None:
        rows = await history.append([change(0, 1, 1), change(1, 2, 2), change(2, 3, 3)])
        await history.append([change(0, 1, 1, token_account=OTHER)])
        await run(database, sa.update(token_balance_history).where(row_is(rows[2])).values(**damage))
        violations = await history.check_chain()
        assert {violation.kind for violation in violations} == kinds
        assert {violation.row_id for violation in violations} == {rows[2].id}
        assert {violation.token_account for violation in violations} == {ACCOUNT}
        assert await history.check_chain(OTHER) == []
        assert await history.check_chain(ACCOUNT) == violations

    async def test_a_removed_row_is_noticed_across_pages(
        self, database: Database, history: BalanceHistoryRecorder
    ) -> None:
        rows = await history.append([change(slot, slot + 1, slot) for slot in range(2_300)])
        assert await history.check_chain() == []
        for removed in (rows[0], rows[999], rows[2_000]):
            await run(database, sa.delete(token_balance_history).where(row_is(removed)))
        violations = await history.check_chain()
        found = {(violation.kind, violation.sequence) for violation in violations}
        assert found == {
            ("sequence", 2),
            ("sequence", 1_001),
            ("balance", 1_001),
            ("sequence", 2_002),
            ("balance", 2_002),
        }


def row_is(row: HistoryRow) -> sa.ColumnElement[bool]:
    return token_balance_history.c.id == row.id


async def run(database: Database, statement: sa.Executable) -> None:
    async def unit(connection: AsyncConnection) -> None:
        await connection.execute(statement)

    await database.run(unit)
