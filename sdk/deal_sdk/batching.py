"""One small collector: calls that arrive in the same tick leave together.

The same piece gives the gate its Redis pipeline, the recorder its group commit, the sender its
JSON-RPC batch, the status sweep its 256 signatures and the balance reader its 100 accounts a call.
A call that is alone waits for nobody: its batch leaves at the end of the current tick of the loop.
It never retries and never reorders; what a failed batch means is for its owner to say.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable, Sequence
from typing import Final, Generic, TypeVar

Item = TypeVar("Item")
Result = TypeVar("Result")

ProcessBatch = Callable[[Sequence[Item]], Awaitable[Sequence[Result | BaseException]]]
"""Handles one batch: as many results as items, in order; an exception in a place fails that item alone."""

DEFAULT_MAX_ITEMS: Final = 100
DEFAULT_MAX_IN_FLIGHT: Final = 1


class Collector(Generic[Item, Result]):
    """Gathers single calls into batches, so that a round trip is shared by all who wait for it."""

    def __init__(
        self,
        process: ProcessBatch[Item, Result],
        *,
        max_items: int = DEFAULT_MAX_ITEMS,
        max_bytes: int | None = None,
        size_of: Callable[[Item], int] | None = None,
        max_in_flight: int = DEFAULT_MAX_IN_FLIGHT,
        drop_cancelled: bool = False,
    ) -> None:
        """Prepare a collector; nothing runs before the first `submit`.

        Args:
            process: handles a batch. An exception it raises fails every item of the batch.
            max_items: the most items in one batch.
            max_bytes: the most bytes in one batch by `size_of`; a single larger item goes alone.
            size_of: the bytes that one item takes.
            max_in_flight: batches under way at once; what arrives meanwhile is gathered.
            drop_cancelled: cancel a batch once everybody who waited for it was cancelled; only where
                nothing is lost with it, as with reads.
        """
        assert max_items > 0
        assert max_in_flight > 0
        assert (max_bytes is None) == (size_of is None)
        self._process = process
        self._max_items = max_items
        self._max_bytes = max_bytes
        self._size_of = size_of
        self._max_in_flight = max_in_flight
        self._drop_cancelled = drop_cancelled
        self._waiting: deque[tuple[Item, asyncio.Future[Result]]] = deque()
        self._running: dict[asyncio.Task[None], list[tuple[Item, asyncio.Future[Result]]]] = {}
        self._flush_scheduled = False
        self._closed = False

    @property
    def depth(self) -> int:
        """Return how many items wait for a batch, for the queue-depth metric."""
        return len(self._waiting)

    async def submit(self, item: Item) -> Result:
        """Hand over one item and return its result.

        Cancelling the caller does not take the item back, unless `drop_cancelled` says so: it may
        already be on its way.

        Raises:
            RuntimeError: after `close`.
        """
        try:
            return await self.put(item)
        except asyncio.CancelledError:
            if self._drop_cancelled:
                self._drop_unwanted()
            raise

    def put(self, item: Item) -> asyncio.Future[Result]:
        """Hand over one item and return the future of its result, which its caller may end before.

        Raises:
            RuntimeError: after `close`.
        """
        if self._closed:
            raise RuntimeError("the collector is closed")
        loop = asyncio.get_running_loop()
        future: asyncio.Future[Result] = loop.create_future()
        self._waiting.append((item, future))
        self._schedule_flush(loop)
        return future

    async def close(self) -> None:
        """Finish what was submitted, then refuse more."""
        self._closed = True
        while self._waiting or self._running:
            self._flush()
            # Unlike gather, wait leaves the batches alone when the caller of close is cancelled.
            await asyncio.wait(self._running)

    def _drop_unwanted(self) -> None:
        self._waiting = deque(entry for entry in self._waiting if not entry[1].cancelled())
        for task, batch in self._running.items():
            if all(future.cancelled() for _, future in batch):
                task.cancel()

    def _schedule_flush(self, loop: asyncio.AbstractEventLoop) -> None:
        if not self._flush_scheduled and len(self._running) < self._max_in_flight:
            self._flush_scheduled = True
            loop.call_soon(self._flush)

    def _flush(self) -> None:
        self._flush_scheduled = False
        while self._waiting and len(self._running) < self._max_in_flight:
            batch = self._take_batch()
            task = asyncio.create_task(self._run(batch))
            self._running[task] = batch
            task.add_done_callback(self._finished)

    def _finished(self, task: asyncio.Task[None]) -> None:
        self._running.pop(task, None)
        if self._waiting:
            self._schedule_flush(task.get_loop())

    def _take_batch(self) -> list[tuple[Item, asyncio.Future[Result]]]:
        batch: list[tuple[Item, asyncio.Future[Result]]] = []
        size_bytes = 0
        while self._waiting and len(batch) < self._max_items:
            if self._size_of is not None and self._max_bytes is not None:
                size_bytes += self._size_of(self._waiting[0][0])
                if batch and size_bytes > self._max_bytes:
                    break
            batch.append(self._waiting.popleft())
        return batch

    async def _run(self, batch: list[tuple[Item, asyncio.Future[Result]]]) -> None:
        try:
            results = await self._process([item for item, _ in batch])
        except BaseException as error:
            self._fail(batch, error)
            if not isinstance(error, Exception):
                raise
            return
        if len(results) != len(batch):
            self._fail(batch, RuntimeError(f"a batch of {len(batch)} came back with {len(results)} results"))
            return
        for (_, future), result in zip(batch, results, strict=True):
            _settle(future, result)

    @staticmethod
    def _fail(batch: list[tuple[Item, asyncio.Future[Result]]], error: BaseException) -> None:
        for _, future in batch:
            _settle(future, error)


def _settle(future: asyncio.Future[Result], result: Result | BaseException) -> None:
    if future.done():
        return
    if isinstance(result, BaseException):
        future.set_exception(result)
    else:
        future.set_result(result)
