"""The benchmark of watching and of the live stream in its short form: no ratio over twice its bound."""

from __future__ import annotations

import pytest

from tests.bench.short_form import run_short_form

BENCHMARK_SECONDS = 120


@pytest.mark.timeout(BENCHMARK_SECONDS + 20)
def test_no_ratio_is_over_twice_its_bound() -> None:
    found = run_short_form("monitor", seconds=BENCHMARK_SECONDS)
    assert set(found["ratios"]) == {
        "polling_http_requests_per_transaction",
        "polling_calls_above_listings_per_transaction",
        "stream_p99_to_100_ms",
    }
    assert found["figures"]["polling_transactions"] > 0
    assert found["figures"]["stream_server_cpu_share"] > 0
