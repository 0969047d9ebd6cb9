"""What the embedded validator costs a test that begins a chain, and what it costs when it has grown."""

from __future__ import annotations

import statistics
import time
from typing import Final, NamedTuple

from deal_localnet import LocalnetConfig, LoopThread, ThreadedLocalnet
from scripts.bench.chains import EmbeddedChain
from scripts.bench.contestants import Contestant
from scripts.bench.measure import Goal, Ratio, Report, Table, Turn, say
from scripts.bench.stage import BARE, Stage

CHAIN_CPU: Final = "chain_cpu_milliseconds_per_payment"
GROWTH_GOAL: Final = Goal("<=", 1.3)
FRESH_GOAL: Final = Goal("<=", 1.0)
FRESH_MILLISECONDS: Final = 50.0
"""What a fresh chain may cost a test, by the machine's CPU time."""
ACCOUNTS_AT_ONCE: Final = 20_000
PAYMENTS_AT_ONCE: Final = 5_000


class Growth(NamedTuple):
    """How large the chain becomes, and how it is looked at before and after."""

    accounts: int
    signatures: int
    turns: int
    payments: int


async def measure_growth(growth: Growth) -> Report:
    """Time transfers on a young chain, and again when it holds many accounts and signatures."""
    async with Stage(EmbeddedChain()) as stage:
        peer = await stage.start_peer(BARE)
        turn = stage.turn(peer, payments=growth.payments)
        young = await _chain_cpu(turn, growth.turns)
        await _fill(peer, growth)
        grown = await _chain_cpu(turn, growth.turns)
    report = Report(
        figures={
            "localnet_young_cpu_milliseconds_per_transaction": young,
            "localnet_grown_cpu_milliseconds_per_transaction": grown,
            "localnet_grown_accounts": growth.accounts,
            "localnet_grown_signatures": growth.signatures,
        },
        ratios={"localnet_grown_to_young": Ratio(grown / young, GROWTH_GOAL)},
    )
    rows = (
        ("young", "0", f"{young:.3f}"),
        (f"{growth.accounts:,}", f"{growth.signatures:,}", f"{grown:.3f}"),
    )
    header = ("accounts", "signatures", "its CPU ms per transaction")
    report.tables.append(Table("A chain that has grown", header, rows))
    return report


async def _chain_cpu(turn: Turn, turns: int) -> float:
    # The first turn warms up what a chain of any age does once.
    rounds = [await turn() for _ in range(turns + 1)][1:]
    return statistics.median(round_.details[CHAIN_CPU] for round_ in rounds)


async def _fill(peer: Contestant, growth: Growth) -> None:
    for done in range(0, growth.accounts, ACCOUNTS_AT_ONCE):
        await peer.ask("open_accounts", count=min(ACCOUNTS_AT_ONCE, growth.accounts - done))
    say(f"{growth.accounts:,} accounts are open")
    for done in range(0, growth.signatures, PAYMENTS_AT_ONCE):
        await peer.ask("run", payments=min(PAYMENTS_AT_ONCE, growth.signatures - done))
        if done % (growth.signatures // 10) < PAYMENTS_AT_ONCE:
            say(f"{done:,} signatures are kept")


def measure_fresh_chains(count: int) -> Report:
    """Begin and end chains as the pytest plugin does, one after another."""
    thread = LoopThread()
    thread.start()
    try:
        spent = [_begin_and_end(thread) for _ in range(count + 1)][1:]
    finally:
        thread.close()
    milliseconds = statistics.median(spent)
    return Report(
        figures={"localnet_fresh_chain_cpu_milliseconds": milliseconds},
        ratios={
            "localnet_fresh_chain_to_50_milliseconds": Ratio(milliseconds / FRESH_MILLISECONDS, FRESH_GOAL)
        },
    )


def _begin_and_end(thread: LoopThread) -> float:
    began = time.process_time()
    with ThreadedLocalnet(LocalnetConfig(), thread):
        pass
    return (time.process_time() - began) * 1_000
