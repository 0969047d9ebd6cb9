"""The limits benchmark in its short form: no ratio may be under half its goal, or under its floor."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).resolve().parents[2]
BENCHMARK = REPOSITORY / "scripts" / "bench" / "limits.py"
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
    command = [sys.executable, str(BENCHMARK), "--short", "--json"]
    done = subprocess.run(
        command, cwd=REPOSITORY, capture_output=True, text=True, timeout=BENCHMARK_SECONDS, check=False
    )
    assert done.returncode == 0, f"{done.stdout}\n{done.stderr}"
    found = json.loads(done.stdout)
    assert set(found["ratios"]) == RATIOS
    assert found["figures"]["at_once_gate_calls_per_second"] > 0
