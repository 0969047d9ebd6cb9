"""Watched wallets: what they do, until when they are watched, and what their buys lead to.

Owns the wallet monitor with its quota and its log of events, subscriptions, the intake of buys from
webhooks, and the way of each from its arrival over the purchase limit to the caller's executor. Never buys
anything itself, never judges what an executor did beyond what the executor proves, and never counts a
transaction or a buy that was told twice a second time.
"""

from deal_sdk.monitor.buys import WatchedBuy
from deal_sdk.monitor.counting import PurchaseCounter
from deal_sdk.monitor.helius import DEFAULT_PAYING_MINTS, parse_buys
from deal_sdk.monitor.invariants import WATCH_INVARIANTS
from deal_sdk.monitor.purchase_runs import Executor, PurchaseOrder, PurchaseRuns, RunBounds
from deal_sdk.monitor.purchase_store import PurchaseStore
from deal_sdk.monitor.subscription_invariants import SUBSCRIPTION_INVARIANTS
from deal_sdk.monitor.subscription_store import SubscriptionStore
from deal_sdk.monitor.subscription_values import Subscription, SubscriptionPurchase, WatchConfig
from deal_sdk.monitor.subscriptions import SubscriptionJob, SubscriptionRouter
from deal_sdk.monitor.wallet_monitor import WalletMonitor
from deal_sdk.monitor.watch_counts import Counter, ReadTransaction
from deal_sdk.monitor.watch_feed import WatchFeed, WatchStream
from deal_sdk.monitor.watch_listing import AddressListing, WatchCursor
from deal_sdk.monitor.watch_listings import ListingStore, PendingTransaction, PollResult
from deal_sdk.monitor.watch_log import WATCH_EVENTS, WatchLog
from deal_sdk.monitor.watch_quota import QuotaBook
from deal_sdk.monitor.watch_rounds import BalanceHistory, WatchBounds, WatchParts, WatchRounds
from deal_sdk.monitor.watch_store import WatchPolicy, WatchStore
from deal_sdk.monitor.watch_values import (
    QuotaOverview,
    WatchCleanup,
    WatchedTransaction,
    WatchedWallet,
    WatchEvent,
    WatchReset,
)
from deal_sdk.monitor.watch_windows import UNLIMITED, WatchLimits, Window
from deal_sdk.monitor.webhook_intake import IntakeReply, WebhookIntake

__all__ = [
    "DEFAULT_PAYING_MINTS",
    "SUBSCRIPTION_INVARIANTS",
    "UNLIMITED",
    "WATCH_EVENTS",
    "WATCH_INVARIANTS",
    "AddressListing",
    "BalanceHistory",
    "Counter",
    "Executor",
    "IntakeReply",
    "ListingStore",
    "PendingTransaction",
    "PollResult",
    "PurchaseCounter",
    "PurchaseOrder",
    "PurchaseRuns",
    "PurchaseStore",
    "QuotaBook",
    "QuotaOverview",
    "ReadTransaction",
    "RunBounds",
    "Subscription",
    "SubscriptionJob",
    "SubscriptionPurchase",
    "SubscriptionRouter",
    "SubscriptionStore",
    "WalletMonitor",
    "WatchBounds",
    "WatchCleanup",
    "WatchConfig",
    "WatchCursor",
    "WatchEvent",
    "WatchFeed",
    "WatchLimits",
    "WatchLog",
    "WatchParts",
    "WatchPolicy",
    "WatchReset",
    "WatchRounds",
    "WatchStore",
    "WatchStream",
    "WatchedBuy",
    "WatchedTransaction",
    "WatchedWallet",
    "WebhookIntake",
    "Window",
    "parse_buys",
]
