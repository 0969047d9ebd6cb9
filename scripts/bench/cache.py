#!/usr/bin/env python3
"""How fast the cache is, beside cashews and aiocache on the same Redis in the same run.

    .venv/bin/python scripts/bench/cache.py            a table; writes docs/reference/benchmarks.md
    .venv/bin/python scripts/bench/cache.py --json     one JSON document on stdout
    .venv/bin/python scripts/bench/cache.py --short    the form that CI runs

The peers live in an environment of their own, which is made on the first run. Progress goes to stderr.
"""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Final

# The tree's own packages, whatever the environment would find.
sys.path.insert(0, str(Path(__file__).resolve().parents[2]))
sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "sdk"))

from deal_sdk.cache import CacheManager
from deal_sdk.limits import open_store
from scripts.bench.cache_mix import count_hits
from scripts.bench.cache_turns import KEYS, PROFILE, keys_of
from scripts.bench.contestants import Contestant, python_module
from scripts.bench.measure import (
    Goal,
    Ratio,
    Report,
    Round,
    Table,
    alternate,
    conclude,
    figure_name,
    form_parser,
    median_rate,
    ratio_by_cycle,
    say,
)
from scripts.bench.peers.environments import python_of
from scripts.bench.trip_proxy import TripProxy
from tests.servers import RedisServer

ENGINE: Final = "deal_sdk"
PEERS: Final = ("cashews", "aiocache")
PINS: Final = Path(__file__).with_name("peers") / "cache_peers.txt"
COUNTED_BATCHES: Final = 20
LOCAL_GOAL: Final = Goal(">=", 3)
TRIPS_GOAL: Final = Goal("<=", 1)
HIT_RATE_GOAL: Final = Goal(">=", 0.9)
PARTS: Final = {
    "local": "a hit in this process",
    "stored": "a hit on Redis",
    "load": "a miss on Redis, loaded and stored",
    "batch": f"{KEYS} hits on Redis at once",
}


@dataclass(frozen=True, slots=True)
class Sizes:
    """How much is done in one turn of each part, and in how many cycles."""

    local: int
    stored: int
    load: int
    batch: int
    cycles: int
    mix_seconds: int


WHOLE: Final = Sizes(local=100_000, stored=3_000, load=1_500, batch=100, cycles=7, mix_seconds=600)
SHORT: Final = Sizes(local=20_000, stored=500, load=200, batch=10, cycles=3, mix_seconds=240)


async def measure(sizes: Sizes) -> Report:
    """Time all contenders and count what can be counted."""
    report = Report()
    server = RedisServer()
    server.start()
    try:
        await hold_contest(server, sizes, report)
        report.ratios["round_trips_for_100_users"] = Ratio(await count_trips(server), TRIPS_GOAL)
    finally:
        server.remove()
    await measure_hit_rate(sizes, report)
    return report


async def hold_contest(server: RedisServer, sizes: Sizes, report: Report) -> None:
    """Let the cache and its peers take turns in each part."""
    peer_python = await asyncio.to_thread(python_of, PINS)
    commands = {ENGINE: python_module("scripts.bench.cache_engine")}
    commands |= {name: [peer_python, "-m", "scripts.bench.peers.cache_peer", name] for name in PEERS}
    rows: list[tuple[str, ...]] = []
    async with AsyncExitStack() as stack:
        contestants: dict[str, Contestant] = {}
        for name, command in commands.items():
            contestants[name] = await Contestant(name, command).start(redis_url=server.url)
            stack.push_async_callback(contestants[name].close)
        for part, title in PARTS.items():
            say(f"{title}: {', '.join(contestants)}")
            count = getattr(sizes, part)
            turns = {name: partial(_turn, each, part, count) for name, each in contestants.items()}
            rounds = await alternate(turns, sizes.cycles)
            rows.append(_report_part(part, title, rounds, report))
    header = ("CPU microseconds each", *commands)
    report.tables.append(Table("One after another", header, tuple(rows)))


async def _turn(contestant: Contestant, part: str, count: int) -> Round:
    return Round.from_reply(await contestant.ask(part, count=count))


def _report_part(part: str, title: str, rounds: dict[str, list[Round]], report: Report) -> tuple[str, ...]:
    cells = []
    for name, own in rounds.items():
        microseconds = 1e6 / median_rate(own)
        report.figures[figure_name(part, name, "cpu microseconds")] = microseconds
        cells.append(f"{microseconds:,.1f}")
    for peer in PEERS:
        ratio = ratio_by_cycle(rounds[ENGINE], rounds[peer])
        if part == "local" and peer == "cashews":
            report.ratios["local_hit_to_cashews"] = Ratio(ratio, LOCAL_GOAL)
        else:
            report.figures[figure_name(part, "to", peer)] = ratio
    return (title, *cells)


async def count_trips(server: RedisServer) -> float:
    """Count the round trips of a read of a hundred cached entries."""
    async with TripProxy("127.0.0.1", server.port) as proxy, open_store(proxy.url) as store:
        cache = CacheManager(store, "trips")
        await cache.set_many(dict.fromkeys(keys_of("hit"), PROFILE))
        before = proxy.trips
        for _ in range(COUNTED_BATCHES):
            if len(await cache.get_many(keys_of("hit"))) != KEYS:
                raise RuntimeError("a batch read did not find what is cached")
        await cache.close()
        return (proxy.trips - before) / COUNTED_BATCHES


async def measure_hit_rate(sizes: Sizes, report: Report) -> None:
    """Play the mix of a backend in virtual time."""
    say("the hit rate of a Zipf mix")
    rate, by_cache = await count_hits(duration_seconds=sizes.mix_seconds)
    report.ratios["zipf_hit_rate"] = Ratio(rate, HIT_RATE_GOAL)
    for cache, value in by_cache.items():
        report.figures[figure_name("hit rate", cache)] = value
    rows = tuple((cache.replace("_", " "), f"{100 * value:.1f} %") for cache, value in by_cache.items())
    report.tables.append(Table("Hit rates of the mix", ("cache", "hits"), rows))


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure, report, and say by the exit code whether the short form passed."""
    options = form_parser("Time the cache beside its peers.").parse_args(arguments)
    report = asyncio.run(measure(SHORT if options.short else WHOLE))
    return conclude(report, "cache", options)


if __name__ == "__main__":
    sys.exit(main())
