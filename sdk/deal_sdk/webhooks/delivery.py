"""Delivers what the outbox holds, at least once, by a loop of its own or one pass at a time."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from datetime import timedelta
from random import Random
from typing import Any, Final
from uuid import UUID, uuid4

from deal_sdk._version import __version__
from deal_sdk.clock import Clock
from deal_sdk.errors import DatabaseError, TokenError
from deal_sdk.metrics import Metrics
from deal_sdk.records import Database
from deal_sdk.webhooks._errors import NoReplyError
from deal_sdk.webhooks.bus import BusEvents
from deal_sdk.webhooks.deliveries import Claimed, DeliveryStore, Outcome
from deal_sdk.webhooks.lanes import Backoff, Lane
from deal_sdk.webhooks.outbox import Outbox
from deal_sdk.webhooks.secrets import SigningSecrets
from deal_sdk.webhooks.sender import WebhookReply, WebhookSender
from deal_sdk.webhooks.signatures import (
    EVENT_ID_HEADER,
    EVENT_TYPE_HEADER,
    SIGNATURE_HEADER,
    sign_webhook,
)

logger = logging.getLogger(__name__)

CLEANING_SECONDS: Final = 60.0
SECRETS_SECONDS: Final = 60.0
LEASE_MARGIN_SECONDS: Final = 30.0
LEASE_TIMEOUTS: Final = 5
"""A claimed delivery waits for at most four others and is then tried itself."""
CLOSE_GRACE_SECONDS: Final = 2.0
HTTP_DELIVERED: Final = range(200, 300)
HTTP_REDIRECTS: Final = range(300, 400)
HTTP_GONE: Final = 410
HTTP_SLOW_DOWN: Final = (429, 503)
GONE: Final = "the endpoint answered 410: it wants no more"

DisableEndpoint = Callable[[UUID, str], Awaitable[Any]]


@dataclass(frozen=True, slots=True)
class DeliveryBounds:
    """The bounds of delivering, from the settings."""

    timeout_seconds: float
    max_attempts: int
    first_retry_seconds: float
    max_in_flight: int
    poll_interval_seconds: float
    max_age_seconds: float
    retention_seconds: float


class WebhookDeliverer:
    """Claims due deliveries, sends them signed, and writes what came of each."""

    def __init__(
        self,
        *,
        database: Database,
        outbox: Outbox,
        bus_events: BusEvents,
        secrets: SigningSecrets,
        sender: WebhookSender,
        disable: DisableEndpoint,
        clock: Clock,
        metrics: Metrics,
        bounds: DeliveryBounds,
        random: Random | None = None,
    ) -> None:
        """Wire the parts; nothing is sent before `start` or `deliver_due`.

        Args:
            database: holds the deliveries.
            outbox: tells when something was written here, and who listens.
            bus_events: subscribed and unsubscribed as endpoints come and go.
            secrets: sign the requests.
            sender: carries them.
            disable: ends an endpoint that answers that it is gone.
            clock: for leases, backoff and signatures.
            metrics: counts outcomes.
            bounds: from the settings.
            random: the jitter's source.
        """
        self._outbox = outbox
        self._bus_events = bus_events
        self._secrets = secrets
        self._sender = sender
        self._disable = disable
        self._clock = clock
        self._metrics = metrics
        self._bounds = bounds
        self._backoff = Backoff(bounds.first_retry_seconds, random or Random())
        self._store = DeliveryStore(database, uuid4())
        self._lanes: dict[UUID, Lane] = {}
        self._known_secrets: dict[UUID, tuple[str | None, float, tuple[str, ...]]] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        self._loop: asyncio.Task[None] | None = None
        self._refresh_at_seconds = 0.0
        self._clean_at_seconds = 0.0

    async def start(self, *, delivers: bool = True) -> None:
        """Read who listens and begin the loop, which `close` ends.

        Args:
            delivers: false leaves delivering to other processes; events are written all the same.

        Raises:
            DatabaseError: when the endpoints cannot be read; without them no event would be written.
        """
        assert self._loop is None
        await self._refresh()
        self._loop = asyncio.create_task(self._run(delivers=delivers))

    async def deliver_due(self) -> int:
        """Make one pass and wait for its requests.

        Returns:
            How many deliveries were tried.

        Raises:
            DatabaseError: what was claimed by then comes back when its lease ends.
        """
        await self._outbox.refresh()
        started = await self._claim_due()
        if started:
            await asyncio.wait(started)
        return len(started)

    async def close(self) -> None:
        """Stop, letting requests under way end for a moment; what did not end is delivered again later."""
        if self._loop is not None:
            self._loop.cancel()
            await asyncio.gather(self._loop, return_exceptions=True)
            self._loop = None
            await self._wait_for(asyncio.ensure_future(self._bus_events.drain()), CLOSE_GRACE_SECONDS)
        self._bus_events.close()
        if self._tasks:
            await self._wait_for(asyncio.gather(*self._tasks, return_exceptions=True), CLOSE_GRACE_SECONDS)
        unfinished = tuple(self._tasks)
        for task in unfinished:
            task.cancel()
        await asyncio.gather(*unfinished, return_exceptions=True)
        await self._store.close()
        if unfinished:
            await self._release()
        await self._sender.close()

    async def _run(self, *, delivers: bool) -> None:
        while True:
            self._outbox.written.clear()
            try:
                if self._clock.monotonic() >= self._refresh_at_seconds:
                    await self._refresh()
                if delivers and self._outbox.has_endpoints:
                    await self._clean()
                    await self._claim_due()
            except TokenError as error:
                logger.warning("webhooks wait: %s (%s)", error.message, error.code)
            except Exception:
                logger.exception("a pass of webhooks failed")
            await self._wait_for(
                asyncio.ensure_future(self._outbox.written.wait()), self._bounds.poll_interval_seconds
            )

    async def _refresh(self) -> None:
        await self._outbox.refresh()
        self._refresh_at_seconds = self._clock.monotonic() + self._bounds.poll_interval_seconds

    async def _clean(self) -> None:
        now_seconds = self._clock.monotonic()
        if now_seconds < self._clean_at_seconds:
            return
        self._clean_at_seconds = now_seconds + CLEANING_SECONDS
        buried = await self._store.clean(
            self._clock.now(),
            max_age_seconds=self._bounds.max_age_seconds,
            retention_seconds=self._bounds.retention_seconds,
        )
        self._count("dead", buried)

    async def _claim_due(self) -> list[asyncio.Task[None]]:
        now_seconds = self._clock.monotonic()
        room: dict[UUID, int] = {}
        for endpoint_id in await self._store.due_endpoints(self._clock.now()):
            free = self._lane(endpoint_id).room(now_seconds)
            if free > 0 and await self._has_secrets(endpoint_id):
                room[endpoint_id] = free
        if not room:
            return []
        lease_seconds = self._bounds.timeout_seconds * LEASE_TIMEOUTS + LEASE_MARGIN_SECONDS
        claimed = await self._store.claim(room, now=self._clock.now(), lease_seconds=lease_seconds)
        return [self._begin(delivery) for delivery in claimed]

    def _begin(self, delivery: Claimed) -> asyncio.Task[None]:
        lane = self._lane(delivery.endpoint_id)
        lane.claimed += 1
        task = asyncio.create_task(self._deliver(delivery, lane))
        self._tasks.add(task)

        def ended(done: asyncio.Task[None]) -> None:
            self._tasks.discard(done)
            lane.claimed -= 1
            if lane.claimed <= self._bounds.max_in_flight:
                # Early enough that no place waits for the next claim.
                self._outbox.written.set()

        task.add_done_callback(ended)
        return task

    async def _deliver(self, delivery: Claimed, lane: Lane) -> None:
        try:
            async with lane.places:
                pause_seconds = lane.pause_seconds(self._clock.monotonic())
                outcome = (
                    self._postponed(delivery, pause_seconds)
                    if pause_seconds > 0
                    else await self._try(delivery, lane)
                )
            await self._store.end(outcome)
        except DatabaseError as error:
            # It was perhaps delivered; without a record it comes again, under the same event id.
            logger.warning("delivery %d waits for its lease to end: %s", delivery.id, error.message)
        except Exception:
            logger.exception("delivery %d failed in an unforeseen way", delivery.id)

    async def _try(self, delivery: Claimed, lane: Lane) -> Outcome:
        headers = self._headers(delivery)
        try:
            reply = await self._sender.post(delivery.url, delivery.body, headers)
        except NoReplyError as error:
            lane.failed(self._clock.monotonic(), None)
            return self._failed(delivery, None, error.reason)
        if reply.status in HTTP_DELIVERED:
            lane.succeeded()
            return self._delivered(delivery, reply.status)
        lane.failed(
            self._clock.monotonic(), reply.retry_after_seconds if reply.status in HTTP_SLOW_DOWN else None
        )
        if reply.status == HTTP_GONE:
            await self._disable(delivery.endpoint_id, GONE)
        return self._failed(delivery, reply, _reason(reply.status))

    def _headers(self, delivery: Claimed) -> dict[str, str]:
        _, _, secrets = self._known_secrets[delivery.endpoint_id]
        return {
            "Content-Type": "application/json",
            "User-Agent": f"deal-sdk/{__version__}",
            EVENT_ID_HEADER: str(delivery.event_id),
            EVENT_TYPE_HEADER: delivery.event_type,
            SIGNATURE_HEADER: sign_webhook(delivery.body, secrets, int(self._clock.now().timestamp())),
        }

    def _delivered(self, delivery: Claimed, status: int) -> Outcome:
        self._count("delivered", 1)
        now = self._clock.now()
        return Outcome(delivery.id, "delivered", delivery.attempts + 1, now, status, None, now)

    def _failed(self, delivery: Claimed, reply: WebhookReply | None, reason: str) -> Outcome:
        attempts = delivery.attempts + 1
        now = self._clock.now()
        status = None if reply is None else reply.status
        if status == HTTP_GONE or attempts >= self._bounds.max_attempts:
            self._count("dead", 1)
            return Outcome(delivery.id, "dead", attempts, now, status, reason, now)
        self._count("failed", 1)
        delay_seconds = self._backoff.delay_seconds(attempts)
        if reply is not None and reply.retry_after_seconds is not None:
            delay_seconds = max(delay_seconds, reply.retry_after_seconds)
        later = now + timedelta(seconds=delay_seconds)
        return Outcome(delivery.id, "pending", attempts, later, status, reason)

    def _postponed(self, delivery: Claimed, pause_seconds: float) -> Outcome:
        later = self._clock.now() + timedelta(seconds=pause_seconds)
        return Outcome(delivery.id, "pending", delivery.attempts, later)

    async def _has_secrets(self, endpoint_id: UUID) -> bool:
        version, until_seconds, _ = self._known_secrets.get(endpoint_id, (None, 0.0, ()))
        now_seconds = self._clock.monotonic()
        if version == self._outbox.version and now_seconds < until_seconds:
            return True
        try:
            secrets = (await self._secrets.of([endpoint_id]))[endpoint_id]
        except DatabaseError:
            raise
        except TokenError as error:
            # An endpoint that cannot be signed for waits; it must not hold up the others.
            logger.error("endpoint %s waits: %s (%s)", endpoint_id, error.message, error.code)
            self._lane(endpoint_id).failed(now_seconds, CLEANING_SECONDS)
            return False
        self._known_secrets[endpoint_id] = (self._outbox.version, now_seconds + SECRETS_SECONDS, secrets)
        return True

    def _lane(self, endpoint_id: UUID) -> Lane:
        lane = self._lanes.get(endpoint_id)
        if lane is None:
            lane = self._lanes[endpoint_id] = Lane(self._bounds.max_in_flight, self._backoff)
        return lane

    def _count(self, outcome: str, count: int) -> None:
        self._metrics.webhook_deliveries.labels(outcome=outcome).inc(count)

    async def _release(self) -> None:
        try:
            await self._store.release(self._clock.now())
        except DatabaseError as error:
            logger.warning("claimed webhooks wait for their leases to end: %s", error.message)

    async def _wait_for(self, future: asyncio.Future[Any], seconds: float) -> None:
        """Wait for a future, at most for a time of the injected clock, and cancel it when that is over."""
        timer = asyncio.ensure_future(self._clock.sleep(seconds))
        try:
            await asyncio.wait((future, timer), return_when=asyncio.FIRST_COMPLETED)
        finally:
            timer.cancel()
            future.cancel()


def _reason(status: int) -> str:
    if status in HTTP_REDIRECTS:
        return f"HTTP {status}: redirects are not followed"
    return GONE if status == HTTP_GONE else f"HTTP {status}"
