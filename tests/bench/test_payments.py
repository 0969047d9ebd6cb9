"""The payments benchmark in its short form: no ratio may be under half its goal, or under its floor."""

from __future__ import annotations

import pytest

from tests.bench.short_form import run_short_form

BENCHMARK_SECONDS = 420
RATIOS = {
    "embedded_engine_sqlite_redis_to_bare_batches",
    "embedded_engine_sqlite_redis_to_solana_py",
    "embedded_lone_transfer_adds_milliseconds",
    "embedded_payouts_batch_to_single",
    "embedded_status_calls_per_256_pending_per_sweep",
}


@pytest.mark.timeout(BENCHMARK_SECONDS + 20)
def test_no_ratio_is_under_half_its_goal() -> None:
    found = run_short_form("payments", seconds=BENCHMARK_SECONDS)
    assert set(found["ratios"]) == RATIOS
    assert found["figures"]["embedded_engine_sqlite_redis_payments_per_second"] > 0
    assert found["machine"]["cores"] > 0
