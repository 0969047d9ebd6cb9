#!/usr/bin/env python3
"""How fast, how quick to start and how small the embedded validator is, young and grown.

    .venv/bin/python scripts/bench/localnet.py            a table; writes docs/reference/benchmarks.md
    .venv/bin/python scripts/bench/localnet.py --json     one JSON document on stdout
    .venv/bin/python scripts/bench/localnet.py --short    small counts, and no solana-test-validator

Progress goes to stderr.
"""

from __future__ import annotations

import argparse
import asyncio
import resource
import statistics
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Final, NamedTuple

# The tree's own packages, whatever the environment would find.
sys.path.insert(0, str(Path(__file__).resolve().parents[2]))
sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "localnet"))
sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "sdk"))

from scripts.bench.chain_growth import CHAIN_CPU, Growth, measure_fresh_chains, measure_growth
from scripts.bench.chains import Chain, EmbeddedChain, ValidatorChain
from scripts.bench.measure import (
    Goal,
    Ratio,
    Report,
    Round,
    Rounds,
    Table,
    alternate,
    conclude,
    form_parser,
    median_cpu_milliseconds,
    median_rate,
    ratio_by_cycle,
    say,
)
from scripts.bench.stage import BARE, LITESVM, Stage

RATE_GOAL: Final = Goal(">=", 0.5)
START_GOAL: Final = Goal("<=", 0.1)
MEMORY_GOAL: Final = Goal("<=", 0.2)


class Sizes(NamedTuple):
    """How much is measured."""

    cycles: int
    transactions: int
    starts: int
    fresh_chains: int
    growth: Growth


SHORT: Final = Sizes(3, 1_000, 1, 5, Growth(2_000, 6_000, 3, 1_000))
WHOLE: Final = Sizes(5, 5_000, 3, 30, Growth(100_000, 1_000_000, 5, 5_000))


class Footprint(NamedTuple):
    """What a chain costs before and while it is used."""

    start_seconds: float
    resident_bytes: int


async def measure(options: argparse.Namespace) -> Report:
    """Run what the options ask for."""
    sizes = SHORT if options.short else WHOLE
    report = Report()
    async with Stage(EmbeddedChain()) as stage:
        litesvm, batches = await stage.start_peer(LITESVM), await stage.start_peer(BARE)
        turns = {
            LITESVM: stage.turn(litesvm, payments=sizes.transactions),
            BARE: stage.turn(batches, payments=sizes.transactions),
        }
        _enter_rates(await alternate(turns, sizes.cycles), report)
    report.add(await asyncio.to_thread(measure_fresh_chains, sizes.fresh_chains))
    report.add(await measure_growth(sizes.growth))
    if not options.short:
        embedded = [await _footprint(EmbeddedChain(), sizes) for _ in range(sizes.starts)]
        validator = [await _footprint(ValidatorChain(), sizes) for _ in range(sizes.starts)]
        _enter_footprints(embedded, validator, report)
    return report


def _enter_rates(rounds: Rounds, report: Report) -> None:
    batches, litesvm = rounds[BARE], rounds[LITESVM]
    chain_cpu = statistics.median(turn.details[CHAIN_CPU] for turn in batches)
    report.figures |= {
        "litesvm_transactions_per_second": median_rate(litesvm),
        "litesvm_cpu_milliseconds_per_transaction": median_cpu_milliseconds(litesvm),
        "localnet_batches_transactions_per_second": median_rate(batches),
        "localnet_cpu_milliseconds_per_transaction": chain_cpu,
    }
    report.ratios["localnet_batches_to_litesvm"] = Ratio(ratio_by_cycle(batches, litesvm), RATE_GOAL)
    report.ratios["localnet_batches_to_litesvm_by_cpu"] = Ratio(_cpu_ratio(litesvm, batches), RATE_GOAL)
    rows = (
        ("LiteSVM in process", f"{median_rate(litesvm):,.0f}", f"{median_cpu_milliseconds(litesvm):.3f}"),
        ("localnet, HTTP batches", f"{median_rate(batches):,.0f}", f"{chain_cpu:.3f}"),
    )
    report.tables.append(Table("Transfers", ("chain", "transactions/s", "its CPU ms per transaction"), rows))


def _cpu_ratio(litesvm: Sequence[Round], batches: Sequence[Round]) -> float:
    pairs = zip(litesvm, batches, strict=True)
    return statistics.median(bare.cpu_milliseconds / served.details[CHAIN_CPU] for bare, served in pairs)


async def _footprint(chain: Chain, sizes: Sizes) -> Footprint:
    """Start a chain, let it do as much work as the other one, and look at its memory."""
    began = time.perf_counter()
    async with Stage(chain) as stage:
        start_seconds = time.perf_counter() - began
        peer = await stage.start_peer(BARE)
        await peer.ask("run", payments=sizes.transactions)
        found = Footprint(start_seconds, _resident_bytes(chain.pid))
    say(f"{stage.endpoint.name}: {found.start_seconds:.2f} s, {found.resident_bytes / 2**20:.0f} MiB")
    return found


def _resident_bytes(pid: int) -> int:
    return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * resource.getpagesize()


def _enter_footprints(embedded: Sequence[Footprint], validator: Sequence[Footprint], report: Report) -> None:
    rows = []
    medians = []
    for name, found in (("localnet", embedded), ("validator", validator)):
        start = statistics.median(one.start_seconds for one in found)
        resident = statistics.median(one.resident_bytes for one in found)
        medians.append((start, resident))
        report.figures |= {f"{name}_start_seconds": start, f"{name}_resident_bytes": resident}
        rows.append((name, f"{start:.2f}", f"{resident / 2**20:.0f}"))
    (own_start, own_resident), (their_start, their_resident) = medians
    report.ratios["localnet_start_to_validator"] = Ratio(own_start / their_start, START_GOAL)
    report.ratios["localnet_memory_to_validator"] = Ratio(own_resident / their_resident, MEMORY_GOAL)
    header = ("chain", "seconds until healthy", "MiB after the transfers")
    report.tables.append(Table("Start and memory", header, tuple(rows)))


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure, report, and say by the exit code whether the short form passed."""
    options = form_parser("Measure the embedded validator.").parse_args(arguments)
    report = asyncio.run(measure(options))
    return conclude(report, "localnet", options)


if __name__ == "__main__":
    sys.exit(main())
