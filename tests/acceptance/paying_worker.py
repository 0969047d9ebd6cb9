"""A process that pays from a job list, each job under its own key; the test kills it at any moment.

Called as `paying_worker.py RPC_URL DATABASE_URL`. It imports everything, and begins once it reads from its
standard input what to do: the jobs, each a number, an address and an amount, and what then: "leave", "settle"
everything it drives, or "stay" until it reads another line. A job is done when its payment is recorded, or
for odd numbers when it is confirmed; a line tells of each.
"""

from __future__ import annotations

import asyncio
import json
import sys
from typing import Any, Final

from deal_sdk import Deal

LANES: Final = 64
SETTLING_SECONDS: Final = 90.0
SETTINGS: Final[dict[str, Any]] = {
    "keystore_passphrase": "correct horse battery staple",
    "lease_seconds": 4.0,
}


def tell(*words: object) -> None:
    print(*words, flush=True)


async def pay(deal: Deal, jobs: list[tuple[int, str, str]]) -> None:
    lanes = asyncio.Semaphore(LANES)

    async def pay_one(number: int, address: str, amount: str) -> None:
        async with lanes:
            await deal.tokens.transfer(
                "treasury",
                address,
                amount,
                idempotency_key=f"job-{number}",
                wait_for="confirmed" if number % 2 else "recorded",
            )
            tell("done", number)

    await asyncio.gather(*(pay_one(*job) for job in jobs))


async def main(rpc_url: str, database_url: str) -> None:
    given = json.loads(sys.stdin.readline())
    async with Deal.open(rpc_url=rpc_url, database_url=database_url, **SETTINGS) as deal:
        tell("open")
        await pay(deal, given["jobs"])
        if given["then"] == "settle":
            tell("settled", await deal.settled(timeout_seconds=SETTLING_SECONDS))
        if given["then"] == "stay":
            await asyncio.to_thread(sys.stdin.readline)


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1], sys.argv[2]))
