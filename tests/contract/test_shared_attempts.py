"""Attempts that share a transaction: recorded for all of its payments or for none, each settled by itself."""

from __future__ import annotations

from collections.abc import AsyncIterator
from uuid import UUID, uuid4

import pytest

from deal_sdk.clock import ManualClock
from deal_sdk.errors import DatabaseError, PaymentsPausedError
from deal_sdk.payments.attempts import AttemptStore, LiveAttempt
from deal_sdk.payments.intents import IntentStore
from deal_sdk.payments.rails import PauseSwitch
from deal_sdk.records import Database
from deal_sdk.records.tables import payment_attempts
from tests.contract.crashing import Crashing
from tests.contract.payment_orders import attempt, broken_rules, change, intent, rows_of

SHARED = "shared-signature"


class Sharers:
    """Both stores over one database that may die, and payments that share a transaction."""

    def __init__(self, database: Database, clock: ManualClock) -> None:
        self.database = Crashing(database)
        self.intents = IntentStore(database, clock)
        self.attempts = AttemptStore(self.database, clock)  # type: ignore[arg-type]

    async def recorded(self, count: int) -> list[UUID]:
        return [(await self.intents.create(intent())).payment.id for _ in range(count)]

    async def attempts_of(self) -> dict[UUID, list[tuple[int, str]]]:
        found: dict[UUID, list[tuple[int, str]]] = {}
        async with self.database.reading() as connection:
            columns = payment_attempts.c
            query = payment_attempts.select().order_by(columns.payment_id, columns.number)
            for row in (await connection.execute(query)).mappings():
                found.setdefault(row["payment_id"], []).append((row["number"], row["status"]))
        return found


def sharing(ids: list[UUID], signature: str = SHARED) -> list[LiveAttempt]:
    return [attempt(payment_id, signature=signature) for payment_id in ids]


@pytest.fixture
async def sharers(database: Database, manual_clock: ManualClock) -> AsyncIterator[Sharers]:
    opened = Sharers(database, manual_clock)
    yield opened
    await opened.intents.close()
    await opened.attempts.close()
    assert await broken_rules(database) == {}


async def test_all_are_recorded_with_the_same_bytes(sharers: Sharers) -> None:
    ids = await sharers.recorded(3)
    assert await sharers.attempts.add_together(sharing(ids))
    rows = await rows_of(sharers.database, payment_attempts)  # type: ignore[arg-type]
    assert {(row["signature"], row["signed_bytes"], row["carrier_id"]) for row in rows} == {
        (SHARED, SHARED.encode(), None)
    }
    payments = [await sharers.attempts.get_payment(payment_id) for payment_id in ids]
    assert {payment.signature for payment in payments} == {SHARED}


@pytest.mark.parametrize("obstacle", ["ended", "another attempt", "leased elsewhere", "never recorded"])
async def test_one_that_cannot_share_keeps_all_from_being_recorded(sharers: Sharers, obstacle: str) -> None:
    ids = await sharers.recorded(3)
    if obstacle == "ended":
        await sharers.attempts.add(attempt(ids[1]))
        await sharers.attempts.settle(change(ids[1], 1, "expired"))
    elif obstacle == "another attempt":
        await sharers.attempts.add(attempt(ids[1]))
    elif obstacle == "leased elsewhere":
        sharers.attempts.lease_owner = uuid4()
    else:
        ids[1] = uuid4()
    before = await sharers.attempts_of()
    assert not await sharers.attempts.add_together(sharing(ids))
    assert await sharers.attempts_of() == before
    sharers.attempts.lease_owner = None
    # Each goes alone then.
    assert await sharers.attempts.add(attempt(ids[0]))


@pytest.mark.parametrize("dies", ["before", "after"])
async def test_an_answer_that_was_lost_is_found_by_adding_the_same_again(sharers: Sharers, dies: str) -> None:
    ids = await sharers.recorded(2)
    sharers.database.dies = dies
    with pytest.raises(DatabaseError):
        await sharers.attempts.add_together(sharing(ids))
    assert len(await sharers.attempts_of()) == (2 if dies == "after" else 0)
    assert await sharers.attempts.add_together(sharing(ids))
    assert await sharers.attempts_of() == {payment_id: [(1, "signed")] for payment_id in ids}
    assert not await sharers.attempts.add_together(sharing(ids, "another"))


async def test_a_pause_records_none(sharers: Sharers, database: Database) -> None:
    ids = await sharers.recorded(2)
    await PauseSwitch(database).pause("a test")
    with pytest.raises(PaymentsPausedError):
        await sharers.attempts.add_together(sharing(ids))
    assert await sharers.attempts_of() == {}


async def test_a_restart_finds_every_sharer_and_knows_that_it_shares(sharers: Sharers) -> None:
    ids = await sharers.recorded(3)
    assert await sharers.attempts.add_together(sharing(ids[:2]))
    assert await sharers.attempts.add(attempt(ids[2]))
    found = {one.payment.id: one.attempt for one in await sharers.attempts.open_payments()}
    shares = {payment_id: one.is_shared for payment_id, one in found.items() if one is not None}
    assert shares == {ids[0]: True, ids[1]: True, ids[2]: False}
    first, second = found[ids[0]], found[ids[1]]
    assert first is not None
    assert second is not None
    assert first.transaction == second.transaction


async def test_a_shared_failure_leaves_each_to_its_next_attempt(sharers: Sharers) -> None:
    ids = await sharers.recorded(2)
    assert await sharers.attempts.add_together(sharing(ids))
    await sharers.attempts.settle(change(ids[0], 1, "attempt_failed"))
    # Who is not settled yet still shares, though the other is at its next attempt by now.
    assert await sharers.attempts.add(attempt(ids[0], 2))
    found = {one.payment.id: one.attempt for one in await sharers.attempts.open_payments()}
    first, second = found[ids[0]], found[ids[1]]
    assert first is not None
    assert second is not None
    assert (first.number, first.is_shared, second.number, second.is_shared) == (2, False, 1, True)
    await sharers.attempts.settle(change(ids[1], 1, "attempt_failed"))
    assert await sharers.attempts_of() == {
        ids[0]: [(1, "failed"), (2, "signed")],
        ids[1]: [(1, "failed")],
    }
