"""Wiring of the caches: the caller's own entries, and what is known about users."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import AsyncExitStack
from typing import Protocol
from uuid import UUID

from deal_sdk.cache import (
    BalanceManager,
    CacheManager,
    CachePolicy,
    UserCache,
    UserProfile,
    UserSources,
)
from deal_sdk.clock import Clock
from deal_sdk.limits import Store
from deal_sdk.metrics import Metrics
from deal_sdk.records import Database, User, UserDirectory
from deal_sdk.settings import Settings


class CacheParts(Protocol):
    """What the caches need of a `Deal`."""

    settings: Settings
    clock: Clock
    metrics: Metrics
    users: UserDirectory
    cache: CacheManager
    balances: BalanceManager
    user_cache: UserCache


class DirectorySource:
    """Reads profiles and credits of users from the directory."""

    def __init__(self, directory: UserDirectory) -> None:
        """Keep the directory."""
        self._directory = directory

    async def read_profiles(self, user_ids: Sequence[UUID]) -> Mapping[UUID, UserProfile]:
        """Return the profiles of those users that exist."""
        found = await self._directory.get_many(user_ids)
        return {user_id: _profile(user) for user_id, user in found.items()}

    async def read_credit_balances(self, user_ids: Sequence[UUID]) -> Mapping[UUID, int]:
        """Return the credits of those users that exist."""
        found = await self._directory.get_many(user_ids)
        return {user_id: user.tokens_balance for user_id, user in found.items()}


def open_users(database: Database, deal: CacheParts) -> UserDirectory:
    """Make the directory of users, whose changes end what is cached about them."""
    return UserDirectory(
        database,
        tiers=tuple(deal.settings.tier_limits),
        on_change=lambda user_id: deal.user_cache.invalidate(user_id),
    )


def open_cache(
    stack: AsyncExitStack, store: Store, settings: Settings, clock: Clock, metrics: Metrics
) -> CacheManager:
    """Make the cache of the caller's own entries; it is closed with the stack."""
    policy = CachePolicy(local_entries=settings.cache_local_entries)
    cache = CacheManager(
        store, "values", policy=policy, clock=clock, metrics=metrics, prefix=settings.cache_prefix
    )
    stack.push_async_callback(cache.close)
    return cache


def open_user_cache(stack: AsyncExitStack, store: Store, deal: CacheParts, *, decimals: int) -> UserCache:
    """Make the cache of what is known about users; it is closed with the stack."""
    directory = DirectorySource(deal.users)
    users = UserCache(
        store,
        UserSources(profiles=directory, credits=directory),
        deal.balances,
        values=deal.cache,
        clock=deal.clock,
        metrics=deal.metrics,
        policy=CachePolicy(local_entries=deal.settings.cache_local_entries),
        decimals=decimals,
        prefix=deal.settings.cache_prefix,
    )
    stack.push_async_callback(users.close)
    return users


def _profile(user: User) -> UserProfile:
    return UserProfile(
        id=user.id,
        external_id=user.external_id,
        username=user.username,
        tier=user.tier,
        subscription_expires_at=user.subscription_expires_at,
        created_at=user.created_at,
    )
