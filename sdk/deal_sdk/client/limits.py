"""Wiring of the limits: the gate, purchases and rates over one store."""

from __future__ import annotations

from dataclasses import dataclass

from deal_sdk.clock import Clock
from deal_sdk.events import EventBus
from deal_sdk.limits import (
    Gate,
    KeySpace,
    PurchaseRecords,
    RateLimiter,
    Store,
    StoreAccess,
    TokenPurchaseTracker,
)
from deal_sdk.metrics import Metrics
from deal_sdk.settings import Settings


def store_access(settings: Settings) -> StoreAccess:
    """Read out of the settings what the store asks for besides its URL."""
    return StoreAccess(
        username=settings.redis_username,
        password=settings.redis_password,
        sentinel_username=settings.redis_sentinel_username,
        sentinel_password=settings.redis_sentinel_password,
        tls_ca_file=settings.redis_tls_ca_file,
        tls_certificate_file=settings.redis_tls_certificate_file,
        tls_key_file=settings.redis_tls_key_file,
        tls_key_password=settings.redis_tls_key_password,
        tls_check_hostname=settings.redis_tls_check_hostname,
    )


@dataclass(frozen=True, slots=True)
class Limits:
    """The parts that reserve and settle limits."""

    gate: Gate
    purchases: TokenPurchaseTracker
    rates: RateLimiter


def make_limits(
    store: Store,
    records: PurchaseRecords,
    settings: Settings,
    *,
    clock: Clock,
    events: EventBus,
    metrics: Metrics,
) -> Limits:
    """Wire the limits over a store; nothing is read yet.

    Args:
        store: where they are reserved.
        records: counts purchases again where the store lost them.
        settings: prefixes, periods, tiers and what happens without the store.
        clock: their time.
        events: told of refusals.
        metrics: counts them.
    """
    gate = Gate(
        store,
        clock=clock,
        metrics=metrics,
        keys=KeySpace(settings.purchase_key_prefix, f"{settings.cache_prefix}rates:"),
        history=records,
        reservation_seconds=settings.limit_reservation_seconds,
        events=events,
        rate_policy=settings.rate_limit_store_policy,
    )
    purchases = TokenPurchaseTracker(
        gate, store, records, clock=clock, period_seconds=settings.purchase_period_seconds
    )
    return Limits(gate, purchases, RateLimiter(gate, store, tiers=settings.tier_limits))
