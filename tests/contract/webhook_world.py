"""Webhooks over one database, with a sender that answers as a test says."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from random import Random
from typing import Any

import orjson
from pydantic import SecretStr

from deal_sdk.chain import Keystore
from deal_sdk.clock import ManualClock
from deal_sdk.events import EventBus
from deal_sdk.metrics import Metrics
from deal_sdk.payments import PAYMENT_EVENTS, PaymentOutbox
from deal_sdk.payments.attempts import AttemptStore
from deal_sdk.payments.intents import IntentStore
from deal_sdk.records import Database
from deal_sdk.webhooks import (
    BusEvents,
    DeliveryBounds,
    NoReplyError,
    Outbox,
    SigningSecrets,
    WebhookDeliverer,
    WebhookReply,
    WebhookService,
)

PASSPHRASE = SecretStr("correct horse battery staple")
TEST_KDF_COST = 2**4
BOUNDS = DeliveryBounds(
    timeout_seconds=10.0,
    max_attempts=4,
    first_retry_seconds=5.0,
    max_in_flight=4,
    poll_interval_seconds=1.0,
    max_age_seconds=3_600.0,
    retention_seconds=7_200.0,
)


@dataclass
class Request:
    url: str
    body: bytes
    headers: Mapping[str, str]

    @property
    def event(self) -> dict[str, Any]:
        event: dict[str, Any] = orjson.loads(self.body)
        return event


@dataclass
class ScriptedSender:
    """Keeps what it was given, and answers by URL."""

    answers: dict[str, Callable[[], WebhookReply]] = field(default_factory=dict)
    requests: list[Request] = field(default_factory=list)
    hold: asyncio.Event | None = None
    arrived: asyncio.Event = field(default_factory=asyncio.Event)
    most_at_once: int = 0
    at_once: int = 0

    async def post(self, url: str, body: bytes, headers: Mapping[str, str]) -> WebhookReply:
        self.requests.append(Request(url, body, dict(headers)))
        self.arrived.set()
        self.at_once += 1
        self.most_at_once = max(self.most_at_once, self.at_once)
        try:
            if self.hold is not None:
                await self.hold.wait()
            return self.answers.get(url, lambda: WebhookReply(200))()
        finally:
            self.at_once -= 1

    async def close(self) -> None:
        return None

    def events(self, url: str | None = None) -> list[dict[str, Any]]:
        return [request.event for request in self.requests if url in (None, request.url)]


def no_reply() -> WebhookReply:
    raise NoReplyError("no reply in time")


class Process:
    """One process's parts over a database that others may share."""

    def __init__(
        self,
        database: Database,
        clock: ManualClock,
        *,
        bounds: DeliveryBounds = BOUNDS,
        fallback: SecretStr | None = None,
        seed: int = 1,
    ) -> None:
        self.database = database
        self.clock = clock
        self.sender = ScriptedSender()
        self.bus = EventBus(clock)
        self.metrics = Metrics()
        self.outbox = Outbox(database, clock)
        keystore = Keystore(database, PASSPHRASE, clock=clock, kdf_cost=TEST_KDF_COST)
        self.secrets = SigningSecrets(database, keystore, clock=clock, fallback=fallback)
        self.webhooks = WebhookService(
            database, self.secrets, self.outbox, clock=clock, allow_private_networks=False
        )
        self.bus_events = BusEvents(
            self.bus, self.outbox, database, clock=clock, recorded_elsewhere=PAYMENT_EVENTS
        )
        self.deliverer = WebhookDeliverer(
            database=database,
            outbox=self.outbox,
            bus_events=self.bus_events,
            secrets=self.secrets,
            sender=self.sender,
            disable=self.webhooks.disable,
            clock=clock,
            metrics=self.metrics,
            bounds=bounds,
            random=Random(seed),
        )
        payment_outbox = PaymentOutbox(self.outbox)
        self.intents = IntentStore(database, clock, outbox=payment_outbox)
        self.attempts = AttemptStore(database, clock, outbox=payment_outbox)

    async def states(self, **filters: Any) -> list[str]:
        """Return the states of the deliveries, oldest first."""
        page = await self.webhooks.deliveries(**filters)
        return [delivery.state for delivery in reversed(page.items)]

    async def close(self) -> None:
        await self.intents.close()
        await self.attempts.close()
        await self.deliverer.close()
        await self.bus.close()
