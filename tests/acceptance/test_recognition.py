"""Processes that recognise payments of invoices are killed at their worst moments; each credits once."""

from __future__ import annotations

import asyncio
import os
import pickle
import signal
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from uuid import UUID

import pytest

from deal_sdk.clock import SystemClock
from deal_sdk.records import Database, TransactionRecorder, UserDirectory
from tests.acceptance.command_line import REPOSITORY, environment_of
from tests.contract.invoice_world import PRICE, Process, World
from tests.contract.scripted_rpc import MINT

pytestmark = pytest.mark.slow

PROGRAM = Path(__file__).with_name("recognising_process.py")
INVOICES = 3
DEPOSITS, NOTE_OF_THE_FIRST = 1, 3
"""Which commits of a process that finds all paid: between the two are the credits of the first invoice."""
PATIENCE_SECONDS = 60


@pytest.fixture(params=["sqlite", pytest.param("postgres", marks=pytest.mark.postgres)])
def url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """The URL of an empty database of each kind."""
    if request.param == "sqlite":
        return f"sqlite:///{tmp_path / 'deal.db'}"
    found: str = request.getfixturevalue("migrated_postgres_url")
    return found


@asynccontextmanager
async def running(*arguments: str) -> AsyncIterator[asyncio.subprocess.Process]:
    """Run the program, whose children recognise payments."""
    environment = environment_of()
    environment["PYTHONPATH"] += os.pathsep + str(REPOSITORY)
    program = await asyncio.create_subprocess_exec(
        *(sys.executable, str(PROGRAM), *arguments),
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        env=environment,
        start_new_session=True,
    )
    try:
        yield program
    finally:
        if program.returncode is None:
            # With it the child that a failed test left standing.
            os.killpg(program.pid, signal.SIGKILL)
            await program.wait()


async def kill_next_inside(program: asyncio.subprocess.Process) -> None:
    """Let the next child run into the commit in which it stands still, and kill it there."""
    assert program.stdin is not None
    assert program.stdout is not None
    async with asyncio.timeout(PATIENCE_SECONDS):
        program.stdin.write(b"go\n")
        os.kill(int(await program.stdout.readline()), signal.SIGKILL)
        assert await program.stdout.readline() == b"killed\n"


async def stands(world: World, users: list[UUID]) -> tuple[int, list[int], int]:
    """Return how many deposits are recorded, whose credits are there, and how many invoices are granted."""
    deposits = await TransactionRecorder(world.database).query(type="deposit")
    invoices = [invoice for user in users for invoice in await world.packages.invoices.of_user(user)]
    granted = sum(invoice.granted_at is not None for invoice in invoices)
    return len(deposits.items), sorted([await world.credits_of(user) for user in users]), granted


async def test_credits_arrive_once_whoever_is_killed(url: str, tmp_path: Path) -> None:
    database = await Database.open(url, clock=SystemClock())
    world = await World(database, database.clock).open()
    users = [(await UserDirectory(database).create()).id for _ in range(INVOICES)]
    for user in users:
        invoice = await world.packages.invoice(user, "starter")
        world.pay(PRICE, invoice.reference)
    chain = tmp_path / "chain"
    chain.write_bytes(pickle.dumps(world.rpc))
    commits = (DEPOSITS, NOTE_OF_THE_FIRST)
    async with running(url, str(chain), MINT, *map(str, commits)) as program:
        await kill_next_inside(program)
        assert await stands(world, users) == (0, [0, 0, 0], 0)
        await kill_next_inside(program)
        assert await stands(world, users) == (INVOICES, [0, 0, 500], 0)
    second = Process(database, world.rpc, database.clock)
    await asyncio.gather(world.job.run_once(), second.job.run_once())
    await world.job.run_once()
    assert await stands(world, users) == (INVOICES, [500] * INVOICES, INVOICES)
    assert await world.broken() == []
    await asyncio.gather(second.close(), world.close())
    await database.close()
