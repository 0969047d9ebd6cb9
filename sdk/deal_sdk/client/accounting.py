"""Wiring of prices and credits over one journal."""

from __future__ import annotations

from contextlib import AsyncExitStack
from dataclasses import dataclass

from deal_sdk.accounting import (
    CreditWatch,
    Journal,
    OperationCosts,
    PricingService,
    TokenAccountingService,
    TokenLedger,
)
from deal_sdk.events import EventBus
from deal_sdk.metrics import Metrics
from deal_sdk.records import Database
from deal_sdk.settings import Settings


@dataclass(frozen=True, slots=True)
class Accounting:
    """What services cost, and the credits that users have."""

    pricing: PricingService
    credits: TokenAccountingService
    ledger: TokenLedger


def open_accounting(
    stack: AsyncExitStack, database: Database, settings: Settings, *, events: EventBus, metrics: Metrics
) -> Accounting:
    """Wire prices and credits; nothing is read yet.

    Args:
        stack: finishes the operations under way when it closes.
        database: where the ledger is.
        settings: what operations cost.
        events: told of what was spent.
        metrics: count the operations.
    """
    journal = Journal(database, observers=[CreditWatch(metrics, events)])
    stack.push_async_callback(journal.close)
    return Accounting(
        PricingService(database, database.clock),
        TokenAccountingService(database, journal, costs=OperationCosts(settings.operation_costs)),
        TokenLedger(database, journal),
    )
