"""Limits: how often a user may buy and how fast a user may ask, counted in Redis.

Owns the store, the rules, and the gate that takes many limits together before a payment. Never decides
whether a payment happened: it is told, and gives a limit back only when told that it did not.
"""

from deal_sdk.limits.gate import Decision, Gate, LimitState, Refusal, Reservation, Settled
from deal_sdk.limits.rules import KeySpace, LimitKind, PurchaseRule, RateRule, Rule
from deal_sdk.limits.store import Store, open_store

__all__ = [
    "Decision",
    "Gate",
    "KeySpace",
    "LimitKind",
    "LimitState",
    "PurchaseRule",
    "RateRule",
    "Refusal",
    "Reservation",
    "Rule",
    "Settled",
    "Store",
    "open_store",
]
