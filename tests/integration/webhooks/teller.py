"""A process that pays a list of addresses and tells a receiver of it; the tests kill it at any moment.

Called as: teller.py RPC_URL DATABASE_URL RECEIVER_URL ADDRESS... Prints a line when it is open and one per
payment.
"""

from __future__ import annotations

import asyncio
import sys

from deal_sdk import Deal

SECRET = "the receiver's own secret"


async def main(rpc_url: str, database_url: str, receiver_url: str, addresses: list[str]) -> None:
    async with Deal.open(
        rpc_url=rpc_url,
        database_url=database_url,
        keystore_passphrase="correct horse battery staple",
        create_mint=True,
        rebroadcast_interval_seconds=0.2,
        status_poll_interval_seconds=0.05,
        webhook_allow_private_networks=True,
        webhook_first_retry_seconds=0.2,
    ) as deal:
        if not await deal.webhooks.list():
            await deal.webhooks.add(receiver_url, ["payment.*"], secret=SECRET)
        print("open", flush=True)
        for address in addresses:
            await deal.tokens.transfer("treasury", address, "1", idempotency_key=f"pay-{address}")
            print("paid", address, flush=True)
        await deal.settled()
        print("done", flush=True)


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1], sys.argv[2], sys.argv[3], sys.argv[4:]))
