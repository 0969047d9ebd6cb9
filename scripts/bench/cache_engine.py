"""The cache as a contender in a process of its own."""

from __future__ import annotations

import asyncio
from typing import Any

from deal_sdk.cache import CacheManager, CachePolicy
from deal_sdk.limits import Store, open_store
from scripts.bench.cache_turns import KEYS, PROFILE, TTL_SECONDS, Turns, keys_of
from scripts.bench.contestants import answer_commands

LISTENING_SECONDS = 0.05
MAX_TRIES = 100


class Engine:
    """`CacheManager` with and without entries of its own."""

    async def open(self, redis_url: str) -> None:
        """Make both caches, and wait until the one hears of changes."""
        self._store: Store = open_store(redis_url)
        self._stored = CacheManager(self._store, "stored", TTL_SECONDS)
        policy = CachePolicy(local_entries=2 * KEYS, local_ttl_seconds=TTL_SECONDS)
        self._local = CacheManager(self._store, "local", TTL_SECONDS, policy=policy)
        for cache in (self._stored, self._local):
            await cache.set_many(dict.fromkeys(keys_of("hit"), PROFILE))
        for _ in range(MAX_TRIES):
            await self._local.get_many(keys_of("hit"))
            if self._local.local_entries == KEYS:
                return
            await asyncio.sleep(LISTENING_SECONDS)
        raise RuntimeError("the tier in the process does not fill")

    async def get_local(self, key: str) -> Any:
        """Read from this process."""
        return await self._local.get(key)

    async def get_stored(self, key: str) -> Any:
        """Read from Redis."""
        return await self._stored.get(key)

    async def get_or_load(self, key: str) -> Any:
        """Read from Redis, else load and store."""
        return await self._stored.get_or_load(key, self._load)

    async def get_many(self, keys: list[str]) -> Any:
        """Read many from Redis."""
        return await self._stored.get_many(keys)

    async def close(self) -> None:
        """Close the caches and their connections."""
        await self._local.close()
        await self._stored.close()
        await self._store.close()

    @staticmethod
    async def _load() -> dict[str, Any]:
        return dict(PROFILE)


async def main() -> None:
    """Answer as the engine."""
    engine = Engine()
    await answer_commands(Turns(engine).handlers(), engine.close)


if __name__ == "__main__":
    asyncio.run(main())
