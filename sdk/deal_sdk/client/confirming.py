"""Opening what finds out the ends of transactions: the sweeper, its hints and its notes."""

from __future__ import annotations

from contextlib import AsyncExitStack
from typing import Protocol

from deal_sdk.chain import Confirmer, LinkSource, Rpc, SignatureSubscriptions, links_of
from deal_sdk.clock import Clock
from deal_sdk.metrics import Metrics
from deal_sdk.payments import DeliveryNotes
from deal_sdk.records import Database
from deal_sdk.settings import Settings


class ConfirmingParts(Protocol):
    """What the sweeper needs of a `Deal`."""

    rpc: Rpc
    settings: Settings
    clock: Clock
    metrics: Metrics


def open_confirmer(stack: AsyncExitStack, deal: ConfirmingParts, database: Database) -> Confirmer:
    """Open the sweeper with the hints of the endpoints' WebSockets; the stack closes it.

    Args:
        stack: closes what is opened.
        deal: has the endpoints, the bounds and the clock.
        database: keeps what is known of attempts that are slow to land.
    """
    rpc, settings, clock, metrics = deal.rpc, deal.settings, deal.clock, deal.metrics
    notes = DeliveryNotes(database, clock)
    stack.push_async_callback(notes.close)
    confirmer = Confirmer(
        rpc,
        clock=clock,
        metrics=metrics,
        hints=open_subscriptions(stack, rpc, settings, clock, metrics),
        on_undelivered=notes.take,
        required_opinions=settings.required_expiry_opinions,
        poll_interval_seconds=settings.status_poll_interval_seconds,
        rebroadcast_interval_seconds=settings.rebroadcast_interval_seconds,
    )
    stack.push_async_callback(confirmer.close)
    return confirmer


def open_subscriptions(
    stack: AsyncExitStack, rpc: Rpc, settings: Settings, clock: Clock, metrics: Metrics
) -> SignatureSubscriptions:
    """Subscribe where the endpoint has a WebSocket, in the background; the stack ends it.

    Args:
        stack: closes the connection.
        rpc: the endpoint, or several.
        settings: name its WebSocket, where it is not at the usual port, and bound the subscriptions.
        clock: spaces pings and reconnections.
        metrics: counts the hints.
    """
    subscriptions = SignatureSubscriptions(
        link_sources(rpc, settings),
        clock=clock,
        metrics=metrics,
        max_subscriptions=settings.max_signature_subscriptions,
    )
    stack.push_async_callback(subscriptions.close)
    subscriptions.start()
    return subscriptions


def link_sources(rpc: Rpc, settings: Settings) -> list[LinkSource]:
    """Return a source of links for each endpoint that has a WebSocket; whoever takes them closes them.

    Args:
        rpc: the endpoint, or several.
        settings: name the WebSocket, where it is not at the usual port.
    """
    # A WebSocket that is named is the preferred endpoint's; the others have theirs by convention.
    named = (settings.ws_url, *[None] * (rpc.endpoint_count - 1))
    sources = [links_of(member.transport, url) for member, url in zip(rpc.members, named, strict=True)]
    return [source for source in sources if source is not None]
