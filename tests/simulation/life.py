"""The life of one simulated process: what it does to the outside, and the moment at which it is killed.

Everything that outlives a process - the chain, the database's file, the store - is reached through calls
that pass here twice: before they act and after they acted. Between two such passages nothing lasting
changes, so a kill at every passage is a kill at every await.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from contextvars import ContextVar, copy_context
from random import Random
from typing import Any, Final, TypeVar

MAX_ROUNDS_OF_CANCELLING: Final = 200

T = TypeVar("T")

owner: ContextVar[object | None] = ContextVar("owner", default=None)
"""The simulated process that a task belongs to; tasks inherit it from whoever starts them."""


class Life:
    """Counts the passages of one process and ends it at a chosen one."""

    def __init__(self, *, ends_at: int | None = None) -> None:
        self.ends_at = ends_at
        self.passed: list[str] = []
        self.is_over = False
        self.last_words = ""

    @property
    def passages(self) -> int:
        """Return how many passages there were."""
        return len(self.passed)

    def passes(self, where: str) -> bool:
        """Count a passage and tell whether the process still lives after it."""
        if self.is_over:
            return False
        self.passed.append(where)
        if self.ends_at is not None and self.passages >= self.ends_at:
            self.end(where)
        return not self.is_over

    def end_within(self, random: Random, passages: int) -> None:
        """Let the process die at one of its next passages."""
        if self.ends_at is None:
            self.ends_at = self.passages + random.randint(1, passages)

    def end(self, where: str) -> None:
        """Kill the process: from now on nothing it does has an effect."""
        self.is_over = True
        self.last_words = where

    def check(self, where: str) -> None:
        """Pass, or end the calling task because its process is dead."""
        if not self.passes(where):
            raise asyncio.CancelledError(f"killed at {where}")


def start_for(process: object | None, work: Coroutine[Any, Any, T]) -> asyncio.Task[T]:
    """Start a task that belongs to a process, or to none."""
    context = copy_context()
    context.run(owner.set, process)
    return asyncio.create_task(work, context=context)


async def bury(is_dead: Callable[[asyncio.Task[object]], bool]) -> None:
    """Cancel every task of a dead process, without closing anything, until none is left."""
    current = asyncio.current_task()
    for _ in range(MAX_ROUNDS_OF_CANCELLING):
        tasks = [task for task in asyncio.all_tasks() if task is not current and is_dead(task)]
        if not tasks:
            return
        for task in tasks:
            task.cancel()
        await asyncio.sleep(0)
    raise AssertionError(f"tasks that no cancelling ends: {tasks}")
