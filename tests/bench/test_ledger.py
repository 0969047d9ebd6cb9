"""The benchmark of the credit ledger in its short form: no ratio may be under half its goal."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).resolve().parents[2]
BENCHMARK = REPOSITORY / "scripts" / "bench" / "ledger.py"
BENCHMARK_SECONDS = 120


@pytest.mark.postgres
@pytest.mark.timeout(BENCHMARK_SECONDS + 20)
def test_no_ratio_is_under_half_its_goal() -> None:
    command = [sys.executable, str(BENCHMARK), "--short", "--json"]
    done = subprocess.run(
        command, cwd=REPOSITORY, capture_output=True, text=True, timeout=BENCHMARK_SECONDS, check=False
    )
    assert done.returncode == 0, f"{done.stdout}\n{done.stderr}"
    found = json.loads(done.stdout)
    assert set(found["ratios"]) == {
        "hot_deal_sdk_to_orm",
        "hot_deal_sdk_to_plpgsql",
        "spread_deal_sdk_to_orm",
        "spread_deal_sdk_to_plpgsql",
        "sqlite_cost_in_a_long_ledger",
    }
    assert found["figures"]["sqlite_debits_per_second"] > 0
