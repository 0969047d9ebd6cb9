"""Two processes renew the same users at once, one of them is killed, and each user is credited once."""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path
from uuid import uuid4

import pytest
import sqlalchemy as sa

from deal_sdk.accounting import CREDIT_INVARIANTS, Journal, MonthlyRenewalService, broken_links
from deal_sdk.clock import SystemClock
from deal_sdk.records import Database
from deal_sdk.records.renewal_tables import credit_renewals
from deal_sdk.records.tables import users
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


@pytest.mark.slow
async def test_a_killed_worker_beside_another_credits_each_user_once(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path / 'deal.db'}"
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
