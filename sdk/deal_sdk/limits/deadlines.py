"""Ends what waits for an answer that does not come in time.

One timer for all who wait: nearly every answer comes long before, and a timer for each would cost more than
the rest of its way through the event loop.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable
from typing import Any


class Deadlines:
    """Watches futures whose deadlines come in the order in which they are handed over.

    One that comes before its predecessor's is noticed with that, so whoever needs it sooner watches himself.
    """

    def __init__(self, failure: Callable[[], Exception]) -> None:
        """Watch nothing yet.

        Args:
            failure: makes what a future ends with when its time is over.
        """
        self._failure = failure
        self._watched: deque[tuple[float, asyncio.Future[Any]]] = deque()
        self._timer: asyncio.TimerHandle | None = None

    def watch(self, deadline: float, waiting: asyncio.Future[Any]) -> None:
        """Fail a future at a moment of the event loop's time, unless it is done by then."""
        watched = self._watched
        while watched and watched[0][1].done():
            watched.popleft()
        watched.append((deadline, waiting))
        if self._timer is None:
            self._timer = waiting.get_loop().call_at(deadline, self._look)

    def close(self) -> None:
        """Stop watching."""
        self._watched.clear()
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _look(self) -> None:
        self._timer = None
        watched = self._watched
        while watched:
            deadline, waiting = watched[0]
            loop = waiting.get_loop()
            if not waiting.done() and deadline > loop.time():
                self._timer = loop.call_at(deadline, self._look)
                return
            watched.popleft()
            if not waiting.done():
                waiting.set_exception(self._failure())
