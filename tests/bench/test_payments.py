"""The payments benchmark in its short form: no ratio may be under half its goal, or under its floor."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).resolve().parents[2]
BENCHMARK = REPOSITORY / "scripts" / "bench" / "payments.py"
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
    command = [sys.executable, str(BENCHMARK), "--short", "--json"]
    done = subprocess.run(
        command, cwd=REPOSITORY, capture_output=True, text=True, timeout=BENCHMARK_SECONDS, check=False
    )
    assert done.returncode == 0, f"{done.stdout}\n{done.stderr}"
    found = json.loads(done.stdout)
    assert set(found["ratios"]) == RATIOS
    assert found["figures"]["embedded_engine_sqlite_redis_payments_per_second"] > 0
    assert found["machine"]["cores"] > 0
