"""The gate's process, and beside it the bare Redis client that sends the same script with the same words."""

from __future__ import annotations

import asyncio
import statistics
import time
from collections.abc import Awaitable, Callable, Sequence
from typing import Any, Final

import redis.asyncio

from deal_sdk.clock import SystemClock
from deal_sdk.limits import (
    AmountRule,
    Gate,
    PurchaseRecords,
    PurchaseRule,
    RateRule,
    Rule,
    TokenPurchaseTracker,
    open_store,
)
from deal_sdk.limits.scripts import Argument, Key, Script, unpacked
from deal_sdk.metrics import Metrics
from deal_sdk.records import Database
from scripts.bench.contestants import Stopwatch, answer_commands

USERS: Final = 500
MAX_PURCHASES, PER_MINUTE, BURST = 1_000_000, 10_000, 10_000
FILLED_MINUTE, FILLED_BURST = 100, 20
ACTIVE_USER: Final = "0e0d9ee4-61b0-4eab-9fd2-c0ffee000000"
ACTIVE_MINT: Final = "DEALxQ1rYkzjzKLyyoFgZ4tnxN1JvHcKMcKXcx8rGm9"

Call = tuple[str, Sequence[str], Sequence[Any]]


def rules_of(user: str) -> list[Rule]:
    """Return the three limits that every contender takes."""
    return [
        PurchaseRule(user, "MINT", MAX_PURCHASES),
        RateRule(user, "op", "Business", PER_MINUTE, BURST),
    ]


class LimitEngine:
    """Gate, tracker and the bare client on one server."""

    async def prepare(self, redis_url: str) -> dict[str, Any]:
        """Open everything, and have the server know the script."""
        clock = SystemClock()
        self._store = open_store(redis_url)
        self._gate = Gate(self._store, clock=clock, metrics=Metrics())
        self._database = await Database.open("sqlite+aiosqlite://", clock=clock)
        records = PurchaseRecords(self._database)
        recorded = Gate(self._store, clock=clock, metrics=Metrics(), history=records)
        self._recorded = recorded
        self._tracker = TokenPurchaseTracker(recorded, self._store, records, clock=clock)
        self._client = redis.asyncio.Redis.from_url(redis_url, protocol=2)
        self._call = await self._recorded_call()
        return {}

    async def gate(self, calls: int, callers: int, turn: str) -> dict[str, Any]:
        """Take the three limits of one user after another, with some callers at once."""

        async def take(number: int) -> bool:
            return (await self._gate.take(rules_of(f"{turn}-{number % USERS}"))).allowed

        return await _timed(calls, callers, take)

    async def raw(self, calls: int, callers: int, turn: str) -> dict[str, Any]:
        """Send the same script: alone, or in hand-made pipelines as long as there are callers."""
        made = [self._call_of(f"{turn}-{number % USERS}") for number in range(calls)]
        watch = Stopwatch()
        for start in range(0, calls, callers):
            if callers == 1:
                sha, keys, arguments = made[start]
                replies = [await self._client.evalsha(sha, len(keys), *keys, *arguments)]
            else:
                pipeline = self._client.pipeline(transaction=False)
                for sha, keys, arguments in made[start : start + callers]:
                    pipeline.evalsha(sha, len(keys), *keys, *arguments)
                replies = await pipeline.execute()
            if any(reply[0] != b"allowed" for reply in replies):
                raise RuntimeError("a bare call was refused")
        return {"payments": calls, "seconds": watch.seconds, "cpu_seconds": watch.cpu_seconds}

    async def increments(self, calls: int, callers: int, turn: str) -> dict[str, Any]:
        """Count purchases, each with its row in SQL."""

        async def increment(number: int) -> bool:
            user = f"{turn}-{number % USERS}"
            return (await self._tracker.increment_and_validate_purchase(user, "MINT", MAX_PURCHASES)).success

        return await _timed(calls, callers, increment)

    async def counts(self, calls: int, callers: int, turn: str) -> dict[str, Any]:
        """Count purchases in Redis alone."""

        async def count(number: int) -> bool:
            rule = PurchaseRule(f"{turn}-{number % USERS}", "MINT", MAX_PURCHASES)
            return (await self._gate.take([rule])).allowed

        return await _timed(calls, callers, count)

    async def checks(self, calls: int, callers: int, turn: str) -> dict[str, Any]:
        """Check purchases of users that have bought before."""
        for number in range(USERS):
            await self._tracker.increment_and_validate_purchase(f"{turn}-{number}", "MINT", MAX_PURCHASES)

        async def check(number: int) -> bool:
            user = f"{turn}-{number % USERS}"
            return (await self._tracker.can_user_purchase_token(user, "MINT", MAX_PURCHASES)).can_purchase

        return await _timed(calls, callers, check)

    async def bytes_per_user(self) -> dict[str, Any]:
        """Return what one user with every limit in use takes, as Redis counts it."""
        rules: list[Rule] = [
            PurchaseRule(ACTIVE_USER, ACTIVE_MINT, MAX_PURCHASES, "subscription"),
            RateRule(ACTIVE_USER, "image_generation", "Business", FILLED_MINUTE, FILLED_BURST),
        ]
        before = set(await self._client.keys("*"))
        # A minute's worth of requests, none beside another, as one who asks all the time makes them.
        for _ in range(FILLED_MINUTE):
            await self._recorded.take(rules)
            await asyncio.sleep(1 / FILLED_BURST)
        rated = set(await self._client.keys("*")) - before
        await self._recorded.take([AmountRule(ACTIVE_USER, ACTIVE_MINT, 10**8, 10**17)])
        whole = set(await self._client.keys("*")) - before
        used = {key: await self._client.memory_usage(key) for key in whole}
        return {"bytes": sum(used[key] for key in rated), "with_amount": sum(used.values())}

    async def close(self) -> None:
        """Close what was opened."""
        await self._store.close()
        await self._database.close()
        await self._client.aclose()

    async def _recorded_call(self) -> Call:
        """Return what the gate sends for one user, as it sends it."""
        sent: list[Call] = []
        run = self._store.run

        async def note(script: Script, keys: Sequence[Key], arguments: Sequence[Argument]) -> Any:
            sent.append((script.sha1, [str(key) for key in unpacked(keys)], unpacked(arguments)))
            return await run(script, keys, arguments)

        self._store.run = note  # type: ignore[method-assign]
        await self._gate.take(rules_of("USER"))
        self._store.run = run  # type: ignore[method-assign]
        return sent[0]

    def _call_of(self, user: str) -> Call:
        sha, keys, arguments = self._call
        return sha, [key.replace("USER", user) for key in keys], arguments


async def _timed(calls: int, callers: int, act: Callable[[int], Awaitable[bool]]) -> dict[str, Any]:
    left = iter(range(calls))
    waits: list[float] = []
    watch = Stopwatch()

    async def caller() -> None:
        for number in left:
            began = time.perf_counter()
            if not await act(number):
                raise RuntimeError("a call was refused")
            waits.append(time.perf_counter() - began)

    await asyncio.gather(*(caller() for _ in range(callers)))
    seconds, cpu_seconds = watch.seconds, watch.cpu_seconds
    percentiles = statistics.quantiles(waits, n=100)
    return {
        "payments": calls,
        "seconds": seconds,
        "cpu_seconds": cpu_seconds,
        "p50_milliseconds": percentiles[49] * 1_000,
        "p99_milliseconds": percentiles[98] * 1_000,
    }


async def main() -> None:
    """Serve the parent until it closes the pipe."""
    engine = LimitEngine()
    commands = (
        *(engine.prepare, engine.gate, engine.raw, engine.increments),
        *(engine.counts, engine.checks, engine.bytes_per_user),
    )
    await answer_commands({command.__name__: command for command in commands}, engine.close)


if __name__ == "__main__":
    asyncio.run(main())
