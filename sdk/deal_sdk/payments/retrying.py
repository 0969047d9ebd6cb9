"""Repeating a step that the outside world refused, until it is done."""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable
from typing import Final, TypeVar

from deal_sdk.clock import Clock
from deal_sdk.errors import TokenError

logger = logging.getLogger(__name__)

T = TypeVar("T")

FIRST_RETRY_SECONDS: Final = 0.1
MAX_RETRY_SECONDS: Final = 30.0


async def until_done(clock: Clock, what: str, action: Callable[[], Awaitable[T]]) -> T:
    """Repeat a step that has not happened until it does, ever more rarely.

    Args:
        clock: spaces the tries.
        what: names whose step it is, for the log.
        action: safe to repeat, whatever became of the last try.
    """
    delay_seconds = FIRST_RETRY_SECONDS
    while True:
        try:
            return await action()
        except TokenError as error:
            level = logging.WARNING if error.retryable else logging.ERROR
            logger.log(level, "%s waits: %s (%s)", what, error.message, error.code)
        await clock.sleep(delay_seconds)
        delay_seconds = min(delay_seconds * 2, MAX_RETRY_SECONDS)
