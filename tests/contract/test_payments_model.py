"""Admission, attempts and settling against a plain model of what must be true of a wallet's money."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field
from typing import Any
from uuid import UUID

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)

from deal_sdk.clock import ManualClock
from deal_sdk.errors import IdempotencyConflictError, InsufficientBalanceError
from deal_sdk.payments.attempts import AttemptStore
from deal_sdk.payments.intents import IntentStore, Recorded
from deal_sdk.payments.orders import Party
from deal_sdk.records import Database
from deal_sdk.records.tables import balance_reservations, payment_attempts, token_transactions
from tests.contract.payment_orders import attempt, broken_rules, change, intent, party, rows_of

ACCOUNTS = 2
STEPS = 25
LIVE = ("signed", "confirmed")
ENDS = ("confirmed", "finalized", "failed", "attempt_expired", "expired")


@dataclass
class Payment:
    """What the model knows of a payment."""

    id: UUID
    account: int
    amount: int
    key: str | None
    fingerprint: str
    status: str = "pending"
    landed_slot: int | None = None
    """Where the chain has it, whether or not that was settled yet."""
    settled_slot: int | None = None
    attempts: dict[int, str] = field(default_factory=dict)

    @property
    def live_number(self) -> int | None:
        return next((number for number, state in self.attempts.items() if state in LIVE), None)

    @property
    def reservation(self) -> tuple[str, int | None]:
        if self.status == "pending":
            return "live", None
        return ("landed", self.settled_slot) if self.settled_slot is not None else ("released", None)


class Chain:
    """Balances by slot, so that a payment may be admitted against an old one."""

    def __init__(self, start: int) -> None:
        self.slot = 100
        self.balances: list[list[tuple[int, int]]] = [[(100, start)] for _ in range(ACCOUNTS)]

    def move(self, account: int, amount: int) -> int:
        self.slot += 1
        self.balances[account].append((self.slot, self.balances[account][-1][1] + amount))
        return self.slot

    def read(self, account: int, age: int) -> tuple[int, int]:
        """Return slot and balance of a read that is so many changes old."""
        history = self.balances[account]
        return history[max(len(history) - 1 - age, 0)]


class PaymentsMachine(RuleBasedStateMachine):
    """Drives both stores and the model with the same calls."""

    def __init__(self, runner: asyncio.Runner, database: Database, serial: int) -> None:
        super().__init__()
        self.run, self.database, self.serial = runner.run, database, serial
        self.intents = IntentStore(database, ManualClock())
        self.attempts = AttemptStore(database, ManualClock())
        self.chain = Chain(100)
        self.payments: list[Payment] = []

    def party(self, account: int) -> Party:
        return party(f"world-{self.serial}-{account}")

    def of_key(self, key: str | None) -> Payment | None:
        return next((one for one in self.payments if key is not None and one.key == key), None)

    def available(self, account: int, slot: int, balance: int) -> int:
        mine = [one for one in self.payments if one.account == account]
        held = sum(one.amount for one in mine if one.status == "pending")
        held += sum(one.amount for one in mine if one.settled_slot is not None and one.settled_slot > slot)
        return balance - held

    one_order = st.tuples(
        st.integers(0, ACCOUNTS - 1),
        st.integers(1, 60),
        st.sampled_from([None, None, "a", "b", "c"]),
        st.sampled_from(["x", "x", "y"]),
        st.integers(0, 3),
    )

    @rule(orders=st.lists(one_order, min_size=1, max_size=4))
    def pay(self, orders: list[tuple[int, int, str | None, str, int]]) -> None:
        """Admit a few payments in one transaction, some against old balances, some under used keys."""
        intents = []
        for account, amount, name, fingerprint, age in orders:
            slot, balance = self.chain.read(account, age)
            key = None if name is None else f"{self.serial}-{name}"
            details = {"key": key, "fingerprint": fingerprint, "sender": self.party(account)}
            intents.append((account, intent(amount, balance=balance, slot=slot, **details)))
        results = self.run(self.create([one for _, one in intents]))
        for (account, one), result in zip(intents, results, strict=True):
            self.expect(account, one, result)

    async def create(self, intents: list[Any]) -> list[Any]:
        return await asyncio.gather(*(self.intents.create(one) for one in intents), return_exceptions=True)

    def expect(self, account: int, one: Any, result: Any) -> None:
        order, funds = one.order, one.funds
        known = self.of_key(order.idempotency_key)
        if known is not None and known.fingerprint != order.fingerprint:
            assert isinstance(result, IdempotencyConflictError)
        elif known is not None:
            assert isinstance(result, Recorded)
            assert (result.payment.id, result.is_new) == (known.id, False)
        elif order.amount > self.available(account, funds.slot, funds.balance_base_units):
            assert isinstance(result, InsufficientBalanceError)
        else:
            assert isinstance(result, Recorded)
            assert (result.payment.id, result.is_new) == (order.payment_id, True)
            key, fingerprint = order.idempotency_key, order.fingerprint
            self.payments.append(Payment(order.payment_id, account, order.amount, key, fingerprint))

    @rule(account=st.integers(0, ACCOUNTS - 1), amount=st.integers(1, 50))
    def deposit(self, account: int, amount: int) -> None:
        self.chain.move(account, amount)

    @precondition(lambda self: self.payments)
    @rule(data=st.data())
    def sign(self, data: st.DataObject) -> None:
        payment = data.draw(st.sampled_from(self.payments))
        number = data.draw(st.integers(1, len(payment.attempts) + 1))
        may_add = (
            payment.status == "pending" and payment.live_number is None and number not in payment.attempts
        )
        assert self.run(self.attempts.add(attempt(payment.id, number))) == may_add
        if may_add:
            payment.attempts[number] = "signed"

    @precondition(lambda self: any(one.live_number and not one.landed_slot for one in self.payments))
    @rule(data=st.data())
    def land(self, data: st.DataObject) -> None:
        """The chain takes a payment; nobody has noticed yet."""
        waiting = [one for one in self.payments if one.live_number and not one.landed_slot]
        payment = data.draw(st.sampled_from(waiting))
        payment.landed_slot = self.chain.move(payment.account, -payment.amount)

    @precondition(lambda self: any(one.status == "confirmed" for one in self.payments))
    @rule(data=st.data())
    def drop(self, data: st.DataObject) -> None:
        """A fork takes a confirmed payment back, and its attempt expires."""
        payment = data.draw(st.sampled_from([one for one in self.payments if one.status == "confirmed"]))
        self.chain.move(payment.account, payment.amount)
        payment.landed_slot = None
        self.settle(payment, payment.live_number or 0, data.draw(st.sampled_from(ENDS[3:])))

    @precondition(lambda self: any(one.live_number for one in self.payments))
    @rule(data=st.data())
    def notice(self, data: st.DataObject) -> None:
        """What became of a live attempt is reported as it is."""
        payment = data.draw(st.sampled_from([one for one in self.payments if one.live_number]))
        end = data.draw(st.sampled_from(ENDS[:2] if payment.landed_slot else ENDS[2:]))
        self.settle(payment, payment.live_number or 0, end)

    @precondition(lambda self: any(one.attempts for one in self.payments))
    @rule(data=st.data())
    def report_late(self, data: st.DataObject) -> None:
        """Whatever is said of an attempt that ended, or was never made, changes nothing."""
        payment = data.draw(st.sampled_from(self.payments))
        numbers = [n for n in range(1, len(payment.attempts) + 2) if payment.attempts.get(n) not in LIVE]
        number, end = data.draw(st.sampled_from(numbers)), data.draw(st.sampled_from(ENDS))
        account = self.party(payment.account).token_account
        self.run(self.attempts.settle(change(payment.id, number, end, slot=self.chain.slot, account=account)))  # type: ignore[arg-type]

    def settle(self, payment: Payment, number: int, end: Any) -> None:
        account = self.party(payment.account).token_account
        slot = payment.landed_slot
        self.run(self.attempts.settle(change(payment.id, number, end, slot=slot, account=account)))
        payment.attempts[number] = "expired" if end == "attempt_expired" else end
        payment.status = "pending" if end == "attempt_expired" else end
        payment.settled_slot = slot if end in ("confirmed", "finalized") else None

    @invariant()
    def nobody_is_overdrawn(self) -> None:
        for account in range(ACCOUNTS):
            promised = sum(
                one.amount
                for one in self.payments
                if one.account == account and one.status == "pending" and one.landed_slot is None
            )
            assert self.chain.read(account, 0)[1] >= promised

    @invariant()
    def the_records_are_the_model(self) -> None:
        ids = [one.id for one in self.payments]
        found = {
            table.name: self.run(rows_of(self.database, table, column.in_(ids)))
            for table, column in (
                (token_transactions, token_transactions.c.id),
                (balance_reservations, balance_reservations.c.payment_id),
                (payment_attempts, payment_attempts.c.payment_id),
            )
        }
        statuses = {row["id"]: row["status"] for row in found["token_transactions"]}
        assert statuses == {one.id: one.status for one in self.payments}
        held = {
            row["payment_id"]: (row["state"], row["landed_slot"]) for row in found["balance_reservations"]
        }
        assert held == {one.id: one.reservation for one in self.payments}
        attempts = {(row["payment_id"], row["number"]): row["status"] for row in found["payment_attempts"]}
        assert attempts == {(one.id, n): state for one in self.payments for n, state in one.attempts.items()}

    @invariant()
    def no_rule_is_broken(self) -> None:
        assert self.run(broken_rules(self.database)) == {}

    def teardown(self) -> None:
        self.run(self.intents.close())
        self.run(self.attempts.close())


@pytest.mark.slow
def test_the_stores_do_what_the_model_does() -> None:
    with asyncio.Runner() as runner:
        database = runner.run(Database.open("sqlite+aiosqlite://", clock=ManualClock()))
        serial = iter(range(10**9))
        # One database for all examples, each with wallets of its own: opening one takes longer than a run.
        bounds = settings(max_examples=max(settings().max_examples // 4, 12), stateful_step_count=STEPS)
        try:
            run_state_machine_as_test(  # type: ignore[no-untyped-call]
                lambda: PaymentsMachine(runner, database, next(serial)), settings=bounds
            )
        finally:
            runner.run(database.close())
