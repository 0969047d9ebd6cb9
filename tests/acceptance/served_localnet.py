"""`dealctl localnet` in a process of its own, as anybody would start it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final, NamedTuple

ROOT: Final = Path(__file__).resolve().parents[2]
STOP_SECONDS: Final = 60


class Addresses(NamedTuple):
    """Where a localnet listens."""

    rpc: str
    pubsub: str


@contextmanager
def served_localnet(slot_milliseconds: int = 100) -> Iterator[Addresses]:
    """Run a localnet on free ports until the block ends."""
    options = ["--rpc-port", "0", "--slot-milliseconds", str(slot_milliseconds), "--json"]
    command = [sys.executable, "-m", "deal_sdk.cli", "localnet", *options]
    packages = os.pathsep.join(str(ROOT / folder) for folder in ("sdk", "localnet"))
    environment = {**os.environ, "PYTHONPATH": packages}
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environment) as process:
        try:
            yield _addresses(process)
        finally:
            process.terminate()
            assert process.wait(STOP_SECONDS) == 0


def _addresses(process: subprocess.Popen[str]) -> Addresses:
    """Read the one JSON document that tells where the localnet listens, while it goes on running."""
    assert process.stdout is not None
    document = ""
    for line in process.stdout:
        document += line
        if line == "}\n":
            break
    found = json.loads(document)
    return Addresses(found["rpc_url"], found["websocket_url"])
