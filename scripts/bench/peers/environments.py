"""Python environments of peers: made once by the benchmark, so that their pins meet nobody else's."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Final

from scripts.bench.measure import ROOT

ENVIRONMENTS: Final = ROOT / ".bench"
INSTALL_SECONDS: Final = 240.0


def python_of(pins: Path) -> str:
    """Return the Python of an environment with exactly these pins, made anew when they changed.

    Args:
        pins: a requirements file beside the peer; the environment has its name.
    """
    folder = ENVIRONMENTS / pins.stem
    python, installed = folder / "bin" / "python", folder / "installed.txt"
    if not installed.exists() or installed.read_bytes() != pins.read_bytes():
        run([sys.executable, "-m", "venv", "--clear", str(folder)])
        run([str(python), "-m", "pip", "install", "--quiet", "--requirement", str(pins)])
        installed.write_bytes(pins.read_bytes())
    return str(python)


def run(command: list[str]) -> None:
    """Run one step of an installation.

    Raises:
        subprocess.SubprocessError: when it failed or took too long.
    """
    subprocess.run(command, check=True, timeout=INSTALL_SECONDS, capture_output=True)
