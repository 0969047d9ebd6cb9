"""A cache in Redis that serves no value that was changed while it was loaded.

Owns entries of one namespace: JSON values with a lifetime and a guard against stale fills. Never the source
of truth: when the store is down it reads the source, and nothing that it serves authorises a debit.
"""

from __future__ import annotations

import asyncio
import json
import logging
import math
import uuid
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final, Literal, TypeAlias

from deal_sdk.clock import Clock
from deal_sdk.errors import InvalidInputError, StoreUnavailableError
from deal_sdk.flights import Flights
from deal_sdk.limits.outages import OutageLog
from deal_sdk.limits.rules import check_id, encode
from deal_sdk.limits.scripts import load_script
from deal_sdk.limits.store import Store
from deal_sdk.metrics import Metrics

logger = logging.getLogger(__name__)

DEFAULT_TTL_SECONDS: Final = 300.0
MAX_TTL_SECONDS: Final = 366 * 86_400.0
DEFAULT_PREFIX: Final = "deal:"
LEASE_SECONDS: Final = 60.0
"""How long a load may take for its result to be stored. A guard lives twice as long, so that it cannot
have changed and expired meanwhile."""
_MILLISECONDS: Final = 1000

Load: TypeAlias = Callable[[], Awaitable[Any]]


@dataclass(frozen=True, slots=True)
class Hit:
    """A cached value, which may be None, and how old it is."""

    value: Any
    age_seconds: float


@dataclass(frozen=True, slots=True)
class _Lookup:
    hit: Hit | None
    guard: str | None
    """The guard at a miss; None when the store did not answer."""


class CacheManager:
    """Reads and writes the entries of one namespace."""

    def __init__(
        self,
        store: Store,
        namespace: str,
        *,
        clock: Clock,
        metrics: Metrics,
        default_ttl_seconds: float = DEFAULT_TTL_SECONDS,
        prefix: str = DEFAULT_PREFIX,
    ) -> None:
        """Keep the parts; nothing is asked yet.

        Args:
            store: where entries live.
            namespace: keeps entries apart, and is the metrics' label.
            clock: tells the age of entries.
            metrics: counts hits and misses.
            default_ttl_seconds: the lifetime where none is given.
            prefix: begins every key.

        Raises:
            InvalidInputError: for an empty namespace or a lifetime out of range.
        """
        check_id("namespace", namespace)
        _milliseconds(default_ttl_seconds)
        self._store = store
        self._namespace = namespace
        self._clock = clock
        self._metrics = metrics
        self._default_ttl_seconds = default_ttl_seconds
        self._prefix = f"{prefix}cache:{encode(namespace)}:"
        self._flights: Flights[Any] = Flights()
        self._outages = OutageLog(logger, clock)

    async def get(self, key: str, default: Any = None) -> Any:
        """Return the cached value, or `default` where there is none or the store is down."""
        hit = await self.find(key)
        return default if hit is None else hit.value

    async def find(self, key: str) -> Hit | None:
        """Return the cached value with its age, so that a cached None is no miss."""
        return (await self._look_up(key)).hit

    async def get_many(self, keys: Sequence[str]) -> dict[str, Any]:
        """Return the values that are cached, by key, in one round trip."""
        hits = await asyncio.gather(*(self.find(key) for key in keys))
        return {key: hit.value for key, hit in zip(keys, hits, strict=True) if hit is not None}

    async def get_or_load(self, key: str, load: Load, *, ttl_seconds: float | None = None) -> Any:
        """Return the cached value, else load it once for all who wait, and cache it.

        What `load` returns is cached only if the entry was neither written nor removed meanwhile.

        Args:
            key: what is cached.
            load: reads the source; what it raises is raised here and nothing is cached.
            ttl_seconds: the lifetime where it is not the default.
        """
        ttl_ms = self._ttl_ms(ttl_seconds)
        lookup = await self._look_up(key)
        if lookup.hit is not None:
            return lookup.hit.value
        flight = _flight(key, lookup.guard)
        return await self._flights.join(flight, lambda: self._load(key, load, lookup.guard, ttl_ms))

    async def set(self, key: str, value: Any, *, ttl_seconds: float | None = None) -> bool:
        """Store a value that is newer than any load under way.

        Args:
            key: what is cached.
            value: JSON-serialisable.
            ttl_seconds: the lifetime where it is not the default.

        Returns:
            Whether the store took it; when it is down an older entry may live on until its end.

        Raises:
            InvalidInputError: for a value that is no JSON, or a lifetime out of range.
        """
        ttl_ms = self._ttl_ms(ttl_seconds)
        text = self._envelope(value, ttl_ms)
        self._flights.leave(_flight(key, None))
        return await self._write("put", key, text, ttl_ms, uuid.uuid4().hex) is not None

    async def set_many(self, values: Mapping[str, Any], *, ttl_seconds: float | None = None) -> bool:
        """Store many values in one round trip; returns whether the store took all."""
        return all(
            await asyncio.gather(*(self.set(k, v, ttl_seconds=ttl_seconds) for k, v in values.items()))
        )

    async def delete(self, *keys: str) -> bool:
        """Remove entries, and make loads under way not store what they read before.

        Returns:
            Whether the store took it; when it is down the entries may live on until their end.
        """
        for key in keys:
            self._flights.leave(_flight(key, None))
        drops = (self._write("drop", key, "", 1, uuid.uuid4().hex) for key in keys)
        return None not in await asyncio.gather(*drops)

    async def ttl(self, key: str) -> float | None:
        """Return the seconds that an entry has left, or None where there is none.

        Raises:
            StoreUnavailableError: when the store failed.
        """
        text = await self._store.command("GET", self._entry_key(key))
        envelope = _parse(text)
        if envelope is None:
            return None
        stored_at_ms, ttl_ms, _ = envelope
        left_ms = stored_at_ms + ttl_ms - _epoch_ms(self._clock.now())
        return left_ms / _MILLISECONDS if left_ms > 0 else None

    async def close(self) -> None:
        """Cancel the loads under way."""
        await self._flights.close()

    async def _look_up(self, key: str) -> _Lookup:
        try:
            text, guard = await self._store.command("MGET", self._entry_key(key), self._guard_key(key))
        except StoreUnavailableError as error:
            self._outages.say(error, f"the cache {self._namespace} reads its source")
            self._count("error")
            return _Lookup(None, None)
        hit = self._fresh(text)
        self._count("miss" if hit is None else "hit")
        if hit is not None:
            self._metrics.cache_staleness_seconds.observe(hit.age_seconds)
        return _Lookup(hit, guard.decode() if guard is not None else "")

    def _fresh(self, text: bytes | None) -> Hit | None:
        envelope = _parse(text)
        if envelope is None:
            return None
        stored_at_ms, ttl_ms, value = envelope
        age_ms = max(_epoch_ms(self._clock.now()) - stored_at_ms, 0)
        return Hit(value, age_ms / _MILLISECONDS) if age_ms < ttl_ms else None

    async def _load(self, key: str, load: Load, guard: str | None, ttl_ms: int) -> Any:
        started = self._clock.monotonic()
        value = await load()
        if guard is not None and self._clock.monotonic() - started < LEASE_SECONDS:
            await self._write("fill", key, self._envelope(value, ttl_ms), ttl_ms, guard)
        return value

    async def _write(
        self, verb: Literal["fill", "put", "drop"], key: str, text: str, ttl_ms: int, token: str
    ) -> int | None:
        script = load_script("entry", "entry", package="deal_sdk.cache")
        arguments = (verb, text, ttl_ms, token, _milliseconds(2 * LEASE_SECONDS))
        try:
            reply: int = await self._store.run(
                script, [self._entry_key(key), self._guard_key(key)], arguments
            )
        except StoreUnavailableError as error:
            self._outages.say(error, f"the cache {self._namespace} did not {verb} an entry")
            return None
        return reply

    def _envelope(self, value: Any, ttl_ms: int) -> str:
        try:
            return json.dumps([_epoch_ms(self._clock.now()), ttl_ms, value], separators=(",", ":"))
        except (TypeError, ValueError):
            raise InvalidInputError("a cached value must be JSON") from None

    def _ttl_ms(self, ttl_seconds: float | None) -> int:
        return _milliseconds(self._default_ttl_seconds if ttl_seconds is None else ttl_seconds)

    def _entry_key(self, key: str) -> str:
        check_id("key", key)
        return f"{self._prefix}entry:{{{encode(key)}}}"

    def _guard_key(self, key: str) -> str:
        return f"{self._prefix}guard:{{{encode(key)}}}"

    def _count(self, outcome: str) -> None:
        self._metrics.cache_requests.labels(cache=self._namespace, outcome=outcome).inc()


def _flight(key: str, guard: str | None) -> str:
    # Shared only by those who saw the same guard: a load that began before a change is not joined after it.
    return f"{guard or ''}:{key}"


def _milliseconds(seconds: float) -> int:
    if not 0 < seconds <= MAX_TTL_SECONDS:
        raise InvalidInputError(f"a lifetime must be above 0 and at most {MAX_TTL_SECONDS:.0f} s")
    # Rounded up: a TTL of 0 would remove the entry, or be refused.
    return math.ceil(seconds * _MILLISECONDS)


def _epoch_ms(moment: datetime) -> int:
    return int(moment.timestamp() * _MILLISECONDS)


def _parse(text: bytes | None) -> tuple[int, int, Any] | None:
    if text is None:
        return None
    try:
        stored_at_ms, ttl_ms, value = json.loads(text)
        return int(stored_at_ms), int(ttl_ms), value
    except (ValueError, TypeError):
        # Another program's value under our key is a miss, which the next fill replaces.
        return None
