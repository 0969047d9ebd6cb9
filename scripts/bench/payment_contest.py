"""Single transfers: the engine against its peers, in alternating turns on one chain."""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from scripts.bench.contestants import Contestant
from scripts.bench.measure import (
    Goal,
    Ratio,
    Report,
    Round,
    Rounds,
    Table,
    Turn,
    alternate,
    figure_name,
    median_cpu_milliseconds,
    median_rate,
    ratio_by_cycle,
    say,
)
from scripts.bench.stage import BARE, ENGINE, KIT, SOLANA_PY, Stage

PEER_CONCURRENCY: Final = (1, 8, 64)
GOALS: Final = {
    ("embedded", SOLANA_PY): Goal(">=", 4, floor=1.8),
    ("embedded", BARE): Goal(">=", 0.2),
    ("validator", SOLANA_PY): Goal(">=", 10),
    ("validator", BARE): Goal(">=", 0.5),
}


SUSTAINED: Final = "sustained_payments_per_second"
WITH_SUSTAINED_GOAL: Final = frozenset({"validator"})
"""Where finality takes so long that the whole time says as much about the length of a turn."""


@dataclass(frozen=True, slots=True)
class ContestSizes:
    """How much is measured."""

    cycles: int
    engine_payments: int
    bare_payments: int
    peer_payments: int
    trial_payments: int
    warm_up_payments: int
    users: int
    callers: int


SHORT: Final = ContestSizes(3, 2_000, 2_000, 300, 100, 600, 300, 256)
EMBEDDED: Final = ContestSizes(3, 5_000, 5_000, 1_500, 300, 2_000, 1_200, 256)
VALIDATOR: Final = ContestSizes(2, 10_000, 10_000, 1_000, 100, 2_000, 1_200, 1_024)


async def hold_contest(
    stage: Stage, sizes: ContestSizes, stores: Sequence[str], peers: Sequence[str], report: Report
) -> None:
    """Let every engine and every peer take turns, and enter what was found into the report."""
    turns: dict[str, Turn] = {}
    for store in stores:
        engine = await stage.start_engine(store, users=sizes.users)
        # The peers are warm after their trials; what an engine compiles once is no cost of a payment.
        await engine.ask("run", payments=sizes.warm_up_payments, callers=sizes.callers)
        turns[engine.name] = stage.turn(engine, payments=sizes.engine_payments, callers=sizes.callers)
    best: dict[str, int] = {}
    for name in peers:
        peer = await stage.start_peer(name)
        if name == BARE:
            turns[name] = stage.turn(peer, payments=sizes.bare_payments)
            continue
        best[name] = await _best_concurrency(peer, sizes.trial_payments)
        turns[name] = stage.turn(peer, payments=sizes.peer_payments, callers=best[name])
    say(f"{stage.endpoint.name}: {sizes.cycles} cycles of {', '.join(turns)}")
    _enter(stage.endpoint.name, await alternate(turns, sizes.cycles), best, report)


async def _best_concurrency(peer: Contestant, payments: int) -> int:
    """Try a peer with few and many callers and return how many made it fastest."""
    rates: dict[int, float] = {}
    for callers in PEER_CONCURRENCY:
        # One caller alone waits for a slot with each payment, which a few payments show as well.
        count = payments if callers > 1 else max(payments // 4, 1)
        rates[callers] = Round.from_reply(await peer.ask("run", payments=count, callers=callers)).rate
    shown = ", ".join(f"{callers}: {rate:,.0f}/s" for callers, rate in rates.items())
    say(f"{peer.name} by callers: {shown}")
    return max(rates, key=lambda callers: rates[callers])


def _enter(chain: str, rounds: Rounds, best: dict[str, int], report: Report) -> None:
    for name, turns in rounds.items():
        prefix = figure_name(chain, name)
        report.figures[f"{prefix}_payments_per_second"] = median_rate(turns)
        report.figures[f"{prefix}_cpu_milliseconds_per_payment"] = median_cpu_milliseconds(turns)
        for detail in turns[0].details:
            report.figures[f"{prefix}_{detail}"] = statistics.median(t.details[detail] for t in turns)
    for engine in (name for name in rounds if name.startswith(ENGINE)):
        for peer in (name for name in rounds if not name.startswith(ENGINE)):
            _compare(chain, engine, peer, rounds, report)
    report.tables.append(_table(chain, rounds, best))


def _compare(chain: str, engine: str, peer: str, rounds: Rounds, report: Report) -> None:
    whole = ratio_by_cycle(rounds[engine], rounds[peer])
    sustained = ratio_by_cycle(rounds[engine], rounds[peer], detail=SUSTAINED)
    goal = GOALS.get((chain, peer))
    name, sustained_name = (figure_name(chain, engine, *word, "to", peer) for word in ((), ("sustained",)))
    if goal is None:
        report.figures |= {name: whole, sustained_name: sustained}
        return
    report.ratios[name] = Ratio(whole, goal)
    if chain in WITH_SUSTAINED_GOAL:
        report.ratios[sustained_name] = Ratio(sustained, goal)
    else:
        report.figures[sustained_name] = sustained


def _table(chain: str, rounds: Rounds, best: dict[str, int]) -> Table:
    """Show every contender with its rate, its spread and its CPU time."""
    rows = []
    for name, turns in rounds.items():
        rates = sorted(turn.rate for turn in turns)
        chain_cpu = statistics.median(turn.details["chain_cpu_milliseconds_per_payment"] for turn in turns)
        rows.append(
            (
                f"{name}, {best[name]} callers" if name in best else name,
                f"{median_rate(turns):,.0f}",
                f"{rates[0]:,.0f} to {rates[-1]:,.0f}",
                f"{median_cpu_milliseconds(turns):.2f}",
                f"{chain_cpu:.2f}",
            )
        )
    header = ("contender", "payments/s", "least to most", "CPU ms each", "the chain's CPU ms each")
    return Table(f"Single transfers, {chain} chain", header, tuple(rows))


PEERS: Final = (BARE, SOLANA_PY, KIT)
