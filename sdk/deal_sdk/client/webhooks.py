"""Wiring of webhooks: the outbox that payments write to, the service, and the deliverer."""

from __future__ import annotations

import asyncio
import ssl
from contextlib import AsyncExitStack
from typing import Protocol

from deal_sdk.accounting import CREDIT_EVENTS, RENEWAL_EVENTS
from deal_sdk.chain import Keystore
from deal_sdk.client.backends import Backends
from deal_sdk.clock import Clock
from deal_sdk.errors import ConfigurationError, InvalidInputError
from deal_sdk.events import EventBus
from deal_sdk.metrics import Metrics
from deal_sdk.monitor import WATCH_EVENTS
from deal_sdk.payments import PAYMENT_EVENTS, PaymentOutbox
from deal_sdk.records import Database
from deal_sdk.settings import Settings
from deal_sdk.tls import ClientTlsFiles, client_context
from deal_sdk.webhooks import (
    BusEvents,
    ChannelSender,
    DeliveryBounds,
    HttpSender,
    MailServer,
    Outbox,
    SigningSecrets,
    WebhookDeliverer,
    WebhookService,
)


class Surroundings(Protocol):
    """What webhooks take from the `Deal` that they are part of."""

    settings: Settings
    clock: Clock
    events: EventBus
    metrics: Metrics


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
        takes_mail=mail_server(settings) is not None,
    )
    return service, outbox, secrets


async def open_webhooks(
    stack: AsyncExitStack, backends: Backends, surroundings: Surroundings
) -> tuple[WebhookService, PaymentOutbox]:
    """Read who listens, begin to deliver, and leave the end of it to the stack.

    Args:
        stack: closes it.
        backends: database and keystore, and a sender where the caller gave one.
        surroundings: settings, clock, bus and metrics.

    Returns:
        The service, and the outbox that payments write to.

    Raises:
        ConfigurationError: for a webhook secret or a mail server's TLS files that cannot be used.
        DatabaseError: when the endpoints cannot be read.
    """
    settings, clock, database = surroundings.settings, surroundings.clock, backends.database
    service, outbox, secrets = webhook_service(database, backends.keystore, settings, clock=clock)
    sender = backends.webhook_sender or await _sender(settings, clock)
    deliverer = WebhookDeliverer(
        database=database,
        outbox=outbox,
        bus_events=BusEvents(
            surroundings.events,
            outbox,
            database,
            clock=clock,
            recorded_elsewhere=PAYMENT_EVENTS | WATCH_EVENTS | CREDIT_EVENTS | RENEWAL_EVENTS,
        ),
        secrets=secrets,
        sender=sender,
        disable=service.disable,
        clock=clock,
        metrics=surroundings.metrics,
        bounds=_bounds(settings),
        random=backends.random,
    )
    stack.push_async_callback(deliverer.close)
    await deliverer.start(delivers=settings.webhook_delivery)
    return service, PaymentOutbox(outbox)


def mail_server(settings: Settings) -> MailServer | None:
    """Return the mail server that the settings name, or None.

    Raises:
        ConfigurationError: for one that cannot be used, or half of the settings.
    """
    if settings.smtp_url is None and settings.smtp_sender is None:
        return None
    if settings.smtp_url is None or settings.smtp_sender is None:
        raise ConfigurationError("mail needs both settings, smtp_url and smtp_sender")
    return MailServer.of(settings.smtp_url, settings.smtp_sender, starts_tls=settings.smtp_start_tls)


async def _sender(settings: Settings, clock: Clock) -> ChannelSender:
    # Files first: what is opened after them is closed by the stack alone.
    mail_tls = await _mail_tls(settings)
    http = HttpSender(
        clock=clock,
        timeout_seconds=settings.webhook_timeout_seconds,
        allow_private_networks=settings.webhook_allow_private_networks,
    )
    mail = mail_server(settings)
    return ChannelSender(http, mail, timeout_seconds=settings.webhook_timeout_seconds, mail_tls=mail_tls)


async def _mail_tls(settings: Settings) -> ssl.SSLContext | None:
    if settings.smtp_tls_ca_file is None:
        return None
    files = ClientTlsFiles(settings.smtp_tls_ca_file)
    return await asyncio.to_thread(client_context, files, "the mail server")


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
