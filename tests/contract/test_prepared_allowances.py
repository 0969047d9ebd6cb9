"""What owners were asked to sign about allowances: kept for a week, and forgotten as new ones come."""

from __future__ import annotations

from uuid import UUID, uuid4

import pytest
import sqlalchemy as sa
from solders.pubkey import Pubkey

from deal_sdk.chain import SignedTransaction, UnsignedTransaction
from deal_sdk.clock import ManualClock
from deal_sdk.errors import PreparedTransactionNotFoundError
from deal_sdk.payments import PreparedAllowanceStore
from deal_sdk.payments.allowances import prepared_rows
from deal_sdk.records import Database
from deal_sdk.records.allowance_tables import prepared_allowances

OWNER = Pubkey.new_unique()
ASKED = UnsignedTransaction(b"message", 150, 7)
SIGNED = SignedTransaction("5" * 88, b"signed", 150, 7)
HOUR_SECONDS = 3_600.0
WEEK_SECONDS = 7 * 24 * HOUR_SECONDS


async def kept(database: Database) -> set[UUID]:
    return {row.id for row in await database.fetch(sa.select(prepared_allowances.c.id))}


@pytest.fixture
def store(database: Database, manual_clock: ManualClock) -> PreparedAllowanceStore:
    return PreparedAllowanceStore(database, manual_clock)


async def test_what_was_asked_comes_back_and_its_signed_bytes_are_kept(
    store: PreparedAllowanceStore, database: Database
) -> None:
    prepared_id = await store.add(OWNER, ASKED)
    assert await store.get(prepared_id) == ASKED
    await store.sign(prepared_id, SIGNED)
    await store.sign(prepared_id, SIGNED)
    (row,) = await database.fetch(sa.select(prepared_allowances))
    assert (row.signature, row.signed_bytes, row.owner_address) == (SIGNED.signature, b"signed", str(OWNER))


async def test_an_id_that_nothing_is_kept_under_signs_nothing(store: PreparedAllowanceStore) -> None:
    with pytest.raises(PreparedTransactionNotFoundError):
        await store.get(uuid4())
    with pytest.raises(PreparedTransactionNotFoundError):
        await store.sign(uuid4(), SIGNED)


async def test_a_week_old_one_is_forgotten_signed_or_not(
    store: PreparedAllowanceStore, database: Database, manual_clock: ManualClock
) -> None:
    signed, unsigned = await store.add(OWNER, ASKED), await store.add(OWNER, ASKED)
    await store.sign(signed, SIGNED)
    await manual_clock.advance(WEEK_SECONDS)
    at_the_edge = await store.add(OWNER, ASKED)
    assert await kept(database) == {signed, unsigned, at_the_edge}
    await manual_clock.advance(HOUR_SECONDS - 1)
    early = await store.add(OWNER, ASKED)
    assert {signed, unsigned} < await kept(database)
    await manual_clock.advance(1)
    last = await store.add(OWNER, ASKED)
    assert await kept(database) == {at_the_edge, early, last}
    with pytest.raises(PreparedTransactionNotFoundError):
        await store.sign(signed, SIGNED)


async def test_many_old_ones_go_a_part_at_a_time_without_waiting_an_hour(
    store: PreparedAllowanceStore,
    database: Database,
    manual_clock: ManualClock,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(prepared_rows, "MAX_FORGOTTEN_TOGETHER", 2)
    for _ in range(3):
        await store.add(OWNER, ASKED)
    await manual_clock.advance(WEEK_SECONDS + 1)
    new = {await store.add(OWNER, ASKED)}
    assert len(await kept(database)) == 2
    new.add(await store.add(OWNER, ASKED))
    assert await kept(database) == new
