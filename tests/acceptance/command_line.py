"""Runs dealctl and the example scripts as their users do: as processes of their own."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final

REPOSITORY: Final = Path(__file__).parents[2]
TIMEOUT_SECONDS: Final = 180.0
_SOURCES: Final = os.pathsep.join(str(REPOSITORY / name) for name in ("sdk", "localnet"))


def environment_of(more: Mapping[str, str] | None = None) -> dict[str, str]:
    """Return this process's environment with the sources on Python's path, and more over it."""
    return {**os.environ, "PYTHONPATH": _SOURCES, **(more or {})}


def run(
    arguments: Sequence[str], directory: Path, more: Mapping[str, str] | None = None
) -> subprocess.CompletedProcess[str]:
    """Run Python with arguments in a folder and return what it wrote and how it ended."""
    return subprocess.run(
        [sys.executable, *arguments],
        cwd=directory,
        env=environment_of(more),
        capture_output=True,
        text=True,
        timeout=TIMEOUT_SECONDS,
        check=False,
    )


def dealctl(
    *arguments: str, directory: Path, more: Mapping[str, str] | None = None
) -> subprocess.CompletedProcess[str]:
    """Run dealctl."""
    return run(["-m", "deal_sdk.cli", *arguments], directory, more)


def dealctl_json(*arguments: str, directory: Path, more: Mapping[str, str] | None = None) -> Any:
    """Run a dealctl command that succeeds, and return the one document that it printed."""
    done = dealctl(*arguments, "--json", directory=directory, more=more)
    assert done.returncode == 0, done.stderr + done.stdout
    return json.loads(done.stdout)
