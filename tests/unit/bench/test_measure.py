"""The harness of the benchmarks: turns, medians, goals and the written report."""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest

from scripts.bench.measure import (
    Goal,
    Ratio,
    Report,
    Round,
    Table,
    alternate,
    figure_name,
    median_cpu_milliseconds,
    median_rate,
    ratio_by_cycle,
    write_part,
)


def rounds(*rates: float) -> list[Round]:
    return [Round(100, 100 / rate, 0.5) for rate in rates]


async def test_contenders_take_turns_in_reversed_order_every_other_time() -> None:
    order: list[str] = []

    def contender(name: str) -> Callable[[], Awaitable[Round]]:
        async def take() -> Round:
            order.append(name)
            return Round(1, 1.0, 0.0)

        return take

    found = await alternate({name: contender(name) for name in "abc"}, 3)
    assert "".join(order) == "abccbaabc"
    assert {name: len(turns) for name, turns in found.items()} == {"a": 3, "b": 3, "c": 3}


def test_a_ratio_compares_what_was_timed_together() -> None:
    # The machine ran at half its speed in the second cycle; both felt it alike.
    assert ratio_by_cycle(rounds(40, 20, 44), rounds(10, 5, 11)) == pytest.approx(4)
    assert median_rate(rounds(40, 20, 44)) == pytest.approx(40)
    assert median_cpu_milliseconds(rounds(40, 20, 44)) == pytest.approx(5)


def test_a_round_is_read_from_a_contenders_reply() -> None:
    reply = {"payments": 10, "seconds": 2.0, "cpu_seconds": 0.1, "lost": 1}
    found = Round.from_reply(reply).with_detail("more", 2.5)
    assert (found.rate, found.cpu_milliseconds) == (5.0, 10.0)
    assert found.details == {"lost": 1.0, "more": 2.5}


@pytest.mark.parametrize(
    ("goal", "value", "is_met", "is_half_met"),
    [
        (Goal(">=", 4), 4.0, True, True),
        (Goal(">=", 4), 3.9, False, True),
        (Goal(">=", 4), 1.99, False, False),
        (Goal("<=", 15), 15.0, True, True),
        (Goal("<=", 15), 29.0, False, True),
        (Goal("<=", 15), 30.1, False, False),
    ],
)
def test_a_goal_is_met_half_met_or_missed(goal: Goal, value: float, is_met: bool, is_half_met: bool) -> None:
    assert (goal.is_met(value), goal.is_half_met(value)) == (is_met, is_half_met)


def test_the_json_report_has_the_form_that_every_benchmark_shares() -> None:
    report = Report(
        {"rate": 12.34567}, {"fast": Ratio(9.5, Goal(">=", 10)), "slow": Ratio(1, Goal(">=", 10))}
    )
    document = json.loads(report.to_json())
    assert set(document) == {"machine", "figures", "ratios"}
    assert document["figures"] == {"rate": 12.3457}
    assert document["ratios"]["fast"] == {"value": 9.5, "goal": ">= 10", "met": False}
    assert report.below_half() == ["slow"]


def test_a_page_keeps_what_is_outside_the_benchmarks_part(tmp_path: Path) -> None:
    page = tmp_path / "benchmarks.md"
    page.write_text("before\n<!-- begin a -->\nold\n<!-- end a -->\nafter\n")
    write_part("a", Table("Title", ("what", "value"), (("x", "1"),)).to_markdown(), page)
    text = page.read_text()
    assert text.startswith(
        "before\n<!-- begin a -->\n\n**Title**\n\n| what | value |\n| --- | ---: |\n| x | 1 |\n"
    )
    assert text.endswith("\n<!-- end a -->\nafter\n")
    with pytest.raises(ValueError, match="begin b"):
        write_part("b", "text", page)


def test_figures_are_named_by_words_alone() -> None:
    assert figure_name("embedded", "engine sqlite+memory", "to", "@solana/kit") == (
        "embedded_engine_sqlite_memory_to_solana_kit"
    )
