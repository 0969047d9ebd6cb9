"""A process that pays a batch out of a file; the tests kill it at any moment.

Called as: batch_payer.py RPC_URL DATABASE_URL FILE. Prints a line at every change of the batch.
"""

from __future__ import annotations

import asyncio
import sys

from deal_sdk import Deal
from deal_sdk.payments import BatchProgress
from deal_sdk.payments.batches import distributor

distributor.MAX_RECORDED_TOGETHER = 16
"""So small that a batch is also cut between two chunks."""


def show(progress: BatchProgress) -> None:
    print(progress, flush=True)


async def main(rpc_url: str, database_url: str, file: str) -> None:
    async with Deal.open(
        rpc_url=rpc_url,
        database_url=database_url,
        keystore_passphrase="correct horse battery staple",
        create_mint=True,
        rebroadcast_interval_seconds=0.2,
        status_poll_interval_seconds=0.05,
    ) as deal:
        await deal.tokens.transfer("treasury", "reward", "1000", idempotency_key="fund")
        print("open", flush=True)
        await deal.rewards.distribute_batch(file, batch_key="killed", wait_for="finalized", on_progress=show)
        await deal.settled()
        print("done", flush=True)


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:]))
