"""A process that renews everybody in small commits, and says after each how far it has come."""

from __future__ import annotations

import asyncio
import sys

from deal_sdk.accounting import Journal, MonthlyRenewalService, renewals
from deal_sdk.clock import SystemClock
from deal_sdk.records import Database


async def main(url: str) -> None:
    """Renew everybody who is due."""
    renewals.PAGE_USERS = 20  # type: ignore[misc]
    database = await Database.open(url, clock=SystemClock(), busy_timeout_seconds=30.0)
    journal = Journal(database)
    service = MonthlyRenewalService(database, journal)
    print("ready", flush=True)
    await asyncio.to_thread(sys.stdin.readline)
    report = await service.renew_all_eligible(progress=lambda *counts: print(*counts, flush=True))
    assert report.failed == 0, report.to_dict()
    await journal.close()
    await database.close()


asyncio.run(main(sys.argv[1]))
