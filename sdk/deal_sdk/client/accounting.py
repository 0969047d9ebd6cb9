"""Wiring of prices, credits, billing and renewals over one journal."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import AsyncExitStack
from typing import Final, Protocol

from deal_sdk.accounting import (
    ChannelMembership,
    CreditOutbox,
    CreditWatch,
    Journal,
    MonthlyRenewalService,
    Operation,
    OperationCosts,
    PricingService,
    RenewalWatch,
    TokenAccountingService,
    TokenBilling,
    TokenLedger,
    UsageReports,
)
from deal_sdk.cache import BalanceManager, CacheManager, UserCache
from deal_sdk.chain import MintFacts
from deal_sdk.client.channel import load_membership
from deal_sdk.client.jobs import JobRunner
from deal_sdk.client.personal_data import PersonalData
from deal_sdk.client.renewals import RenewalJob, make_renewals
from deal_sdk.events import EventBus
from deal_sdk.limits import RateLimiter, TokenPurchaseTracker
from deal_sdk.metrics import Metrics
from deal_sdk.records import Database
from deal_sdk.settings import Settings
from deal_sdk.webhooks import WebhookService

LOT_EXPIRY_INTERVAL_SECONDS: Final = 60.0


class LotExpiryJob:
    """Takes expired credits off the balances."""

    name: Final = "expire_credits"
    interval_seconds: Final = LOT_EXPIRY_INTERVAL_SECONDS

    def __init__(self, credits: TokenAccountingService) -> None:
        """Expire through a service."""
        self._credits = credits

    async def run_once(self) -> None:
        """Expire what is due."""
        await self._credits.expire_lots()


class AccountingParts(Protocol):
    """What credits need of a `Deal`, and what they give it."""

    settings: Settings
    mint: MintFacts
    events: EventBus
    webhooks: WebhookService
    metrics: Metrics
    rates: RateLimiter
    user_cache: UserCache
    cache: CacheManager
    jobs: JobRunner
    pricing: PricingService
    credits: TokenAccountingService
    ledger: TokenLedger
    billing: TokenBilling
    renewals: MonthlyRenewalService
    usage: UsageReports
    balances: BalanceManager
    purchases: TokenPurchaseTracker
    personal_data: PersonalData


def open_accounting(
    stack: AsyncExitStack,
    database: Database,
    deal: AccountingParts,
    membership: ChannelMembership | None,
) -> None:
    """Give a `Deal` its prices, credits, ledger, billing, renewals and usage reports; nothing is read yet.

    Args:
        stack: finishes the operations under way when it closes.
        database: where the ledger is.
        deal: has the parts that they stand on.
        membership: knows who is in the operator's channel, in place of the one that the settings name.

    Raises:
        ConfigurationError: the settings name one that cannot be imported.
    """
    named = deal.settings.channel_membership
    if membership is None and named is not None:
        membership = load_membership(named)

    async def forget_balances(operations: Sequence[Operation]) -> None:
        changed = {operation.command.user_id for operation in operations if operation.result.success}
        if changed:
            await deal.user_cache.invalidate_credit_balance(*changed)

    journal = Journal(
        database,
        observers=[forget_balances, CreditWatch(deal.metrics, deal.events)],
        recorder=CreditOutbox(deal.webhooks.outbox, database.clock),
    )
    stack.push_async_callback(journal.close)
    deal.pricing = PricingService(database, database.clock)
    costs = OperationCosts(deal.settings.operation_costs)
    deal.credits = TokenAccountingService(database, journal, costs=costs)
    deal.jobs.register(LotExpiryJob(deal.credits))
    deal.ledger = TokenLedger(database, journal)
    deal.personal_data = PersonalData(database, journal, deal)
    deal.usage = UsageReports(database, decimals=deal.mint.decimals)
    deal.billing = TokenBilling(
        database,
        journal,
        deal.credits,
        rates=deal.rates,
        balances=deal.user_cache,
        hold_seconds=deal.settings.credit_hold_seconds,
    )
    deal.renewals = make_renewals(
        database,
        journal,
        deal.settings,
        watch=RenewalWatch(
            deal.metrics,
            deal.events,
            outbox=deal.webhooks.outbox,
            on_tier_change=lambda user_id: deal.user_cache.invalidate(user_id),
        ),
        membership=membership,
        cache=deal.cache,
    )
    if deal.settings.renewal_job:
        deal.jobs.register(RenewalJob(deal.renewals, database.clock))
