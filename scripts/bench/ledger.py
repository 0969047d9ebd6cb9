#!/usr/bin/env python3
"""How fast the credit ledger is, beside an ORM and a PL/pgSQL ledger on the same PostgreSQL in the same run.

    .venv/bin/python scripts/bench/ledger.py            a table; writes docs/reference/benchmarks.md
    .venv/bin/python scripts/bench/ledger.py --json     one JSON document on stdout
    .venv/bin/python scripts/bench/ledger.py --short    the form that CI runs

Progress goes to stderr.
"""

from __future__ import annotations

import asyncio
import random
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Final
from uuid import UUID

# The tree's own packages, whatever the environment would find.
sys.path.insert(0, str(Path(__file__).resolve().parents[2]))
sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "sdk"))

from deal_sdk.accounting import Charge, Journal, TokenAccountingService
from deal_sdk.clock import SystemClock
from deal_sdk.records import Database, UserDirectory
from scripts.bench.ledger_peers import PLENTY, FunctionLedger, OrmLedger
from scripts.bench.measure import (
    Goal,
    Ratio,
    Report,
    Round,
    Turn,
    alternate,
    conclude,
    figure_name,
    form_parser,
    median_cpu_milliseconds,
    median_rate,
    ratio_by_cycle,
    say,
)
from scripts.bench.renewal_measures import measure_renewals
from tests.servers import PostgresServer

CALLERS: Final = 64
SPREAD: Final = 1_000
ORM: Final = "orm"
FUNCTION: Final = "plpgsql"
OURS: Final = "deal_sdk"
GOALS: Final = {
    ("hot", ORM): Goal(">=", 10),
    ("hot", FUNCTION): Goal(">=", 3),
    # Spread accounts share no row and no lock, which leaves the commit alone to be shared.
    ("spread", ORM): Goal(">=", 10, floor=4),
    ("spread", FUNCTION): Goal(">=", 1),
}
SQLITE_GOAL: Final = Goal(">=", 5_000)
FLAT_GOAL: Final = Goal("<=", 1.2)

Debit = Callable[[int], Awaitable[object]]


@dataclass(frozen=True, slots=True)
class Sizes:
    """How much is done in one turn, and in how many cycles."""

    ours: int
    peers: int
    cycles: int
    rows: int
    """How long the ledger is made before a debit's cost is measured again."""
    probe: int
    renewed: int
    """Users of one run of renewals."""


WHOLE: Final = Sizes(ours=20_000, peers=4_000, cycles=5, rows=1_000_000, probe=10_000, renewed=100_000)
SHORT: Final = Sizes(ours=4_000, peers=800, cycles=3, rows=40_000, probe=4_000, renewed=4_000)


class Ours:
    """The ledger of this package on one database."""

    def __init__(self, database: Database) -> None:
        """Begin with nobody."""
        self._journal = Journal(database)
        self.credits = TokenAccountingService(database, self._journal)
        self._directory = UserDirectory(database)
        self.users: list[UUID] = []

    async def open(self, accounts: int) -> None:
        """Create users with plenty of credits."""
        self.users = [(await self._directory.create()).id for _ in range(accounts)]
        await asyncio.gather(*(self.credits.credit(user_id, "purchase", PLENTY) for user_id in self.users))

    async def debit(self, account: int) -> None:
        """Take one credit."""
        assert (await self.credits.debit(self.users[account - 1], "video", 1)).success

    async def fill(self, rows: int) -> None:
        """Make so many entries, two for each charge."""
        chosen = random.Random(rows)
        charges = [Charge(chosen.choice(self.users), "video", 1) for _ in range(10_000)]
        for _ in range(rows // 20_000):
            await self.credits.charge_many(charges)

    async def close(self) -> None:
        """Finish what is under way."""
        await self._journal.close()


async def take_turn(debit: Debit, accounts: int, debits: int) -> Round:
    """Let all callers debit, each the next account that it draws."""
    chosen = random.Random(debits)
    orders = iter([chosen.randint(1, accounts) for _ in range(debits)])

    async def call() -> None:
        for account in orders:
            await debit(account)

    began, used = time.perf_counter(), time.process_time()
    await asyncio.gather(*(call() for _ in range(CALLERS)))
    return Round(debits, time.perf_counter() - began, time.process_time() - used)


async def measure(sizes: Sizes, *, judge_rate: bool) -> Report:
    """Run every part."""
    report = Report()
    with tempfile.TemporaryDirectory(prefix="deal-bench-ledger-") as directory:
        await measure_sqlite(Path(directory), sizes, report, judge_rate=judge_rate)
        url = f"sqlite:///{Path(directory) / 'renewals.db'}"
        await renew_on("sqlite", url, sizes, report, judge_rate=judge_rate)
    server = PostgresServer(in_memory=False)
    await asyncio.to_thread(server.start)
    try:
        for name, accounts in (("hot", 1), ("spread", SPREAD)):
            await measure_contest(server, name, accounts, sizes, report)
        url = server.url(server.create_database())
        await renew_on("postgresql", url, sizes, report, judge_rate=judge_rate)
    finally:
        await asyncio.to_thread(server.remove)
    return report


async def measure_contest(
    server: PostgresServer, name: str, accounts: int, sizes: Sizes, report: Report
) -> None:
    """Debit the same number of accounts through each ledger, by turns."""
    say(f"PostgreSQL, {CALLERS} callers on {accounts} accounts")
    async with contenders(server, accounts) as debits:
        turns: dict[str, Turn] = {
            contender: partial(take_turn, debit, accounts, sizes.ours if contender == OURS else sizes.peers)
            for contender, debit in debits.items()
        }
        rounds = await alternate(turns, sizes.cycles)
    for contender, found in rounds.items():
        report.figures[figure_name(name, contender, "debits per second")] = median_rate(found)
        cpu = median_cpu_milliseconds(found)
        report.figures[figure_name(name, contender, "cpu milliseconds per debit")] = cpu
    for peer in (ORM, FUNCTION):
        ratio = Ratio(ratio_by_cycle(rounds[OURS], rounds[peer]), GOALS[name, peer])
        report.ratios[figure_name(name, OURS, "to", peer)] = ratio


@asynccontextmanager
async def contenders(server: PostgresServer, accounts: int) -> AsyncIterator[dict[str, Debit]]:
    """Open each ledger on a database of its own."""
    database = await Database.open(server.url(server.create_database()), clock=SystemClock(), migrate=True)
    ours = Ours(database)
    orm = OrmLedger(server.url(server.create_database()))
    function = FunctionLedger(server.url(server.create_database()))
    try:
        for ledger in (ours, orm, function):
            await ledger.open(accounts)
        yield {OURS: ours.debit, ORM: orm.debit, FUNCTION: function.debit}
    finally:
        for ledger in (ours, orm, function):
            await ledger.close()
        await database.close()


async def measure_sqlite(directory: Path, sizes: Sizes, report: Report, *, judge_rate: bool) -> None:
    """Debit durably on a file, in a ledger that is short and in one that is long."""
    database = await Database.open(f"sqlite:///{directory / 'ledger.db'}", clock=SystemClock())
    ours = Ours(database)
    try:
        await ours.open(SPREAD)
        say(f"SQLite, {CALLERS} callers on {SPREAD} accounts")
        short = [await take_turn(ours.debit, SPREAD, sizes.probe) for _ in range(3)]
        say(f"filling the ledger with {sizes.rows} entries")
        await ours.fill(sizes.rows)
        long = [await take_turn(ours.debit, SPREAD, sizes.probe) for _ in range(3)]
    finally:
        await ours.close()
        await database.close()
    report.figures["sqlite_debits_per_second"] = median_rate(short)
    report.figures["sqlite_cpu_milliseconds_per_debit"] = median_cpu_milliseconds(short)
    report.figures["sqlite_entries_of_the_long_ledger"] = sizes.rows
    # CPU time and not the clock: the cost of a debit is meant, and a busy disk is nobody's growth.
    growth = median_cpu_milliseconds(long) / median_cpu_milliseconds(short)
    report.ratios["sqlite_cost_in_a_long_ledger"] = Ratio(growth, FLAT_GOAL)
    if judge_rate:
        report.ratios["sqlite_debits_per_second"] = Ratio(median_rate(short), SQLITE_GOAL)


async def renew_on(name: str, url: str, sizes: Sizes, report: Report, *, judge_rate: bool) -> None:
    """Renew many users on a database of their own."""
    database = await Database.open(url, clock=SystemClock(), migrate=True)
    try:
        await measure_renewals(name, database, sizes.renewed, report, judge=judge_rate)
    finally:
        await database.close()


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure, report, and say by the exit code whether the short form passed."""
    options = form_parser("Time the credit ledger beside its peers.").parse_args(arguments)
    report = asyncio.run(measure(SHORT if options.short else WHOLE, judge_rate=not options.short))
    return conclude(report, "ledger", options)


if __name__ == "__main__":
    sys.exit(main())
