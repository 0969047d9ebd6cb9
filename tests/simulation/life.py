"""The life of one simulated process: what it does to the outside, and the moment at which it is killed.

Everything that outlives a process - the chain, the database's file, the store - is reached through calls
that pass here twice: before they act and after they acted. Between two such passages nothing lasting
changes, so a kill at every passage is a kill at every await.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from random import Random
from typing import Final

MAX_ROUNDS_OF_CANCELLING: Final = 200


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


async def bury(survivors: Iterable[asyncio.Task[object]]) -> None:
    """Cancel every task of the dead process, without closing anything, until none is left."""
    kept = {*survivors, asyncio.current_task()}
    for _ in range(MAX_ROUNDS_OF_CANCELLING):
        tasks = asyncio.all_tasks() - kept
        if not tasks:
            return
        for task in tasks:
            task.cancel()
        await asyncio.sleep(0)
    raise AssertionError(f"tasks that no cancelling ends: {asyncio.all_tasks() - kept}")
