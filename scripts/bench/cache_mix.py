"""A mix of requests as a backend makes them, by which the hit rate at the usual lifetimes is counted.

Virtual time and a seed: the figure is the same on every machine.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from itertools import accumulate
from random import Random
from typing import Any, Final
from uuid import UUID

from deal_sdk.cache import BalanceManager, CacheManager, UserCache, UserProfile, UserSources
from deal_sdk.clock import ManualClock
from deal_sdk.limits import open_store
from deal_sdk.limits.ids import UserKey
from deal_sdk.metrics import Metrics

SEED: Final = 20260101
USERS: Final = 100
ZIPF_EXPONENT: Final = 1.0
"""The user of rank r comes 1/r times as often as the first one; web traffic has 0.6 to 1.0."""
REQUESTS_PER_SECOND: Final = 25
DURATION_SECONDS: Final = 600
SPENDING_SHARE: Final = 0.1
"""Requests that spend credits, and so end the cached balance."""
CHANNEL_SHARE: Final = 0.1
BALANCE_SHARE: Final = 0.2
_HIT_OUTCOMES: Final = ("hit", "local", "stale")


class Everybody:
    """Sources that know every user."""

    async def read_profiles(self, user_ids: Sequence[UUID]) -> Mapping[UUID, UserProfile]:
        """Return a profile for each."""
        born = datetime(2026, 1, 1, tzinfo=UTC)
        return {user_id: UserProfile(user_id, None, None, "Gift", None, born) for user_id in user_ids}

    async def read_credit_balances(self, user_ids: Sequence[UUID]) -> Mapping[UUID, int]:
        """Return a balance for each."""
        return dict.fromkeys(user_ids, 100)

    async def is_member(self, user_id: UUID) -> bool:
        """Say that everybody follows."""
        return True

    async def read_balance(self, token_account: str) -> tuple[int, int]:
        """Return the same balance for each."""
        return 10**8, 100

    async def resolve(self, user_id: UserKey) -> str:
        """Return an account of the user's name."""
        return str(user_id)

    async def reserved(self, token_account: str, slot: int) -> int:
        """Say that nothing is promised."""
        return 0


async def count_hits(*, duration_seconds: int = DURATION_SECONDS) -> tuple[float, dict[str, float]]:
    """Play the mix, and return the hit rate of all reads and of each cache.

    Args:
        duration_seconds: of virtual time; the cold start counts as well.
    """
    clock, metrics, random = ManualClock(), Metrics(), Random(SEED)
    async with open_store("memory://", test_clock=clock) as store:
        shared: dict[str, Any] = {"clock": clock, "metrics": metrics}
        sources = Everybody()
        values = CacheManager(store, "values", **shared)
        balances = BalanceManager(store, reader=sources, resolver=sources, reservations=sources, **shared)
        users = UserCache(
            store, UserSources(sources, sources, sources), balances, values=values, random=random, **shared
        )
        await _play(users, clock, random, duration_seconds)
        for part in (users, balances, values):
            await part.close()
    return _rates(metrics)


async def _play(users: UserCache, clock: ManualClock, random: Random, duration_seconds: int) -> None:
    people = [UUID(int=number + 1) for number in range(USERS)]
    weights = list(accumulate(1 / rank**ZIPF_EXPONENT for rank in range(1, USERS + 1)))
    for user_id in random.choices(people, cum_weights=weights, k=duration_seconds * REQUESTS_PER_SECOND):
        await clock.advance(1 / REQUESTS_PER_SECOND)
        await users.profile(user_id)
        await users.credit_balance(user_id)
        if random.random() < CHANNEL_SHARE:
            await users.channel_subscription(user_id)
        if random.random() < BALANCE_SHARE:
            await users.deal_balance(user_id)
        if random.random() < SPENDING_SHARE:
            await users.invalidate_credit_balance(user_id)


def _rates(metrics: Metrics) -> tuple[float, dict[str, float]]:
    hits: dict[str, float] = {}
    reads: dict[str, float] = {}
    for family in metrics.cache_requests.collect():
        for sample in family.samples:
            if sample.name.endswith("_total"):
                cache = sample.labels["cache"]
                reads[cache] = reads.get(cache, 0) + sample.value
                if sample.labels["outcome"] in _HIT_OUTCOMES:
                    hits[cache] = hits.get(cache, 0) + sample.value
    by_cache = {cache: hits.get(cache, 0) / count for cache, count in reads.items() if count}
    return sum(hits.values()) / sum(reads.values()), by_cache
