"""The engine that the payout benchmark times: many recipients in a call, or one in each.

Both ways go through the same `Deal`, out of the same reward wallet, to the same token accounts, which exist.
A recipient that was not paid ends the benchmark, because the figure would then be of something else.
"""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Sequence
from typing import Any, Final

from solders.keypair import Keypair

from deal_sdk import collect_rarely, switch_threads_sooner
from deal_sdk.chain import ensure_lamports, parse_address
from deal_sdk.payments import RewardLine
from scripts.bench.contestants import Handler, Stopwatch, answer_commands
from scripts.bench.deals import open_deal

AMOUNT: Final = "0.001"
REWARD_TYPE: Final = "benchmark"
FUNDING: Final = "1000000"
LAMPORTS_PER_RECIPIENT: Final = 2_200_000
"""The rent of a token account and its share of a fee."""
FUNDING_STEP_LAMPORTS: Final = 8_000_000_000


class PayoutEngine:
    """The engine's process."""

    async def prepare(self, rpc_url: str, database_url: str, redis_url: str, users: int) -> dict[str, Any]:
        """Open a `Deal`, fund the reward wallet, and pay everybody once, which makes their accounts."""
        self._deal = await open_deal(rpc_url, database_url, redis_url)
        self._batches = itertools.count(1)
        self._recipients = [str(Keypair().pubkey()) for _ in range(users)]
        treasury = await self._deal.find_party("treasury")
        lamports = FUNDING_STEP_LAMPORTS + users * LAMPORTS_PER_RECIPIENT
        # A faucet may bound what it gives at once.
        for step in range(FUNDING_STEP_LAMPORTS, lamports + FUNDING_STEP_LAMPORTS, FUNDING_STEP_LAMPORTS):
            await ensure_lamports(self._deal.rpc, parse_address(treasury.address), step)
        await self._deal.tokens.transfer("treasury", "reward", FUNDING, wait_for="finalized")
        await self._pay_together(self._recipients)
        # As `dealctl worker` does, and as any service may.
        collect_rarely()
        switch_threads_sooner()
        return {}

    async def run(self, payments: int, callers: int) -> dict[str, Any]:
        """Pay some recipients, all in one call or, with callers, each in a call of its own.

        Args:
            payments: how many recipients; at most as many as there are.
            callers: 0 for one call, or how many pay one recipient after another.
        """
        recipients = self._recipients[:payments]
        assert len(recipients) == payments, "more payments than recipients"
        watch = Stopwatch()
        if callers:
            await self._pay_singly(recipients, callers)
        else:
            await self._pay_together(recipients)
        found = {"payments": payments, "seconds": watch.seconds, "cpu_seconds": watch.cpu_seconds}
        # What is still on its way to finality would weigh on the next turn.
        await self._deal.settled()
        return found | {"settled_seconds": watch.seconds, "settled_cpu_seconds": watch.cpu_seconds}

    async def close(self) -> None:
        """Close what was opened."""
        await self._deal.close()

    async def _pay_together(self, recipients: Sequence[str]) -> None:
        lines = [RewardLine(recipient, AMOUNT, REWARD_TYPE) for recipient in recipients]
        key = f"batch-{next(self._batches)}"
        report = await self._deal.rewards.distribute_batch(lines, batch_key=key)
        paid = sum(line.status in ("confirmed", "finalized") for line in report.recipients)
        if paid != len(recipients):
            raise RuntimeError(f"{paid} of {len(recipients)} recipients were paid")

    async def _pay_singly(self, recipients: Sequence[str], callers: int) -> None:
        left = iter(recipients)

        async def caller() -> None:
            for recipient in left:
                await self._deal.rewards.distribute_reward(recipient, REWARD_TYPE, AMOUNT)

        await asyncio.gather(*(caller() for _ in range(callers)))


def main() -> None:
    """Answer the benchmark until it ends."""
    engine = PayoutEngine()
    handlers: dict[str, Handler] = {"prepare": engine.prepare, "run": engine.run}
    asyncio.run(answer_commands(handlers, engine.close))


if __name__ == "__main__":
    main()
