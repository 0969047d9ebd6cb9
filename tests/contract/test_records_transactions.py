"""Reading payments back and adding what was found on chain, the same on every database."""

from __future__ import annotations

import asyncio
import csv
import io
import json
import uuid
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa

from deal_sdk.clock import ManualClock
from deal_sdk.errors import InvalidAmountError, InvalidInputError, PaymentNotFoundError
from deal_sdk.records.database import Database
from deal_sdk.records.tables import token_transactions
from deal_sdk.records.transaction_rows import ExternalTransfer, Transaction
from deal_sdk.records.transactions import TransactionRecorder
from deal_sdk.records.users import UserDirectory

ALICE, BOB, CAROL = "A" * 44, "B" * 44, "C" * 44


@pytest.fixture
def recorder(database: Database) -> TransactionRecorder:
    return TransactionRecorder(database)


async def insert(database: Database, **values: Any) -> uuid.UUID:
    now = database.clock.now()
    payment_id = uuid.uuid4()
    row = {
        "id": payment_id,
        "type": "transfer",
        "status": "pending",
        "amount": 150_000_000,
        "created_at": now,
        "updated_at": now,
        **values,
    }
    await database.run(lambda connection: connection.execute(sa.insert(token_transactions).values(row)))
    return payment_id


def deposit(number: int, **values: Any) -> ExternalTransfer:
    return ExternalTransfer(
        **{
            "type": "deposit",
            "signature": f"signature-{number}",
            "slot": number,
            "token_account": ALICE,
            "amount": 5,
            "from_address": BOB,
            "to_address": ALICE,
            **values,
        }
    )


class TestLookUps:
    async def test_a_payment_is_found_by_id_key_and_signature(
        self, database: Database, recorder: TransactionRecorder
    ) -> None:
        first = await insert(database, idempotency_key="key-1", signature="shared")
        second = await insert(database, idempotency_key="key-2", signature="shared")
        assert (await recorder.get(first)).id == first
        assert (await recorder.get(str(first))).id == first
        assert (await recorder.get_by_idempotency_key("key-2")).id == second
        assert {payment.id for payment in await recorder.get_by_signature("shared")} == {first, second}
        assert await recorder.get_by_signature("none") == []

    async def test_what_is_not_there_is_not_found(self, recorder: TransactionRecorder) -> None:
        with pytest.raises(PaymentNotFoundError):
            await recorder.get(uuid.uuid4())
        with pytest.raises(PaymentNotFoundError):
            await recorder.get_by_idempotency_key("never used")
        with pytest.raises(InvalidInputError):
            await recorder.get("not-a-uuid")

    async def test_every_column_comes_back_and_the_amount_is_text_for_the_reader(
        self, database: Database, recorder: TransactionRecorder
    ) -> None:
        payment_id = await insert(
            database, evidence={"slot": 5, "logs": ["ж"]}, slot=2**62, amount=2**63 - 1, from_address=ALICE
        )
        payment = await recorder.get(payment_id)
        assert payment.amount == 2**63 - 1
        assert payment.evidence == {"slot": 5, "logs": ["ж"]}
        data = json.loads(json.dumps(payment.to_dict()))
        assert data["amount"] == "92233720368.54775807"
        assert payment.to_dict(decimals=0)["amount"] == str(2**63 - 1)
        assert data["created_at"] == "2026-01-01T00:00:00+00:00"
        assert data["id"] == str(payment_id)


class TestQueries:
    async def test_filters_match_either_side_and_combine(
        self, database: Database, recorder: TransactionRecorder, manual_clock: ManualClock
    ) -> None:
        directory = UserDirectory(database)
        alice, bob = await directory.create(), await directory.create()
        start = manual_clock.now()
        sent = await insert(
            database, from_user_id=alice.id, to_user_id=bob.id, from_address=ALICE, to_address=BOB
        )
        await manual_clock.advance(60)
        received = await insert(
            database,
            to_user_id=alice.id,
            from_address=CAROL,
            to_address=ALICE,
            type="reward",
            status="failed",
        )
        minute = timedelta(seconds=60)
        for filters, expected in [
            ({}, [sent, received]),
            ({"user_id": alice.id}, [sent, received]),
            ({"user_id": str(bob.id)}, [sent]),
            ({"wallet": ALICE}, [sent, received]),
            ({"wallet": CAROL}, [received]),
            ({"type": "reward"}, [received]),
            ({"status": "pending"}, [sent]),
            ({"since": start + minute}, [received]),
            ({"until": start + minute}, [sent]),
            ({"user_id": alice.id, "status": "failed", "since": start}, [received]),
            ({"user_id": bob.id, "type": "reward"}, []),
        ]:
            found = await recorder.query(**filters)  # type: ignore[arg-type]
            assert [payment.id for payment in found.items] == expected
            assert await recorder.count(**filters) == len(expected)  # type: ignore[arg-type]

    @pytest.mark.parametrize("newest_first", [False, True])
    async def test_pages_neither_repeat_nor_miss_while_rows_arrive(
        self,
        database: Database,
        recorder: TransactionRecorder,
        manual_clock: ManualClock,
        newest_first: bool,
    ) -> None:
        present = []
        for number in range(9):
            present.append(await insert(database))
            if number % 4 == 0:
                await manual_clock.advance(0.000001)
        found: list[Transaction] = []
        cursor = None
        while True:
            page = await recorder.query(limit=2, cursor=cursor, newest_first=newest_first)
            found += page.items
            cursor = page.next_cursor
            if cursor is None:
                break
            if newest_first:
                await manual_clock.advance(1)
                await insert(database)
        assert sorted(payment.id for payment in found) == sorted(present)
        order = [(payment.created_at, payment.id.hex) for payment in found]
        assert order == sorted(order, reverse=newest_first)

    async def test_a_filter_that_cannot_be_one_is_refused(self, recorder: TransactionRecorder) -> None:
        refused: list[dict[str, Any]] = [
            {"user_id": "x"},
            {"wallet": ""},
            {"wallet": "a\x00"},
            {"type": "gift"},
            {"status": "done"},
            {"limit": 0},
            {"limit": 1001},
            {"limit": True},
            {"since": "2026-01-01"},
            {"cursor": ""},
            {"cursor": "!!!"},
            {"cursor": "W10"},
            {"cursor": "eyJhIjoxfQ"},
            {"cursor": "é"},
            {"cursor": "A" * 600},
        ]
        for filters in refused:
            with pytest.raises(InvalidInputError):
                await recorder.query(**filters)

    async def test_a_cursor_belongs_to_its_query(
        self, database: Database, recorder: TransactionRecorder
    ) -> None:
        for _ in range(2):
            await insert(database)
        cursor = (await recorder.query(limit=1)).next_cursor
        with pytest.raises(InvalidInputError):
            await recorder.query(cursor=cursor, newest_first=True)
        with pytest.raises(InvalidInputError):
            await UserDirectory(database).list(cursor=cursor)

    async def test_iterating_streams_every_page(
        self, database: Database, recorder: TransactionRecorder
    ) -> None:
        await recorder.record_external([deposit(number) for number in range(2_500)])
        await insert(database)
        found = [payment.signature async for payment in recorder.iterate(type="deposit")]
        assert len(found) == len(set(found)) == 2_500


class TestExport:
    async def test_csv_and_json_hold_the_same_rows(
        self,
        database: Database,
        recorder: TransactionRecorder,
        manual_clock: ManualClock,
        tmp_path: Path,
    ) -> None:
        await insert(database, reason='a "quoted", reason\nof two lines', evidence={"slot": 1})
        await manual_clock.advance(1)
        await insert(database, status="failed")
        assert await recorder.export(tmp_path / "all.csv") == 2
        assert await recorder.export(str(tmp_path / "all.json"), "json") == 2
        with (tmp_path / "all.csv").open(encoding="utf-8", newline="") as file:
            from_csv = list(csv.DictReader(file))
        from_json = json.loads((tmp_path / "all.json").read_text(encoding="utf-8"))
        assert [row["id"] for row in from_csv] == [row["id"] for row in from_json]
        assert {row["amount"] for row in from_csv} == {"1.5"}
        assert from_csv[0]["reason"] == 'a "quoted", reason\nof two lines'
        assert json.loads(from_csv[0]["evidence"]) == {"slot": 1}
        assert not (tmp_path / "all.csv.part").exists()

    async def test_an_open_file_and_filters(self, database: Database, recorder: TransactionRecorder) -> None:
        await insert(database)
        await insert(database, status="failed")
        file = io.StringIO()
        assert await recorder.export(file, "json", status="failed") == 1
        assert json.loads(file.getvalue())[0]["status"] == "failed"
        empty = io.StringIO()
        assert await recorder.export(empty, "json", status="expired") == 0
        assert json.loads(empty.getvalue()) == []

    async def test_another_format_is_refused_and_leaves_no_file(
        self, recorder: TransactionRecorder, tmp_path: Path
    ) -> None:
        target = tmp_path / "all.xml"
        with pytest.raises(InvalidInputError):
            await recorder.export(target, "xml")  # type: ignore[arg-type]
        assert not target.exists()

    async def test_a_dataframe_has_exact_amounts_and_times(
        self, database: Database, recorder: TransactionRecorder
    ) -> None:
        await insert(database, amount=2**63 - 1)
        frame = await recorder.to_dataframe()
        assert str(frame["amount"][0]) == "92233720368.54775807"
        assert frame["created_at"][0].to_pydatetime() == database.clock.now()
        assert len(await recorder.to_dataframe(status="failed")) == 0


class TestRecordExternal:
    async def test_a_transfer_is_recorded_once_however_often_it_is_found(
        self, recorder: TransactionRecorder
    ) -> None:
        first = await recorder.record_external([deposit(1), deposit(2)])
        again = await recorder.record_external([deposit(2), deposit(3), deposit(3)])
        assert [payment.slot for payment in first] == [1, 2]
        assert [payment.slot for payment in again] == [3]
        assert await recorder.count() == 3
        assert {payment.status for payment in first} == {"finalized"}

    async def test_two_accounts_and_both_directions_of_one_signature_are_apart(
        self, recorder: TransactionRecorder
    ) -> None:
        transfers = [deposit(1), deposit(1, token_account=BOB), deposit(1, type="withdrawal")]
        assert len(await recorder.record_external(transfers)) == 3

    async def test_finders_that_race_record_once(self, recorder: TransactionRecorder) -> None:
        results = await asyncio.gather(
            *(recorder.record_external([deposit(number) for number in range(5)]) for _ in range(10))
        )
        assert sum(map(len, results)) == 5
        assert await recorder.count() == 5

    async def test_it_takes_part_in_a_transaction(
        self, database: Database, recorder: TransactionRecorder
    ) -> None:
        async def record_and_fail() -> None:
            async with database.transaction() as connection:
                assert len(await recorder.record_external([deposit(1)], connection=connection)) == 1
                raise RuntimeError("mine")

        with pytest.raises(RuntimeError, match="mine"):
            await record_and_fail()
        assert await recorder.count() == 0

    async def test_when_it_happened_and_when_it_was_recorded_are_apart(
        self, recorder: TransactionRecorder, manual_clock: ManualClock
    ) -> None:
        happened = manual_clock.now() - timedelta(days=1)
        (payment,) = await recorder.record_external([deposit(1, block_time=happened)])
        assert (payment.finalized_at, payment.created_at) == (happened, manual_clock.now())

    async def test_what_cannot_be_a_transfer_is_refused_with_its_neighbours(
        self, recorder: TransactionRecorder
    ) -> None:
        refused: list[tuple[dict[str, Any], type[Exception]]] = [
            ({"type": "reward"}, InvalidInputError),
            ({"amount": 0}, InvalidAmountError),
            ({"amount": 2**63}, InvalidAmountError),
            ({"signature": ""}, InvalidInputError),
        ]
        for values, error in refused:
            with pytest.raises(error):
                await recorder.record_external([deposit(1), deposit(2, **values)])
        assert await recorder.count() == 0
