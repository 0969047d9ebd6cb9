"""How a benchmark opens a `Deal`: every default as it is, and no timeout that a busy machine could reach."""

from __future__ import annotations

from typing import Final

from deal_sdk import Deal
from deal_sdk.clock import SystemClock
from deal_sdk.records import Database

STORE_TIMEOUT_SECONDS: Final = 30.0
CONFIRM_TIMEOUT_SECONDS: Final = 300.0
"""Far above what a turn needs: on a machine that others use too, a moment's stall must not end the run."""
PASSPHRASE: Final = "benchmark"


async def open_deal(rpc_url: str, database_url: str, redis_url: str) -> Deal:
    """Open a `Deal` on a chain and stores that are new, and deploy its mint."""
    # A server's schema is nobody's to change without asking, so `Deal` would not make it.
    database = await Database.open(database_url, clock=SystemClock(), migrate=True)
    await database.close()
    return await Deal.open(
        create_mint=True,
        rpc_url=rpc_url,
        database_url=database_url,
        redis_url=redis_url,
        keystore_passphrase=PASSPHRASE,
        limit_store_timeout_seconds=STORE_TIMEOUT_SECONDS,
        confirm_timeout_seconds=CONFIRM_TIMEOUT_SECONDS,
    )
