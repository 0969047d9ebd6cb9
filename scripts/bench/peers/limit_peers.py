"""The peers `limits` and `throttled-py`, each asked for the same three limits by every call.

Neither takes several limits together: each call is three of theirs, one after another. Where a library has
no bucket, its cheapest limit of a second stands in for one.
"""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Awaitable, Callable
from typing import Any, Final

from scripts.bench.contestants import Stopwatch, answer_commands

USERS: Final = 500
PER_DAY, PER_MINUTE, PER_SECOND = 1_000_000, 10_000, 10_000

Hit = Callable[[str], Awaitable[bool]]


class Peer:
    """A peer's process: three limits a call."""

    def __init__(self, open_peer: Callable[[str], Hit]) -> None:
        """Keep how it is opened."""
        self._open = open_peer

    async def prepare(self, redis_url: str) -> dict[str, Any]:
        """Open the peer on a server."""
        self._hit = self._open(redis_url)
        return {}

    async def run(self, calls: int, callers: int, turn: str) -> dict[str, Any]:
        """Ask for the three limits of one user after another, with some callers at once."""
        left = iter(range(calls))
        refused = 0
        watch = Stopwatch()

        async def caller() -> None:
            nonlocal refused
            for number in left:
                refused += not await self._hit(f"{turn}-{number % USERS}")

        await asyncio.gather(*(caller() for _ in range(callers)))
        if refused:
            raise RuntimeError(f"{refused} calls were refused")
        return {"payments": calls, "seconds": watch.seconds, "cpu_seconds": watch.cpu_seconds}

    async def close(self) -> None:
        """Leave the connections to the end of the process."""


def open_limits(redis_url: str) -> Hit:
    """Prepare `limits`: a fixed day, a sliding minute, a fixed second."""
    from limits import RateLimitItemPerDay, RateLimitItemPerMinute, RateLimitItemPerSecond
    from limits.aio.storage import RedisStorage
    from limits.aio.strategies import FixedWindowRateLimiter, SlidingWindowCounterRateLimiter

    storage = RedisStorage(f"async+{redis_url}", implementation="redispy")
    fixed, sliding = FixedWindowRateLimiter(storage), SlidingWindowCounterRateLimiter(storage)
    day, minute = RateLimitItemPerDay(PER_DAY), RateLimitItemPerMinute(PER_MINUTE)
    second = RateLimitItemPerSecond(PER_SECOND)

    async def hit(user: str) -> bool:
        return bool(
            await fixed.hit(day, user, "MINT")
            and await sliding.hit(minute, user, "op")
            and await fixed.hit(second, user, "op")
        )

    return hit


def open_throttled(redis_url: str) -> Hit:
    """Prepare `throttled-py`: a fixed day, a sliding minute, a bucket."""
    from throttled.asyncio import RateLimiterType, RedisStore, Throttled, per_day, per_min, per_sec

    store = RedisStore(server=redis_url)
    day = Throttled(using=RateLimiterType.FIXED_WINDOW.value, quota=per_day(PER_DAY), store=store)
    minute = Throttled(using=RateLimiterType.SLIDING_WINDOW.value, quota=per_min(PER_MINUTE), store=store)
    bucket = Throttled(
        using=RateLimiterType.TOKEN_BUCKET.value, quota=per_sec(PER_SECOND, burst=PER_SECOND), store=store
    )

    async def hit(user: str) -> bool:
        for limit, name in ((day, "MINT"), (minute, "op"), (bucket, "op")):
            if (await limit.limit(f"{user}:{name}")).limited:
                return False
        return True

    return hit


def main(name: str) -> None:
    """Serve the parent until it closes the pipe."""
    peer = Peer({"limits": open_limits, "throttled-py": open_throttled}[name])
    asyncio.run(answer_commands({"prepare": peer.prepare, "run": peer.run}, peer.close))


if __name__ == "__main__":
    main(sys.argv[1])
