"""What every contender of the cache benchmark does in its turn, whatever library it is."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any, Final, Protocol

from scripts.bench.contestants import Handler, Stopwatch

TTL_SECONDS: Final = 300
KEYS: Final = 100
PROFILE: Final = {
    "id": "6f1c1b1e-6a55-4bb5-9a0a-0a4c0d8f4f10",
    "external_id": "chat-1234567",
    "username": "somebody",
    "tier": "Professional",
    "subscription_expires_at": "2026-02-01T12:30:00+00:00",
    "created_at": "2026-01-01T00:00:00+00:00",
}


class Reads(Protocol):
    """The reads that are timed; each of `keys_of("hit")` holds `PROFILE`."""

    async def open(self, redis_url: str) -> None:
        """Make the caches."""
        ...

    async def get_local(self, key: str) -> Any:
        """Read from this process."""
        ...

    async def get_stored(self, key: str) -> Any:
        """Read from Redis."""
        ...

    async def get_or_load(self, key: str) -> Any:
        """Read from Redis, else load and store."""
        ...

    async def get_many(self, keys: list[str]) -> Any:
        """Read many from Redis."""
        ...


def keys_of(kind: str, count: int = KEYS) -> list[str]:
    """Name keys of one kind."""
    return [f"{kind}-{number}" for number in range(count)]


class Turns:
    """Times one contender's reads."""

    def __init__(self, reads: Reads) -> None:
        """Keep the contender."""
        self._reads = reads
        self._round = 0

    def handlers(self) -> dict[str, Handler]:
        """Return what the parent can ask for."""
        return {
            "prepare": self.prepare,
            "local": self.local,
            "stored": self.stored,
            "load": self.load,
            "batch": self.batch,
        }

    async def prepare(self, redis_url: str) -> dict[str, Any]:
        """Fill the caches, and prove that they answer."""
        await self._reads.open(redis_url)
        for read in (self._reads.get_local, self._reads.get_stored):
            if await read("hit-0") != PROFILE:
                raise RuntimeError(f"{read.__name__} does not return what was stored")
        return {}

    async def local(self, count: int) -> dict[str, float]:
        """Read entries of this process."""
        return await self._repeat(self._reads.get_local, "hit", count)

    async def stored(self, count: int) -> dict[str, float]:
        """Read entries of Redis, one after another."""
        return await self._repeat(self._reads.get_stored, "hit", count)

    async def load(self, count: int) -> dict[str, float]:
        """Miss, load and store, one after another."""
        self._round += 1
        return await self._repeat(self._reads.get_or_load, f"miss-{self._round}", count, keys=count)

    async def batch(self, count: int) -> dict[str, float]:
        """Read a hundred entries of Redis at once, again and again."""
        keys = keys_of("hit")
        watch = Stopwatch()
        for _ in range(count):
            await self._reads.get_many(keys)
        return _reply(count, watch)

    async def _repeat(
        self, read: Callable[[str], Awaitable[Any]], kind: str, count: int, *, keys: int = KEYS
    ) -> dict[str, float]:
        names = keys_of(kind, keys) * (count // keys)
        watch = Stopwatch()
        for name in names:
            await read(name)
        return _reply(len(names), watch)


def _reply(count: int, watch: Stopwatch) -> dict[str, float]:
    # By CPU alone: three quarters of a round trip are the client's own work, and the rest is the machine's.
    spent_seconds = watch.cpu_seconds
    return {"payments": count, "seconds": spent_seconds, "cpu_seconds": spent_seconds}
