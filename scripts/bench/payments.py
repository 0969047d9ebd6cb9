#!/usr/bin/env python3
"""How fast the payments engine is, beside its peers on the same chain in the same run.

    .venv/bin/python scripts/bench/payments.py            a table; writes docs/reference/benchmarks.md
    .venv/bin/python scripts/bench/payments.py --json     one JSON document on stdout
    .venv/bin/python scripts/bench/payments.py --short    the form that CI runs

Progress goes to stderr.
"""

from __future__ import annotations

import argparse
import asyncio
import sys
import tempfile
from collections.abc import Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from scripts.bench.chains import Chain, EmbeddedChain, Endpoint, ValidatorChain
from scripts.bench.contestants import Contestant, python_module
from scripts.bench.measure import (
    Goal,
    Ratio,
    Report,
    Round,
    Rounds,
    Table,
    Turn,
    alternate,
    median_cpu_milliseconds,
    median_rate,
    ratio_by_cycle,
    write_part,
)
from scripts.bench.peers.token_world import TokenWorld, make_token_world
from tests.servers import PostgresServer, RedisServer

BARE: Final = "bare batches"
SOLANA_PY: Final = "solana-py"
ENGINE: Final = "engine"
PEER_CONCURRENCY: Final = (1, 8, 64)
GOALS: Final = {
    ("embedded", SOLANA_PY): Goal(">=", 4),
    ("embedded", BARE): Goal(">=", 0.2),
    ("validator", SOLANA_PY): Goal(">=", 10),
    ("validator", BARE): Goal(">=", 0.5),
}


@dataclass(frozen=True, slots=True)
class Sizes:
    """How much is measured."""

    cycles: int
    engine_payments: int
    bare_payments: int
    solana_py_payments: int
    trial_payments: int
    users: int
    callers: int


SHORT: Final = Sizes(3, 1_000, 2_000, 300, 100, 300, 256)
EMBEDDED: Final = Sizes(5, 5_000, 5_000, 1_500, 300, 1_200, 256)
VALIDATOR: Final = Sizes(3, 20_000, 20_000, 3_000, 300, 2_400, 1_024)


class Contest:
    """One chain with its contenders."""

    def __init__(self, chain: Chain, sizes: Sizes, options: argparse.Namespace) -> None:
        """Keep what is to be measured; `run` starts it."""
        self._chain = chain
        self._sizes = sizes
        self._options = options
        self._stack = AsyncExitStack()
        self._turns: dict[str, Turn] = {}

    async def run(self, report: Report) -> None:
        """Start everything, measure, and put what was found into the report."""
        async with self._stack:
            self._chain.start()
            self._stack.callback(self._chain.remove)
            endpoint = self._chain.endpoint
            world = await make_token_world(endpoint.rpc_url)
            await self._add_engines(endpoint)
            best = await self._add_peers(endpoint, world)
            say(f"{endpoint.name}: {self._sizes.cycles} cycles of {', '.join(self._turns)}")
            rounds = await alternate(self._turns, self._sizes.cycles)
        self._enter(endpoint.name, rounds, best, report)

    async def _add_engines(self, endpoint: Endpoint) -> None:
        directory = Path(self._stack.enter_context(tempfile.TemporaryDirectory(prefix="deal-bench-")))
        for number, store in enumerate(self._options.stores):
            database, _, limits = store.partition("+")
            engine = await self._start(
                Contestant(f"{ENGINE} {store}", python_module("scripts.bench.payment_engine")),
                rpc_url=endpoint.rpc_url,
                database_url=self._database_url(database, directory / f"deal{number}.db"),
                redis_url=self._redis_url(limits),
                users=self._sizes.users,
            )
            payments, callers = self._sizes.engine_payments, self._sizes.callers
            self._turns[engine.name] = turn(engine, payments=payments, callers=callers)

    async def _add_peers(self, endpoint: Endpoint, world: TokenWorld) -> dict[str, int]:
        common = {
            "rpc_url": endpoint.rpc_url,
            "world": world.to_dict(),
            "slot_seconds": endpoint.slot_seconds,
        }
        bare = await self._start(
            Contestant(BARE, python_module("scripts.bench.peers.bare_batches")), **common
        )
        self._turns[BARE] = turn(bare, payments=self._sizes.bare_payments)
        peer = await self._start(
            Contestant(SOLANA_PY, python_module("scripts.bench.peers.solana_py")), **common
        )
        best = await best_concurrency(peer, self._sizes.trial_payments)
        self._turns[SOLANA_PY] = turn(peer, payments=self._sizes.solana_py_payments, callers=best)
        return {SOLANA_PY: best}

    async def _start(self, contestant: Contestant, **arguments: Any) -> Contestant:
        say(f"starting {contestant.name}")
        self._stack.push_async_callback(contestant.close)
        return await contestant.start(**arguments)

    def _database_url(self, database: str, file: Path) -> str:
        if database == "sqlite":
            return f"sqlite:///{file}"
        server = PostgresServer()
        self._stack.callback(server.remove)
        server.start()
        return server.url(server.create_database())

    def _redis_url(self, limits: str) -> str:
        if limits == "memory":
            return "memory://"
        server = RedisServer()
        self._stack.callback(server.remove)
        server.start()
        return server.url

    def _enter(self, chain: str, rounds: Rounds, best: dict[str, int], report: Report) -> None:
        for name, turns in rounds.items():
            prefix = f"{chain} {name}".replace(" ", "_").replace("-", "_")
            report.figures[f"{prefix}_payments_per_second"] = median_rate(turns)
            report.figures[f"{prefix}_cpu_milliseconds_per_payment"] = median_cpu_milliseconds(turns)
            for detail in turns[0].details:
                values = sorted(turn.details[detail] for turn in turns)
                report.figures[f"{prefix}_{detail}"] = values[len(values) // 2]
        for engine in (name for name in rounds if name.startswith(ENGINE)):
            for peer in (SOLANA_PY, BARE):
                name = f"{chain} {engine} to {peer}".replace(" ", "_").replace("-", "_")
                value = ratio_by_cycle(rounds[engine], rounds[peer])
                report.ratios[name] = Ratio(value, GOALS[chain, peer])
        report.tables.append(contest_table(chain, rounds, best))


def contest_table(chain: str, rounds: Rounds, best: dict[str, int]) -> Table:
    """Show every contender with its rate, its spread and its CPU time."""
    rows = []
    for name, turns in rounds.items():
        rates = sorted(turn.rate for turn in turns)
        callers = f" ({best[name]} callers)" if name in best else ""
        rows.append(
            (
                name + callers,
                f"{median_rate(turns):,.0f}",
                f"{rates[0]:,.0f} to {rates[-1]:,.0f}",
                f"{median_cpu_milliseconds(turns):.2f}",
            )
        )
    header = ("contender", "payments/s", "least to most", "CPU ms per payment")
    return Table(f"Single transfers, {chain} chain", header, tuple(rows))


def turn(contestant: Contestant, **arguments: Any) -> Turn:
    """Make a contender's turn out of its command."""

    async def take() -> Round:
        found = Round.from_reply(await contestant.ask("run", **arguments))
        details = ", ".join(f"{name} {value:.4g}" for name, value in found.details.items())
        say(f"{contestant.name}: {found.rate:,.0f}/s, {found.cpu_milliseconds:.2f} ms CPU, {details}")
        return found

    return take


async def best_concurrency(peer: Contestant, payments: int) -> int:
    """Try a peer with few and many callers and return how many made it fastest."""
    rates = {}
    for callers in PEER_CONCURRENCY:
        found = await peer.ask("run", payments=max(payments // (1 if callers > 1 else 4), 1), callers=callers)
        rates[callers] = Round.from_reply(found).rate
    say(
        f"{peer.name} by callers: {', '.join(f'{callers}: {rate:,.0f}/s' for callers, rate in rates.items())}"
    )
    return max(rates, key=lambda callers: rates[callers])


async def measure(options: argparse.Namespace) -> Report:
    """Run what the options ask for."""
    report = Report()
    if "embedded" in options.chains:
        await Contest(EmbeddedChain(), SHORT if options.short else EMBEDDED, options).run(report)
    if "validator" in options.chains:
        await Contest(ValidatorChain(), VALIDATOR, options).run(report)
    return report


def say(text: str) -> None:
    """Tell on stderr how far it is."""
    print(text, file=sys.stderr, flush=True)


def parse_arguments(arguments: Sequence[str] | None) -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description="Time the payments engine beside its peers.")
    parser.add_argument("--json", action="store_true", help="print one JSON document")
    parser.add_argument("--short", action="store_true", help="small, and fails under half a goal; for CI")
    parser.add_argument("--chains", nargs="+", choices=("embedded", "validator"))
    parser.add_argument(
        "--stores",
        nargs="+",
        choices=("sqlite+memory", "sqlite+redis", "postgresql+memory", "postgresql+redis"),
        help="what the engine records in, and where it keeps its limits",
    )
    options = parser.parse_args(arguments)
    options.chains = options.chains or (["embedded"] if options.short else ["embedded", "validator"])
    options.stores = options.stores or (
        ["sqlite+memory"] if options.short else ["sqlite+memory", "postgresql+redis"]
    )
    return options


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure, report, and say by the exit code whether the short form passed."""
    options = parse_arguments(arguments)
    report = asyncio.run(measure(options))
    if options.json:
        print(report.to_json())
    else:
        print(report.to_markdown())
        if not options.short:
            write_part("payments", report.to_markdown())
    below = report.below_half() if options.short else []
    for name in below:
        say(f"{name} is under half its goal")
    return 1 if below else 0


if __name__ == "__main__":
    sys.exit(main())
