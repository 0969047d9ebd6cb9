"""Limits: how often a user may buy and how fast a user may ask, counted in Redis.

Owns the store, the rules, and the gate that takes many limits together before a payment; on top of them
the purchase tracker and the rate limiter. Never decides whether a payment happened: it is told, and gives
a limit back only when told that it did not.
"""

from deal_sdk.limits.calendars import CalendarWindow
from deal_sdk.limits.decisions import (
    Decision,
    HeldPurchases,
    LimitState,
    PurchaseHistory,
    Refusal,
    Reservation,
    Settled,
)
from deal_sdk.limits.gate import Gate
from deal_sdk.limits.http_headers import rate_limit_headers
from deal_sdk.limits.locations import StoreAccess
from deal_sdk.limits.purchase_listings import CurrentLimit
from deal_sdk.limits.purchase_records import PurchasePolicy, PurchaseRecords, PurchaseStats
from deal_sdk.limits.purchase_reports import PurchaseDimension, PurchaseReport
from deal_sdk.limits.purchase_terms import (
    PurchaseCheck,
    PurchaseIncrement,
    PurchaseRecord,
    PurchaseRequest,
    PurchaseTerms,
)
from deal_sdk.limits.purchases import TokenPurchaseTracker
from deal_sdk.limits.rates import LoadSignal, RateDecision, RateLimiter, RateState, hashed_key
from deal_sdk.limits.rules import AmountRule, CountedRule, KeySpace, LimitKind, PurchaseRule, RateRule, Rule
from deal_sdk.limits.store import Store, open_store

__all__ = [
    "AmountRule",
    "CalendarWindow",
    "CountedRule",
    "CurrentLimit",
    "Decision",
    "Gate",
    "HeldPurchases",
    "KeySpace",
    "LimitKind",
    "LimitState",
    "LoadSignal",
    "PurchaseCheck",
    "PurchaseDimension",
    "PurchaseHistory",
    "PurchaseIncrement",
    "PurchasePolicy",
    "PurchaseRecord",
    "PurchaseRecords",
    "PurchaseReport",
    "PurchaseRequest",
    "PurchaseRule",
    "PurchaseStats",
    "PurchaseTerms",
    "RateDecision",
    "RateLimiter",
    "RateRule",
    "RateState",
    "Refusal",
    "Reservation",
    "Rule",
    "Settled",
    "Store",
    "StoreAccess",
    "TokenPurchaseTracker",
    "hashed_key",
    "open_store",
    "rate_limit_headers",
]
