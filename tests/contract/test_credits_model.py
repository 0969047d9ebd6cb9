"""Credits against a plain model: many operations at once, keys, holds that run out, crashes of a commit."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable
from dataclasses import dataclass
from datetime import timedelta
from typing import Any
from uuid import UUID, uuid4

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule, run_state_machine_as_test

from deal_sdk.accounting import Journal, OperationResult, TokenAccountingService, lot_rows
from deal_sdk.clock import ManualClock
from deal_sdk.errors import DatabaseUnavailableError, IdempotencyConflictError
from deal_sdk.records import Database
from tests.contract.crashing import Crashing
from tests.contract.credit_model import HOLD_SECONDS, Wallet
from tests.contract.credit_world import Books, unlimited_billing

pytestmark = pytest.mark.slow

STEPS = 25
LIFETIMES = (None, None, 10, 20, 45)
KEYS = ("a", "b", "c")


@dataclass(frozen=True)
class Call:
    """One call that the machine makes: what, for whom, how much, on which of its debits or holds."""

    kind: str
    who: int
    amount: int
    which: int
    key: str | None
    lifetime: int | None = None
    priority: int = 50


calls = st.builds(
    Call,
    kind=st.sampled_from(
        ["debit", "debit", "credit", "overdraft", "reset", "refund", "hold", "post", "void"]
    ),
    who=st.integers(0, 1),
    amount=st.integers(-1, 40),
    which=st.integers(0, 30),
    key=st.sampled_from([None, None, None, *KEYS]),
    lifetime=st.sampled_from(LIFETIMES),
    priority=st.sampled_from([50, 50, 20, 80]),
)
fates = st.sampled_from([None, None, None, None, "before", "after"])


class CreditMachine(RuleBasedStateMachine):
    """Makes the same calls of the services and of the model."""

    def __init__(self, runner: asyncio.Runner, database: Database, clock: ManualClock) -> None:
        super().__init__()
        self.run = runner.run
        self.clock = clock
        self.database = Crashing(database)
        self.books = Books(database)
        self.users = [self.run(self.books.user()) for _ in range(2)]
        self.wallets = [Wallet(clock.now()), Wallet(clock.now())]
        self.keys: dict[str, tuple[Call, Any]] = {}
        self.prefix = uuid4().hex
        self.open()

    def open(self) -> None:
        """Begin as a new process does."""
        database: Any = self.database
        self.journal = Journal(database)
        self.credits = TokenAccountingService(database, self.journal)
        self.billing = unlimited_billing(database, self.journal, self.credits, HOLD_SECONDS)

    @rule(made=st.lists(calls, min_size=1, max_size=8), fate=fates)
    def call_at_once(self, made: list[Call], fate: str | None) -> None:
        # What ends holds first reads whose they are, so that nobody can say when it arrives: on PostgreSQL
        # it may overtake the others' commit. Each of these calls is made alone.
        ending = [call for call in made if call.kind in ("post", "void")]
        others = [call for call in made if call not in ending]
        self.database.dies = fate
        for together in (others, *([call] for call in ending)):
            if together and not self.are_answered(together):
                return

    def are_answered(self, made: list[Call]) -> bool:
        targets = [self.target(call) for call in made]
        answers = self.run(self.gather([self.start(*pair) for pair in zip(made, targets, strict=True)]))
        for call, target, answer in zip(made, targets, answers, strict=True):
            if isinstance(answer, DatabaseUnavailableError):
                # The same call tells what became of it, where it has a key; else the entries do.
                self.recover()
                return False
            self.compare(call, target, answer)
        return True

    @rule(seconds=st.sampled_from([1, HOLD_SECONDS // 2, HOLD_SECONDS]))
    def time_goes_on(self, seconds: int) -> None:
        self.run(self.clock.advance(seconds))
        for wallet in self.wallets:
            wallet.live_until(self.clock.now())

    @rule()
    def what_expired_is_taken_off(self) -> None:
        self.run(self.credits.expire_lots())

    @rule()
    def old_entries_are_folded(self) -> None:
        self.run(self.books.ledger.delete_old_entries(self.clock.now()))
        for wallet in self.wallets:
            wallet.fold()

    @rule()
    def the_process_dies(self) -> None:
        self.open()

    @invariant()
    def the_balances_are_the_model_s(self) -> None:
        for user_id, wallet in zip(self.users, self.wallets, strict=True):
            found = self.run(self.books.credits.get_balance(user_id))
            lots = self.run(self.books.credits.get_lots(user_id))
            assert (found.tokens_spent, found.tokens_held) == (wallet.spent, wallet.held)
            if any(lot.remaining < 0 for lot in lots) or wallet.pool.remaining < 0:
                # What pays a debt, and what expires, is told apart when the next operation comes.
                continue
            assert found.tokens_balance - found.tokens_lapsed == wallet.balance
            if found.tokens_lapsed == 0:
                assert [(lot.priority, lot.expires_at, lot.remaining) for lot in lots] == wallet.shown()

    def teardown(self) -> None:
        assert self.run(self.books.broken()) == []

    async def gather(self, started: list[Awaitable[OperationResult]]) -> list[Any]:
        return await asyncio.gather(*started, return_exceptions=True)

    def target(self, call: Call) -> UUID:
        """Choose the debit or the hold that a call is about; one that nobody knows where there is none."""
        wallet = self.wallets[call.who]
        debits = {**wallet.debits, **wallet.folded}
        known: list[UUID] = list(debits if call.kind == "refund" else wallet.holds)
        return known[call.which % len(known)] if known else uuid4()

    def start(self, call: Call, target: UUID) -> Awaitable[OperationResult]:
        user_id, amount = self.users[call.who], call.amount
        key = None if call.key is None else f"{self.prefix}-{call.key}"
        if call.kind in ("debit", "overdraft"):
            allowed = call.kind == "overdraft"
            return self.credits.debit(user_id, "video", amount, allowed, idempotency_key=key)
        if call.kind == "credit":
            expires_in = None if call.lifetime is None else timedelta(seconds=call.lifetime)
            return self.credits.credit(
                user_id,
                "purchase",
                amount,
                expires_in=expires_in,
                priority=call.priority,
                idempotency_key=key,
            )
        if call.kind == "reset":
            return self.credits.reset_balance(user_id, amount)
        if call.kind == "refund":
            return self.credits.refund(user_id, amount, target)
        if call.kind == "hold":
            return self.billing.hold(user_id, "video", amount, idempotency_key=key)
        if call.kind == "void":
            return self.billing.void(target)
        return self.billing.post(target, max(1, amount))

    def compare(self, call: Call, target: UUID, answer: Any) -> None:
        """Hold an answer against what the model says, and move the model on."""
        keyed = call.key is not None and call.kind in ("debit", "overdraft", "credit", "hold")
        if keyed and call.key in self.keys:
            first, told = self.keys[call.key]
            same = _meaning(first) == _meaning(call)
            if same:
                assert (answer.success, answer.ledger_entry_id, answer.hold_id) == told
                assert answer.replayed
            else:
                assert isinstance(answer, IdempotencyConflictError)
            return
        wallet = self.wallets[call.who]
        expected = getattr(self, f"expect_{call.kind}")(call, target, answer)
        assert (answer.success, answer.code) == expected
        if answer.success:
            assert answer.replayed or answer.new_balance == wallet.balance
            if keyed:
                self.keys[call.key or ""] = (call, (True, answer.ledger_entry_id, answer.hold_id))
        # What expires at once, as a refund to a lot whose time is over does, has an entry of its own.
        wallet.live_until(self.clock.now())

    def expect_debit(self, call: Call, _: UUID, answer: OperationResult) -> tuple[bool, str | None]:
        wallet = self.wallets[call.who]
        if call.amount <= 0:
            return False, "invalid_amount"
        if call.kind == "debit" and wallet.available < call.amount:
            return False, "insufficient_tokens"
        assert answer.ledger_entry_id is not None
        wallet.debit(answer.ledger_entry_id, call.amount)
        return True, None

    expect_overdraft = expect_debit

    def expect_credit(self, call: Call, _: UUID, answer: OperationResult) -> tuple[bool, str | None]:
        if call.amount <= 0:
            return False, "invalid_amount"
        self.wallets[call.who].grant(call.amount, call.lifetime, call.priority)
        return True, None

    def expect_reset(self, call: Call, _: UUID, answer: OperationResult) -> tuple[bool, str | None]:
        if call.amount < 0:
            return False, "negative_balance"
        self.wallets[call.who].reset(call.amount)
        return True, None

    def expect_refund(self, call: Call, target: UUID, answer: OperationResult) -> tuple[bool, str | None]:
        wallet = self.wallets[call.who]
        if call.amount <= 0:
            return False, "invalid_amount"
        if target in wallet.folded:
            return False, "operation_folded"
        if target not in wallet.debits:
            return False, "operation_not_found"
        if call.amount > wallet.refundable(target):
            return False, "refund_exceeds_debit"
        wallet.refund(target, call.amount)
        return True, None

    def expect_hold(self, call: Call, _: UUID, answer: OperationResult) -> tuple[bool, str | None]:
        wallet = self.wallets[call.who]
        if call.amount <= 0:
            return False, "invalid_amount"
        if wallet.available < call.amount:
            return False, "insufficient_tokens"
        assert answer.hold_id is not None
        wallet.hold(answer.hold_id, call.amount)
        return True, None

    def expect_post(self, call: Call, target: UUID, answer: OperationResult) -> tuple[bool, str | None]:
        wallet, amount = self.wallets[call.who], max(1, call.amount)
        hold = wallet.holds.get(target)
        if hold is None:
            return False, "hold_not_found"
        if hold.state == "posted" and hold.taken == amount:
            assert answer.replayed
            return True, None
        if hold.state != "live":
            return False, "hold_not_live"
        if amount > hold.amount:
            return False, "invalid_amount"
        assert answer.ledger_entry_id is not None
        wallet.post(target, answer.ledger_entry_id, amount)
        return True, None

    def expect_void(self, call: Call, target: UUID, answer: OperationResult) -> tuple[bool, str | None]:
        wallet = self.wallets[call.who]
        if target not in wallet.holds:
            return False, "hold_not_found"
        if wallet.holds[target].state == "posted":
            return False, "hold_not_live"
        wallet.void(target)
        return True, None

    def recover(self) -> None:
        """Take over from the ledger what became of calls that were not answered; `teardown` proves it."""
        self.open()
        held = [self.run(self.books.credits.get_balance(user_id)).tokens_held for user_id in self.users]
        if any(held):
            # What is on hold cannot be told apart any more, so its time is let run out.
            self.run(self.clock.advance(HOLD_SECONDS))
        for place, user_id in enumerate(self.users):
            # Refused, but it ends what is over.
            self.run(self.credits.debit(user_id, "video", 2**60))
            spent = self.run(self.books.credits.get_balance(user_id)).tokens_spent
            lots = self.run(self.books.credits.get_lots(user_id))
            self.wallets[place] = Wallet.taken_over(self.clock.now(), lots, spent)
        # Whether a key was used is for the next call with it to say, which a new prefix leaves open.
        self.keys, self.prefix = {}, uuid4().hex


def _meaning(call: Call) -> tuple[Any, ...]:
    lot = (call.lifetime, call.priority) if call.kind == "credit" else ()
    return (call.kind, call.who, call.amount, *lot)


@pytest.mark.parametrize("kind", ["sqlite", pytest.param("postgres", marks=pytest.mark.postgres)])
def test_credits_are_the_model_s(
    kind: str, request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Whether all lots fit a page or none does, the model is the same.
    monkeypatch.setattr(lot_rows, "LOTS_PER_PAGE", 1)
    monkeypatch.setattr(lot_rows, "_PAGE_GROWTH", 2)
    url = "sqlite+aiosqlite://" if kind == "sqlite" else request.getfixturevalue("postgres_url")
    clock = ManualClock()
    with asyncio.Runner() as runner:
        database = runner.run(Database.open(url, clock=clock, migrate=True))
        try:
            run_state_machine_as_test(
                lambda: CreditMachine(runner, database, clock),
                settings=settings(max_examples=40, stateful_step_count=STEPS, deadline=None),
            )
        finally:
            runner.run(database.close())
