"""Accruing, settling, failing and crashing against a plain model of what a user owes."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field
from typing import Any, TypeVar
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
from deal_sdk.errors import (
    DatabaseUnavailableError,
    InsufficientBalanceError,
    SettlementConflictError,
)
from deal_sdk.payments.accruals import AccrualStore
from deal_sdk.payments.attempts import AttemptStore
from deal_sdk.payments.intents import IntentStore
from deal_sdk.payments.orders import FeeClaim, Funds
from deal_sdk.payments.reservations import held_now
from deal_sdk.records import Database, UserDirectory
from deal_sdk.records.accrual_tables import service_fee_accruals, service_fee_settlements
from tests.contract.crashing import Crashing
from tests.contract.payment_orders import (
    STARTED,
    TREASURY,
    attempt,
    broken_rules,
    change,
    intent,
    order,
    party,
    rows_of,
)

pytestmark = pytest.mark.slow

T = TypeVar("T")
START = 100
STEPS = 30
ENDS = ("finalized", "failed", "attempt_expired", "expired")
LASTING = ("pending", "finalized")


@dataclass
class Settlement:
    """What the model knows of one settlement."""

    id: UUID
    fees: dict[UUID, int]
    status: str = "pending"
    attempts: int = 0

    @property
    def amount(self) -> int:
        return sum(self.fees.values())


@dataclass
class Owing:
    """A user's money: what the chain holds, what is owed, and what settlements took on."""

    balance: int = START
    slot: int = 100
    owed: dict[UUID, int] = field(default_factory=dict)
    keys: dict[str, UUID] = field(default_factory=dict)
    settlements: list[Settlement] = field(default_factory=list)

    @property
    def available(self) -> int:
        pending = sum(one.amount for one in self.settlements if one.status == "pending")
        return self.balance - pending - sum(self.owed.values())


class AccrualMachine(RuleBasedStateMachine):
    """Drives the stores and the model with the same calls, over crashes of either side of a commit."""

    def __init__(self, runner: asyncio.Runner, database: Database) -> None:
        super().__init__()
        self.run = runner.run
        self.database = Crashing(database)
        user = self.run(UserDirectory(database).create())
        self.user = party(f"user-{user.id.hex}"[:30], user.id)
        self.model = Owing()
        self.claims: list[tuple[FeeClaim, int]] = []
        self.open()

    def open(self) -> None:
        """Begin as a new process does, on the rows that the last one left."""
        database: Any = self.database
        self.accruals = AccrualStore(database)
        self.intents = IntentStore(database, ManualClock())
        self.attempts = AttemptStore(database, ManualClock())

    fates = st.sampled_from([None, None, None, "before", "after"])

    @rule(amount=st.integers(1, 40), name=st.sampled_from([None, None, "a", "b"]), fate=fates)
    def accrue(self, amount: int, name: str | None, fate: str | None) -> None:
        key = None if name is None else f"{self.user.token_account}-{name}"
        one = order(amount, sender=self.user, recipient=TREASURY, reason="search", key=key)
        self.database.dies = fate
        covered = amount <= self.model.available
        try:
            fee = self.run(self.accruals.create(one, Funds(self.model.balance, self.model.slot)))
        except InsufficientBalanceError:
            assert key not in self.model.keys
            assert not covered
        except DatabaseUnavailableError:
            if fate == "after" and covered and key not in self.model.keys:
                self.note_fee(one.payment_id, amount, key)
        else:
            if key in self.model.keys:
                assert fee.reference == self.model.keys[key]
            else:
                assert covered
                self.note_fee(fee.reference, amount, key)
        self.database.dies = None

    def note_fee(self, reference: UUID, amount: int, key: str | None) -> None:
        self.model.owed[reference] = amount
        if key is not None:
            self.model.keys[key] = reference

    @precondition(lambda self: self.model.owed)
    @rule(cap=st.sampled_from([None, 30]))
    def look(self, cap: int | None) -> None:
        """Prepare a settlement, which may be recorded much later, by when others took its fees."""
        [total] = self.run(self.accruals.totals(user_id=self.user.user_id))
        assert (total.fees, total.amount) == (len(self.model.owed), sum(self.model.owed.values()))
        found = self.run(self.accruals.next_claim(total, cap_base_units=cap))
        assert found is not None
        self.claims.append(found)

    @precondition(lambda self: self.claims or self.model.owed)
    @rule(data=st.data(), fate=fates, is_stale=st.booleans())
    def settle(self, data: st.DataObject, fate: str | None, is_stale: bool) -> None:
        if self.model.owed and not (is_stale and self.claims):
            self.look(None)
            claim, amount = self.claims[-1]
        else:
            claim, amount = data.draw(st.sampled_from(self.claims))
        before = {row["reference"]: row for row in self.rows() if row["payment_id"] is None}
        claimed = {ref: row["amount"] for ref, row in before.items() if row["id"] <= claim.through_id}
        is_whole = len(claimed) == claim.fees and sum(claimed.values()) == amount
        one = intent(
            amount,
            balance=self.model.balance,
            slot=self.model.slot,
            sender=self.user,
            recipient=TREASURY,
            claim=claim,
        )
        self.database.dies = fate
        try:
            self.run(self.intents.create(one))
        except SettlementConflictError:
            assert not is_whole
        except InsufficientBalanceError:
            assert is_whole
            assert self.model.available < 0
        except DatabaseUnavailableError:
            if fate == "after" and is_whole and self.model.available >= 0:
                self.note_settlement(one.order.payment_id, claimed)
        else:
            assert is_whole
            assert self.model.available >= 0
            self.note_settlement(one.order.payment_id, claimed)
        self.database.dies = None

    def note_settlement(self, payment_id: UUID, fees: dict[UUID, int]) -> None:
        for reference in fees:
            del self.model.owed[reference]
        self.model.settlements.append(Settlement(payment_id, fees))

    @precondition(lambda self: any(one.status == "pending" for one in self.model.settlements))
    @rule(
        data=st.data(), end=st.sampled_from(["finalized", "failed", "attempt_expired", "expired"]), fate=fates
    )
    def end(self, data: st.DataObject, end: Any, fate: str | None) -> None:
        """A settlement's attempt comes to an end on the chain, and the record follows, sooner or later."""
        pending = [one for one in self.model.settlements if one.status == "pending"]
        one = data.draw(st.sampled_from(pending))
        one.attempts += 1
        assert self.run(self.attempts.add(attempt(one.id, one.attempts)))
        if end == "finalized":
            self.model.slot += 1
            self.model.balance -= one.amount
        report = change(
            one.id, one.attempts, end, slot=self.model.slot, account=self.user.token_account, at=STARTED
        )
        self.database.dies = fate
        for _ in range(2):
            try:
                self.run(self.attempts.settle(report))
            except DatabaseUnavailableError:
                # The pipeline offers it again until it is taken, also when it was.
                continue
        if end == "attempt_expired":
            return
        one.status = end
        if end != "finalized":
            self.model.owed |= one.fees

    @precondition(lambda self: any(one.attempts for one in self.model.settlements))
    @rule(data=st.data(), end=st.sampled_from(["failed", "expired", "finalized"]))
    def report_late(self, data: st.DataObject, end: Any) -> None:
        """Whatever is said of an attempt that ended changes nothing."""
        tried = [one for one in self.model.settlements if one.attempts]
        one = data.draw(st.sampled_from(tried))
        late = change(one.id, one.attempts, end, account=self.user.token_account)
        self.run(self.attempts.settle(late))

    @rule(amount=st.integers(1, 30))
    def deposit(self, amount: int) -> None:
        self.model.slot += 1
        self.model.balance += amount

    @rule(amount=st.integers(1, 30))
    def spend_elsewhere(self, amount: int) -> None:
        """The user moves tokens out of the wallet behind everybody's back."""
        self.model.slot += 1
        self.model.balance = max(self.model.balance - amount, 0)

    @rule()
    def restart(self) -> None:
        self.run(self.close())
        self.open()

    def rows(self) -> list[dict[str, Any]]:
        mine = service_fee_accruals.c.user_id == self.user.user_id
        database: Any = self.database
        return self.run(rows_of(database, service_fee_accruals, mine))

    @invariant()
    def every_fee_is_owed_or_settled_once(self) -> None:
        rows = self.rows()
        owed = {row["reference"]: row["amount"] for row in rows if row["payment_id"] is None}
        assert owed == self.model.owed
        taken: dict[UUID, dict[UUID, int]] = {}
        for row in rows:
            if row["payment_id"] is not None:
                taken.setdefault(row["payment_id"], {})[row["reference"]] = row["amount"]
        lasting = {
            one.id: one.fees for one in self.model.settlements if one.status in ("pending", "finalized")
        }
        assert taken == lasting

    @invariant()
    def the_balance_is_held_for_all_of_it(self) -> None:
        database: Any = self.database
        held = self.run(held_now(database, self.user.token_account, self.model.slot))
        assert self.model.balance - held == self.model.available

    @invariant()
    def no_rule_is_broken(self) -> None:
        database: Any = self.database
        assert self.run(broken_rules(database)) == {}
        settled = service_fee_settlements.c.token_account == self.user.token_account
        recorded = {
            row["payment_id"] for row in self.run(rows_of(database, service_fee_settlements, settled))
        }
        assert recorded == {one.id for one in self.model.settlements}

    async def close(self) -> None:
        await self.accruals.close()
        await self.intents.close()
        await self.attempts.close()

    def teardown(self) -> None:
        self.run(self.close())


def test_fees_are_what_the_model_says() -> None:
    with asyncio.Runner() as runner:
        database = runner.run(Database.open("sqlite+aiosqlite://", clock=ManualClock()))
        bounds = settings(max_examples=max(settings().max_examples // 2, 25), stateful_step_count=STEPS)
        try:
            run_state_machine_as_test(lambda: AccrualMachine(runner, database), settings=bounds)  # type: ignore[no-untyped-call]
        finally:
            runner.run(database.close())
