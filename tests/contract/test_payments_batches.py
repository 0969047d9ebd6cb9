"""Batches on every database: what is recorded, which carriers may be sent, and how members end."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime
from typing import Any
from uuid import UUID, uuid4

import pytest
from solders.pubkey import Pubkey

from deal_sdk.amounts import BaseUnits
from deal_sdk.chain import SignedTransaction
from deal_sdk.clock import ManualClock
from deal_sdk.errors import IdempotencyConflictError, InsufficientBalanceError
from deal_sdk.events import EventBus
from deal_sdk.payments.batches.carriers import CarrierChange, CarrierEnd, CarrierStore
from deal_sdk.payments.batches.lines import CheckedLine
from deal_sdk.payments.batches.planning import Planned, plan_shares
from deal_sdk.payments.batches.recipients import Payee
from deal_sdk.payments.batches.recording import Batch, BatchRecorder
from deal_sdk.payments.batches.remaining import Carrier
from deal_sdk.payments.batches.shares import Share
from deal_sdk.payments.orders import Funds, Party
from deal_sdk.payments.rails import RailBounds, SafetyRails
from deal_sdk.records import Database
from deal_sdk.records.tables import balance_reservations, payment_attempts, token_rewards, token_transactions
from tests.contract.payment_orders import broken_rules, rows_of

pytestmark = pytest.mark.slow

STARTED = datetime(2026, 1, 1, tzinfo=UTC)
SOURCE = Party("reward-wallet", "reward-tokens")
EVIDENCE = {"error": {"InstructionError": [2, {"Custom": 17}]}, "endpoint": "test"}
FUNDS = Funds(1_000, 100)


def batch(key: str = "october", lines: int = 8) -> Batch:
    return Batch(uuid4(), key, "f" * 64, SOURCE.address, SOURCE.token_account, lines, 0, lines * 10, STARTED)


def planned(count: int = 8, *, first: int = 1, key: str | None = None) -> list[Planned]:
    made = []
    for position in range(first, first + count):
        line = CheckedLine(position, position + 1, "wallet", BaseUnits(10), "airdrop", key)
        party = Party(str(Pubkey.new_unique()), str(Pubkey.new_unique()))
        made.append(Payee(line, party, None if key is None else "input"))
    return [Planned(*pair) for pair in zip(made, plan_shares(made, STARTED), strict=True)]


def signed(name: str) -> SignedTransaction:
    return SignedTransaction(name, b"bytes of " + name.encode(), 250, 100)


def carrier(of: Batch, shares: Any, name: str) -> Carrier:
    return Carrier(uuid4(), of.id, tuple(shares), signed(name))


class Batches:
    """The stores of one process."""

    def __init__(self, database: Database, clock: ManualClock, owner: UUID | None = None) -> None:
        rails = SafetyRails(RailBounds(), clock=clock, events=EventBus(clock))
        self.database = database
        self.recorder = BatchRecorder(database, clock, rails, lease_owner=owner)
        self.carriers = CarrierStore(database, clock, max_attempts=2, lease_owner=owner)

    async def recorded(self, count: int = 8) -> tuple[Batch, tuple[Share, ...]]:
        found = await self.recorder.record(batch(lines=count), SOURCE, planned(count), FUNDS, count * 10)
        return found.batch, found.shares

    async def settle(self, one: Carrier, end: CarrierEnd, slot: int | None = 200) -> bool:
        signature = one.transaction.signature
        change = CarrierChange(one.id, signature, end, slot, EVIDENCE, STARTED, SOURCE.token_account)
        return await self.carriers.settle(change)

    async def statuses(self) -> list[str]:
        rows = await rows_of(self.database, token_transactions)
        return [row["status"] for row in sorted(rows, key=lambda row: row["batch_position"])]

    async def reservations(self) -> set[tuple[str, int | None]]:
        rows = await rows_of(self.database, balance_reservations)
        return {(row["state"], row["landed_slot"]) for row in rows}


@pytest.fixture
async def batches(database: Database, manual_clock: ManualClock) -> Any:
    opened = Batches(database, manual_clock)
    yield opened
    await opened.carriers.close()
    assert await broken_rules(database) == {}


async def test_a_chunk_is_recorded_whole_with_what_belongs_to_each(batches: Batches) -> None:
    stored, shares = await batches.recorded()
    assert stored.recorded_lines == 8
    payments = await rows_of(batches.database, token_transactions)
    assert {row["idempotency_key"] for row in payments} == {
        f"batch:october:{position:06d}" for position in range(1, 9)
    }
    assert [share.payment_id for share in shares] == sorted(share.payment_id for share in shares)
    rewards = await rows_of(batches.database, token_rewards)
    assert {row["payment_id"] for row in rewards} == {share.payment_id for share in shares}
    assert await batches.reservations() == {("live", None)}


async def test_a_chunk_recorded_twice_is_recorded_once(batches: Batches) -> None:
    stored, _ = await batches.recorded()
    again = await batches.recorder.record(batch(), SOURCE, planned(), FUNDS, 80)
    assert (again.batch.id, again.shares) == (stored.id, ())
    changed = replace(batch(), fingerprint="0" * 64)
    with pytest.raises(IdempotencyConflictError):
        await batches.recorder.record(changed, SOURCE, planned(), FUNDS, 80)
    assert len(await rows_of(batches.database, token_transactions)) == 8


async def test_what_is_not_covered_is_not_recorded(batches: Batches) -> None:
    with pytest.raises(InsufficientBalanceError):
        await batches.recorder.record(batch(), SOURCE, planned(), Funds(79, 100), 80)
    assert await batches.recorder.find("october") is None
    await batches.recorded()
    with pytest.raises(InsufficientBalanceError):
        await batches.recorder.record(batch("next"), SOURCE, planned(1), Funds(89, 100), 10)


async def test_a_key_of_the_callers_own_is_recorded_once(batches: Batches) -> None:
    await batches.recorder.record(batch("a", 1), SOURCE, planned(1, key="own"), FUNDS, 10)
    again = await batches.recorder.record(batch("b", 1), SOURCE, planned(1, key="own"), FUNDS, 10)
    assert (again.shares, again.batch.recorded_lines) == ((), 1)


async def test_members_land_together(batches: Batches) -> None:
    stored, shares = await batches.recorded()
    one, two = carrier(stored, shares[:5], "one"), carrier(stored, shares[5:], "two")
    assert await batches.carriers.add([one, two]) == [True, True]
    assert await batches.carriers.add([one, two]) == [True, True], "the answer may have been lost"
    attempts = await rows_of(batches.database, payment_attempts)
    assert {(row["carrier_id"], row["number"], row["signed_bytes"]) for row in attempts} == {
        (one.id, 1, None),
        (two.id, 1, None),
    }
    assert await batches.settle(one, "confirmed")
    assert not await batches.settle(one, "confirmed")
    assert await batches.statuses() == ["confirmed"] * 5 + ["pending"] * 3
    assert await batches.settle(one, "finalized", 201)
    assert await batches.settle(two, "finalized", 202)
    assert not await batches.settle(two, "failed")
    assert await batches.statuses() == ["finalized"] * 8
    assert await batches.reservations() == {("landed", 201), ("landed", 202)}
    assert await batches.carriers.counts(stored.id) == {"finalized": 8}


async def test_nobody_is_carried_twice(batches: Batches) -> None:
    stored, shares = await batches.recorded()
    assert await batches.carriers.add([carrier(stored, shares[:4], "one")]) == [True]
    rivals = [
        carrier(stored, shares[3:6], "overlapping"),
        carrier(stored, [shares[4], shares[6]], "with a hole"),
        carrier(stored, shares[6:], "good"),
    ]
    assert await batches.carriers.add(rivals) == [False, False, True]
    attempts = await rows_of(batches.database, payment_attempts)
    assert len({row["payment_id"] for row in attempts}) == len(attempts) == 6


async def test_a_failure_is_nobodys_until_one_stands_alone(batches: Batches) -> None:
    stored, shares = await batches.recorded(3)
    whole = carrier(stored, shares, "whole")
    await batches.carriers.add([whole])
    await batches.settle(whole, "split")
    assert await batches.statuses() == ["pending"] * 3
    assert await batches.reservations() == {("live", None)}
    left = await batches.carriers.open_batch(stored.id)
    assert (left.live, [parcel.failed_bytes for parcel in left.unsent]) == ((), [whole.transaction.raw_bytes])
    parts = [carrier(stored, shares[:1], "first"), carrier(stored, shares[1:], "others")]
    assert await batches.carriers.add(parts) == [True, True]
    await batches.settle(parts[0], "failed")
    await batches.settle(parts[1], "finalized")
    assert await batches.statuses() == ["failed", "finalized", "finalized"]
    assert await batches.reservations() == {("released", None), ("landed", 200)}


async def test_what_expires_too_often_is_given_up(batches: Batches) -> None:
    stored, shares = await batches.recorded(2)
    first = carrier(stored, shares, "first")
    await batches.carriers.add([first])
    await batches.settle(first, "confirmed")
    await batches.settle(first, "expired", None)
    assert await batches.statuses() == ["pending"] * 2
    assert await batches.carriers.unsent_members(first) == shares
    assert await batches.reservations() == {("live", None)}
    second = carrier(stored, shares, "second")
    await batches.carriers.add([second])
    await batches.settle(second, "expired", None)
    assert await batches.statuses() == ["expired"] * 2
    assert await batches.carriers.unsent_members(second) == ()
    assert await batches.reservations() == {("released", None)}
    assert await batches.carriers.open_batches() == []


async def test_a_restart_finds_what_was_sent_and_what_was_not(batches: Batches) -> None:
    stored, shares = await batches.recorded()
    sent = carrier(stored, shares[2:5], "sent")
    await batches.carriers.add([sent])
    await batches.settle(sent, "confirmed")
    assert await batches.carriers.open_batches() == [stored.id]
    left = await batches.carriers.open_batch(stored.id)
    assert [(one.id, one.transaction, one.shares, one.was_confirmed) for one in left.live] == [
        (sent.id, sent.transaction, sent.shares, True)
    ]
    assert [share for parcel in left.unsent for share in parcel.shares] == [*shares[:2], *shares[5:]]


async def test_members_leased_elsewhere_are_left_alone(
    batches: Batches, database: Database, manual_clock: ManualClock
) -> None:
    other = Batches(database, manual_clock, uuid4())
    stored, shares = await batches.recorded()
    assert await other.carriers.open_batches() == []
    assert await other.carriers.add([carrier(stored, shares, "theirs")]) == [False]
    await other.carriers.close()
