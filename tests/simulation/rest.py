"""An event loop that knows when it has nothing left to do, so that time moves only then.

Work for threads is done at once on the loop's own thread, and the loop's timers go by the simulation's
clock: nothing that happens depends on how fast the machine is.
"""

from __future__ import annotations

import asyncio
import selectors
import weakref
from collections.abc import Callable, Coroutine
from concurrent.futures import Executor
from contextvars import Context
from typing import Any, Final, TypeVar

from deal_sdk.clock import ManualClock
from tests.simulation.life import owner

T = TypeVar("T")

MAX_TURNS: Final = 100_000
"""More than any burst of work takes; a loop that still turns then is spinning."""


class _NeverWaiting(selectors.DefaultSelector):
    """Refuses to wait: in a simulation nothing comes from outside."""

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        if timeout is None or timeout > 0:
            raise AssertionError("the simulation waits for something that never comes")
        return super().select(timeout)


class SimulationLoop(asyncio.SelectorEventLoop):
    """Runs a simulation on one thread, timed by a clock that is moved by hand."""

    def __init__(self, clock: ManualClock) -> None:
        super().__init__(_NeverWaiting())
        self.clock = clock
        self._owners: weakref.WeakKeyDictionary[asyncio.Task[Any], object] = weakref.WeakKeyDictionary()
        factory: Any = self._make_task
        self.set_task_factory(factory)

    def owner_of(self, task: asyncio.Task[Any]) -> object | None:
        """Return the simulated process that a task belongs to."""
        return self._owners.get(task)

    def _make_task(
        self,
        loop: asyncio.AbstractEventLoop,
        work: Coroutine[Any, Any, T],
        *,
        context: Context | None = None,
        **options: Any,
    ) -> asyncio.Task[T]:
        task = asyncio.Task(work, loop=loop, context=context, **options)
        found = owner.get() if context is None else context.get(owner)
        if found is not None:
            self._owners[task] = found
        return task

    def time(self) -> float:
        return self.clock.monotonic()

    def run_in_executor(  # type: ignore[override]
        self, executor: Executor | None, func: Callable[..., T], *args: Any
    ) -> asyncio.Future[T]:
        future: asyncio.Future[T] = self.create_future()
        try:
            result = func(*args)
        except Exception as error:
            future.set_exception(error)
        else:
            future.set_result(result)
        return future

    async def rest(self) -> None:
        """Return once nobody but the caller could go on without time passing."""
        ready: Any = self._ready  # type: ignore[attr-defined]
        for _ in range(MAX_TURNS):
            await asyncio.sleep(0)
            if not ready:
                return
        raise AssertionError("the loop never rests: something spins without time passing")


def current_loop() -> SimulationLoop:
    """Return the running simulation's loop."""
    loop = asyncio.get_running_loop()
    assert isinstance(loop, SimulationLoop)
    return loop
