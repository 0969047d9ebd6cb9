"""Payments whose commit was not answered: looked for until the database says whether they were made.

Their callers were told "unknown". One that was made is driven from here at once, as if its commit had
been answered. One that is not there may still be on its way inside the server, so nothing is concluded
from its absence: its limits stay used, and the reconciler's next pass is the backstop.
"""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable, Collection
from typing import Final
from uuid import UUID

from deal_sdk.clock import Clock
from deal_sdk.errors import TokenError

logger = logging.getLogger(__name__)

FIRST_LOOK_SECONDS: Final = 0.1
MAX_PAUSE_SECONDS: Final = 2.0
ANSWERED_LOOKS: Final = 4
"""A server may still carry out a commit whose connection broke, so one look is not enough."""
MAX_LOST: Final = 10_000
"""More than these are left to the reconciler, so that an outage fills no memory."""

TakeUp = Callable[[Collection[UUID]], Awaitable[Collection[UUID]]]
"""Drives those of some payments that are open, and returns those."""


class LostCommits:
    """Looks for payments by their ids, all of them in one query, while there are any."""

    def __init__(self, take_up: TakeUp, *, clock: Clock) -> None:
        """Prepare; `note` says when `run` has work."""
        self._take_up = take_up
        self._clock = clock
        self._looks_left: dict[UUID, int] = {}
        self._is_running = False

    def note(self, payment_id: UUID) -> bool:
        """Remember a payment and return whether `run` must be started for it."""
        if len(self._looks_left) < MAX_LOST:
            self._looks_left[payment_id] = ANSWERED_LOOKS
        needs_run = not self._is_running
        self._is_running = True
        return needs_run

    async def run(self) -> None:
        """Look until each was found, or was not there several times."""
        pause_seconds = FIRST_LOOK_SECONDS
        try:
            while self._looks_left:
                await self._clock.sleep(pause_seconds)
                await self._look()
                pause_seconds = min(pause_seconds * 2, MAX_PAUSE_SECONDS)
        finally:
            self._is_running = False

    async def _look(self) -> None:
        asked = list(self._looks_left)
        try:
            found = set(await self._take_up(asked))
        except TokenError as error:
            logger.warning("whether %d payments were recorded cannot be told now: %s", len(asked), error)
            return
        except Exception:
            logger.exception("looking for %d payments broke", len(asked))
            found = set()
        for payment_id in asked:
            self._looks_left[payment_id] -= 1
            if payment_id in found or not self._looks_left[payment_id]:
                del self._looks_left[payment_id]
