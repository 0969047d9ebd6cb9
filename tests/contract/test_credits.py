"""Credits by the names and texts that callers rely on, on every database."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from datetime import timedelta
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest

from deal_sdk.accounting import (
    Charge,
    Journal,
    OperationCosts,
    OperationResult,
    TokenAccountingService,
)
from deal_sdk.accounting.commands import MAX_CREDITS
from deal_sdk.clock import ManualClock
from deal_sdk.errors import (
    IdempotencyConflictError,
    InvalidInputError,
    TokenError,
    UnknownServiceTypeError,
    UserNotFoundError,
)
from deal_sdk.records import Database
from tests.contract.credit_world import Books, refused


@pytest.fixture
async def books(database: Database) -> AsyncIterator[Books]:
    opened = Books(database)
    yield opened
    await opened.journal.close()
    assert await opened.broken() == []


class TestBalances:
    async def test_a_new_user_has_nothing(self, books: Books) -> None:
        user_id = await books.user()
        found = await books.credits.get_balance(str(user_id))
        assert found.to_dict() == {
            "user_id": str(user_id),
            "tokens_balance": 0,
            "tokens_held": 0,
            "tokens_lapsed": 0,
            "tokens_available": 0,
            "tokens_spent": 0,
            "tier": "Gift",
        }

    async def test_an_unknown_user_has_no_balance(self, books: Books) -> None:
        with pytest.raises(UserNotFoundError, match="User not found"):
            await books.credits.get_balance(uuid4())

    async def test_a_debit_takes_and_a_credit_gives(self, books: Books) -> None:
        user_id = await books.user(100)
        taken = await books.credits.debit(user_id, "image_generation", 30, metadata={"picture": 7})
        assert (taken.success, taken.new_balance, taken.error, taken.code) == (True, 70, None, None)
        given = await books.credits.credit(user_id, "purchase", 5)
        assert given.new_balance == 75
        found = await books.credits.get_balance(user_id)
        assert (found.tokens_balance, found.tokens_spent) == (75, 30)
        assert (await books.users.get(user_id)).tokens_balance == 75

    async def test_an_entry_says_what_changed(self, books: Books) -> None:
        user_id = await books.user(100)
        taken = await books.credits.debit(user_id, "image_generation", 30, metadata={"picture": {"n": [1.5]}})
        entry, first = await books.ledger.get_user_entries(user_id)
        assert entry.id == taken.ledger_entry_id
        assert (entry.amount, entry.balance_before, entry.balance_after) == (-30, 100, 70)
        assert (entry.operation_type, entry.metadata) == ("image_generation", {"picture": {"n": [1.5]}})
        assert (entry.user_id, entry.sequence, first.sequence) == (user_id, 2, 1)
        assert first.metadata is None
        assert entry.to_dict()["amount"] == -30

    async def test_a_reset_goes_both_ways(self, books: Books) -> None:
        user_id = await books.user(100)
        for wanted in (40, 2_000, 2_000, 0):
            result = await books.credits.reset_balance(user_id, wanted)
            assert (result.success, result.new_balance) == (True, wanted)
        amounts = [entry.amount for entry in await books.ledger.get_user_entries(user_id)]
        assert amounts == [-2_000, 1_960, -60, 100]
        assert (await books.credits.get_balance(user_id)).tokens_spent == 0


class TestRefusals:
    async def test_what_is_not_there_is_not_spent(self, books: Books) -> None:
        user_id = await books.user(4)
        result = await books.credits.debit(user_id, "chatgpt_message", 5)
        assert refused(result) == (
            "Insufficient tokens. Required: 5, Available: 4",
            "insufficient_tokens",
            4,
        )
        assert await books.balance(user_id) == 4

    async def test_an_overdraft_has_to_be_allowed(self, books: Books) -> None:
        user_id = await books.user(4)
        result = await books.credits.debit(user_id, "chatgpt_message", 5, allow_overdraft=True)
        assert (result.success, result.new_balance) == (True, -1)

    @pytest.mark.parametrize("amount", [0, -1, -MAX_CREDITS])
    async def test_amounts_are_positive(self, books: Books, amount: int) -> None:
        user_id = await books.user(4)
        debit = await books.credits.debit(user_id, "chatgpt_message", amount)
        assert refused(debit) == ("Debit amount must be positive", "invalid_amount", 4)
        credit = await books.credits.credit(user_id, "purchase", amount)
        assert refused(credit) == ("Credit amount must be positive", "invalid_amount", 4)

    async def test_a_balance_is_not_set_below_zero(self, books: Books) -> None:
        user_id = await books.user(4)
        result = await books.credits.reset_balance(user_id, -1)
        assert refused(result) == ("Balance cannot be negative", "negative_balance", 4)

    async def test_an_unknown_user_is_refused(self, books: Books) -> None:
        for result in (
            await books.credits.debit(uuid4(), "chatgpt_message", 5),
            await books.credits.credit(uuid4(), "purchase", 5),
            await books.credits.refund(uuid4(), 5, uuid4()),
            await books.credits.reset_balance(uuid4(), 5),
            await books.credits.charge_for_operation(uuid4(), "refund"),
        ):
            assert refused(result) == ("User not found", "user_not_found", None)

    async def test_a_balance_stays_within_bounds(self, books: Books) -> None:
        user_id = await books.user(MAX_CREDITS)
        result = await books.credits.credit(user_id, "purchase", 1)
        assert refused(result)[1] == "balance_too_large"

    @pytest.mark.parametrize("amount", [1.0, "5", True, None, MAX_CREDITS + 1, 10**30])
    async def test_what_is_no_whole_number_is_raised(self, books: Books, amount: Any) -> None:
        user_id = await books.user(4)
        with pytest.raises(InvalidInputError):
            await books.credits.debit(user_id, "chatgpt_message", amount)
        with pytest.raises(InvalidInputError):
            await books.ledger.create_entry(user_id, "purchase", amount)

    @pytest.mark.parametrize(
        "metadata", [{"when": object()}, {"large": "x" * 70_000}, ["a list"], {"nul": "a\x00b"}]
    )
    async def test_metadata_is_json_of_64_kib(self, books: Books, metadata: Any) -> None:
        user_id = await books.user(4)
        with pytest.raises(InvalidInputError):
            await books.credits.debit(user_id, "chatgpt_message", 1, metadata=metadata)

    @pytest.mark.parametrize("name", ["", "x" * 65, 5, "a\x00b"])
    async def test_an_operation_type_is_a_short_text(self, books: Books, name: Any) -> None:
        user_id = await books.user(4)
        with pytest.raises(InvalidInputError):
            await books.credits.debit(user_id, name, 1)


class TestCosts:
    async def test_an_operation_is_charged_at_its_cost(self, books: Books) -> None:
        user_id = await books.user(100)
        names = ("image_generation", "sora_image", "chatgpt_message", "video", "refund")
        left = [(await books.credits.charge_for_operation(user_id, name)).new_balance for name in names]
        assert left == [90, 80, 75, 25, 25]

    async def test_an_operation_without_a_cost_is_never_free(self, books: Books) -> None:
        user_id = await books.user(100)
        with pytest.raises(UnknownServiceTypeError):
            await books.credits.charge_for_operation(user_id, "unheard of")
        with pytest.raises(InvalidInputError):
            OperationCosts({"video": -1})

    async def test_what_can_be_afforded(self, books: Books) -> None:
        user_id = await books.user(7)
        assert (await books.credits.can_afford(user_id, "chatgpt_message")).can_afford
        short = await books.credits.can_afford(user_id, "image_generation")
        assert short.to_dict() == {
            "can_afford": False,
            "required": 10,
            "available": 7,
            "deficit": 3,
            "error": "Insufficient tokens. Required: 10, Available: 7",
            "code": "insufficient_tokens",
        }
        assert (await books.credits.can_afford(user_id, amount=7)).can_afford
        assert (await books.credits.can_afford(uuid4(), amount=7)).code == "user_not_found"

    async def test_many_charges_are_decided_one_by_one(self, books: Books) -> None:
        rich, poor = await books.user(1_000), await books.user(12)
        charges = [Charge(poor, "image_generation", idempotency_key="a"), Charge(poor, "chatgpt_message")]
        charges += [Charge(rich, "video", 1) for _ in range(300)]
        charges += [Charge(uuid4(), "video"), Charge(poor, "image_generation", 9, None, "a")]
        charges += [Charge(poor, "refund")]
        results = await books.credits.charge_many(charges)
        assert isinstance(results[0], OperationResult)
        assert results[0].new_balance == 2
        assert refused(results[1])[1] == "insufficient_tokens"
        assert [result.new_balance for result in results[2:302]] == list(range(999, 699, -1))  # type: ignore[union-attr]
        assert refused(results[302])[1] == "user_not_found"
        assert isinstance(results[303], IdempotencyConflictError)
        assert results[304] == OperationResult(True, 12)


class TestRefunds:
    async def test_a_debit_is_given_back_in_parts_and_never_beyond(self, books: Books) -> None:
        user_id = await books.user(100)
        taken = await books.credits.debit(user_id, "image_generation", 30)
        assert taken.ledger_entry_id is not None
        first = await books.credits.refund(user_id, 10, taken.ledger_entry_id, "blurred")
        assert first.new_balance == 80
        beyond = await books.credits.refund(user_id, 21, taken.ledger_entry_id)
        assert refused(beyond) == (
            "Refund exceeds the debit. Debited: 30, Refundable: 20",
            "refund_exceeds_debit",
            80,
        )
        last = await books.credits.refund(user_id, 20, str(taken.ledger_entry_id))
        assert last.new_balance == 100
        assert (await books.credits.get_balance(user_id)).tokens_spent == 30, "lifetime, gross"
        entry = (await books.ledger.get_user_entries(user_id, operation_type="refund"))[-1]
        assert entry.metadata == {"original_operation_id": str(taken.ledger_entry_id), "reason": "blurred"}

    async def test_only_one_s_own_debit_is_given_back(self, books: Books) -> None:
        user_id, other = await books.user(100), await books.user(100)
        taken = await books.credits.debit(user_id, "image_generation", 30)
        granted = await books.credits.credit(user_id, "purchase", 30)
        for owner, entry_id in ((other, taken.ledger_entry_id), (user_id, granted.ledger_entry_id)):
            assert entry_id is not None
            result = await books.credits.refund(owner, 1, entry_id)
            assert refused(result)[:2] == ("Operation not found", "operation_not_found")
        with pytest.raises(InvalidInputError):
            await books.credits.refund(user_id, 1, "no id")

    async def test_two_refunds_at_once_never_exceed_the_debit(self, books: Books) -> None:
        user_id = await books.user(100)
        taken = await books.credits.debit(user_id, "image_generation", 30)
        assert taken.ledger_entry_id is not None
        other = Journal(books.database)
        elsewhere = TokenAccountingService(books.database, other)
        results = await asyncio.gather(
            *(
                service.refund(user_id, 30, taken.ledger_entry_id)
                for service in (books.credits, elsewhere) * 5
            )
        )
        await other.close()
        assert sum(result.success for result in results) == 1
        assert await books.balance(user_id) == 100


class TestKeys:
    async def test_a_key_is_used_once_and_its_result_is_told_again(self, books: Books) -> None:
        user_id = await books.user(100)
        first = await books.credits.debit(user_id, "video", 50, idempotency_key="one")
        await books.credits.credit(user_id, "purchase", 7)
        again = await books.credits.debit(user_id, "video", 50, idempotency_key="one")
        assert (again.new_balance, again.ledger_entry_id, again.replayed) == (50, first.ledger_entry_id, True)
        assert not first.replayed
        assert await books.balance(user_id) == 57

    async def test_a_key_with_other_input_is_an_error(self, books: Books) -> None:
        user_id = await books.user(100)
        await books.credits.debit(user_id, "video", 50, idempotency_key="one")
        for call in (
            books.credits.debit(user_id, "video", 49, idempotency_key="one"),
            books.credits.debit(user_id, "video", 50, metadata={}, idempotency_key="one"),
            books.credits.credit(user_id, "video", 50, idempotency_key="one"),
            books.credits.debit(await books.user(50), "video", 50, idempotency_key="one"),
        ):
            with pytest.raises(IdempotencyConflictError):
                await call
        assert await books.balance(user_id) == 50

    async def test_a_refusal_is_not_remembered(self, books: Books) -> None:
        user_id = await books.user()
        assert not (await books.credits.debit(user_id, "video", 50, idempotency_key="one")).success
        await books.credits.credit(user_id, "purchase", 50)
        assert (await books.credits.debit(user_id, "video", 50, idempotency_key="one")).success

    async def test_one_key_used_at_once_by_two_processes_counts_once(self, books: Books) -> None:
        first, second = await books.user(100), await books.user(100)
        other = Journal(books.database)
        elsewhere = TokenAccountingService(books.database, other)
        results = await asyncio.gather(
            *(
                service.debit(user_id, "video", 50, idempotency_key=f"key-{number}")
                for number in range(10)
                for service, user_id in ((books.credits, first), (elsewhere, second))
            ),
            return_exceptions=True,
        )
        await other.close()
        for pair in zip(results[::2], results[1::2], strict=True):
            made = [one for one in pair if isinstance(one, OperationResult) and one.success]
            assert len(made) <= 1
            assert all(isinstance(one, OperationResult | IdempotencyConflictError) for one in pair)
        assert await books.balance(first) >= 0
        assert await books.balance(second) >= 0


class TestManyAtOnce:
    async def test_two_services_never_overdraw(self, books: Books) -> None:
        user_id = await books.user(100)
        other = Journal(books.database)
        elsewhere = TokenAccountingService(books.database, other)
        results = await asyncio.gather(
            *(
                service.debit(user_id, "image_generation", 3)
                for service in (books.credits, elsewhere)
                for _ in range(40)
            )
        )
        await other.close()
        assert sum(result.success for result in results) == 33
        assert await books.balance(user_id) == 1

    async def test_users_locked_in_any_order_never_deadlock(self, books: Books) -> None:
        users = [await books.user(1_000) for _ in range(6)]
        journals = [Journal(books.database) for _ in range(3)]
        services = [TokenAccountingService(books.database, journal) for journal in journals]
        results = await asyncio.gather(
            *(
                service.debit(users[(number * step) % 6], "video", 1)
                for step, service in zip((1, 5, 7), services, strict=True)
                for number in range(60)
            )
        )
        await asyncio.gather(*(journal.close() for journal in journals))
        assert all(result.success for result in results)
        assert sum([await books.balance(user_id) for user_id in users]) == 6_000 - 180

    async def test_a_cancelled_caller_takes_nothing_back(self, books: Books) -> None:
        user_id = await books.user(100)
        call = asyncio.create_task(books.credits.debit(user_id, "video", 50, idempotency_key="one"))
        await asyncio.sleep(0)
        call.cancel()
        await asyncio.gather(call, return_exceptions=True)
        again = await books.credits.debit(user_id, "video", 50, idempotency_key="one")
        assert again.success
        assert await books.balance(user_id) == 50

    async def test_a_callback_that_fails_changes_nothing(self, books: Books, caplog: Any) -> None:
        user_id = await books.user(100)
        books.told.clear()
        books.callback_fails = True
        assert (await books.credits.debit(user_id, "video", 50)).success
        assert "a callback after a commit" in caplog.text
        assert [(operation.command.type, operation.result.new_balance) for operation in books.told] == [
            ("video", 50)
        ]

    async def test_a_closed_ledger_says_so(self, books: Books) -> None:
        user_id = await books.user(100)
        await books.journal.close()
        with pytest.raises(TokenError, match="closed"):
            await books.credits.debit(user_id, "video", 50)


class TestLedger:
    async def test_entries_by_user_type_and_period(self, books: Books, manual_clock: ManualClock) -> None:
        user_id, other = await books.user(), await books.user()
        start = manual_clock.now()
        for day in range(6):
            await manual_clock.advance(86_400)
            await books.ledger.create_entry(user_id, "purchase" if day % 2 == 0 else "video", 10 * (day + 1))
            await books.ledger.create_entry(other, "purchase", 1)
        mine = await books.ledger.get_user_entries(user_id)
        assert [entry.amount for entry in mine] == [60, 50, 40, 30, 20, 10]
        second = await books.ledger.get_user_entries(user_id, limit=2, offset=1)
        assert [entry.amount for entry in second] == [50, 40]
        since, until = start + timedelta(days=2), start + timedelta(days=4)
        within = await books.ledger.get_user_entries(user_id, since=since, until=until)
        assert [entry.amount for entry in within] == [30, 20]
        videos = await books.ledger.get_user_entries(user_id, operation_type="video")
        assert [entry.amount for entry in videos] == [60, 40, 20]
        bought = await books.ledger.get_entries_by_type("purchase", limit=4)
        assert [entry.amount for entry in bought] == [1, 1, 50, 1]
        assert [await books.ledger.balance_at(user_id, moment) for moment in (start, since, until)] == [
            0,
            30,
            100,
        ]
        for bad in ({"limit": 0}, {"limit": 1_001}, {"offset": -1}, {"since": start.replace(tzinfo=None)}):
            with pytest.raises(InvalidInputError):
                await books.ledger.get_user_entries(user_id, **bad)  # type: ignore[arg-type]

    async def test_totals_and_statistics(self, books: Books, manual_clock: ManualClock) -> None:
        user_id = await books.user(100)
        taken = await books.credits.debit(user_id, "video", 50)
        await manual_clock.advance(60)
        since = manual_clock.now()
        assert taken.ledger_entry_id is not None
        await books.credits.refund(user_id, 20, taken.ledger_entry_id)
        await books.ledger.create_entry(user_id, "chatgpt_message", -5)
        assert await books.ledger.get_total_spent(user_id) == 55
        assert await books.ledger.get_total_earned(user_id) == 120
        found = await books.ledger.get_user_statistics(user_id, since=since)
        assert found.to_dict() == {
            "total_spent": 5,
            "total_earned": 20,
            "net": 15,
            "count": 2,
            "total_expired": 0,
        }
        assert (await books.ledger.get_user_statistics(await books.user())).count == 0

    async def test_paging_and_export(self, books: Books, tmp_path: Path) -> None:
        user_id = await books.user(1_000)
        for _ in range(5):
            await books.credits.debit(user_id, "video", 50)
        page = await books.ledger.query(user_id=user_id, limit=4)
        rest = await books.ledger.query(user_id=user_id, limit=4, cursor=page.next_cursor)
        assert [entry.sequence for entry in (*page.items, *rest.items)] == [1, 2, 3, 4, 5, 6]
        assert [entry.amount async for entry in books.ledger.iterate(user_id=user_id)][1:] == [-50] * 5
        assert await books.ledger.export(tmp_path / "entries.csv", user_id=user_id) == 6
        frame = await books.ledger.to_dataframe(user_id=user_id)
        assert list(frame["balance_after"]) == [1_000, 950, 900, 850, 800, 750]

    async def test_a_clock_that_goes_back_leaves_the_entries_in_order(
        self, books: Books, manual_clock: ManualClock
    ) -> None:
        user_id = await books.user(100)
        before = manual_clock.now()
        manual_clock._now -= timedelta(hours=1)
        await books.credits.debit(user_id, "video", 50)
        entries = await books.ledger.get_user_entries(user_id)
        assert [entry.created_at for entry in entries] == [before, before]
