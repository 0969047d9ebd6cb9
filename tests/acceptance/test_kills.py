"""A paying process is killed with -9 at fifty moments: in the end everybody was paid exactly once."""

from __future__ import annotations

import asyncio
import random
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Any, Final

import pytest
from solders.keypair import Keypair

from deal_sdk import Deal
from deal_sdk.clock import SystemClock
from deal_sdk.records import Database
from tests.acceptance.paying_process import Job, PayingProcess, spawned
from tests.acceptance.paying_worker import SETTINGS

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]

PAYOUTS: Final = 2_000
KILLS: Final = 50
WINDOW: Final = 160
"""Jobs that a process is given; what it leaves is given again."""
REPEATED: Final = 5
"""Jobs that are given again although they are done, as every queue does now and then."""
OPENING_SECONDS: Final = 0.6


@dataclass(frozen=True)
class Moment:
    """When to kill: so many jobs after it opened, or while it opens, and some time after that."""

    done_jobs: int
    delay_seconds: float


@dataclass
class Queue:
    """Jobs that are given until they are reported as done."""

    jobs: dict[int, Job]
    random: random.Random
    done: set[int] = field(default_factory=set)

    def window(self) -> list[Job]:
        waiting = [number for number in self.jobs if number not in self.done]
        again = self.random.sample(sorted(self.done), min(REPEATED, len(self.done)))
        return [self.jobs[number] for number in [*again, *waiting[:WINDOW]]]

    def waiting(self) -> list[Job]:
        return [job for number, job in self.jobs.items() if number not in self.done]


def moments_of(seed: int) -> list[Moment]:
    """Draw when to kill; every fifth process dies while it opens, and some die late."""
    drawn = random.Random(seed)
    moments = []
    for number in range(KILLS):
        if number % 5 == 4:
            moments.append(Moment(0, drawn.uniform(0.0, OPENING_SECONDS)))
        else:
            longest_seconds = 1.0 if number % 10 == 0 else 0.1
            moments.append(Moment(drawn.randint(1, 90), drawn.uniform(0.0, longest_seconds)))
    return moments


async def work_until(process: PayingProcess, queue: Queue, moment: Moment) -> None:
    """Let a process work until its moment has come."""
    if moment.done_jobs:
        await process.read(enough=moment.done_jobs)
        assert len(process.done) == moment.done_jobs, f"it ended by itself after {process.last}"
    await asyncio.sleep(moment.delay_seconds)
    await process.kill()
    queue.done |= process.done


async def finish(process: PayingProcess, queue: Queue) -> None:
    """Let the last process do the rest and wait once for finality."""
    await process.begin(queue.waiting(), "settle")
    assert await process.ended() == 0
    assert process.last == ["settled", "True"]
    assert queue.done | process.done == set(queue.jobs)


@pytest.fixture
async def options(validator_url: str, postgres_url: str) -> dict[str, Any]:
    migrated = await Database.open(postgres_url, clock=SystemClock(), migrate=True)
    await migrated.close()
    return {"rpc_url": validator_url, "database_url": postgres_url, **SETTINGS}


@pytest.mark.parametrize("seed", [1])
async def test_kill_9_at_fifty_moments_pays_everybody_once(options: dict[str, Any], seed: int) -> None:
    moments = moments_of(seed)
    print(f"seed {seed}, moments {moments}")
    owners = [str(Keypair().pubkey()) for _ in range(PAYOUTS)]
    jobs: dict[int, Job] = {
        number: (number, owner, str(1 + number % 7)) for number, owner in enumerate(owners)
    }
    queue = Queue(jobs, random.Random(seed))
    async with Deal.open(**options, create_mint=True):
        pass
    async with AsyncExitStack() as stack:

        async def spawn() -> PayingProcess:
            urls = options["rpc_url"], options["database_url"]
            return await stack.enter_async_context(spawned(*urls))

        process = await spawn()
        for number, moment in enumerate(moments):
            # The next one imports while this one pays, which halves the time of the test.
            following = await spawn()
            await process.begin(queue.window(), "stay")
            await work_until(process, queue, moment)
            print(f"kill {number} at {moment}: {len(queue.done)} done")
            process = following
        await finish(process, queue)
    await prove(options, jobs)


async def prove(options: dict[str, Any], jobs: dict[int, Job]) -> None:
    """Compare what was to be paid with the chain, with the records, and these with each other."""
    wanted = {owner: Decimal(amount) for _, owner, amount in jobs.values()}
    async with Deal.open(**options) as deal:
        assert await deal.leases.holders() == []
        balances = await asyncio.gather(*(deal.tokens.balance_of(owner) for owner in wanted))
        assert dict(zip(wanted, balances, strict=True)) == wanted
        assert await deal.transactions.count(type="transfer") == len(jobs)
        assert await deal.transactions.count(type="transfer", status="finalized") == len(jobs)
        report = await deal.verify()
        assert report.ok, [check for check in report.checks if not check.ok]
