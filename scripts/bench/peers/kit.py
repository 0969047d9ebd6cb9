"""The environment of the peer @solana/kit: Node.js and the packages that the acceptance tests pin."""

from __future__ import annotations

import json
import shutil
import subprocess
from pathlib import Path
from typing import Final

from scripts.bench.measure import ROOT
from tests.servers import MissingServerError

PINS: Final = ROOT / "tests" / "acceptance" / "kit"
"""One lock for both: what the tests prove to work is what the benchmark times."""
ENVIRONMENT: Final = ROOT / ".bench" / "kit"
PROGRAM: Final = Path(__file__).with_name("kit.mjs")
INSTALL_SECONDS: Final = 240.0


def kit_command() -> list[str]:
    """Install the packages unless they are there, and return the command line of the peer.

    Raises:
        MissingServerError: without Node.js and npm.
    """
    node, npm = shutil.which("node"), shutil.which("npm")
    if node is None or npm is None:
        raise MissingServerError("Node.js and npm are missing")
    ENVIRONMENT.mkdir(parents=True, exist_ok=True)
    if not _is_installed():
        for name in ("package.json", "package-lock.json"):
            shutil.copy(PINS / name, ENVIRONMENT / name)
        install = [npm, "ci", "--no-audit", "--no-fund"]
        subprocess.run(install, cwd=ENVIRONMENT, check=True, timeout=INSTALL_SECONDS, capture_output=True)
    # Node.js looks for packages beside the program's own file.
    return [node, str(shutil.copy(PROGRAM, ENVIRONMENT / PROGRAM.name))]


def kit_version() -> str:
    """Return the pinned version."""
    pins = json.loads((PINS / "package.json").read_text())
    return str(pins["dependencies"]["@solana/kit"])


def _is_installed() -> bool:
    lock, wanted = ENVIRONMENT / "package-lock.json", PINS / "package-lock.json"
    is_there = (ENVIRONMENT / "node_modules" / "@solana" / "kit").is_dir()
    return is_there and lock.exists() and lock.read_bytes() == wanted.read_bytes()
