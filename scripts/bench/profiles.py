"""Where a contender's process spends its CPU time, sampled by py-spy from outside.

py-spy samples the thread that holds the interpreter's lock, so neither waiting nor what a library does
without the lock is counted.
"""

from __future__ import annotations

import asyncio
import shutil
import signal
import sys
from collections import Counter
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Final

SAMPLES_PER_SECOND: Final = 200
SHOWN: Final = 60
FOREIGN: Final = ("site-packages", "lib/python", "<frozen", "<string>")


@asynccontextmanager
async def sampled(pid: int, summary: Path) -> AsyncIterator[None]:
    """Sample a process while the block runs, and write what it found.

    Args:
        pid: the process.
        summary: where the summary goes; the raw stacks go beside it.

    Raises:
        RuntimeError: when py-spy is missing or may not look into the process.
    """
    program = shutil.which("py-spy", path=str(Path(sys.executable).parent)) or shutil.which("py-spy")
    if program is None:
        raise RuntimeError("py-spy is missing; pip install py-spy")
    raw = summary.with_suffix(".stacks")
    command = [program, "record", "--pid", str(pid), "--format", "raw", "--output", str(raw)]
    command += ["--rate", str(SAMPLES_PER_SECOND), "--nonblocking", "--gil"]
    process = await asyncio.create_subprocess_exec(
        *command, stdout=asyncio.subprocess.DEVNULL, stderr=asyncio.subprocess.PIPE
    )
    try:
        yield
    finally:
        if process.returncode is None:
            process.send_signal(signal.SIGINT)
        _, errors = await process.communicate()
    _write_summary(raw, summary, errors.decode().strip()[-400:])


def _write_summary(raw: Path, summary: Path, errors: str) -> None:
    if not raw.exists():
        raise RuntimeError(f"py-spy recorded nothing: {errors}")
    summary.write_text(summarize(raw.read_text().splitlines()))


def summarize(stacks: Iterable[str]) -> str:
    """Count samples by the frame they were in, and by each frame of the repository that led there.

    Args:
        stacks: py-spy's raw form: frames from the outermost in, separated by semicolons, then the count.
    """
    own: Counter[str] = Counter()
    inclusive: Counter[str] = Counter()
    total = 0
    for line in stacks:
        stack, _, count_text = line.rpartition(" ")
        count = int(count_text)
        total += count
        frames = [frame.strip() for frame in stack.split(";")]
        own[frames[-1]] += count
        for frame in {_function(frame) for frame in frames if not _is_foreign(frame)}:
            inclusive[frame] += count
    parts = [f"{total} samples at {SAMPLES_PER_SECOND} per second of the interpreter at work"]
    for title, counts in (
        ("By frame, callees left out", own),
        ("By function of ours, callees included", inclusive),
    ):
        parts.append(f"\n{title}")
        parts += [f"{count / total:7.2%}  {frame}" for frame, count in counts.most_common(SHOWN)]
    return "\n".join(parts) + "\n"


def _function(frame: str) -> str:
    """Leave out the line number, so that a function's lines are counted together."""
    return frame.rpartition(":")[0] + ")" if frame.endswith(")") and ":" in frame else frame


def _is_foreign(frame: str) -> bool:
    return any(part in frame for part in FOREIGN) or "/" not in frame
