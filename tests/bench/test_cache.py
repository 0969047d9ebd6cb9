"""The cache benchmark in its short form: no ratio of times under half its goal, and what is counted exact."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).resolve().parents[2]
BENCHMARK = REPOSITORY / "scripts" / "bench" / "cache.py"
BENCHMARK_SECONDS = 240


@pytest.mark.timeout(BENCHMARK_SECONDS + 20)
def test_no_ratio_is_under_half_its_goal() -> None:
    command = [sys.executable, str(BENCHMARK), "--short", "--json"]
    done = subprocess.run(
        command, cwd=REPOSITORY, capture_output=True, text=True, timeout=BENCHMARK_SECONDS, check=False
    )
    assert done.returncode == 0, f"{done.stdout}\n{done.stderr}"
    found = json.loads(done.stdout)
    assert set(found["ratios"]) == {"local_hit_to_cashews", "round_trips_for_100_users", "zipf_hit_rate"}
    # These two are counted, not timed: the machine has no part in them.
    assert found["ratios"]["round_trips_for_100_users"]["value"] == 1
    assert found["ratios"]["zipf_hit_rate"]["met"]
