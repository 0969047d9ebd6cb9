"""A cache in Redis that serves no value that was changed while it was loaded.

Owns the entries of one namespace: JSON values with a lifetime, tags, and a lease against stale fills. Never
the source of truth: when the store is down the source is read, and nothing that it serves authorises a debit.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from functools import partial
from random import Random
from typing import Any, Final, TypeAlias

import orjson

from deal_sdk.cache.batches import Batch, BatchParts, LoadMany
from deal_sdk.cache.changes import ChangeListener
from deal_sdk.cache.debts import Debts
from deal_sdk.cache.entries import DEFAULT_PREFIX, Entries, version_text
from deal_sdk.cache.link import StoreLink
from deal_sdk.cache.loading import Found, Loaded, Loader, Miss, Tokens
from deal_sdk.cache.lookups import Hit, Lookup, Lookups
from deal_sdk.cache.policy import DEFAULT_TTL_SECONDS, CachePolicy
from deal_sdk.cache.sealing import Sealer, check_tags
from deal_sdk.cache.tier import LocalTier
from deal_sdk.cache.values import encode_value
from deal_sdk.clock import Clock, SystemClock
from deal_sdk.errors import StoreUnavailableError
from deal_sdk.limits.ids import check_id, encode
from deal_sdk.limits.store import Store
from deal_sdk.metrics import Metrics

_MILLISECONDS: Final = 1000

Load: TypeAlias = Callable[[], Awaitable[Any]]


class CacheManager:
    """Reads and writes the entries of one namespace."""

    def __init__(
        self,
        redis: Store,
        namespace: str,
        default_ttl_seconds: float = DEFAULT_TTL_SECONDS,
        *,
        policy: CachePolicy | None = None,
        clock: Clock | None = None,
        metrics: Metrics | None = None,
        prefix: str = DEFAULT_PREFIX,
        random: Random | None = None,
    ) -> None:
        """Keep the parts; nothing is asked yet.

        Args:
            redis: where entries live, from `open_store`.
            namespace: keeps entries apart, and is the metrics' label.
            default_ttl_seconds: the lifetime where none is given.
            policy: bounds, stale values, and the tier in this process.
            clock: tells the age of entries; the machine's by default.
            metrics: counts hits and misses.
            prefix: begins every key.
            random: spreads lifetimes, where the policy says so.

        Raises:
            InvalidInputError: for an empty namespace or a lifetime out of range.
        """
        check_id("namespace", namespace)
        self.namespace = namespace
        policy = policy or CachePolicy()
        clock = clock or SystemClock()
        self._link = StoreLink(redis, namespace, clock)
        prefix = f"{prefix}cache:{encode(namespace)}:"
        self._entries = Entries(redis, prefix, lease_seconds=policy.lease_seconds)
        self._debts = Debts(self._entries, self._link, clock)
        self._lookups = Lookups(
            self._entries, self._link, self._debts, name=namespace, clock=clock, metrics=metrics or Metrics()
        )
        self._sealer = Sealer(
            self._entries,
            self._link,
            policy,
            namespace=namespace,
            default_ttl_seconds=default_ttl_seconds,
            now_ms=self._lookups.now_ms,
            random=random or Random(),
        )
        self._loader: Loader[bytes] = Loader(
            self._entries, self._link, clock, wait_seconds=policy.wait_seconds
        )
        self._batches = BatchParts(self._entries, self._link, self._loader, self._sealer, self._accept)
        self._tier: LocalTier | None = None
        if policy.local_entries:
            self._tier = LocalTier(policy.local_entries, policy.local_ttl_seconds, clock, self._report_local)
            self._listener = ChangeListener(redis, self._entries.channel, self._tier, clock)

    @property
    def local_entries(self) -> int:
        """Return how many entries this process holds for itself."""
        return 0 if self._tier is None else len(self._tier)

    async def get(self, key: str, default: Any = None) -> Any:
        """Return the cached value, or `default` where there is none or the store is down."""
        tier = self._tier
        if tier is not None and (held := tier.find(key)) is not None:
            return held.value if held.copy is None else held.copy()
        hit = (await self._look_up(key)).hit
        return default if hit is None else hit.value

    async def find(self, key: str) -> Hit | None:
        """Return what the store holds, with its age, so that a cached None is no miss."""
        return (await self._look_up(key)).hit

    async def get_many(self, keys: Sequence[str]) -> dict[str, Any]:
        """Return the values that are cached, by key, in one round trip."""
        values, missing = self._held_here(keys)
        if missing:
            found = await self._look_up_many(dict.fromkeys(missing, ()))
            values |= {key: lookup.hit.value for key, lookup in found.items() if lookup.hit is not None}
        return {key: values[key] for key in keys if key in values}

    async def get_or_load(
        self,
        key: str,
        load: Load,
        *,
        ttl_seconds: float | None = None,
        tags: Sequence[str] = (),
    ) -> Any:
        """Return the cached value, else load it once for all who wait, here and in other processes.

        What `load` returns is cached only if the entry was neither written nor removed meanwhile, and none of
        its tags ended. While the store is down the source is read.

        Args:
            key: what is cached.
            load: reads the source; what it raises is raised here and nothing is cached. It may return a
                `Versioned` value.
            ttl_seconds: the lifetime where it is not the default.
            tags: the entry ends with each of them.
        """
        tier = self._tier
        if tier is not None and (held := tier.find(key)) is not None:
            return held.value if held.copy is None else held.copy()
        seconds = self._sealer.lifetime(ttl_seconds)
        check_tags(tags)
        lookup = await self._look_up(key, tags, serves_stale=True)
        if lookup.hit is not None:
            return lookup.hit.value
        miss: Miss[bytes] = Miss(
            key,
            lookup.seen,
            lookup.state,
            partial(self._accept, key),
            partial(self._sealer.try_join, tags, seconds),
            partial(self._load, load, seconds),
        )
        if lookup.outcome == "stale" and lookup.envelope is not None:
            self._loader.refresh(miss)
            return lookup.envelope.value
        return orjson.loads(await self._loader.load(miss))

    async def get_or_load_many(
        self,
        keys: Sequence[str],
        load_many: LoadMany,
        *,
        ttl_seconds: float | None = None,
        tags_of: Callable[[str], Sequence[str]] = lambda key: (),
    ) -> dict[str, Any]:
        """Return many values, the cached ones from one round trip, the others loaded together.

        Args:
            keys: what is cached.
            load_many: reads the source for those that are missing, and returns values by key; what it leaves
                out does not exist and is left out here. What it raises is raised here.
            ttl_seconds: the lifetime where it is not the default.
            tags_of: returns the tags of a key's entry.
        """
        seconds = self._sealer.lifetime(ttl_seconds)
        values, missing = self._held_here(keys)
        if missing:
            tags = {key: tags_of(key) for key in missing}
            for own in tags.values():
                check_tags(own)
            found = await self._look_up_many(tags)
            values |= {key: lookup.hit.value for key, lookup in found.items() if lookup.hit is not None}
            batch = Batch(self._batches, load_many, tags, seconds)
            await batch.run({key: lookup.seen for key, lookup in found.items() if lookup.hit is None})
            values |= {key: orjson.loads(body) for key, body in batch.bodies.items()}
        return {key: values[key] for key in dict.fromkeys(keys) if key in values}

    async def set(
        self,
        key: str,
        value: Any,
        *,
        ttl_seconds: float | None = None,
        tags: Sequence[str] = (),
        version: int | None = None,
    ) -> bool:
        """Store a value that is newer than any load under way.

        Args:
            key: what is cached.
            value: what JSON can hold, and comes back equal: no tuples, integers of at most 64 bits.
            ttl_seconds: the lifetime where it is not the default.
            tags: the entry ends with each of them.
            version: of the value; one older than the newest that was ever stored here changes nothing.

        Returns:
            Whether it is cached now. It is not when the store is down, when it is too large, and when a newer
            version is there; an older value is removed, in the first case as soon as the store answers.

        Raises:
            InvalidInputError: for a value that is no JSON, or a lifetime, tag or version out of range.
        """
        check_id("key", key)
        return await self._store({key: value}, ttl_seconds, tags, version) == 1

    async def set_many(
        self, values: Mapping[str, Any], *, ttl_seconds: float | None = None, tags: Sequence[str] = ()
    ) -> bool:
        """Store many values in one round trip, as `set` does each; returns whether all are cached now."""
        return await self._store(values, ttl_seconds, tags, None) == len(values)

    async def delete(self, *keys: str) -> bool:
        """Remove entries, and make loads under way, here and elsewhere, not store what they read before.

        Returns:
            Whether the store took it; else it is told as soon as it answers, and until then nothing of these
            entries is served here.
        """
        self._forget(keys)
        versions = dict.fromkeys(keys)
        try:
            await self._link.through(lambda: self._entries.drop(versions))
        except StoreUnavailableError:
            self._debts.owe(versions)
            return False
        finally:
            self._forget(keys)
        return True

    async def invalidate_tags(self, *tags: str) -> bool:
        """Make a miss of every entry that carries one of these tags, however many there are.

        Returns:
            Whether the store took it; else it is told as soon as it answers, and until then nothing is
            served from the store here.
        """
        for tag in tags:
            check_id("tag", tag)
        try:
            self._forget_tags(tags)
            await self._link.through(lambda: self._end_tags(tags))
        except StoreUnavailableError:
            self._debts.owe({}, tags)
            return False
        finally:
            self._forget_tags(tags)
        return True

    async def ttl(self, key: str) -> float | None:
        """Return the seconds for which an entry is still fresh, or None where there is none.

        Raises:
            StoreUnavailableError: when the store failed.
        """
        lookup = await self._lookups.judge((await self._entries.read(key)).text, key)
        if lookup.outcome != "hit" or lookup.envelope is None:
            return None
        return (lookup.envelope.ttl_ms - lookup.age_ms) / _MILLISECONDS

    async def close(self) -> None:
        """Cancel the loads and refreshes under way, stop listening, and tell the store what it missed."""
        await self._loader.close()
        if self._tier is not None:
            await self._listener.close()
            self._tier.report()
        await self._debts.close()

    async def _look_up(self, key: str, tags: Sequence[str] = (), *, serves_stale: bool = False) -> Lookup:
        check_id("key", key)
        return (await self._look_up_many({key: tags}, serves_stale=serves_stale))[key]

    async def _look_up_many(
        self, tags_by_key: Mapping[str, Sequence[str]], *, serves_stale: bool = False
    ) -> dict[str, Lookup]:
        tier = self._tier
        if tier is None:
            return await self._lookups.find_many(tags_by_key, serves_stale=serves_stale)
        self._listener.ensure()
        tier.report()
        marks = {key: tier.begin(key) for key in tags_by_key}
        found: dict[str, Lookup] = {}
        try:
            found = await self._lookups.find_many(tags_by_key, serves_stale=serves_stale)
        finally:
            for key, mark in marks.items():
                if tier.end(key, mark) and (lookup := found.get(key)) is not None:
                    _keep(tier, key, lookup)
        return found

    async def _accept(self, key: str, text: bytes) -> Found[bytes] | None:
        with suppress(StoreUnavailableError):
            lookup = await self._lookups.judge(text, key)
            if lookup.outcome == "hit" and lookup.envelope is not None:
                return Found(lookup.envelope.body)
        return None

    async def _load(self, load: Load, seconds: float, tokens: Tokens | None) -> Loaded[bytes]:
        return self._sealer.seal(await load(), seconds, tokens)

    async def _store(
        self, values: Mapping[str, Any], ttl_seconds: float | None, tags: Sequence[str], version: int | None
    ) -> int:
        seconds = self._sealer.lifetime(ttl_seconds)
        check_tags(tags)
        version_text(version)
        bodies = {key: encode_value(value) for key, value in values.items()}
        try:
            self._forget(values)
            return await self._link.through(lambda: self._put_all(bodies, seconds, tags, version))
        except StoreUnavailableError:
            self._debts.owe(dict.fromkeys(values, version))
            return 0
        finally:
            self._forget(values)

    async def _put_all(
        self, bodies: Mapping[str, bytes], seconds: float, tags: Sequence[str], version: int | None
    ) -> int:
        tokens = await self._sealer.join(tags, seconds) if tags else {}
        writes = {
            key: self._sealer.write(body, seconds, tokens, version)
            for key, body in bodies.items()
            if self._sealer.fits(body)
        }
        # What cannot be kept must not leave an older value behind.
        removals = {key: version for key in bodies if key not in writes}
        puts = asyncio.gather(*(self._entries.put(key, write) for key, write in writes.items()))
        written, _ = await asyncio.gather(puts, self._entries.drop(removals))
        return sum(one.done for one in written)

    async def _end_tags(self, tags: Sequence[str]) -> None:
        await asyncio.gather(*(self._entries.end_tag(tag) for tag in tags))

    def _forget(self, keys: Iterable[str]) -> None:
        for key in keys:
            check_id("key", key)
            self._loader.forget(key)
            if self._tier is not None:
                self._tier.drop(key)

    def _forget_tags(self, tags: Iterable[str]) -> None:
        # Which of the loads under way would carry them is not known.
        self._loader.forget_all()
        if self._tier is not None:
            for tag in tags:
                self._tier.end_tag(tag)

    def _held_here(self, keys: Sequence[str]) -> tuple[dict[str, Any], list[str]]:
        values: dict[str, Any] = {}
        missing: list[str] = []
        for key in keys:
            check_id("key", key)
        for key in dict.fromkeys(keys):
            held = None if self._tier is None else self._tier.find(key)
            if held is None:
                missing.append(key)
            else:
                values[key] = held.value if held.copy is None else held.copy()
        return values, missing

    def _report_local(self, hits: int, age_seconds: float) -> None:
        self._lookups.count("local", hits)
        self._lookups.measure_age(age_seconds)


def _keep(tier: LocalTier, key: str, lookup: Lookup) -> None:
    envelope = lookup.envelope
    if lookup.outcome == "hit" and envelope is not None:
        left_ms = envelope.ttl_ms - lookup.age_ms
        tier.keep(key, envelope, lookup.age_ms / _MILLISECONDS, left_ms / _MILLISECONDS)
