"""The engine that the payments benchmark times: a `Deal` in a process of its own.

Every payment goes through everything: a rate limit by the user's tier, a purchase limit, the intent, its
confirmation, and the balance history of both sides. A refusal or a failure ends the benchmark, because the
figure would then be of something else.
"""

from __future__ import annotations

import asyncio
import cProfile
import time
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import asynccontextmanager
from typing import Any, Final

import sqlalchemy as sa

from deal_sdk import PurchaseLimit, User, collect_rarely, switch_threads_sooner
from deal_sdk.clock import SystemClock
from deal_sdk.records import Database
from deal_sdk.records.tables import token_balance_history
from deal_sdk.settings import DEFAULT_TIER_LIMITS
from scripts.bench.contestants import Handler, Stopwatch, answer_commands, resident_bytes
from scripts.bench.deals import open_deal
from scripts.bench.profiles import calls_per_payment

FUNDING_AMOUNT: Final = "1000"
PAYMENT_AMOUNT: Final = "0.001"
MAX_PURCHASES: Final = 1_000_000
"""High enough that nobody is refused; counted and checked all the same."""
SETUP_CALLERS: Final = 64
HISTORY_POLL_SECONDS: Final = 0.1
"""Rare enough that asking costs the engine's process next to nothing."""
HISTORY_SECONDS: Final = 180.0
MIN_COMMITS: Final = 2
STALL_PROBE_SECONDS: Final = 0.01
HISTORY_ROWS_PER_PAYMENT: Final = 2
"""Sender and recipient are both users, so both accounts keep a history."""


class PaymentEngine:
    """The engine's process."""

    async def prepare(self, rpc_url: str, database_url: str, redis_url: str, users: int) -> dict[str, Any]:
        """Open a `Deal`, create users of every tier with funded custodial wallets, and warm up with that."""
        self._deal = await open_deal(rpc_url, database_url, redis_url)
        self._records = await Database.open(database_url, clock=SystemClock())
        self._limit = PurchaseLimit(str(self._deal.mint.address), MAX_PURCHASES, "benchmark")
        tiers = sorted(DEFAULT_TIER_LIMITS)
        self._users: list[User] = []
        self._lone_sender = 0
        await _spread([tiers[number % len(tiers)] for number in range(users)], self._add_user)
        self._weights = [DEFAULT_TIER_LIMITS[user.tier].per_minute for user in self._users]
        # The funding is a payment out of the treasury and a row for either side of it, too.
        await self._until_history_rows(HISTORY_ROWS_PER_PAYMENT * users)
        # As `dealctl worker` does, and as any service may.
        collect_rarely()
        switch_threads_sooner()
        return {}

    async def run(self, payments: int, callers: int) -> dict[str, Any]:
        """Pay with some callers at once, each waiting for its confirmation; then wait for the history."""
        rows_before, last_id = await self._history_rows(), await self._last_history_id()
        order = iter(fair_order(self._weights, payments))
        watch = Stopwatch()

        async def caller() -> None:
            for sender in order:
                await self._pay(sender)

        async with watched_loop() as stalls:
            await asyncio.gather(*(caller() for _ in range(callers)))
            confirmed_seconds = watch.seconds
            await self._until_history_rows(rows_before + HISTORY_ROWS_PER_PAYMENT * payments)
        return {
            "payments": payments,
            "seconds": watch.seconds,
            "cpu_seconds": watch.cpu_seconds,
            "confirmed_seconds": confirmed_seconds,
            "sustained_payments_per_second": await self._sustained_rate(last_id),
            "longest_stall_seconds": max(stalls, default=0.0),
            "resident_bytes": resident_bytes(),
        }

    async def run_counted(self, payments: int, callers: int) -> dict[str, Any]:
        """Do a turn under cProfile, which slows it but counts every call in the event loop's thread."""
        profile = cProfile.Profile()
        with profile:
            await self.run(payments, callers)
        return {"calls": calls_per_payment(profile, payments)}

    async def lone(self) -> dict[str, Any]:
        """Time one transfer from the call to its return at confirmed, with nothing else going on."""
        self._lone_sender = (self._lone_sender + 1) % len(self._users)
        began = time.perf_counter()
        await self._pay(self._lone_sender)
        return {"seconds": time.perf_counter() - began}

    async def verify(self) -> dict[str, Any]:
        """Prove the package's rules on what the benchmark left behind."""
        await self._deal.settled()
        report = await self._deal.verify()
        return {"ok": report.ok}

    async def close(self) -> None:
        """Close what was opened."""
        await self._records.close()
        await self._deal.close()

    async def _add_user(self, tier: str) -> None:
        user = await self._deal.users.create(tier=tier)
        await self._deal.wallets.create_custodial(user.id)
        await self._deal.tokens.transfer("treasury", user.id, FUNDING_AMOUNT)
        self._users.append(user)

    async def _pay(self, sender: int) -> None:
        recipient = self._users[(sender + 1) % len(self._users)]
        await self._deal.tokens.transfer(
            self._users[sender].id, recipient.id, PAYMENT_AMOUNT, purchase_limit=self._limit
        )

    async def _until_history_rows(self, count: int) -> None:
        async with asyncio.timeout(HISTORY_SECONDS):
            while True:
                if await self._history_rows() >= count:
                    return
                await asyncio.sleep(HISTORY_POLL_SECONDS)

    async def _last_history_id(self) -> int:
        query = sa.select(sa.func.coalesce(sa.func.max(token_balance_history.c.id), 0))
        return int((await self._records.fetch(query))[0][0])

    async def _sustained_rate(self, after_id: int) -> float:
        """Return how fast history was committed, from its first commit after a row to its last.

        The chain's wait for finality comes before the first commit and is not in it; what the first commit
        holds was waiting for it, so it is not counted.
        """
        moment = token_balance_history.c.created_at
        query = sa.select(moment, sa.func.count()).where(token_balance_history.c.id > after_id)
        commits = await self._records.fetch(query.group_by(moment).order_by(moment))
        if len(commits) < MIN_COMMITS:
            return 0.0
        rows = sum(count for _, count in commits[1:])
        seconds = (commits[-1][0] - commits[0][0]).total_seconds()
        return float(rows / HISTORY_ROWS_PER_PAYMENT / seconds)

    async def _history_rows(self) -> int:
        query = sa.select(sa.func.count()).select_from(token_balance_history)
        return int((await self._records.fetch(query))[0][0])


@asynccontextmanager
async def watched_loop() -> AsyncIterator[list[float]]:
    """Note how late the event loop wakes a sleeper while the block runs; work that blocks it shows here."""
    stalls: list[float] = []

    async def sleeper() -> None:
        while True:
            began = time.perf_counter()
            await asyncio.sleep(STALL_PROBE_SECONDS)
            stalls.append(time.perf_counter() - began - STALL_PROBE_SECONDS)

    task = asyncio.create_task(sleeper())
    try:
        yield stalls
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


async def _spread(items: Sequence[str], action: Any) -> None:
    left = iter(items)

    async def caller() -> None:
        for item in left:
            await action(item)

    await asyncio.gather(*(caller() for _ in range(SETUP_CALLERS)))


def fair_order(weights: Sequence[int], count: int) -> Iterator[int]:
    """Spread `count` turns over everybody by weight, each one's turns evenly spaced over the whole."""
    total = sum(weights)
    turns = [
        ((turn + (index + 0.5) / len(weights)) * total / weight, index)
        for index, weight in enumerate(weights)
        for turn in range(count * weight // total + 2)
    ]
    turns.sort()
    return iter([index for _, index in turns[:count]])


def main() -> None:
    """Answer the benchmark until it ends."""
    engine = PaymentEngine()
    handlers: dict[str, Handler] = {
        "prepare": engine.prepare,
        "run": engine.run,
        "run_counted": engine.run_counted,
        "lone": engine.lone,
        "verify": engine.verify,
    }
    asyncio.run(answer_commands(handlers, engine.close))


if __name__ == "__main__":
    main()
