"""Caches: values in Redis that spare a read of the database or the chain.

Owns cached entries and the leases that keep stale values out of them. Never the source of truth: when the
store is down the source is read, and no cached value authorises a debit.
"""

from deal_sdk.cache.balances import BalanceCheck, BalanceManager, CachedBalance
from deal_sdk.cache.lookups import Hit
from deal_sdk.cache.manager import CacheManager
from deal_sdk.cache.policy import CachePolicy
from deal_sdk.cache.sealing import Versioned
from deal_sdk.cache.sources import (
    AccountResolver,
    BalanceReader,
    ChannelMembership,
    CreditSource,
    ProfileSource,
    ReservationReader,
    UserProfile,
)
from deal_sdk.cache.users import UserCache, UserLifetimes, UserSources, user_tag
from deal_sdk.cache.warming import UserFact, WarmProgress

__all__ = [
    "AccountResolver",
    "BalanceCheck",
    "BalanceManager",
    "BalanceReader",
    "CacheManager",
    "CachePolicy",
    "CachedBalance",
    "ChannelMembership",
    "CreditSource",
    "Hit",
    "ProfileSource",
    "ReservationReader",
    "UserCache",
    "UserFact",
    "UserLifetimes",
    "UserProfile",
    "UserSources",
    "Versioned",
    "WarmProgress",
    "user_tag",
]
