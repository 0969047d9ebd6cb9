"""Holds, and operations billed by them, on every database."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any
from uuid import UUID, uuid4

import pytest

from deal_sdk.accounting import OperationResult, TokenBilling
from deal_sdk.clock import ManualClock
from deal_sdk.errors import (
    IdempotencyConflictError,
    InsufficientTokensError,
    InvalidInputError,
    RateLimitExceededError,
    UnknownServiceTypeError,
    UserNotFoundError,
)
from deal_sdk.limits import RateDecision
from deal_sdk.records import Database, UserId
from tests.contract.credit_world import HOLD_SECONDS, Books, refused


class Rates:
    """Lets so many requests pass, and notes for whom it was asked."""

    def __init__(self) -> None:
        self.left = 1_000
        self.asked: list[tuple[str, str]] = []

    async def check_limit(self, user_id: UUID, tier: str, operation: str) -> RateDecision:
        self.asked.append((tier, operation))
        self.left -= 1
        if self.left >= 0:
            return RateDecision(True, self.left, 1_000, 60.0, 0.0)
        return RateDecision(False, 0, 1_000, 60.0, 7.0, denied_by="per_minute")


class Billed(Books):
    """A ledger with billing on top of it."""

    def __init__(self, database: Database) -> None:
        super().__init__(database)
        self.rates = Rates()
        self.billing = TokenBilling(
            database, self.journal, self.credits, rates=self.rates, balances=self, hold_seconds=HOLD_SECONDS
        )

    async def credit_balance(self, user_id: UserId) -> int:
        return (await self.credits.get_balance(user_id)).tokens_balance

    async def state(self, user_id: UUID) -> tuple[int, int]:
        """Return what a user has, and what is on hold of it."""
        found = await self.credits.get_balance(user_id)
        return found.tokens_balance, found.tokens_held


@pytest.fixture
async def books(database: Database) -> AsyncIterator[Billed]:
    opened = Billed(database)
    yield opened
    await opened.journal.close()
    assert await opened.broken() == []


def held(result: OperationResult) -> UUID:
    assert result.hold_id is not None, result
    return result.hold_id


class TestHolds:
    async def test_what_is_held_is_not_spent_by_others(self, books: Billed) -> None:
        user_id = await books.user(100)
        hold_id = held(await books.billing.hold(user_id, "video", 70))
        assert await books.state(user_id) == (100, 70)
        debit = await books.credits.debit(user_id, "video", 31)
        assert refused(debit)[0] == "Insufficient tokens. Required: 31, Available: 30"
        assert refused(await books.billing.hold(user_id, "video", 31))[1] == "insufficient_tokens"
        assert (await books.billing.can_afford_operation(user_id, "video")).deficit == 20
        assert (await books.billing.post(hold_id)).new_balance == 30
        assert await books.state(user_id) == (30, 0)

    async def test_a_part_is_posted_and_the_rest_is_free(self, books: Billed) -> None:
        user_id = await books.user(100)
        result = await books.billing.hold(user_id, "video", 70, {"minutes": 7})
        posted = await books.billing.post(held(result), 20)
        assert (posted.success, posted.new_balance) == (True, 80)
        [entry, _] = await books.ledger.get_user_entries(user_id)
        assert (entry.id, entry.amount, entry.operation_type) == (posted.ledger_entry_id, -20, "video")
        assert entry.metadata == {"minutes": 7}
        assert await books.state(user_id) == (80, 0)

    async def test_a_hold_is_posted_once(self, books: Billed) -> None:
        user_id = await books.user(100)
        hold_id = held(await books.billing.hold(user_id, "video", 70))
        results = await asyncio.gather(*(books.billing.post(hold_id) for _ in range(5)))
        assert {result.ledger_entry_id for result in results} == {results[0].ledger_entry_id}
        assert sum(not result.replayed for result in results) == 1
        await books.credits.credit(user_id, "purchase", 5)
        again = await books.billing.post(str(hold_id))
        assert (again.new_balance, again.replayed) == (30, True)
        assert refused(await books.billing.post(hold_id, 69))[1] == "hold_not_live"
        assert refused(await books.billing.void(hold_id))[1] == "hold_not_live"
        assert await books.balance(user_id) == 35

    async def test_a_voided_hold_gives_back_and_ends(self, books: Billed) -> None:
        user_id = await books.user(100)
        hold_id = held(await books.billing.hold(user_id, "video", 70))
        assert (await books.billing.void(hold_id)).success
        assert (await books.billing.void(hold_id)).replayed
        assert await books.state(user_id) == (100, 0)
        assert refused(await books.billing.post(hold_id))[:2] == (
            "Hold is voided already",
            "hold_not_live",
        )

    async def test_post_and_void_at_once_end_in_one_of_both(self, books: Billed) -> None:
        user_id = await books.user(1_000)
        holds = [held(await books.billing.hold(user_id, "video", 10)) for _ in range(10)]
        calls = [call(hold_id) for hold_id in holds for call in (books.billing.post, books.billing.void)]
        results = await asyncio.gather(*calls)
        for posted, voided in zip(results[::2], results[1::2], strict=True):
            assert posted.success != voided.success
        posts = sum(result.success for result in results[::2])
        assert await books.state(user_id) == (1_000 - 10 * posts, 0)

    async def test_a_hold_ends_by_itself(self, books: Billed, manual_clock: ManualClock) -> None:
        user_id = await books.user(100)
        hold_id = held(await books.billing.hold(user_id, "video", 70, hold_seconds=30))
        await manual_clock.advance(29)
        assert await books.state(user_id) == (100, 70)
        await manual_clock.advance(1)
        assert await books.state(user_id) == (100, 0)
        assert refused(await books.billing.post(hold_id))[0] == "Hold is expired already"
        assert (await books.credits.debit(user_id, "video", 100)).success

    async def test_an_overdue_hold_is_ended_by_the_next_operation(
        self, books: Billed, manual_clock: ManualClock
    ) -> None:
        user_id = await books.user(100)
        hold_id = held(await books.billing.hold(user_id, "video", 70, hold_seconds=30))
        await manual_clock.advance(31)
        assert (await books.credits.debit(user_id, "video", 100)).success
        assert (await books.billing.void(hold_id)).success

    async def test_a_key_makes_one_hold(self, books: Billed) -> None:
        user_id = await books.user(100)
        calls = [books.billing.hold(user_id, "video", 70, idempotency_key="one") for _ in range(3)]
        ids = {held(result) for result in await asyncio.gather(*calls)}
        assert len(ids) == 1
        assert held(await books.billing.hold(user_id, "video", 70, idempotency_key="one")) in ids
        with pytest.raises(IdempotencyConflictError):
            await books.billing.hold(user_id, "video", 60, idempotency_key="one")
        with pytest.raises(IdempotencyConflictError):
            await books.credits.debit(user_id, "video", 70, idempotency_key="one")
        assert await books.state(user_id) == (100, 70)

    async def test_what_cannot_be_a_hold(self, books: Billed) -> None:
        user_id = await books.user(100)
        assert refused(await books.billing.hold(user_id, "video", 0))[1] == "invalid_amount"
        assert refused(await books.billing.hold(uuid4(), "video", 1))[1] == "user_not_found"
        assert refused(await books.billing.post(uuid4()))[1] == "hold_not_found"
        hold_id = held(await books.billing.hold(user_id, "video", 70))
        assert refused(await books.billing.post(hold_id, 71))[1] == "invalid_amount"
        for amount in (0, -1, 1.5):
            with pytest.raises(InvalidInputError):
                await books.billing.post(hold_id, amount)  # type: ignore[arg-type]
        for seconds in (-1, 10**9, 1.5, True):
            with pytest.raises(InvalidInputError):
                await books.billing.hold(user_id, "video", 1, hold_seconds=seconds)  # type: ignore[arg-type]
        with pytest.raises(UnknownServiceTypeError):
            await books.billing.hold(user_id, "unheard of")


class TestOperations:
    async def test_an_operation_is_charged_at_its_end(self, books: Billed) -> None:
        user_id = await books.user(100)
        async with books.billing.operation(user_id, "video", metadata={"n": 1}) as operation:
            assert await books.state(user_id) == (100, 50)
        assert operation.result is not None
        assert operation.result.new_balance == 50
        assert await books.state(user_id) == (50, 0)
        assert books.rates.asked == [("Gift", "video")]

    async def test_an_operation_may_cost_less(self, books: Billed) -> None:
        user_id = await books.user(100)
        async with books.billing.operation(user_id, "video", amount=80) as operation:
            operation.amount = 3
        assert await books.state(user_id) == (97, 0)

    @pytest.mark.parametrize("error", [ValueError("no picture"), asyncio.CancelledError()])
    async def test_an_operation_that_fails_is_free(self, books: Billed, error: BaseException) -> None:
        user_id = await books.user(100)
        with pytest.raises(type(error)):
            async with books.billing.operation(user_id, "video"):
                raise error
        assert await books.state(user_id) == (100, 0)
        assert len(await books.ledger.get_user_entries(user_id)) == 1

    async def test_a_cancelled_task_gives_back(self, books: Billed) -> None:
        user_id = await books.user(100)
        begun = asyncio.Event()

        async def operate() -> None:
            async with books.billing.operation(user_id, "video"):
                begun.set()
                await asyncio.Event().wait()

        task = asyncio.create_task(operate())
        await begun.wait()
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        assert await books.state(user_id) == (100, 0)

    async def test_what_cannot_be_afforded_does_not_begin(self, books: Billed) -> None:
        user_id = await books.user(49)
        with pytest.raises(InsufficientTokensError) as refusal:
            async with books.billing.operation(user_id, "video"):
                raise AssertionError("it began")
        assert (refusal.value.required, refusal.value.available) == (50, 49)
        assert refusal.value.message == "Insufficient tokens. Required: 50, Available: 49"
        with pytest.raises(UserNotFoundError):
            async with books.billing.operation(uuid4(), "video"):
                raise AssertionError("it began")

    async def test_both_checks_must_pass(self, books: Billed) -> None:
        user_id = await books.user(1_000)
        books.rates.left = 0
        with pytest.raises(RateLimitExceededError) as refusal:
            async with books.billing.operation(user_id, "video"):
                raise AssertionError("it began")
        assert refusal.value.retry_after_seconds == 7.0
        assert await books.state(user_id) == (1_000, 0)

    async def test_what_costs_nothing_holds_nothing(self, books: Billed) -> None:
        user_id = await books.user()
        async with books.billing.operation(user_id, "refund") as operation:
            assert operation.hold_id is None
        assert operation.result is None
        assert await books.ledger.get_user_entries(user_id) == []

    async def test_an_operation_that_outlasts_its_hold_is_charged_all_the_same(
        self, books: Billed, manual_clock: ManualClock
    ) -> None:
        user_id = await books.user(100)
        async with books.billing.operation(user_id, "video", hold_seconds=10):
            await manual_clock.advance(11)
        assert await books.state(user_id) == (50, 0)

        async def spend_meanwhile() -> None:
            async with books.billing.operation(user_id, "video", hold_seconds=10):
                await manual_clock.advance(11)
                assert (await books.credits.debit(user_id, "video", 1)).success

        with pytest.raises(InsufficientTokensError, match="outlasted its hold"):
            await spend_meanwhile()
        assert await books.state(user_id) == (49, 0)

    async def test_a_key_charges_one_operation_once(self, books: Billed) -> None:
        user_id = await books.user(100)
        for attempt in range(4):
            try:
                async with books.billing.operation(user_id, "video", idempotency_key="one") as operation:
                    assert operation.replayed == (attempt > 0)
                    if attempt == 0:
                        raise ValueError("the first attempt fails")
            except ValueError:
                assert await books.balance(user_id) == 100
            else:
                assert await books.balance(user_id) == 50

    async def test_a_decorated_function_is_an_operation(self, books: Billed) -> None:
        user_id = await books.user(100)

        @books.billing.billed("video")
        async def draw(user_id: UserId, what: str, *, size: int = 1) -> str:
            """Draw something."""
            if what == "nothing":
                raise ValueError("nothing to draw")
            return f"{what} {size}"

        assert draw.__doc__ == "Draw something."
        assert await draw(user_id, "a cat", size=2) == "a cat 2"
        with pytest.raises(ValueError, match="nothing to draw"):
            await draw(user_id, "nothing")
        assert await books.state(user_id) == (50, 0)

    async def test_tokens_are_deducted_and_added_by_name(self, books: Billed) -> None:
        user_id = await books.user()
        assert (await books.billing.add_tokens(user_id, 70)).new_balance == 70
        assert (await books.billing.deduct_tokens(user_id, "video")).new_balance == 20
        assert (await books.billing.deduct_tokens(user_id, "video", 5)).new_balance == 15
        assert await books.billing.get_balance(user_id) == 15


async def test_a_callback_that_hangs_is_ended(
    books: Billed, monkeypatch: pytest.MonkeyPatch, caplog: Any
) -> None:
    monkeypatch.setattr("deal_sdk.accounting.journal.OBSERVER_TIMEOUT_SECONDS", 0.05)

    async def hang(_: Any) -> None:
        await asyncio.Event().wait()

    user_id = await books.user(100)
    books.journal.observe(hang)
    assert (await books.credits.debit(user_id, "video", 50)).success
    assert "a callback after a commit" in caplog.text
