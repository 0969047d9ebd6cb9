"""Batch payouts: many recipients in a transaction against one, through the same engine."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from scripts.bench.measure import (
    Goal,
    Ratio,
    Report,
    Table,
    alternate,
    figure_name,
    median_cpu_milliseconds,
    median_rate,
    ratio_by_cycle,
)
from scripts.bench.stage import Stage

RATE_GOAL: Final = Goal(">=", 5_000)
"""In recipients a second, on the embedded chain; not judged in the short form, being no ratio."""
BATCH_GOAL: Final = Goal(">=", 8, floor=2.5)


@dataclass(frozen=True, slots=True)
class PayoutSizes:
    """How much is measured."""

    cycles: int
    batch_recipients: int
    single_recipients: int
    callers: int


SHORT: Final = PayoutSizes(3, 3_000, 400, 256)
EMBEDDED: Final = PayoutSizes(3, 10_000, 1_500, 256)
VALIDATOR: Final = PayoutSizes(1, 5_000, 1_500, 256)
"""Both goals are of the embedded chain, and each turn here ends with a wait of 15 seconds for finality."""


async def measure_payouts(
    stage: Stage, sizes: PayoutSizes, store: str, *, judge_rate: bool, report: Report
) -> None:
    """Pay by turns in one call and in many, both until everybody is confirmed."""
    engine = await stage.start_payouts(store, recipients=sizes.batch_recipients)
    together, singly = "in batches", f"one by one, {sizes.callers} callers"
    rounds = await alternate(
        {
            together: stage.turn(engine, payments=sizes.batch_recipients, callers=0),
            singly: stage.turn(engine, payments=sizes.single_recipients, callers=sizes.callers),
        },
        sizes.cycles,
    )
    chain = stage.endpoint.name
    for name, turns in (("batch", rounds[together]), ("single", rounds[singly])):
        prefix = figure_name(chain, "payouts", name)
        report.figures[f"{prefix}_recipients_per_second"] = median_rate(turns)
        report.figures[f"{prefix}_cpu_milliseconds_per_recipient"] = median_cpu_milliseconds(turns)
    if judge_rate and chain == "embedded":
        name = figure_name(chain, "payouts_batch_recipients_per_second")
        report.ratios[name] = Ratio(report.figures[name], RATE_GOAL)
    ratio = ratio_by_cycle(rounds[together], rounds[singly])
    report.ratios[figure_name(chain, "payouts_batch_to_single")] = Ratio(ratio, BATCH_GOAL)
    rows = tuple(
        (name, f"{median_rate(turns):,.0f}", f"{median_cpu_milliseconds(turns):.3f}")
        for name, turns in rounds.items()
    )
    header = ("payouts", "recipients/s", "CPU ms each")
    report.tables.append(Table(f"Payouts to existing accounts, {chain} chain", header, rows))
