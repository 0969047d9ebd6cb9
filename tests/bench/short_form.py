"""Runs a benchmark's short form as CI does: no ratio may be under half its goal, or under its floor."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

REPOSITORY = Path(__file__).resolve().parents[2]


def run_short_form(name: str, *, seconds: float) -> dict[str, Any]:
    """Run a script of scripts/bench, see that it passes, and return what it printed.

    Args:
        name: the script's, without its ending.
        seconds: the most that it may take.
    """
    command = [sys.executable, str(REPOSITORY / "scripts" / "bench" / f"{name}.py"), "--short", "--json"]
    done = subprocess.run(
        command, cwd=REPOSITORY, capture_output=True, text=True, timeout=seconds, check=False
    )
    assert done.returncode == 0, f"{done.stdout}\n{done.stderr}"
    found: dict[str, Any] = json.loads(done.stdout)
    return found
