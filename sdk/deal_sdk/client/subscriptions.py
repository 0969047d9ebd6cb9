"""Wiring of subscriptions: their rows, the purchase limit, and the runs to the executor."""

from __future__ import annotations

from contextlib import AsyncExitStack
from typing import Protocol

from deal_sdk.client.jobs import JobRunner
from deal_sdk.clock import Clock
from deal_sdk.events import EventBus
from deal_sdk.limits import Gate, PurchaseRecords
from deal_sdk.metrics import Metrics
from deal_sdk.monitor import (
    PurchaseCounter,
    PurchaseRuns,
    PurchaseStore,
    RunBounds,
    SubscriptionJob,
    SubscriptionRouter,
    SubscriptionStore,
)
from deal_sdk.records import Database
from deal_sdk.settings import Settings


class Surroundings(Protocol):
    """What subscriptions take from the `Deal` that they are part of."""

    settings: Settings
    clock: Clock
    events: EventBus
    metrics: Metrics
    gate: Gate
    jobs: JobRunner


def open_subscriptions(
    stack: AsyncExitStack, around: Surroundings, database: Database, records: PurchaseRecords
) -> SubscriptionRouter:
    """Wire the subscriptions, and leave their closing to the stack; nothing runs before an executor is named.

    Args:
        stack: closes them.
        around: settings, clock, bus, metrics, gate and jobs.
        database: holds their rows.
        records: the purchases as they are counted.
    """
    settings = around.settings
    purchases = PurchaseStore(database)
    runs = PurchaseRuns(
        purchases,
        PurchaseCounter(around.gate, records, period_seconds=settings.purchase_period_seconds),
        clock=around.clock,
        events=around.events,
        metrics=around.metrics,
        bounds=RunBounds(
            max_in_flight=settings.subscription_max_in_flight,
            timeout_seconds=settings.subscription_timeout_seconds,
            max_age_seconds=settings.subscription_max_age_seconds,
        ),
    )
    router = SubscriptionRouter(
        SubscriptionStore(database),
        purchases,
        runs,
        webhook_authorization=settings.buy_webhook_authorization,
    )
    stack.push_async_callback(router.close)
    around.jobs.register(
        SubscriptionJob(router, interval_seconds=settings.subscription_poll_interval_seconds)
    )
    return router
