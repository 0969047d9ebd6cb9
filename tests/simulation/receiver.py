"""A receiver of webhooks: it takes some, refuses some, and takes some without saying so."""

from __future__ import annotations

from collections.abc import Mapping
from random import Random
from typing import Any, Final

import orjson

from deal_sdk.clock import ManualClock
from deal_sdk.webhooks import NoReplyError, WebhookReply
from tests.simulation.life import Life

MAX_LATENCY_SECONDS: Final = 0.3
REFUSED_SHARE: Final = 0.15
UNANSWERED_SHARE: Final = 0.15


class Receiver:
    """Outlives the processes that tell it."""

    def __init__(self, clock: ManualClock, random: Random) -> None:
        self._clock = clock
        self._random = random
        self._is_healed = False
        self.events: dict[str, Mapping[str, Any]] = {}
        self.contradictions: list[str] = []

    def heal(self) -> None:
        """Take everything from now on."""
        self._is_healed = True

    async def take(self, body: bytes) -> WebhookReply:
        """Receive a request, or fail before or after that."""
        await self._clock.sleep(self._random.uniform(0.0, MAX_LATENCY_SECONDS))
        fate = 1.0 if self._is_healed else self._random.random()
        if fate < REFUSED_SHARE:
            return WebhookReply(503, 1.0)
        event = orjson.loads(body)
        if self.events.setdefault(event["id"], event) != event:
            self.contradictions.append(event["id"])
        if fate < REFUSED_SHARE + UNANSWERED_SHARE:
            raise NoReplyError("no reply in time")
        return WebhookReply(200)


class SimulatedSender:
    """One process's way to the receiver."""

    def __init__(self, receiver: Receiver, life: Life) -> None:
        self._receiver = receiver
        self._life = life

    async def post(self, url: str, body: bytes, headers: Mapping[str, str]) -> WebhookReply:
        """Send a body to the receiver, whatever the URL."""
        self._life.check("before a webhook")
        try:
            return await self._receiver.take(body)
        finally:
            self._life.check("after a webhook")

    async def close(self) -> None:
        """There is nothing to close."""
