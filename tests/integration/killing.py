"""Runs a script as a process of its own, and kills it with SIGKILL at a moment that the test chooses."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Sequence
from pathlib import Path

import deal_localnet
import deal_sdk

PACKAGES = [str(Path(package.__file__ or "").parents[1]) for package in (deal_sdk, deal_localnet)]


async def run_until_killed(
    script: Path, arguments: Sequence[str], kill_after_lines: int, delay_seconds: float
) -> bool:
    """Run a script until it prints "done", or kill it some time after so many lines.

    Args:
        script: prints a line for each thing it did, and "done" at its end.
        arguments: of the script.
        kill_after_lines: -1 for never.
        delay_seconds: between that line and the kill.

    Returns:
        Whether it came to its end.
    """
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        str(script),
        *arguments,
        stdout=asyncio.subprocess.PIPE,
        env={"PYTHONPATH": ":".join(PACKAGES)},
    )
    assert process.stdout is not None
    seen = 0
    async for line in process.stdout:
        seen += 1
        if line == b"done\n":
            await process.wait()
            return True
        if seen == kill_after_lines:
            await asyncio.sleep(delay_seconds)
            process.kill()
    await process.wait()
    return False
