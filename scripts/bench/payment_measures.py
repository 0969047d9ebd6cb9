"""What one engine costs besides its rate: status calls, the delay of a lone transfer, and memory."""

from __future__ import annotations

import asyncio
import random
import statistics
from typing import Final

from deal_sdk.settings import Settings
from scripts.bench.counting_proxy import CountingProxy
from scripts.bench.measure import Goal, Ratio, Report, Table, figure_name, say
from scripts.bench.stage import BARE, Stage

STATUS_CALLS_GOAL: Final = Goal("<=", 1)
LONE_GOAL: Final = Goal("<=", 15)
MEMORY_GOAL: Final = Goal("<=", 1.1)
JITTER_SEED: Final = 4
MEMORY_PAYMENTS: Final = 50_000
MEMORY_WARM_UP_PAYMENTS: Final = 10_000
MEMORY_STEP_PAYMENTS: Final = 5_000
MEMORY_USERS: Final = 1_200


async def measure_status_calls(
    stage: Stage, store: str, *, payments: int, callers: int, users: int, report: Report
) -> None:
    """Count at a proxy how many status calls an engine makes for what is pending.

    The ratio is calls made to calls allowed: one for every 256 pending transactions, once per sweep.
    """
    # An engine that has nothing set sweeps as often as the setting's default says.
    sweep_seconds = Settings.model_fields["status_poll_interval_seconds"].default
    async with CountingProxy(stage.endpoint, sweep_seconds=sweep_seconds) as proxy:
        engine = await stage.start_engine(store, users=users, rpc_url=proxy.rpc_url)
        proxy.reset()
        await engine.ask("run", payments=payments, callers=callers)
        await engine.close()
    chain = stage.endpoint.name
    report.figures[figure_name(chain, "status_calls")] = proxy.status_calls
    report.figures[figure_name(chain, "status_calls_allowed")] = proxy.allowed_calls
    report.figures[figure_name(chain, "most_pending")] = proxy.most_pending
    ratio = Ratio(proxy.status_calls / max(proxy.allowed_calls, 1), STATUS_CALLS_GOAL)
    report.ratios[figure_name(chain, "status_calls_per_256_pending_per_sweep")] = ratio
    requests = proxy.requests / payments
    report.figures[figure_name(chain, "http_requests_per_payment")] = requests
    calls = [(method, f"{count / payments:.3f}") for method, count in proxy.calls.most_common()]
    title = f"What an engine asks the {chain} chain, in {requests:.3f} HTTP requests a payment"
    report.tables.append(Table(title, ("method", "calls per payment"), tuple(calls)))
    say(", ".join(f"{method} {count}" for method, count in calls))
    say(f"{proxy.status_calls} status calls, {proxy.allowed_calls} allowed, {proxy.most_pending} pending")


async def measure_lone_transfer(stage: Stage, store: str, *, pairs: int, users: int, report: Report) -> None:
    """Compare a transfer that nobody else hurries along with a bare send on the same chain.

    Both start at random moments within a slot, in turns; what is compared are the medians.
    """
    engine = await stage.start_engine(store, users=users)
    bare = await stage.start_peer(BARE)
    jitter = random.Random(JITTER_SEED)
    seconds: dict[str, list[float]] = {engine.name: [], bare.name: []}
    for pair in range(pairs):
        for contestant in (engine, bare) if pair % 2 else (bare, engine):
            await asyncio.sleep(jitter.uniform(0, stage.endpoint.slot_seconds))
            seconds[contestant.name].append((await contestant.ask("lone"))["seconds"])
    await engine.close()
    await bare.close()
    mine, theirs = (statistics.median(seconds[name]) * 1_000 for name in (engine.name, bare.name))
    chain = stage.endpoint.name
    report.figures[figure_name(chain, "lone_transfer_milliseconds")] = mine
    report.figures[figure_name(chain, "lone_bare_send_milliseconds")] = theirs
    report.ratios[figure_name(chain, "lone_transfer_adds_milliseconds")] = Ratio(mine - theirs, LONE_GOAL)
    header = ("a lone transfer, until confirmed", "median ms", "least to most")
    rows = tuple(
        (
            name,
            f"{statistics.median(found) * 1_000:.1f}",
            f"{min(found) * 1_000:.1f} to {max(found) * 1_000:.1f}",
        )
        for name, found in seconds.items()
    )
    report.tables.append(Table(f"Lone transfers, {chain} chain, {pairs} each", header, rows))
    say(f"a lone transfer takes {mine:.1f} ms, a bare send {theirs:.1f} ms")


async def measure_memory(stage: Stage, store: str, *, callers: int, report: Report) -> None:
    """Compare the engine's memory after many payments with its memory after the warm-up."""
    engine = await stage.start_engine(store, users=MEMORY_USERS)
    resident: dict[int, float] = {}
    for paid in range(MEMORY_STEP_PAYMENTS, MEMORY_PAYMENTS + 1, MEMORY_STEP_PAYMENTS):
        found = await engine.ask("run", payments=MEMORY_STEP_PAYMENTS, callers=callers)
        resident[paid] = found["resident_bytes"]
        say(f"{paid} payments: {resident[paid] / 2**20:.1f} MiB")
    await engine.close()
    warm, end = resident[MEMORY_WARM_UP_PAYMENTS], resident[MEMORY_PAYMENTS]
    chain = stage.endpoint.name
    report.figures[figure_name(chain, "resident_mebibytes_warm")] = warm / 2**20
    report.figures[figure_name(chain, "resident_mebibytes_end")] = end / 2**20
    report.ratios[figure_name(chain, "memory_50000_to_10000_payments")] = Ratio(end / warm, MEMORY_GOAL)
