"""Which server a command goes to, and what to do when it turns out to be another.

Owns the seam between the store and its servers, and the simplest of them, one server. `sentinels` and
`clusters` own the others. Never decides whether a command may be sent again: a lane says what ran.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncGenerator, Awaitable, Callable, Coroutine, Iterable
from typing import Any, Final, Protocol

from deal_sdk.errors import StoreUnavailableError
from deal_sdk.limits._errors import NotRunError, Reason
from deal_sdk.limits.lanes import Command, Lane
from deal_sdk.limits.lineages import OF_SERVER, LineageQuestion
from deal_sdk.limits.scripts import Words

logger = logging.getLogger(__name__)

PROBE_SECONDS: Final = 1.0
"""How long a server may take to say where the keys are; others are asked at the same time."""


class Servers(Protocol):
    """The servers of one store."""

    def lane_for(self, key: str | None) -> Lane | None:
        """Return the way to the server that holds a key, or None when that must be looked up first."""
        ...

    @property
    def failure(self) -> StoreUnavailableError | None:
        """Return why nobody could tell where a key is, when the latest look-up found out."""
        ...

    @property
    def lineage(self) -> LineageQuestion | None:
        """Return what tells a server from its successor, or None where there can be none."""
        ...

    def lanes(self) -> list[Lane]:
        """Return the way to every server that holds keys, as far as they are known."""
        ...

    async def look_up(self) -> None:
        """Find out which server holds what; returns quietly when nobody can tell."""
        ...

    async def follow(self, refusal: NotRunError, lane: Lane) -> Lane | None:
        """Act on a refusal, and return the server to ask this once, if it named one.

        Args:
            refusal: what the lane answered.
            lane: which answered it.

        Raises:
            StoreUnavailableError: when there is nobody else to ask.
        """
        ...

    def suspect(self, lane: Lane) -> None:
        """Take note that a server did not answer, so that another may have its place by now."""
        ...

    async def close(self) -> None:
        """Close all connections."""
        ...


class OneServer:
    """A server without deputies."""

    def __init__(self, lane: Lane, *, lineage: LineageQuestion | None = OF_SERVER) -> None:
        """Keep the way to it.

        Args:
            lane: the only way there is.
            lineage: what tells it from another one that takes its place; None where none can.
        """
        self._lane = lane
        self._lineage = lineage

    def lane_for(self, key: str | None) -> Lane | None:
        """Return the only way there is."""
        return self._lane

    @property
    def failure(self) -> StoreUnavailableError | None:
        """Return None: nothing is looked up."""
        return None

    @property
    def lineage(self) -> LineageQuestion | None:
        """Return what tells it from another one that takes its place, behind the same name."""
        return self._lineage

    def lanes(self) -> list[Lane]:
        """Return the only way there is."""
        return [self._lane]

    async def look_up(self) -> None:
        """Do nothing: there is nothing to find."""

    async def follow(self, refusal: NotRunError, lane: Lane) -> Lane | None:
        """Connect anew to a server that was demoted, because its name may stand for another by now.

        Raises:
            StoreUnavailableError: when it cannot be reached, or is a node of a cluster.
        """
        if refusal.reason is Reason.DEMOTED:
            await lane.drop()
        elif refusal.reason is not Reason.WAIT:
            raise refusal.error from None
        return None

    def suspect(self, lane: Lane) -> None:
        """Do nothing: there is no other."""

    async def close(self) -> None:
        """Close its connections."""
        await self._lane.close()


class SharedLookUp:
    """One look-up at a time, shared by all who need it, and the closing of lanes in the background."""

    def __init__(self, look_up: Callable[[], Coroutine[Any, Any, None]]) -> None:
        """Keep what looks up."""
        self._look_up = look_up
        self._running: asyncio.Task[None] | None = None
        self._closing: set[asyncio.Task[None]] = set()
        self.failure: StoreUnavailableError | None = None
        """Why a server that was asked in the latest look-up could not tell."""

    def begin(self) -> asyncio.Task[None]:
        """Return the look-up under way, or start one."""
        if self._running is None or self._running.done():
            self._running = asyncio.create_task(self._run())
        return self._running

    async def done(self) -> None:
        """Wait for a look-up; a caller who gives up stops it for nobody else."""
        await asyncio.wait([self.begin()])

    def retire(self, lane: Lane) -> None:
        """Close a lane once it has finished what is under way."""
        task = asyncio.create_task(lane.close())
        self._closing.add(task)
        task.add_done_callback(self._closing.discard)

    async def close(self, lanes: Iterable[Lane]) -> None:
        """Stop looking up and close the lanes that are left."""
        if self._running is not None:
            self._running.cancel()
            await asyncio.wait([self._running])
        closings: list[Awaitable[None]] = [*self._closing, *(lane.close() for lane in lanes)]
        await asyncio.gather(*closings)

    async def ask(
        self, lanes: Iterable[Lane], words: Words, *, timeout_seconds: float = PROBE_SECONDS
    ) -> AsyncGenerator[tuple[Lane, Any]]:
        """Ask several servers the same at once, and yield what they answer as it comes.

        Servers that fail or do not answer in time are left out.

        Args:
            lanes: whom to ask.
            words: the question, which must change nothing.
            timeout_seconds: for all of them together.
        """
        deadline = asyncio.get_running_loop().time() + timeout_seconds
        asked = {lane.put(Command(words, deadline)): lane for lane in lanes}
        try:
            while asked:
                left_seconds = max(deadline - asyncio.get_running_loop().time(), 0)
                done, _ = await asyncio.wait(asked, timeout=left_seconds, return_when=asyncio.FIRST_COMPLETED)
                if not done:
                    return
                for future in done:
                    lane = asked.pop(future)
                    if self._has_answered(future):
                        yield lane, future.result()
        finally:
            for future in asked:
                if not future.cancel() and not future.cancelled():
                    # It has failed at this very moment, which nobody is to be warned of.
                    future.exception()

    async def _run(self) -> None:
        self.failure = None
        try:
            await self._look_up()
        except (LookupError, TypeError, ValueError):
            logger.warning("a server of the store gave an answer that cannot be read")

    def _has_answered(self, future: asyncio.Future[Any]) -> bool:
        error = future.exception()
        if isinstance(error, NotRunError):
            error = error.error
        if isinstance(error, StoreUnavailableError):
            self.failure = error
            return False
        return True
