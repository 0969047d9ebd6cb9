"""When the sweep for prepared transactions looks again: never forgetting one, never reading for nothing."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from uuid import UUID

import pytest

from deal_sdk import Deal
from deal_sdk.errors import DatabaseError
from deal_sdk.payments.prepared_expiry import PreparedExpiry
from deal_sdk.payments.prepared_store import PreparedStore, Waiting
from tests.integration.conftest import FAST_CHAIN
from tests.integration.payments.wallet_application import own_wallet


class OvertakenStore(PreparedStore):
    """A store in which something is prepared after the rows were read and before they are looked at."""

    reads = 0
    refuses = False
    sweeps: PreparedExpiry

    async def waiting(self, payment_id: UUID | None = None) -> Sequence[Waiting]:
        self.reads += 1
        rows = await super().waiting(payment_id)
        if self.refuses:
            raise DatabaseError("the database went away")
        if self.reads == 1:
            self.sweeps.note()
        return rows


@pytest.fixture
async def deal() -> AsyncIterator[Deal]:
    async with Deal.open(**FAST_CHAIN) as opened:
        yield opened


def sweeping(deal: Deal) -> tuple[PreparedExpiry, OvertakenStore]:
    kept = deal.tokens._owner_signing._expiry
    store = OvertakenStore(
        kept.store._database, intents=kept.store._intents, attempts=kept.store._attempts, clock=deal.clock
    )
    sweeps = PreparedExpiry(store=store, pipeline=kept._pipeline, rpc=deal.rpc, clock=deal.clock)
    store.sweeps = sweeps
    return sweeps, store


async def swept(sweeps: PreparedExpiry) -> None:
    """Sweep as if the interval between two sweeps were over."""
    sweeps._swept_at_seconds = float("-inf")
    await sweeps.sweep_when_due()


async def test_what_is_prepared_during_a_sweep_is_swept_next(deal: Deal) -> None:
    sweeps, store = sweeping(deal)
    await swept(sweeps)
    await swept(sweeps)
    assert store.reads == 2
    await swept(sweeps)
    assert store.reads == 2, "nothing waits, so nothing is read"


async def test_a_failed_look_is_repeated(deal: Deal) -> None:
    sweeps, store = sweeping(deal)
    store.refuses = True
    for reads in (1, 2):
        with pytest.raises(DatabaseError):
            await swept(sweeps)
        assert store.reads == reads


async def test_what_waits_is_looked_at_until_its_end(deal: Deal) -> None:
    wallet = await own_wallet(deal, "1")
    await deal.tokens.prepare_transfer(wallet.user.id, "treasury", "1")
    sweeps, store = sweeping(deal)
    for reads in (1, 2, 3):
        await swept(sweeps)
        assert store.reads == reads
