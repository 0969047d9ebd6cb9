"""Wiring of the wallet monitor: its rows and log, what it reads from the chain, and its jobs."""

from __future__ import annotations

from contextlib import AsyncExitStack
from typing import NoReturn, Protocol

from solders.pubkey import Pubkey

from deal_sdk.amounts import DEAL_DECIMALS
from deal_sdk.chain import AddressSubscriptions, MintFacts, Rpc
from deal_sdk.client.confirming import link_sources
from deal_sdk.client.jobs import JobRunner
from deal_sdk.clock import Clock
from deal_sdk.errors import ConfigurationError
from deal_sdk.events import EventBus
from deal_sdk.metrics import Metrics
from deal_sdk.monitor import (
    AddressListing,
    BalanceHistory,
    Counter,
    ListingStore,
    QuotaBook,
    SubscriptionRouter,
    WalletMonitor,
    WatchBounds,
    WatchFeed,
    WatchLimits,
    WatchLog,
    WatchParts,
    WatchPolicy,
    WatchRounds,
    WatchStore,
)
from deal_sdk.monitor.wallet_monitor import HistoryTracker
from deal_sdk.payments import LeaseKeeper
from deal_sdk.records import Database, get_meta
from deal_sdk.records.meta import DECIMALS
from deal_sdk.settings import Settings
from deal_sdk.webhooks import Outbox, WebhookService


class Surroundings(Protocol):
    """What watching takes from the `Deal` that it is part of."""

    settings: Settings
    clock: Clock
    events: EventBus
    rpc: Rpc
    mint: MintFacts
    webhooks: WebhookService
    leases: LeaseKeeper
    subscriptions: SubscriptionRouter
    metrics: Metrics
    jobs: JobRunner

    def token_account_of(self, owner: Pubkey) -> Pubkey:
        """Derive an owner's token account."""
        ...


def open_watching(
    stack: AsyncExitStack,
    around: Surroundings,
    database: Database,
    track: HistoryTracker,
    history: BalanceHistory,
) -> WalletMonitor:
    """Wire the monitor, and leave its closing to the stack; nothing is read yet.

    Args:
        stack: closes it.
        around: settings, clock, bus, chain, mint and webhooks.
        database: holds its rows.
        track: keeps the balance history of watched wallets.
        history: told of what moved there.
    """
    settings = around.settings
    policy = watch_policy(settings, around.mint.decimals)
    log = WatchLog(database, around.events, around.webhooks.outbox)
    store = WatchStore(database, policy)
    quota = QuotaBook(database, policy, daily_quota=settings.rpc_daily_quota)
    feed = WatchFeed(log, clock=around.clock, interval_seconds=settings.watch_feed_interval_seconds)
    stack.push_async_callback(feed.close)
    listing = AddressListing(around.rpc, token_account_of=around.token_account_of)
    parts = WatchParts(
        database=database,
        store=store,
        log=log,
        listing=listing,
        listings=ListingStore(database, quota),
        counter=Counter(store, log, quota, owner=around.leases.owner),
        lease=around.leases,
        history=history,
        handle_buys=around.subscriptions.handle_buys,
        metrics=around.metrics,
        mint=str(around.mint.address),
    )
    hints = AddressSubscriptions(
        link_sources(around.rpc, settings) if settings.watch_subscriptions else (),
        lambda address: rounds.hint(address),
        clock=around.clock,
        metrics=around.metrics,
    )
    stack.push_async_callback(hints.close)
    rounds = WatchRounds(parts, watch_bounds(settings), follow=hints.follow)
    around.jobs.register(rounds)
    return WalletMonitor(
        store,
        log,
        feed,
        quota,
        clock=around.clock,
        find_start=listing.start,
        track=track,
        poll=rounds.run_once,
    )


async def chainless_monitor(
    stack: AsyncExitStack, database: Database, settings: Settings, outbox: Outbox
) -> WalletMonitor:
    """Wire a monitor for commands that need no chain; to add or to poll a wallet is refused.

    Args:
        stack: closes it.
        database: holds its rows.
        settings: limits and quota.
        outbox: tells webhooks of its events.
    """
    decimals = await get_meta(database, DECIMALS)
    policy = watch_policy(settings, DEAL_DECIMALS if decimals is None else int(decimals))
    events = EventBus(database.clock)
    stack.push_async_callback(events.close)
    log = WatchLog(database, events, outbox)
    feed = WatchFeed(log, clock=database.clock, interval_seconds=settings.watch_feed_interval_seconds)
    stack.push_async_callback(feed.close)
    return WalletMonitor(
        WatchStore(database, policy),
        log,
        feed,
        QuotaBook(database, policy, daily_quota=settings.rpc_daily_quota),
        clock=database.clock,
        find_start=_without_chain,
        track=_without_chain,
        poll=_without_chain,
    )


async def _without_chain(*_: object, **__: object) -> NoReturn:
    raise ConfigurationError("this needs a chain: open a Deal")


def watch_bounds(settings: Settings) -> WatchBounds:
    """Return what the settings say of polling."""
    return WatchBounds(
        poll_interval_seconds=settings.watch_poll_interval_seconds,
        hint_interval_seconds=settings.watch_hint_interval_seconds,
        transactions_per_poll=settings.watch_transactions_per_poll,
    )


def watch_policy(settings: Settings, decimals: int) -> WatchPolicy:
    """Return what the settings say of watched wallets."""
    limits = WatchLimits(settings.max_transactions_per_wallet, settings.watch_limits_by_type)
    return WatchPolicy(settings.max_watched_wallets, limits, decimals)
