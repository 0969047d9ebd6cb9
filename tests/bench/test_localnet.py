"""The benchmark of the embedded validator in its short form: no ratio may be under half its goal."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).resolve().parents[2]
BENCHMARK = REPOSITORY / "scripts" / "bench" / "localnet.py"
BENCHMARK_SECONDS = 100


@pytest.mark.timeout(BENCHMARK_SECONDS + 20)
def test_no_ratio_is_under_half_its_goal() -> None:
    command = [sys.executable, str(BENCHMARK), "--short", "--json"]
    done = subprocess.run(
        command, cwd=REPOSITORY, capture_output=True, text=True, timeout=BENCHMARK_SECONDS, check=False
    )
    assert done.returncode == 0, f"{done.stdout}\n{done.stderr}"
    found = json.loads(done.stdout)
    assert set(found["ratios"]) == {"localnet_batches_to_litesvm", "localnet_batches_to_litesvm_by_cpu"}
    assert found["figures"]["localnet_batches_transactions_per_second"] > 0
