"""Where a contender's process spends its CPU time, sampled by py-spy from outside.

py-spy samples the thread that holds the interpreter's lock, so neither waiting nor what a library does
without the lock is counted.
"""

from __future__ import annotations

import asyncio
import cProfile
import pstats
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
OURS: Final = "(deal_sdk/"


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
    command += ["--rate", str(SAMPLES_PER_SECOND), "--gil"]
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


def append(summary: Path, text: str) -> None:
    """Add to a summary."""
    with summary.open("a") as file:
        file.write(text)


def summarize(stacks: Iterable[str]) -> str:
    """Count samples by package, by the frame they were in, and by each function of ours that led there.

    Args:
        stacks: py-spy's raw form: frames from the outermost in, separated by semicolons, then the count.
    """
    packages: Counter[str] = Counter()
    frames: Counter[str] = Counter()
    functions: Counter[str] = Counter()
    innermost: Counter[str] = Counter()
    total = 0
    for line in stacks:
        stack, _, count_text = line.rpartition(" ")
        count = int(count_text)
        total += count
        found = [frame.strip() for frame in stack.split(";")]
        packages[_package(found[-1])] += count
        frames[found[-1]] += count
        ours = [_function(frame) for frame in found if OURS in frame]
        innermost[ours[-1] if ours else f"none of ours, {_package(found[-1])}"] += count
        for function in set(ours):
            functions[function] += count
    parts = [f"{total} samples at {SAMPLES_PER_SECOND} per second of the interpreter at work"]
    for title, counts in (
        ("By package, callees left out", packages),
        ("By line, callees left out", frames),
        ("By function of deal_sdk, with what it calls in other packages", innermost),
        ("By function of deal_sdk, callees included", functions),
    ):
        parts.append(f"\n{title}")
        parts += [f"{count / total:7.2%}  {name}" for name, count in counts.most_common(SHOWN)]
    return "\n".join(parts) + "\n"


def calls_per_payment(profile: cProfile.Profile, payments: int) -> str:
    """List functions by their own time, with how often a payment calls each.

    The profiler's own cost weighs on functions that are called often, so the times tell an order, not a sum.
    """
    statistics = pstats.Stats(profile).stats  # type: ignore[attr-defined]
    lines = ["\nBy function in the event loop's thread: calls, own us, cumulative us, each per payment"]
    by_own_time = sorted(statistics.items(), key=lambda item: -item[1][2])
    for (file, line, function), (_, calls, own, cumulative, _) in by_own_time[:SHOWN]:
        place = "/".join(file.split("/")[-3:])
        figures = f"{calls / payments:9.2f} {own / payments * 1e6:8.1f} {cumulative / payments * 1e6:9.1f}"
        lines.append(f"{figures}  {function} ({place}:{line})")
    return "\n".join(lines) + "\n"


def _function(frame: str) -> str:
    """Leave out the line number, so that a function's lines are counted together."""
    return frame.rpartition(":")[0] + ")"


def _package(frame: str) -> str:
    """Return the package of a frame, and of ours the area."""
    parts = frame.rpartition("(")[2].split("/")
    return "/".join(parts[: 2 if parts[0] == "deal_sdk" else 1]).partition(":")[0]
