"""Limits: how often a user may buy and how fast a user may ask, counted in Redis.

Owns the store, the rules, and the gate that takes many limits together before a payment; on top of them
the purchase tracker and the rate limiter. Never decides whether a payment happened: it is told, and gives
a limit back only when told that it did not.
"""

from deal_sdk.limits.gate import (
    Decision,
    Gate,
    HeldPurchases,
    LimitState,
    PurchaseHistory,
    Refusal,
    Reservation,
    Settled,
)
from deal_sdk.limits.locations import StoreAccess
from deal_sdk.limits.purchase_records import PurchasePolicy, PurchaseRecords, PurchaseStats
from deal_sdk.limits.purchases import (
    PurchaseCheck,
    PurchaseIncrement,
    PurchaseRecord,
    PurchaseRequest,
    TokenPurchaseTracker,
)
from deal_sdk.limits.rates import RateDecision, RateLimiter
from deal_sdk.limits.rules import KeySpace, LimitKind, PurchaseRule, RateRule, Rule
from deal_sdk.limits.store import Store, open_store

__all__ = [
    "Decision",
    "Gate",
    "HeldPurchases",
    "KeySpace",
    "LimitKind",
    "LimitState",
    "PurchaseCheck",
    "PurchaseHistory",
    "PurchaseIncrement",
    "PurchasePolicy",
    "PurchaseRecord",
    "PurchaseRecords",
    "PurchaseRequest",
    "PurchaseRule",
    "PurchaseStats",
    "RateDecision",
    "RateLimiter",
    "RateRule",
    "Refusal",
    "Reservation",
    "Rule",
    "Settled",
    "Store",
    "StoreAccess",
    "TokenPurchaseTracker",
    "open_store",
]
