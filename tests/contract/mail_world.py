"""A mail server on this machine, and webhooks that are delivered to it."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from email import message_from_bytes
from random import Random
from typing import Any

from aiosmtpd.smtp import SMTP, Envelope
from pydantic import SecretStr

from deal_sdk.chain import Keystore
from deal_sdk.clock import ManualClock, SystemClock
from deal_sdk.events import EventBus
from deal_sdk.metrics import Metrics
from deal_sdk.records import Database
from deal_sdk.webhooks import (
    BusEvents,
    ChannelSender,
    HttpSender,
    MailServer,
    Outbox,
    SigningSecrets,
    WebhookDeliverer,
    WebhookService,
)
from tests.contract.webhook_world import BOUNDS, PASSPHRASE, TEST_KDF_COST

OPS = "mailto:ops@example.com"
SENDER = "deal@example.com"


class MailBox:
    """A mail server on this machine, which may refuse what it is given."""

    def __init__(self) -> None:
        self.taken: list[Any] = []
        self.reply = "250 taken"
        self.port = 0
        self.arrived = asyncio.Event()

    async def handle_DATA(self, server: object, session: object, envelope: Envelope) -> str:
        assert isinstance(envelope.content, bytes)
        if self.reply.startswith("250"):
            self.taken.append((envelope.rcpt_tos, message_from_bytes(envelope.content)))
            self.arrived.set()
        return self.reply

    @asynccontextmanager
    async def listen(self, *, tls: ssl.SSLContext | None = None, **options: Any) -> AsyncIterator[None]:
        """Take mail, on TLS from the first byte where a context is given."""
        server = await asyncio.get_running_loop().create_server(
            lambda: SMTP(self, hostname="mail.example", enable_SMTPUTF8=True, **options),
            "127.0.0.1",
            0,
            ssl=tls,
        )
        self.port = server.sockets[0].getsockname()[1]
        yield
        server.close()
        await server.wait_closed()

    @property
    def server(self) -> MailServer:
        return MailServer.of(SecretStr(f"smtp://127.0.0.1:{self.port}"), SENDER, starts_tls=False)


def channels(server: MailServer | None, *, mail_tls: ssl.SSLContext | None = None) -> ChannelSender:
    http = HttpSender(clock=SystemClock(), timeout_seconds=5, allow_private_networks=False)
    return ChannelSender(http, server, timeout_seconds=5, mail_tls=mail_tls)


class MailWorld:
    """Webhooks over one database that are sent by given channels."""

    def __init__(self, database: Database, clock: ManualClock, sender: ChannelSender) -> None:
        self.clock, self.bus = clock, EventBus(clock)
        outbox = Outbox(database, clock)
        keystore = Keystore(database, PASSPHRASE, clock=clock, kdf_cost=TEST_KDF_COST)
        secrets = SigningSecrets(database, keystore, clock=clock, fallback=SecretStr("s" * 32))
        self.service = WebhookService(
            database, secrets, outbox, clock=clock, allow_private_networks=False, takes_mail=True
        )
        self.deliverer = WebhookDeliverer(
            database=database,
            outbox=outbox,
            bus_events=BusEvents(self.bus, outbox, database, clock=clock, recorded_elsewhere=frozenset()),
            secrets=secrets,
            sender=sender,
            disable=self.service.disable,
            clock=clock,
            metrics=Metrics(),
            bounds=BOUNDS,
            random=Random(1),
        )

    async def deliver(self) -> None:
        """Send what is due, and let the longest wait between two attempts pass."""
        await self.deliverer.deliver_due()
        await self.clock.advance(3_000)

    async def close(self) -> None:
        await self.deliverer.close()
        await self.bus.close()
