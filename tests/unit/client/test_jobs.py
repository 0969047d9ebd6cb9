"""Recurring jobs: each at its interval, none hindered by another's trouble, all ended with the runner."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from dataclasses import dataclass, field

import pytest

from deal_sdk.client import JobRunner
from deal_sdk.clock import ManualClock
from deal_sdk.errors import DatabaseUnavailableError, InvalidInputError
from deal_sdk.metrics import Metrics


@dataclass
class Job:
    """Counts its runs and raises what the test put in its way."""

    name: str = "counting"
    interval_seconds: float = 10.0
    errors: list[Exception] = field(default_factory=list)
    runs: int = 0

    async def run_once(self) -> None:
        self.runs += 1
        await asyncio.sleep(0)
        if self.errors:
            raise self.errors.pop(0)


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock()


@pytest.fixture
def metrics() -> Metrics:
    return Metrics()


@pytest.fixture
async def runner(clock: ManualClock, metrics: Metrics) -> AsyncIterator[JobRunner]:
    made = JobRunner(clock=clock, metrics=metrics)
    yield made
    await made.close()


async def pass_time(clock: ManualClock, seconds: float) -> None:
    for _ in range(5):
        await asyncio.sleep(0)
    await clock.advance(seconds)
    for _ in range(5):
        await asyncio.sleep(0)


async def test_a_job_runs_at_once_and_then_at_its_interval(runner: JobRunner, clock: ManualClock) -> None:
    job = Job()
    runner.register(job)
    await pass_time(clock, 100)
    assert job.runs == 0
    runner.start()
    await pass_time(clock, 0)
    assert job.runs == 1
    await pass_time(clock, 9)
    assert job.runs == 1
    await pass_time(clock, 1)
    assert job.runs == 2


async def test_a_job_that_comes_later_runs_too(runner: JobRunner, clock: ManualClock) -> None:
    runner.start()
    job = Job()
    runner.register(job)
    await pass_time(clock, 0)
    assert job.runs == 1


async def test_trouble_is_counted_and_the_next_run_comes(
    runner: JobRunner, clock: ManualClock, metrics: Metrics
) -> None:
    job = Job(errors=[DatabaseUnavailableError("gone"), RuntimeError("a defect")])
    other = Job("other")
    runner.register(job)
    runner.register(other)
    runner.start()
    for _ in range(3):
        await pass_time(clock, 10)
    assert other.runs == job.runs == 4
    shown = metrics.render().decode()
    for outcome, count in (("waits", 1), ("broke", 1), ("done", 2)):
        assert f'job_runs_total{{job="counting",outcome="{outcome}"}} {count}.0' in shown
    assert runner.names == ("counting", "other")


async def test_a_close_ends_a_job_in_the_middle(runner: JobRunner, clock: ManualClock) -> None:
    ended = asyncio.Event()

    class Endless(Job):
        async def run_once(self) -> None:
            try:
                await clock.sleep(1_000)
            finally:
                ended.set()

    runner.register(Endless())
    runner.start()
    await pass_time(clock, 1)
    await runner.close()
    assert ended.is_set()


@pytest.mark.parametrize("job", [Job("first"), Job("other", interval_seconds=0.0)])
async def test_a_job_that_cannot_be_is_refused(runner: JobRunner, job: Job) -> None:
    runner.register(Job("first"))
    with pytest.raises(InvalidInputError):
        runner.register(job)
