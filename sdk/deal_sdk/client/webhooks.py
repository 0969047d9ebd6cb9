"""Wiring of webhooks: the outbox that payments write to, the service, and the deliverer."""

from __future__ import annotations

from dataclasses import dataclass

from deal_sdk.chain import Keystore
from deal_sdk.clock import Clock
from deal_sdk.errors import ConfigurationError, InvalidInputError
from deal_sdk.events import EventBus
from deal_sdk.metrics import Metrics
from deal_sdk.payments import PAYMENT_EVENTS
from deal_sdk.records import Database
from deal_sdk.settings import Settings
from deal_sdk.webhooks import (
    BusEvents,
    DeliveryBounds,
    HttpSender,
    Outbox,
    SigningSecrets,
    WebhookDeliverer,
    WebhookSender,
    WebhookService,
)


@dataclass(frozen=True, slots=True)
class Webhooks:
    """The parts of webhooks in one process."""

    outbox: Outbox
    service: WebhookService
    bus_events: BusEvents
    deliverer: WebhookDeliverer


def webhook_service(
    database: Database, keystore: Keystore, settings: Settings, *, clock: Clock
) -> tuple[WebhookService, Outbox, SigningSecrets]:
    """Make the service of endpoints alone, which needs no chain and delivers nothing.

    Raises:
        ConfigurationError: for a webhook secret that is too short or too long.
    """
    outbox = Outbox(database, clock)
    try:
        secrets = SigningSecrets(database, keystore, clock=clock, fallback=settings.webhook_secret)
    except InvalidInputError as error:
        raise ConfigurationError(f"webhook_secret cannot be used: {error.message}") from None
    service = WebhookService(
        database,
        secrets,
        outbox,
        clock=clock,
        allow_private_networks=settings.webhook_allow_private_networks,
    )
    return service, outbox, secrets


def make_webhooks(
    *,
    database: Database,
    keystore: Keystore,
    settings: Settings,
    clock: Clock,
    events: EventBus,
    metrics: Metrics,
    sender: WebhookSender | None = None,
) -> Webhooks:
    """Make every part; nothing runs and nothing is read yet.

    Args:
        database: holds the outbox.
        keystore: opens the endpoints' secrets.
        settings: bounds, and where endpoints may be.
        clock: for all parts.
        events: the bus whose other events are told too.
        metrics: counts deliveries.
        sender: the caller's, in place of HTTP.

    Raises:
        ConfigurationError: for a webhook secret that cannot be used.
    """
    service, outbox, secrets = webhook_service(database, keystore, settings, clock=clock)
    bus_events = BusEvents(events, outbox, database, clock=clock, recorded_elsewhere=PAYMENT_EVENTS)
    deliverer = WebhookDeliverer(
        database=database,
        outbox=outbox,
        bus_events=bus_events,
        secrets=secrets,
        sender=sender or _http_sender(settings, clock),
        disable=service.disable,
        clock=clock,
        metrics=metrics,
        bounds=_bounds(settings),
    )
    return Webhooks(outbox, service, bus_events, deliverer)


def _http_sender(settings: Settings, clock: Clock) -> HttpSender:
    return HttpSender(
        clock=clock,
        timeout_seconds=settings.webhook_timeout_seconds,
        allow_private_networks=settings.webhook_allow_private_networks,
    )


def _bounds(settings: Settings) -> DeliveryBounds:
    return DeliveryBounds(
        timeout_seconds=settings.webhook_timeout_seconds,
        max_attempts=settings.webhook_max_attempts,
        first_retry_seconds=settings.webhook_first_retry_seconds,
        max_in_flight=settings.webhook_max_in_flight,
        poll_interval_seconds=settings.webhook_poll_interval_seconds,
        max_age_seconds=settings.webhook_max_age_seconds,
        retention_seconds=settings.webhook_retention_seconds,
    )
