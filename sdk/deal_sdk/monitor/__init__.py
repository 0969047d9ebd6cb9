"""Watched wallets: what their buys lead to.

Owns subscriptions, the intake of buys from webhooks, and the way of each from its arrival over the purchase
limit to the caller's executor. Never buys anything itself, never judges what an executor did beyond what
the executor proves, and never counts a buy that was told twice a second time.
"""

from deal_sdk.monitor.buys import WatchedBuy
from deal_sdk.monitor.counting import PurchaseCounter
from deal_sdk.monitor.helius import DEFAULT_PAYING_MINTS, parse_buys
from deal_sdk.monitor.purchase_runs import Executor, PurchaseOrder, PurchaseRuns, RunBounds
from deal_sdk.monitor.purchase_store import PurchaseStore
from deal_sdk.monitor.subscription_store import SubscriptionStore
from deal_sdk.monitor.subscription_values import Subscription, SubscriptionPurchase, WatchConfig
from deal_sdk.monitor.subscriptions import SubscriptionJob, SubscriptionRouter
from deal_sdk.monitor.webhook_intake import IntakeReply, WebhookIntake

__all__ = [
    "DEFAULT_PAYING_MINTS",
    "Executor",
    "IntakeReply",
    "PurchaseCounter",
    "PurchaseOrder",
    "PurchaseRuns",
    "PurchaseStore",
    "RunBounds",
    "Subscription",
    "SubscriptionJob",
    "SubscriptionPurchase",
    "SubscriptionRouter",
    "SubscriptionStore",
    "WatchConfig",
    "WatchedBuy",
    "WebhookIntake",
    "parse_buys",
]
