"""The benchmark of the credit ledger in its short form: no ratio may be under half its goal."""

from __future__ import annotations

import pytest

from tests.bench.short_form import run_short_form

BENCHMARK_SECONDS = 120


@pytest.mark.postgres
@pytest.mark.timeout(BENCHMARK_SECONDS + 20)
def test_no_ratio_is_under_half_its_goal() -> None:
    found = run_short_form("ledger", seconds=BENCHMARK_SECONDS)
    assert set(found["ratios"]) == {
        "hot_deal_sdk_to_orm",
        "hot_deal_sdk_to_plpgsql",
        "spread_deal_sdk_to_orm",
        "spread_deal_sdk_to_plpgsql",
        "sqlite_cost_in_a_long_ledger",
        "sqlite_memory_in_a_run_of_renewals",
        "postgresql_memory_in_a_run_of_renewals",
    }
    assert found["figures"]["sqlite_debits_per_second"] > 0
    assert found["figures"]["postgresql_renewals_per_second"] > 0
