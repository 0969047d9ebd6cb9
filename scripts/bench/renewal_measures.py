"""How long a run of renewals takes over many users, and whether its memory stays as it was."""

from __future__ import annotations

import time
from typing import Final
from uuid import uuid4

from deal_sdk.accounting import Journal, MonthlyRenewalService
from deal_sdk.records import Database
from deal_sdk.records.tables import users
from scripts.bench.contestants import resident_bytes
from scripts.bench.measure import Goal, Ratio, Report, figure_name, say

TIME_GOAL: Final = Goal("<=", 60)
"""Seconds for 100,000 users."""
MEMORY_GOAL: Final = Goal("<=", 1.2)
WARM_SHARE: Final = 0.2
"""After so much of a run everything that is kept for good is there."""
TIER: Final = "Professional"
_ROWS: Final = 5_000


async def measure_renewals(name: str, database: Database, count: int, report: Report, *, judge: bool) -> None:
    """Renew so many users in one run.

    Args:
        name: of the database, for the figures.
        database: with the schema and no users.
        count: of users.
        report: takes the figures.
        judge: whether the time has a goal, as it has for 100,000 users.
    """
    say(f"renewing {count} users on {name}")
    await _fill(database, count)
    resident: list[tuple[int, int]] = []
    journal = Journal(database)
    began, used = time.perf_counter(), time.process_time()
    found = await MonthlyRenewalService(database, journal).renew_all_eligible(
        progress=lambda processed, *_: resident.append((processed, resident_bytes()))
    )
    seconds, cpu_seconds = time.perf_counter() - began, time.process_time() - used
    await journal.close()
    if found.successful != count:
        raise RuntimeError(f"{found.successful} of {count} users were renewed")
    warm = next(size for processed, size in resident if processed >= count * WARM_SHARE)
    report.figures[figure_name(name, "renewals per second")] = count / seconds
    report.figures[figure_name(name, "cpu milliseconds per renewal")] = cpu_seconds / count * 1_000
    growth = Ratio(max(size for _, size in resident) / warm, MEMORY_GOAL)
    report.ratios[figure_name(name, "memory in a run of renewals")] = growth
    if judge:
        report.ratios[figure_name(name, f"seconds to renew {count} users")] = Ratio(seconds, TIME_GOAL)


async def _fill(database: Database, count: int) -> None:
    now = database.clock.now()
    for start in range(0, count, _ROWS):
        rows = [
            {"id": uuid4(), "tier": TIER, "created_at": now, "updated_at": now}
            for _ in range(min(_ROWS, count - start))
        ]
        async with database.transaction() as connection:
            await connection.execute(users.insert(), rows)
