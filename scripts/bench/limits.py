#!/usr/bin/env python3
"""How fast the gate is, beside a bare Redis client and two other limiters on the same server in the same run.

    .venv/bin/python scripts/bench/limits.py            a table; writes docs/reference/benchmarks.md
    .venv/bin/python scripts/bench/limits.py --json     one JSON document on stdout
    .venv/bin/python scripts/bench/limits.py --short    the form that CI runs

The peers live in an environment of their own, which is made on the first run. Progress goes to stderr.
"""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Final

# The tree's own packages, whatever the environment would find.
sys.path.insert(0, str(Path(__file__).resolve().parents[2]))
sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "sdk"))

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
    conclude,
    figure_name,
    form_parser,
    median_cpu_milliseconds,
    median_rate,
    ratio_by_cycle,
    say,
)
from scripts.bench.peers.environments import python_of
from tests.servers import RedisServer

GATE: Final = "gate"
RAW: Final = "bare client"
PEERS: Final = ("limits", "throttled-py")
PINS: Final = Path(__file__).with_name("peers") / "limit_peers.txt"
PEER_MODULE: Final = "scripts.bench.peers.limit_peers"
CALLERS: Final = 64
BYTES_GOAL: Final = Goal("<=", 1_000)
ABSOLUTE_GOALS: Final = {
    "purchase_check_p99_milliseconds": Goal("<=", 1),
    "purchase_increment_p99_milliseconds": Goal("<=", 2),
    "purchase_increments_per_second": Goal(">=", 10_000),
}


@dataclass(frozen=True, slots=True)
class Sizes:
    """How many calls a turn has, and how many turns there are."""

    alone: int
    at_once: int
    cycles: int


WHOLE: Final = Sizes(alone=1_500, at_once=4_000, cycles=5)
SHORT: Final = Sizes(alone=400, at_once=1_600, cycles=3)


class Contest:
    """The contenders on one Redis server, each in a process of its own."""

    def __init__(self) -> None:
        """Prepare nothing yet."""
        self._stack = AsyncExitStack()
        self._turns = 0

    async def __aenter__(self) -> Contest:
        """Start the server and the contenders."""
        server = RedisServer()
        self._stack.callback(server.remove)
        try:
            server.start()
            self.engine = await self._start("engine", python_module("scripts.bench.limit_engine"), server.url)
            python = python_of(PINS)
            self._peers = {
                name: await self._start(name, [python, "-m", PEER_MODULE, name], server.url) for name in PEERS
            }
        except BaseException:
            await self._stack.aclose()
            raise
        return self

    async def __aexit__(self, *_: object) -> None:
        """End them all."""
        await self._stack.aclose()

    async def hold(self, *, calls: int, callers: int, cycles: int) -> dict[str, list[Round]]:
        """Let everybody take its turns, after one each that warms it up."""
        turns = {
            GATE: self.turn(self.engine, "gate", calls, callers),
            RAW: self.turn(self.engine, "raw", calls, callers),
            **{name: self.turn(peer, "run", calls, callers) for name, peer in self._peers.items()},
        }
        await alternate(turns, 1)
        return await alternate(turns, cycles)

    def turn(self, contestant: Contestant, command: str, calls: int, callers: int) -> Turn:
        """Return a contender's turn; each has users of its own, so that all begin with the same."""

        async def take() -> Round:
            self._turns += 1
            return Round.from_reply(
                await contestant.ask(command, calls=calls, callers=callers, turn=f"turn-{self._turns}")
            )

        return take

    async def _start(self, name: str, command: Sequence[str], redis_url: str) -> Contestant:
        say(f"starting {name}")
        contestant = Contestant(name, command)
        self._stack.push_async_callback(contestant.close)
        return await contestant.start(redis_url=redis_url)


async def measure(*, short: bool) -> Report:
    """Hold the contests, and report them; the short form leaves out what no peer stands beside."""
    sizes = SHORT if short else WHOLE
    report = Report()
    async with Contest() as contest:
        say("one call after another")
        alone = await contest.hold(calls=sizes.alone, callers=1, cycles=sizes.cycles)
        say(f"{CALLERS} callers at once")
        at_once = await contest.hold(calls=sizes.at_once, callers=CALLERS, cycles=sizes.cycles)
        _judge(report, alone, at_once)
        if not short:
            say("purchases, and the memory of a user")
            await _measure_purchases(contest, sizes, report)
    return report


def _judge(report: Report, alone: Rounds, at_once: Rounds) -> None:
    ratios = {
        "alone_gate_time_to_bare_evalsha": (alone, RAW, GATE, Goal("<=", 1.35)),
        "alone_gate_to_limits": (alone, GATE, "limits", Goal(">=", 2)),
        "alone_gate_to_throttled_py": (alone, GATE, "throttled-py", Goal(">=", 2)),
        "at_once_gate_to_bare_pipeline": (at_once, GATE, RAW, Goal(">=", 0.8)),
        "at_once_gate_to_limits": (at_once, GATE, "limits", Goal(">=", 4)),
    }
    for name, (rounds, mine, other, goal) in ratios.items():
        report.ratios[name] = Ratio(ratio_by_cycle(rounds[mine], rounds[other]), goal)
    for title, rounds in (("One call after another", alone), (f"{CALLERS} callers at once", at_once)):
        rows = []
        for name, turns in rounds.items():
            rate, cpu = median_rate(turns), median_cpu_milliseconds(turns)
            part = "alone" if rounds is alone else "at_once"
            report.figures[figure_name(part, name, "calls_per_second")] = rate
            report.figures[figure_name(part, name, "cpu_microseconds")] = cpu * 1_000
            rows.append((name, f"{rate:,.0f}", f"{cpu * 1_000:.0f}"))
        report.tables.append(Table(title, ("contender", "calls/s", "CPU µs a call"), tuple(rows)))


async def _measure_purchases(contest: Contest, sizes: Sizes, report: Report) -> None:
    engine = contest.engine
    checks = await alternate({"checks": contest.turn(engine, "checks", sizes.alone, 1)}, sizes.cycles)
    increments = await alternate({"one": contest.turn(engine, "increments", sizes.alone, 1)}, sizes.cycles)
    at_once = await alternate(
        {
            "increments": contest.turn(engine, "increments", sizes.at_once, CALLERS * 4),
            "counts": contest.turn(engine, "counts", sizes.at_once, CALLERS * 4),
        },
        sizes.cycles,
    )
    memory = await engine.ask("bytes_per_user")
    found = {
        "purchase_check_p99_milliseconds": _best_p99(checks["checks"]),
        "purchase_increment_p99_milliseconds": _best_p99(increments["one"]),
        "purchase_increments_per_second": median_rate(at_once["increments"]),
    }
    for name, value in found.items():
        report.ratios[name] = Ratio(value, ABSOLUTE_GOALS[name])
    report.ratios["redis_bytes_per_user"] = Ratio(memory["bytes"], BYTES_GOAL)
    report.figures |= found
    report.figures["purchase_counts_without_rows_per_second"] = median_rate(at_once["counts"])
    report.figures["redis_bytes_per_user"] = memory["bytes"]
    report.figures["redis_bytes_per_user_with_amount"] = memory["with_amount"]


def _best_p99(rounds: Sequence[Round]) -> float:
    # A neighbour on the machine only ever makes a wait longer.
    return min(turn.details["p99_milliseconds"] for turn in rounds)


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure, report, and say by the exit code whether the short form passed."""
    options = form_parser("Time the gate beside its peers.").parse_args(arguments)
    report = asyncio.run(measure(short=options.short))
    if options.short and report.below_half():
        # Once only, and then the second measurement counts, whichever is better.
        say(f"measuring again: {', '.join(report.below_half())} under half the goal")
        report = asyncio.run(measure(short=True))
    return conclude(report, "limits", options)


if __name__ == "__main__":
    sys.exit(main())
