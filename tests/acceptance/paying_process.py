"""Processes that pay from a job list, as tests start, read and kill them."""

from __future__ import annotations

import asyncio
import json
import sys
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Final, Literal, TypeAlias

from tests.acceptance.command_line import environment_of

PROGRAM: Final = Path(__file__).with_name("paying_worker.py")
READ_SECONDS: Final = 120.0

Job: TypeAlias = tuple[int, str, str]
"""A number, which makes the idempotency key, an address, and an amount."""
Then: TypeAlias = Literal["leave", "settle", "stay"]
"""After the jobs: close, wait until all is final, or go on until told to stop."""


class PayingProcess:
    """One process, which waits with everything imported until it is told what to do."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self._process = process
        self.done: set[int] = set()
        """Numbers of the jobs that it reported."""
        self.last: list[str] = []
        """The words of the last line that it wrote."""

    @classmethod
    async def spawn(cls, rpc_url: str, database_url: str) -> PayingProcess:
        return cls(
            await asyncio.create_subprocess_exec(
                sys.executable,
                str(PROGRAM),
                rpc_url,
                database_url,
                stdin=asyncio.subprocess.PIPE,
                stdout=asyncio.subprocess.PIPE,
                env=environment_of(),
            )
        )

    async def begin(self, jobs: Sequence[Job], then: Then) -> None:
        """Give it its jobs."""
        await self._write(json.dumps({"jobs": jobs, "then": then}))

    async def read(self, enough: int | None = None) -> None:
        """Read what it reports until so many jobs are done, or until it ends."""
        assert self._process.stdout is not None
        async with asyncio.timeout(READ_SECONDS):
            async for line in self._process.stdout:
                self.last = line.decode().split()
                if self.last[0] == "done":
                    self.done.add(int(self.last[1]))
                    if len(self.done) == enough:
                        return

    async def kill(self) -> None:
        """End it with -9."""
        if self._process.returncode is None:
            self._process.kill()
        await self._process.communicate()

    async def ended(self) -> int:
        """Read it to its end and return the exit code."""
        await self.read()
        return await self._process.wait()

    async def stop(self) -> int:
        """Tell one that stays to stop, and return the exit code."""
        await self._write("stop")
        return await self.ended()

    async def _write(self, line: str) -> None:
        assert self._process.stdin is not None
        self._process.stdin.write(line.encode() + b"\n")
        await self._process.stdin.drain()


@asynccontextmanager
async def spawned(rpc_url: str, database_url: str) -> AsyncIterator[PayingProcess]:
    """Spawn a process that is gone at the end of the block, however it ends."""
    process = await PayingProcess.spawn(rpc_url, database_url)
    try:
        yield process
    finally:
        await process.kill()
