"""Three processes share 200 payments on one database; one is killed with -9, and all are paid once."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from decimal import Decimal
from pathlib import Path
from typing import Any, Final
from uuid import UUID

import pytest
import sqlalchemy as sa
from solders.keypair import Keypair

from deal_localnet import Localnet, LocalnetConfig, LocalnetServer
from deal_sdk import Deal
from deal_sdk.clock import SystemClock
from deal_sdk.payments import Leases
from deal_sdk.records import Database
from deal_sdk.records.tables import token_transactions, workers
from tests.acceptance.paying_process import Job, spawned
from tests.acceptance.paying_worker import SETTINGS

pytestmark = pytest.mark.slow

PAYMENTS: Final = 200
PROCESSES: Final = 3
KILLED_AFTER: Final = 20
PATIENCE_SECONDS: Final = 60.0


@pytest.fixture(params=[pytest.param("postgres", marks=pytest.mark.postgres), "sqlite"])
def database_url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """The URL of an empty database: a server's, or a file that the processes share."""
    if request.param == "sqlite":
        return f"sqlite+aiosqlite:///{tmp_path / 'deal.db'}"
    url: str = request.getfixturevalue("postgres_url")
    return url


@pytest.fixture
async def database(database_url: str) -> AsyncIterator[Database]:
    opened = await Database.open(database_url, clock=SystemClock(), migrate=True)
    yield opened
    await opened.close()


@pytest.fixture
async def options(database_url: str, database: Database) -> AsyncIterator[dict[str, Any]]:
    async with (
        Localnet(LocalnetConfig(slot_seconds=0.05, finality_slots=32)) as chain,
        LocalnetServer(chain, rpc_port=0) as server,
    ):
        options = {"rpc_url": server.rpc_url, "database_url": database_url, **SETTINGS}
        async with Deal.open(**options, create_mint=True):
            pass
        yield options


async def all_final(database: Database) -> None:
    """Wait until nothing is open, without being a worker that would help."""
    leases = Leases(database, lease_seconds=SETTINGS["lease_seconds"])
    async with asyncio.timeout(PATIENCE_SECONDS):
        while await leases.holders():  # noqa: ASYNC110 - other processes change it, not this loop
            await asyncio.sleep(0.1)


async def drivers(database: Database) -> dict[str, UUID]:
    """Return who drove each payment last, by its key."""
    column = token_transactions.c
    query = sa.select(column.idempotency_key, column.lease_owner).where(column.idempotency_key.is_not(None))
    async with database.reading() as connection:
        return {key: owner for key, owner in await connection.execute(query)}


async def test_the_others_take_over_from_one_that_is_killed(
    options: dict[str, Any], database: Database
) -> None:
    owners = [str(Keypair().pubkey()) for _ in range(PAYMENTS)]
    jobs: list[Job] = [(number, owner, "1") for number, owner in enumerate(owners)]
    shares = [jobs[start::PROCESSES] for start in range(PROCESSES)]
    async with AsyncExitStack() as stack:
        first, *others = [
            await stack.enter_async_context(spawned(options["rpc_url"], options["database_url"]))
            for _ in shares
        ]
        for process, share in zip((first, *others), shares, strict=True):
            await process.begin(share, "stay")
        await first.read(enough=KILLED_AFTER)
        await first.kill()
        await asyncio.gather(
            *(other.read(len(share)) for other, share in zip(others, shares[1:], strict=True))
        )
        await all_final(database)
        drove = await drivers(database)
        assert [await other.stop() for other in others] == [0, 0]
    alive = {drove[f"job-{share[0][0]}"] for share in shares[1:]}
    taken_over = {number for number, _, _ in shares[0] if drove.get(f"job-{number}") in alive}
    assert taken_over, "the killed process left nothing, so that nothing was proven"
    assert {f"job-{number}" for number in first.done} <= set(drove)
    async with database.reading() as connection:
        assert await connection.scalar(sa.select(sa.func.count()).select_from(workers)) == 0
    await give_the_rest(options, jobs)


async def give_the_rest(options: dict[str, Any], jobs: list[Job]) -> None:
    """Give every job again, as a queue does whose taker died, and prove that each is paid once."""
    async with Deal.open(**options) as deal:
        for number, owner, amount in jobs:
            await deal.tokens.transfer(
                "treasury", owner, amount, idempotency_key=f"job-{number}", wait_for="recorded"
            )
        assert await deal.settled(timeout_seconds=PATIENCE_SECONDS)
        balances = await asyncio.gather(*(deal.tokens.balance_of(owner) for _, owner, _ in jobs))
        assert set(balances) == {Decimal(1)}
        assert await deal.transactions.count(type="transfer", status="finalized") == PAYMENTS
        report = await deal.verify()
        assert report.ok, [check for check in report.checks if not check.ok]
