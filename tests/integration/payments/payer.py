"""A process that pays a list of addresses, each under its own key; the tests kill it at any moment.

Called as: payer.py RPC_URL DATABASE_URL ADDRESS... Prints a line when it is open and one per payment.
"""

from __future__ import annotations

import asyncio
import sys

from deal_sdk import Deal

LANES = 4


async def main(rpc_url: str, database_url: str, addresses: list[str]) -> None:
    async with Deal.open(
        rpc_url=rpc_url,
        database_url=database_url,
        keystore_passphrase="correct horse battery staple",
        create_mint=True,
        rebroadcast_interval_seconds=0.2,
        status_poll_interval_seconds=0.05,
    ) as deal:
        print("open", flush=True)

        lanes = asyncio.Semaphore(LANES)

        async def pay(address: str) -> None:
            async with lanes:
                await pay_one(address)

        async def pay_one(address: str) -> None:
            await deal.tokens.transfer("treasury", address, "1", idempotency_key=f"pay-{address}")
            print("paid", address, flush=True)

        await asyncio.gather(*(pay(address) for address in addresses))
        await deal.settled()
        print("done", flush=True)


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1], sys.argv[2], sys.argv[3:]))
