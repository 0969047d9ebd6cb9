"""What every benchmark shares: alternating rounds, medians, ratios with their goals, and the report.

A round is one contender's turn. Contenders take turns within a cycle, and the order is reversed in every
other cycle, so that a machine that slows down or warms up favours nobody. A ratio is the median over the
cycles of the ratio within each cycle: both sides of it were timed within moments of each other.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import re
import statistics
import sys
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Final, Literal

ROOT: Final = Path(__file__).resolve().parents[2]
REFERENCE: Final = ROOT / "docs" / "reference" / "benchmarks.md"
HALF: Final = 2.0
"""A ratio under half its goal fails the short form: noise alone does not take a machine that far."""


@dataclass(frozen=True, slots=True)
class Round:
    """One turn of one contender."""

    payments: int
    seconds: float
    cpu_seconds: float
    details: Mapping[str, float] = field(default_factory=dict)

    @property
    def rate(self) -> float:
        """Return payments per second."""
        return self.payments / self.seconds

    @property
    def cpu_milliseconds(self) -> float:
        """Return the process's CPU time per payment, which a busy machine disturbs less than the clock."""
        return self.cpu_seconds / self.payments * 1_000

    def with_detail(self, name: str, value: float) -> Round:
        """Return the round with one more detail."""
        return replace(self, details={**self.details, name: value})

    @classmethod
    def from_reply(cls, reply: Mapping[str, Any]) -> Round:
        """Read what a contender's process answered; what is not common to all goes into the details."""
        common = {"payments", "seconds", "cpu_seconds"}
        details = {name: float(value) for name, value in reply.items() if name not in common}
        return cls(int(reply["payments"]), float(reply["seconds"]), float(reply["cpu_seconds"]), details)


Rounds = Mapping[str, Sequence[Round]]
Turn = Callable[[], Awaitable[Round]]


async def alternate(contenders: Mapping[str, Turn], cycles: int) -> dict[str, list[Round]]:
    """Let every contender take its turn in each cycle, in reversed order every other time."""
    rounds: dict[str, list[Round]] = {name: [] for name in contenders}
    for cycle in range(cycles):
        for name in reversed(list(contenders)) if cycle % 2 else contenders:
            rounds[name].append(await contenders[name]())
    return rounds


def median_rate(rounds: Sequence[Round]) -> float:
    """Return the median payments per second."""
    return statistics.median(round_.rate for round_ in rounds)


def median_cpu_milliseconds(rounds: Sequence[Round]) -> float:
    """Return the median CPU time per payment."""
    return statistics.median(round_.cpu_milliseconds for round_ in rounds)


def ratio_by_cycle(
    numerator: Sequence[Round], denominator: Sequence[Round], *, detail: str | None = None
) -> float:
    """Return the median over the cycles of how many times as fast the first contender was.

    Args:
        numerator: the first contender's rounds.
        denominator: the second one's, of the same cycles.
        detail: the first contender's rate by another count than payments over the whole time.
    """
    pairs = zip(numerator, denominator, strict=True)
    return statistics.median(
        (mine.rate if detail is None else mine.details[detail]) / other.rate for mine, other in pairs
    )


@dataclass(frozen=True, slots=True)
class Goal:
    """What a ratio should be."""

    comparison: Literal[">=", "<="]
    bound: float
    floor: float | None = None
    """Of a goal that is not even half reached yet: what was reached must at least not be lost."""

    def __str__(self) -> str:
        """Write it as the report shows it."""
        return f"{self.comparison} {self.bound:g}"

    def is_met(self, value: float) -> bool:
        """Return whether a value reaches the goal."""
        return value >= self.bound if self.comparison == ">=" else value <= self.bound

    def is_half_met(self, value: float) -> bool:
        """Return whether a value reaches at least half of the goal, or the floor of one that is far off."""
        if self.floor is not None:
            return value >= self.floor
        return value >= self.bound / HALF if self.comparison == ">=" else value <= self.bound * HALF


@dataclass(frozen=True, slots=True)
class Ratio:
    """A measured ratio beside its goal."""

    value: float
    goal: Goal

    def to_dict(self) -> dict[str, Any]:
        """Return the form of the JSON report."""
        return {"value": round(self.value, 4), "goal": str(self.goal), "met": self.goal.is_met(self.value)}


@dataclass(frozen=True, slots=True)
class Table:
    """A table of the written report."""

    title: str
    header: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]

    def to_markdown(self) -> str:
        """Write the table, numbers to the right."""
        alignment = ["---", *("---:" for _ in self.header[1:])]
        lines = [self.header, alignment, *self.rows]
        return "\n".join([f"**{self.title}**", "", *(f"| {' | '.join(line)} |" for line in lines)])


@dataclass(slots=True)
class Report:
    """What a benchmark found."""

    figures: dict[str, float] = field(default_factory=dict)
    ratios: dict[str, Ratio] = field(default_factory=dict)
    tables: list[Table] = field(default_factory=list)

    def add(self, other: Report) -> None:
        """Take in what another part of the benchmark found."""
        self.figures |= other.figures
        self.ratios |= other.ratios
        self.tables += other.tables

    def to_json(self) -> str:
        """Return the report as one JSON document."""
        document = {
            "machine": machine(),
            "figures": {name: round(value, 4) for name, value in self.figures.items()},
            "ratios": {name: ratio.to_dict() for name, ratio in self.ratios.items()},
        }
        return json.dumps(document, indent=2)

    def to_markdown(self) -> str:
        """Return the report as the reference page shows it."""
        facts = ", ".join(f"{name.replace('_', ' ')} {value}" for name, value in machine().items())
        return "\n\n".join(
            [f"Measured on: {facts}.", self.ratio_table().to_markdown()]
            + [table.to_markdown() for table in self.tables]
        )

    def ratio_table(self) -> Table:
        """Return the ratios with their goals as a table."""
        rows = tuple(
            (
                name.replace("_", " "),
                f"{ratio.value:.3g}",
                str(ratio.goal),
                _yes(ratio.goal.is_met(ratio.value)),
            )
            for name, ratio in self.ratios.items()
        )
        return Table("Ratios", ("ratio", "value", "goal", "met"), rows)

    def below_half(self) -> list[str]:
        """Name the ratios that miss even half of their goal."""
        return [name for name, ratio in self.ratios.items() if not ratio.goal.is_half_met(ratio.value)]


def form_parser(description: str) -> argparse.ArgumentParser:
    """Return a parser of the two options that every benchmark has."""
    parser = argparse.ArgumentParser(description=description)
    parser.add_argument("--json", action="store_true", help="print one JSON document and write no page")
    parser.add_argument("--short", action="store_true", help="small, and fails under half a goal; for CI")
    return parser


def conclude(report: Report, part: str, options: argparse.Namespace) -> int:
    """Print a report, write its part of the page, and say by the exit code whether the short form passed.

    Args:
        report: what was found.
        part: of the reference page, which only the whole form without `--json` writes.
        options: as `form_parser` reads them.

    Returns:
        1 when the short form has a ratio under half its goal, else 0.
    """
    print(report.to_json() if options.json else report.to_markdown())
    if not options.json and not options.short:
        write_part(part, report.to_markdown())
    below = report.below_half() if options.short else []
    for name in below:
        say(f"{name} is under half its goal")
    return 1 if below else 0


def figure_name(*parts: str) -> str:
    """Join words into a figure's name: letters, digits and underscores alone."""
    return re.sub(r"[^a-z0-9]+", "_", " ".join(parts).lower()).strip("_")


def say(text: str) -> None:
    """Tell on stderr how far it is."""
    print(text, file=sys.stderr, flush=True)


def machine() -> dict[str, str | int]:
    """Say what the figures were measured on."""
    return {
        "cores": os.cpu_count() or 0,
        "processor": _processor(),
        "system": f"{platform.system()} {platform.machine()}",
        "python": platform.python_version(),
        "load_average": f"{os.getloadavg()[0]:.1f}",
    }


def write_part(name: str, text: str, page: Path = REFERENCE) -> None:
    """Replace a benchmark's part of the reference page, between its markers.

    Raises:
        ValueError: when the page has no such markers.
    """
    begin, end = f"<!-- begin {name} -->", f"<!-- end {name} -->"
    content = page.read_text()
    before, found, rest = content.partition(begin)
    _, closing, after = rest.partition(end)
    if not found or not closing:
        raise ValueError(f"{page.name} has no part between '{begin}' and '{end}'")
    page.write_text(f"{before}{begin}\n\n{text.strip()}\n\n{end}{after}")


def _processor() -> str:
    facts = Path("/proc/cpuinfo")
    if facts.exists():
        for line in facts.read_text().splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or "unknown"


def _yes(value: bool) -> str:
    return "yes" if value else "no"
