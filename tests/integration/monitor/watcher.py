"""A process that pays a watched wallet and counts what it sees; the tests kill it at any moment.

Called as: watcher.py RPC_URL DATABASE_URL ADDRESS PAYMENTS. Prints a line when it is open, one per payment
and one per poll, and "done" once everything is paid and counted.
"""

from __future__ import annotations

import asyncio
import sys
from contextlib import suppress

from deal_sdk import Deal
from deal_sdk.errors import WalletAlreadyWatchedError


async def main(rpc_url: str, database_url: str, address: str, payments: int) -> None:
    async with Deal.open(
        rpc_url=rpc_url,
        database_url=database_url,
        keystore_passphrase="correct horse battery staple",
        create_mint=True,
        background_jobs=False,
        status_poll_interval_seconds=0.05,
        watch_poll_interval_seconds=0.001,
        watch_transactions_per_poll=2,
    ) as deal:
        with suppress(WalletAlreadyWatchedError):
            await deal.monitor.add(address)
        print("open", flush=True)
        for number in range(payments):
            key = f"pay-{number}"
            await deal.tokens.transfer("treasury", address, "1", idempotency_key=key)
            print("paid", flush=True)
            await poll(deal, address)
        await deal.settled()
        while await poll(deal, address) < payments:
            pass
    print("done", flush=True)


async def poll(deal: Deal, address: str) -> int:
    await deal.monitor.poll()
    count = (await deal.monitor.get(address)).transaction_count
    print("counted", count, flush=True)
    return count


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1], sys.argv[2], sys.argv[3], int(sys.argv[4])))
