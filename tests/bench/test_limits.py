"""The limits benchmark in its short form: no ratio may be under half its goal, or under its floor."""

from __future__ import annotations

import pytest

from tests.bench.short_form import run_short_form

BENCHMARK_SECONDS = 240
RATIOS = {
    "alone_gate_time_to_bare_evalsha",
    "alone_gate_to_limits",
    "alone_gate_to_throttled_py",
    "at_once_gate_to_bare_pipeline",
    "at_once_gate_to_limits",
}


@pytest.mark.timeout(BENCHMARK_SECONDS + 20)
def test_no_ratio_is_under_half_its_goal() -> None:
    found = run_short_form("limits", seconds=BENCHMARK_SECONDS)
    assert set(found["ratios"]) == RATIOS
    assert found["figures"]["at_once_gate_calls_per_second"] > 0
