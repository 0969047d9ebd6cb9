"""Two processes renew the same users at once, one of them is killed, and each user is credited once."""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path
from typing import Any
from uuid import uuid4

import procrastinate
import pytest
import sqlalchemy as sa

from deal_sdk import Deal
from deal_sdk.accounting import CREDIT_INVARIANTS, Journal, MonthlyRenewalService, broken_links
from deal_sdk.clock import SystemClock
from deal_sdk.records import Database
from deal_sdk.records.renewal_tables import credit_renewals
from deal_sdk.records.tables import users
from tests.docs.documents import DOCS, Document
from tests.docs.running import program_environment

PROGRAM = Path(__file__).with_name("renewing_process.py")
USERS = 1_000


async def start(url: str) -> asyncio.subprocess.Process:
    """Start a process, and return once it waits for the word to begin."""
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, str(PROGRAM), url),
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        env=program_environment(),
    )
    assert process.stdout is not None
    assert await process.stdout.readline() == b"ready\n"
    return process


@pytest.fixture(params=["sqlite", pytest.param("postgres", marks=pytest.mark.postgres)])
def url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """The URL of an empty database of each kind."""
    if request.param == "sqlite":
        return f"sqlite:///{tmp_path / 'deal.db'}"
    found: str = request.getfixturevalue("migrated_postgres_url")
    return found


@pytest.mark.slow
async def test_a_killed_worker_beside_another_credits_each_user_once(url: str) -> None:
    database = await Database.open(url, clock=SystemClock())
    now = database.clock.now()
    rows = [
        {"id": uuid4(), "tier": "Professional", "created_at": now, "updated_at": now} for _ in range(USERS)
    ]
    async with database.transaction() as connection:
        await connection.execute(users.insert(), rows)
    processes = [await start(url) for _ in range(2)]
    try:
        for process in processes:
            assert process.stdin is not None
            process.stdin.write(b"go\n")
        assert processes[0].stdout is not None
        await processes[0].stdout.readline()
        processes[0].kill()
        _, code = await asyncio.gather(processes[0].wait(), processes[1].wait())
        assert code == 0
    finally:
        for process in processes:
            if process.returncode is None:
                process.kill()
                await process.wait()
    journal = Journal(database)
    report = await MonthlyRenewalService(database, journal).renew_all_eligible()
    await journal.close()
    # What the killed one had begun and not committed was left to the other.
    assert (report.successful, report.failed) == (0, 0)
    counts = sa.select(sa.func.count(), sa.func.count(credit_renewals.c.user_id.distinct()))
    assert tuple((await database.fetch(counts))[0]) == (USERS, USERS)
    balances = sa.select(sa.func.min(users.c.tokens_balance), sa.func.max(users.c.tokens_balance))
    assert tuple((await database.fetch(balances))[0]) == (2_000, 2_000)
    async with database.reading() as snapshot:
        for query in CREDIT_INVARIANTS.values():
            assert (await snapshot.execute(query)).all() == []
        assert [row async for row in broken_links(snapshot, most=1)] == []
    await database.close()


@pytest.mark.postgres
async def test_the_guides_recipe_renews_in_workers_of_procrastinate(
    migrated_postgres_url: str,
) -> None:
    path = DOCS / "how-to/renewals.md"
    guide = Document(path, path.read_text())
    [recipe] = [block.text for block in guide.blocks() if "renew_in_workers" in block.text]
    namespace: dict[str, Any] = {"Deal": Deal}
    exec(recipe.replace("await deal.close()", ""), namespace)
    conninfo = migrated_postgres_url.replace("postgresql+asyncpg://", "postgresql://")
    schema = procrastinate.App(connector=procrastinate.PsycopgConnector(conninfo=conninfo))
    async with schema.open_async():
        await schema.schema_manager.apply_schema_async()
    async with Deal.open(database_url=migrated_postgres_url, keystore_passphrase="a test's") as deal:
        alice = await deal.users.create(tier="Business")
        workers = [asyncio.create_task(namespace["renew_in_workers"](deal, conninfo)) for _ in range(2)]
        try:
            async with asyncio.timeout(60):
                for _ in range(10_000):
                    if (await deal.credits.get_balance(alice.id)).tokens_balance:
                        break
                    await asyncio.sleep(0.05)
        finally:
            for worker in workers:
                worker.cancel()
            await asyncio.gather(*workers, return_exceptions=True)
        assert (await deal.credits.get_balance(alice.id)).tokens_balance == 10_000
        assert len(await deal.ledger.get_user_entries(alice.id)) == 1
        # Its tables lie beside ours, and are nobody's business here.
        assert (await deal.verify()).ok
    await (await Database.open(migrated_postgres_url, clock=SystemClock())).close()
