"""Caches: values in Redis that spare a read of the database or the chain.

Owns cached entries and the guards that keep stale values out of them. Never the source of truth: when the
store is down the source is read, and no cached value authorises a debit.
"""

from deal_sdk.cache.balances import (
    AccountResolver,
    BalanceCheck,
    BalanceManager,
    BalanceReader,
    CachedBalance,
    ReservationReader,
)
from deal_sdk.cache.lookups import Hit
from deal_sdk.cache.manager import CacheManager
from deal_sdk.cache.policy import CachePolicy
from deal_sdk.cache.sealing import Versioned

__all__ = [
    "AccountResolver",
    "BalanceCheck",
    "BalanceManager",
    "BalanceReader",
    "CacheManager",
    "CachePolicy",
    "CachedBalance",
    "Hit",
    "ReservationReader",
    "Versioned",
]
