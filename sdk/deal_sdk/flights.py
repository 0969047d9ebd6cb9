"""One load for all who ask for the same thing at the same time."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Hashable
from typing import Generic, TypeVar

Value = TypeVar("Value")


class Flights(Generic[Value]):
    """Loads under way, by key. A caller that is cancelled stops nobody else's load."""

    def __init__(self) -> None:
        """Start with nothing under way."""
        self._by_key: dict[Hashable, asyncio.Task[Value]] = {}
        self._tasks: set[asyncio.Task[Value]] = set()

    async def join(self, key: Hashable, load: Callable[[], Awaitable[Value]]) -> Value:
        """Return the result of the load under way for a key, or begin one.

        Args:
            key: what is loaded.
            load: called only when none is under way; what it raises reaches everyone who waits.
        """
        return await asyncio.shield(self.start(key, load))

    def start(self, key: Hashable, load: Callable[[], Awaitable[Value]]) -> asyncio.Task[Value]:
        """Begin a load unless one is under way, and return its task without waiting for it.

        Args:
            key: what is loaded.
            load: as for `join`.
        """
        task = self._by_key.get(key)
        if task is None:
            task = asyncio.create_task(_run(load))
            self._by_key[key] = task
            self._tasks.add(task)
            task.add_done_callback(lambda done: self._landed(key, done))
        return task

    def leave(self, key: Hashable) -> None:
        """Let the next caller begin a load of its own, because the one under way may return an old value."""
        self._by_key.pop(key, None)

    async def close(self) -> None:
        """Cancel what is under way and wait for its end."""
        for task in tuple(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    def _landed(self, key: Hashable, task: asyncio.Task[Value]) -> None:
        self._tasks.discard(task)
        if self._by_key.get(key) is task:
            del self._by_key[key]
        if not task.cancelled():
            # Everyone who waited may have been cancelled; the error is then nobody's.
            task.exception()


async def _run(load: Callable[[], Awaitable[Value]]) -> Value:
    return await load()
