"""cashews and aiocache as contenders: the same reads as the cache's own, through their own interfaces."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Awaitable, Callable, Mapping
from typing import Any, Final, Protocol

from scripts.bench.cache_turns import PROFILE, TTL_SECONDS, Turns, keys_of
from scripts.bench.contestants import answer_commands

Get = Callable[[str], Awaitable[Any]]


class Peer(Protocol):
    """One library."""

    async def open(self, redis_url: str) -> None:
        """Make its caches in memory and on Redis, both with the same values."""
        ...

    async def get_local(self, key: str) -> Any:
        """Read from memory."""
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

    async def close(self) -> None:
        """Close its connections."""
        ...


async def load() -> dict[str, Any]:
    """Stand for the source."""
    return dict(PROFILE)


class Cashews:
    """cashews, with the lock against stampedes that it offers."""

    async def open(self, redis_url: str) -> None:
        """Make its caches in memory and on Redis, both with the same values."""
        from cashews import Cache  # type: ignore[import-not-found, unused-ignore]

        self._memory, self._redis = Cache(), Cache()
        self._memory.setup("mem://")
        self._redis.setup(redis_url)
        for key in keys_of("hit"):
            await self._memory.set(key, PROFILE, expire=TTL_SECONDS)
            await self._redis.set(key, PROFILE, expire=TTL_SECONDS)
        loaded = self._redis(ttl=TTL_SECONDS, key="load:{key}", lock=True)(self._load)
        self._loaded = loaded

    @staticmethod
    async def _load(key: str) -> dict[str, Any]:
        return await load()

    async def get_local(self, key: str) -> Any:
        """Read from memory."""
        return await self._memory.get(key)

    async def get_stored(self, key: str) -> Any:
        """Read from Redis."""
        return await self._redis.get(key)

    async def get_or_load(self, key: str) -> Any:
        """Read from Redis, else load and store."""
        return await self._loaded(key)

    async def get_many(self, keys: list[str]) -> Any:
        """Read many from Redis."""
        return await self._redis.get_many(*keys)

    async def close(self) -> None:
        """Close its connections."""
        await self._memory.close()
        await self._redis.close()


class Aiocache:
    """aiocache, with JSON; it has no load of its own that guards against stampedes across processes."""

    async def open(self, redis_url: str) -> None:
        """Make its caches in memory and on Redis, both with the same values."""
        from aiocache import Cache, SimpleMemoryCache  # type: ignore[import-not-found, unused-ignore]
        from aiocache.serializers import JsonSerializer  # type: ignore[import-not-found, unused-ignore]

        self._memory = SimpleMemoryCache()
        self._redis = Cache.from_url(redis_url)
        self._redis.serializer = JsonSerializer()
        for key in keys_of("hit"):
            await self._memory.set(key, PROFILE, ttl=TTL_SECONDS)
            await self._redis.set(key, PROFILE, ttl=TTL_SECONDS)

    async def get_local(self, key: str) -> Any:
        """Read from memory."""
        return await self._memory.get(key)

    async def get_stored(self, key: str) -> Any:
        """Read from Redis."""
        return await self._redis.get(key)

    async def get_or_load(self, key: str) -> Any:
        """Read from Redis, else load and store."""
        value = await self._redis.get(key)
        if value is None:
            value = await load()
            await self._redis.set(key, value, ttl=TTL_SECONDS)
        return value

    async def get_many(self, keys: list[str]) -> Any:
        """Read many from Redis."""
        return await self._redis.multi_get(keys)

    async def close(self) -> None:
        """Close its connections."""
        await self._redis.close()


PEERS: Final[Mapping[str, Callable[[], Peer]]] = {"cashews": Cashews, "aiocache": Aiocache}


async def main(name: str) -> None:
    """Answer as one peer."""
    peer = PEERS[name]()
    await answer_commands(Turns(peer).handlers(), peer.close)


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1]))
