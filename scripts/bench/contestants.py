"""A contender's own process, asked line by line: its CPU time and memory are its own alone.

The parent writes one JSON object a line, `{"command": name, ...arguments}`, and reads one back:
`{"result": ...}` or `{"error": text}`. Whatever else a contender prints goes to stderr.
"""

from __future__ import annotations

import asyncio
import json
import os
import resource
import sys
import time
import traceback
from asyncio.subprocess import PIPE, Process
from collections.abc import Awaitable, Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Final, Self

from scripts.bench.measure import ROOT

MAX_LINE_BYTES: Final = 16 * 1024 * 1024
CLOSE_SECONDS: Final = 20.0
COMMON_VARIABLES: Final = ("DATABASE_URL", "REDIS_URL", "SOLANA_RPC_URL", "REDIS_HOST", "REDIS_PORT")

Handler = Callable[..., Awaitable[Mapping[str, Any]]]


class ContestantError(RuntimeError):
    """A contender that could not do its turn; the benchmark ends, because a figure would be missing."""


class Contestant:
    """The parent's end of a contender's process."""

    def __init__(self, name: str, command: Sequence[str]) -> None:
        """Keep the command line; `start` runs it."""
        self.name = name
        self._command = tuple(command)
        self._process: Process | None = None

    async def start(self, **arguments: Any) -> Self:
        """Start the process and have it prepare itself."""
        self._process = await asyncio.create_subprocess_exec(
            *self._command, stdin=PIPE, stdout=PIPE, limit=MAX_LINE_BYTES, env=environment(), cwd=ROOT
        )
        await self.ask("prepare", **arguments)
        return self

    @property
    def pid(self) -> int:
        """Return the process id, for a profiler."""
        assert self._process is not None
        return self._process.pid

    async def ask(self, command: str, **arguments: Any) -> dict[str, Any]:
        """Have the process do something and return what it found.

        Raises:
            ContestantError: when it failed or ended; its own message is on stderr.
        """
        process = self._process
        assert process is not None
        assert process.stdin is not None
        assert process.stdout is not None
        process.stdin.write(json.dumps({"command": command, **arguments}).encode() + b"\n")
        await process.stdin.drain()
        line = await process.stdout.readline()
        if not line:
            raise ContestantError(f"{self.name} ended during '{command}'")
        reply: dict[str, Any] = json.loads(line)
        if "error" in reply:
            raise ContestantError(f"{self.name} could not '{command}': {reply['error']}")
        result: dict[str, Any] = reply["result"]
        return result

    async def close(self) -> None:
        """End the process: the end of its input tells it to."""
        process, self._process = self._process, None
        if process is None or process.returncode is not None:
            return
        assert process.stdin is not None
        process.stdin.close()
        try:
            await asyncio.wait_for(process.wait(), CLOSE_SECONDS)
        except TimeoutError:
            process.kill()
            await process.wait()


def python_module(name: str) -> list[str]:
    """Return the command line that runs a module of the repository."""
    return [sys.executable, "-m", name]


def environment() -> dict[str, str]:
    """Return this process's environment without the caller's settings, and with the packages found."""
    kept = {
        name: value
        for name, value in os.environ.items()
        if name not in COMMON_VARIABLES and (not name.startswith("DEAL_") or name.startswith("DEAL_TEST_"))
    }
    paths = [str(ROOT / folder) for folder in ("sdk", "localnet", ".")]
    return {**kept, "PYTHONPATH": os.pathsep.join(paths)}


async def answer_commands(handlers: Mapping[str, Handler], close: Callable[[], Awaitable[None]]) -> None:
    """Do what the parent asks, line by line, until its end of the pipe closes; the child's end.

    Args:
        handlers: what can be asked, each with its arguments by name; "prepare" is asked first.
        close: called at the end of a contender that was prepared.
    """
    loop = asyncio.get_running_loop()
    reader = asyncio.StreamReader(limit=MAX_LINE_BYTES)
    await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(reader), sys.stdin)
    is_prepared = False
    try:
        while line := await reader.readline():
            request = json.loads(line)
            reply = await _answer(handlers[request.pop("command")], request)
            is_prepared = is_prepared or "result" in reply
            print(json.dumps(reply), flush=True)
    finally:
        if is_prepared:
            await close()


async def _answer(handler: Handler, arguments: Mapping[str, Any]) -> dict[str, Any]:
    try:
        return {"result": await handler(**arguments)}
    except Exception as error:
        traceback.print_exc(file=sys.stderr)
        return {"error": f"{type(error).__name__}: {error}"}


class Stopwatch:
    """Times a turn by the clock and by the CPU time of this process, its threads included."""

    def __init__(self) -> None:
        """Start."""
        self._began = time.perf_counter()
        self._cpu_began = time.process_time()

    @property
    def seconds(self) -> float:
        """Return the seconds since the start."""
        return time.perf_counter() - self._began

    @property
    def cpu_seconds(self) -> float:
        """Return the CPU seconds since the start."""
        return time.process_time() - self._cpu_began


def cpu_seconds_of(pid: int) -> float:
    """Return the CPU time of another process so far; 0 where the system does not tell."""
    stat = Path(f"/proc/{pid}/stat")
    if not stat.exists():
        return 0.0
    # The name before the closing parenthesis may hold spaces; user and system ticks are 14th and 15th.
    fields = stat.read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def resident_bytes() -> int:
    """Return the memory that this process has now; its peak where the system tells no more."""
    statm = Path("/proc/self/statm")
    if statm.exists():
        return int(statm.read_text().split()[1]) * resource.getpagesize()
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
