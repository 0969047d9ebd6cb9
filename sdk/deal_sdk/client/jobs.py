"""Jobs: work that recurs, run by every `Deal` that wants it and by `dealctl worker` alike.

Several processes run the same jobs on one database at once, so a job finds its own work there and takes it
by a lock or a unique key. When it runs decides nothing about what is right.
"""

from __future__ import annotations

import asyncio
import logging
from typing import Protocol

from deal_sdk.clock import Clock
from deal_sdk.errors import InvalidInputError, TokenError
from deal_sdk.metrics import Metrics

logger = logging.getLogger(__name__)


class WorkerJob(Protocol):
    """Work that is looked for at intervals."""

    @property
    def name(self) -> str:
        """Return the job's name, which is a label of its metrics and unlike every other job's."""
        ...

    @property
    def interval_seconds(self) -> float:
        """Return how long to wait between the end of a run and the next one."""
        ...

    async def run_once(self) -> None:
        """Do what there is to do now; cancelling it at any moment loses nothing.

        What it raises is logged and counted, and the next run comes all the same.
        """
        ...


class JobRunner:
    """Runs each registered job in a task of its own."""

    def __init__(self, *, clock: Clock, metrics: Metrics) -> None:
        """Run nothing yet."""
        self._clock = clock
        self._metrics = metrics
        self._jobs: dict[str, WorkerJob] = {}
        self._tasks: list[asyncio.Task[None]] = []
        self._is_running = False

    @property
    def names(self) -> tuple[str, ...]:
        """Return the registered jobs' names in order."""
        return tuple(sorted(self._jobs))

    def register(self, job: WorkerJob) -> None:
        """Add a job; it runs at once when the others do already.

        Raises:
            InvalidInputError: for a second job of one name, or an interval that is none.
        """
        if job.name in self._jobs:
            raise InvalidInputError("there is a job of this name already", name=job.name)
        if not job.interval_seconds > 0:
            raise InvalidInputError("a job's interval must be more than nothing", name=job.name)
        self._jobs[job.name] = job
        if self._is_running:
            self._tasks.append(asyncio.create_task(self._run(job)))

    def start(self) -> None:
        """Run every registered job until `close`."""
        assert not self._is_running
        self._is_running = True
        self._tasks = [asyncio.create_task(self._run(job)) for job in self._jobs.values()]

    async def close(self) -> None:
        """Cancel the jobs and wait until they have ended."""
        self._is_running = False
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        self._tasks = []

    async def _run(self, job: WorkerJob) -> None:
        while True:
            self._metrics.job_runs.labels(job=job.name, outcome=await self._outcome(job)).inc()
            await self._clock.sleep(job.interval_seconds)

    @staticmethod
    async def _outcome(job: WorkerJob) -> str:
        try:
            await job.run_once()
        except TokenError as error:
            logger.warning("job %s waits: %s (%s)", job.name, error.message, error.code)
            return "waits"
        except Exception:
            logger.exception("job %s broke", job.name)
            return "broke"
        return "done"
