"""The benchmark of the embedded validator in its short form: no ratio may be under half its goal."""

from __future__ import annotations

import pytest

from tests.bench.short_form import run_short_form

BENCHMARK_SECONDS = 100


@pytest.mark.timeout(BENCHMARK_SECONDS + 20)
def test_no_ratio_is_under_half_its_goal() -> None:
    found = run_short_form("localnet", seconds=BENCHMARK_SECONDS)
    assert set(found["ratios"]) == {
        "localnet_batches_to_litesvm",
        "localnet_batches_to_litesvm_by_cpu",
        "localnet_fresh_chain_to_50_milliseconds",
        "localnet_grown_to_young",
    }
    assert found["figures"]["localnet_batches_transactions_per_second"] > 0
