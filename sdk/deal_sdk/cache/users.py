"""What a backend asks about its users all the time: profile, credits, channel subscription, DEAL balance.

Owns their lifetimes and their batch reads. Never authorises anything: who debits asks the records or the
chain again.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from decimal import Decimal
from random import Random
from typing import Any, Final
from uuid import UUID

from deal_sdk.amounts import DEAL_DECIMALS, to_decimal
from deal_sdk.cache.balances import BalanceManager
from deal_sdk.cache.entries import DEFAULT_PREFIX
from deal_sdk.cache.manager import CacheManager
from deal_sdk.cache.policy import CachePolicy
from deal_sdk.cache.sources import ChannelMembership, CreditSource, ProfileSource, UserProfile
from deal_sdk.cache.warming import DEFAULT_FACTS, UserFact, Warming, WarmProgress
from deal_sdk.clock import Clock
from deal_sdk.errors import ConfigurationError, UserNotFoundError
from deal_sdk.limits.store import Store
from deal_sdk.metrics import Metrics
from deal_sdk.records.inputs import UserId, parse_user_id

logger = logging.getLogger(__name__)

TTL_SPREAD: Final = 0.1
"""Users that were warmed together do not end together."""
MAX_MEMBERSHIP_QUESTIONS: Final = 16
"""At once: a messenger answers one at a time and soon refuses more."""


@dataclass(frozen=True, slots=True)
class UserLifetimes:
    """How long what is known about users is served; the DEAL balance has its own setting."""

    profile_seconds: float = 300.0
    credit_balance_seconds: float = 60.0
    channel_subscription_seconds: float = 600.0


@dataclass(frozen=True, slots=True)
class UserSources:
    """What is read when the cache misses."""

    profiles: ProfileSource
    credits: CreditSource
    membership: ChannelMembership | None = None


class UserCache:
    """Answers what is known about users, from the cache or else from its source."""

    def __init__(
        self,
        store: Store,
        sources: UserSources,
        balances: BalanceManager,
        *,
        values: CacheManager,
        clock: Clock,
        metrics: Metrics,
        lifetimes: UserLifetimes | None = None,
        policy: CachePolicy | None = None,
        decimals: int = DEAL_DECIMALS,
        prefix: str = DEFAULT_PREFIX,
        random: Random | None = None,
    ) -> None:
        """Keep the parts; nothing is asked yet.

        Args:
            store: where entries live.
            sources: what is read when they are missing.
            balances: DEAL balances, by token account and slot.
            values: the caller's own entries, which end with a user by the tag of `user_tag`.
            clock: tells the age of entries.
            metrics: counts hits and misses of each kind.
            lifetimes: where they are not the usual ones.
            policy: bounds, and the tier in this process.
            decimals: the mint's.
            prefix: begins every key.
            random: spreads lifetimes.
        """
        lifetimes = lifetimes or UserLifetimes()
        policy = replace(policy or CachePolicy(), ttl_spread=TTL_SPREAD)

        def manager(namespace: str, ttl_seconds: float) -> CacheManager:
            shared: dict[str, Any] = {"policy": policy, "clock": clock, "metrics": metrics, "prefix": prefix}
            shared["random"] = random
            return CacheManager(store, namespace, ttl_seconds, **shared)

        self._profiles = manager("profiles", lifetimes.profile_seconds)
        self._credits = manager("credit_balances", lifetimes.credit_balance_seconds)
        self._subscriptions = manager("channel_subscriptions", lifetimes.channel_subscription_seconds)
        self._sources = sources
        self._balances = balances
        self._values = values
        self._decimals = decimals

    def use_credits(self, source: CreditSource) -> None:
        """Read credit balances from another source from now on."""
        self._sources = replace(self._sources, credits=source)

    def use_membership(self, membership: ChannelMembership) -> None:
        """Ask this from now on who follows the channel."""
        self._sources = replace(self._sources, membership=membership)

    async def profile(self, user_id: UserId) -> UserProfile:
        """Return a user's profile.

        Raises:
            UserNotFoundError: no such user; that is not cached, so a new user is seen at once.
        """
        parsed = parse_user_id(user_id)
        value = await self._read_one(self._profiles, parsed, self._load_profiles)
        return (await self._parse_profiles({str(parsed): value}))[parsed]

    async def profiles(self, user_ids: Sequence[UserId]) -> dict[UUID, UserProfile]:
        """Return the profiles of those users that exist, the cached ones from one round trip."""
        cached = await self._read(self._profiles, user_ids, self._load_profiles)
        return await self._parse_profiles(cached)

    async def credit_balance(self, user_id: UserId) -> int:
        """Return how many credits a user has, for display.

        Raises:
            UserNotFoundError: no such user.
        """
        return int(await self._read_one(self._credits, parse_user_id(user_id), self._load_credits))

    async def credit_balances(self, user_ids: Sequence[UserId]) -> dict[UUID, int]:
        """Return the credits of those users that exist, the cached ones from one round trip."""
        cached = await self._read(self._credits, user_ids, self._load_credits)
        return {UUID(key): int(value) for key, value in cached.items()}

    async def channel_subscription(self, user_id: UserId) -> bool:
        """Return whether a user follows the channel.

        Raises:
            ConfigurationError: when no `ChannelMembership` was given.
            Exception: whatever the membership raised; it is not cached, so the next call asks again.
        """
        key, membership = parse_user_id(user_id), self._membership()
        return bool(await self._subscriptions.get_or_load(str(key), lambda: membership.is_member(key)))

    async def channel_subscriptions(self, user_ids: Sequence[UserId]) -> dict[UUID, bool]:
        """Return who follows the channel, the cached answers from one round trip.

        Users for whom the membership failed are left out, and asked for again by the next call.

        Raises:
            ConfigurationError: when no `ChannelMembership` was given.
        """
        self._membership()
        cached = await self._read(self._subscriptions, user_ids, self._load_subscriptions)
        return {UUID(key): bool(value) for key, value in cached.items()}

    async def deal_balance(self, user_id: UserId) -> Decimal:
        """Return a user's DEAL balance in whole tokens, for display.

        Raises:
            UserNotFoundError, WalletNotFoundError: for a user who has none.
            ChainError: when the chain had to be read and could not be.
        """
        balance = await self._balances.balance_of(parse_user_id(user_id))
        return to_decimal(balance.amount_base_units, decimals=self._decimals)

    async def deal_balances(self, user_ids: Sequence[UserId]) -> dict[UUID, Decimal]:
        """Return the DEAL balances of those users that have a wallet, the cached ones from one round trip.

        Raises:
            ChainError: when the chain had to be read and could not be.
        """
        found = await self._balances.balances_of([parse_user_id(user_id) for user_id in user_ids])
        return {
            user_id: to_decimal(balance.amount_base_units, decimals=self._decimals)
            for user_id, balance in found.items()
        }

    async def invalidate(self, *user_ids: UserId) -> bool:
        """Forget what is cached about users, and every entry of `deal.cache` that carries their tag.

        DEAL balances stay, because each knows its slot; `BalanceManager.invalidate` forgets one.

        Returns:
            Whether the store took it; else it is told as soon as it answers.
        """
        keys = [str(parse_user_id(user_id)) for user_id in user_ids]
        managers = (self._profiles, self._credits, self._subscriptions)
        tags = [user_tag(key) for key in keys]
        taken = await asyncio.gather(
            *(manager.delete(*keys) for manager in managers), self._values.invalidate_tags(*tags)
        )
        return all(taken)

    async def invalidate_credit_balance(self, *user_ids: UserId) -> bool:
        """Forget credit balances alone, as after each operation that changed them."""
        return await self._credits.delete(*(str(parse_user_id(user_id)) for user_id in user_ids))

    async def warm(
        self,
        user_ids: Sequence[UserId],
        *,
        facts: Collection[UserFact] = DEFAULT_FACTS,
        batch_size: int = 500,
        max_in_flight: int = 4,
        progress: Callable[[WarmProgress], object] = lambda progress: None,
    ) -> WarmProgress:
        """Load what is missing about many users, a batch of them at a time.

        What fails is counted and logged, and the others are loaded.

        Args:
            user_ids: whom; 10,000 are no problem.
            facts: what about them.
            batch_size: users in one read of the source, 1 to 1,000.
            max_in_flight: batches at once, 1 to 64.
            progress: told after each batch.

        Raises:
            InvalidInputError: for an id that is no UUID, an unknown fact, or a bound out of range.
        """
        readers: dict[UserFact, Callable[[Sequence[UserId]], Awaitable[Mapping[UUID, Any]]]] = {
            "profile": self.profiles,
            "credit_balance": self.credit_balances,
            "channel_subscription": self.channel_subscriptions,
            "deal_balance": self.deal_balances,
        }
        warming = Warming(readers, facts, batch_size=batch_size, max_in_flight=max_in_flight)
        return await warming.run([parse_user_id(user_id) for user_id in user_ids], progress)

    async def close(self) -> None:
        """Cancel the loads under way and stop listening."""
        for manager in (self._profiles, self._credits, self._subscriptions):
            await manager.close()

    async def _read(
        self,
        manager: CacheManager,
        user_ids: Sequence[UserId],
        load: Callable[[Sequence[UUID]], Awaitable[Mapping[UUID, Any]]],
    ) -> dict[str, Any]:
        async def load_many(keys: Sequence[str]) -> dict[str, Any]:
            loaded = await load([UUID(key) for key in keys])
            return {str(user_id): value for user_id, value in loaded.items()}

        return await manager.get_or_load_many([str(parse_user_id(each)) for each in user_ids], load_many)

    async def _read_one(
        self,
        manager: CacheManager,
        user_id: UUID,
        load: Callable[[Sequence[UUID]], Awaitable[Mapping[UUID, Any]]],
    ) -> Any:
        async def load_one() -> Any:
            found = await load([user_id])
            if user_id not in found:
                raise UserNotFoundError("no such user", user_id=str(user_id))
            return found[user_id]

        return await manager.get_or_load(str(user_id), load_one)

    async def _parse_profiles(self, values: Mapping[str, Any]) -> dict[UUID, UserProfile]:
        found: dict[UUID, UserProfile] = {}
        strange: list[UUID] = []
        for key, value in values.items():
            try:
                found[UUID(key)] = UserProfile.from_json(value)
            except (KeyError, TypeError, ValueError):
                strange.append(UUID(key))
        if strange:
            # Another version of this package, or another program, wrote them.
            await self._profiles.delete(*map(str, strange))
            found |= await self._sources.profiles.read_profiles(strange)
        return found

    async def _load_profiles(self, user_ids: Sequence[UUID]) -> dict[UUID, Any]:
        found = await self._sources.profiles.read_profiles(user_ids)
        return {user_id: profile.to_json() for user_id, profile in found.items()}

    async def _load_credits(self, user_ids: Sequence[UUID]) -> Mapping[UUID, int]:
        return await self._sources.credits.read_credit_balances(user_ids)

    async def _load_subscriptions(self, user_ids: Sequence[UUID]) -> dict[UUID, bool]:
        membership, places = self._membership(), asyncio.Semaphore(MAX_MEMBERSHIP_QUESTIONS)

        async def ask(user_id: UUID) -> bool:
            async with places:
                return await membership.is_member(user_id)

        answers = await asyncio.gather(*(ask(user_id) for user_id in user_ids), return_exceptions=True)
        found: dict[UUID, bool] = {}
        for user_id, answer in zip(user_ids, answers, strict=True):
            if isinstance(answer, bool):
                found[user_id] = answer
            elif not isinstance(answer, Exception):
                raise answer
        if len(found) < len(answers):
            logger.warning("the channel membership of %d users is not known", len(answers) - len(found))
        return found

    def _membership(self) -> ChannelMembership:
        if self._sources.membership is None:
            raise ConfigurationError("no channel membership was given; see UserCache.use_membership")
        return self._sources.membership


def user_tag(user_id: UserId) -> str:
    """Return the tag by which an entry of `deal.cache` ends when its user is invalidated."""
    return f"user:{parse_user_id(user_id)}"
